//! Starting and restarting units, and waiting until systemd is done with each.

use std::{collections::BTreeMap, fmt, time::Duration};

use futures_util::StreamExt;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use zbus::OwnedObjectPath;

use super::{
    Systemd, SystemdError, failed,
    proxies::{JobRemovedStream, ManagerProxy},
};
use crate::observe::logging::chain;

/// What became of a request to start or restart a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// The job is done. The unit need not run: its condition may fail, or it may have ended at once.
    Done,
    /// The job ended otherwise: `failed`, `dependency`, `timeout`, `canceled`, …
    Ended(String),
    /// systemd refused to queue it.
    Refused(String),
    /// The job has not ended in time; it goes on.
    Late,
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("its job is done"),
            Self::Ended(result) => write!(f, "its job ended: {result}"),
            Self::Refused(why) => write!(f, "systemd refused: {why}"),
            Self::Late => f.write_str("its job has not ended in time"),
        }
    }
}

/// A finished job: its path and its result.
type Removed = (OwnedObjectPath, String);

/// Jobs systemd finishes from now on. They are collected by a task of their own: hundreds may end
/// during a boot, and a stream nobody reads would hold up every reply on the connection.
struct JobWatch {
    removed: mpsc::UnboundedReceiver<Removed>,
    task: JoinHandle<()>,
}

impl JobWatch {
    async fn begin(manager: &ManagerProxy<'_>) -> Result<Self, SystemdError> {
        let stream = manager.receive_job_removed().await.map_err(failed("watching jobs"))?;
        match manager.subscribe().await {
            Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".AlreadySubscribed") => {}
            other => other.map_err(failed("Subscribe"))?,
        }
        let (sender, removed) = mpsc::unbounded_channel();
        Ok(Self { removed, task: tokio::spawn(collect(stream, sender)) })
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn collect(mut stream: JobRemovedStream, sender: mpsc::UnboundedSender<Removed>) {
    while let Some(signal) = stream.next().await {
        let Ok(args) = signal.args() else { continue };
        if sender.send((args.job.clone(), args.result.clone())).is_err() {
            return;
        }
    }
}

impl Systemd {
    /// Starts units all at once (systemd knows their order) and waits for each job, together no
    /// longer than `limit`. A failed unit is reset first, so that its start limit does not count.
    pub async fn start(
        &self,
        names: &[String],
        limit: Duration,
    ) -> Result<BTreeMap<String, Started>, SystemdError> {
        self.run(Verb::Start, names, limit).await
    }

    /// Restarts those of the units that run, as [`Systemd::start`] starts them.
    pub async fn restart(
        &self,
        names: &[String],
        limit: Duration,
    ) -> Result<BTreeMap<String, Started>, SystemdError> {
        self.run(Verb::Restart, names, limit).await
    }

    async fn run(
        &self,
        verb: Verb,
        names: &[String],
        limit: Duration,
    ) -> Result<BTreeMap<String, Started>, SystemdError> {
        let deadline = Instant::now() + limit;
        let manager = self.manager().await?;
        let watch = JobWatch::begin(&manager).await?;
        let mut ends = BTreeMap::new();
        let mut jobs = Vec::new();
        for name in names {
            // It need not be loaded, nor failed: then there is nothing to reset.
            let _ = manager.reset_failed_unit(name).await;
            let job = match verb {
                Verb::Start => manager.start_unit(name, "replace").await,
                Verb::Restart => manager.try_restart_unit(name, "replace").await,
            };
            match job {
                Ok(job) => jobs.push((job, name.clone())),
                Err(error) => drop(ends.insert(name.clone(), Started::Refused(chain(&error)))),
            }
        }
        await_jobs(watch, jobs, deadline, &mut ends).await;
        Ok(ends)
    }
}

/// What is done to units.
#[derive(Clone, Copy)]
enum Verb {
    Start,
    Restart,
}

async fn await_jobs(
    mut watch: JobWatch,
    mut jobs: Vec<(OwnedObjectPath, String)>,
    deadline: Instant,
    ends: &mut BTreeMap<String, Started>,
) {
    while !jobs.is_empty() {
        let next = tokio::time::timeout_at(deadline, watch.removed.recv()).await;
        let Ok(Some((job, result))) = next else { break };
        let end = if result == "done" { Started::Done } else { Started::Ended(result) };
        for (_, name) in jobs.extract_if(.., |(path, _)| *path == job) {
            ends.insert(name, end.clone());
        }
    }
    ends.extend(jobs.into_iter().map(|(_, name)| (name, Started::Late)));
}
