//! The part of recording, restoring and verifying that is done as a user: a process with nothing but that
//! user's rights, which talks to the user's own service manager and container engines.
//!
//! It is told what to do on its standard input and answers on its standard output, once. It does what the
//! executor does for the system, by the same code.

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::{Context, WorkloadError, outlook, record, restore, verify};
use crate::{
    adapters::systemd::Systemd,
    config::settings::{Resurrected, Workloads},
    core::{outlook::Outlook, record::Record, rootless::Judgement},
};

/// No order is longer.
const LONGEST: u64 = 8 << 20;
/// A call to the user's manager or bus takes this long at most.
const ANSWER: Duration = Duration::from_secs(30);

/// What a user's process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// What of.
    pub task: Task,
    /// `workloads.ignore`
    pub ignore: Vec<String>,
    /// `workloads.resurrected` is `stop`.
    pub stop_resurrected: bool,
}

/// One of these.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// Say what runs.
    Record,
    /// Start what ran and does not run.
    Restore {
        /// What ran.
        record: Box<Record>,
        /// How long others are waited for.
        grace_secs: u64,
    },
    /// Say what is wrong.
    Verify {
        /// What ran.
        record: Box<Record>,
    },
    /// Say what is to be expected of a reboot.
    Foresee,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// What runs.
    Recorded(Box<Record>),
    /// What was started.
    Restored(Vec<String>),
    /// What is wrong.
    Judged(Judgement),
    /// What is to be expected.
    Foreseen(Box<Outlook>),
}

/// A user's process could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AsUserError {
    /// It is not started by hand.
    #[error("this is a user's part of lockkeeper-executor: root has none")]
    Root,
    /// Standard input or output.
    #[error("the order cannot be read, or not be answered")]
    Io(#[from] io::Error),
    /// The order, or the answer.
    #[error("the order or its answer is no such document")]
    Document(#[from] serde_json::Error),
    /// There is no bus.
    #[error(
        "the user's bus {address} cannot be reached (Debian: it comes with the package dbus-user-session)"
    )]
    Bus {
        /// Where it should be.
        address: String,
        /// Why not.
        source: zbus::Error,
    },
    /// The work itself.
    #[error(transparent)]
    Work(#[from] WorkloadError),
}

/// Does what the standard input says, as the user this process belongs to.
pub async fn main() -> Result<(), AsUserError> {
    let uid = geteuid();
    if uid.is_root() {
        return Err(AsUserError::Root);
    }
    let mut text = Vec::new();
    io::stdin().take(LONGEST).read_to_end(&mut text)?;
    let order: Order = serde_json::from_slice(&text)?;
    // logind makes it, and gives it to the user alone.
    let runtime = PathBuf::from(format!("/run/user/{}", uid.as_raw()));
    let answer = work(&runtime, order).await?;
    io::stdout().write_all(&serde_json::to_vec(&answer)?)?;
    Ok(())
}

async fn work(runtime: &Path, order: Order) -> Result<Answer, AsUserError> {
    let address = format!("unix:path={}/bus", runtime.display());
    let bus = zbus::connection::Builder::address(address.as_str());
    let bus = bus.method_timeout(ANSWER).build().await;
    let bus = bus.map_err(|source| AsUserError::Bus { address, source })?;
    let Order { task, ignore, stop_resurrected } = order;
    let resurrected = if stop_resurrected { Resurrected::Stop } else { Resurrected::Report };
    let systemd = Systemd::of_user(bus, runtime.to_owned());
    // It has no files of its own, and no users below it.
    let context = Context::new(runtime, systemd, Vec::new(), Path::new("/"));
    let context = context.with_workloads(Workloads { ignore, resurrected, users: Vec::new() });
    Ok(match task {
        Task::Record => Answer::Recorded(Box::new(record::observe(&context).await?)),
        Task::Restore { record, grace_secs } => {
            let grace = Duration::from_secs(grace_secs);
            Answer::Restored(restore::by(&context, &record, grace).await?)
        }
        Task::Foresee => Answer::Foreseen(Box::new(outlook::foresee(&context).await?)),
        Task::Verify { record } => Answer::Judged(verify::judge(&context, &record).await?),
    })
}
