//! One change: there, and back.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Context, WorkloadError, record, write};
use crate::{
    adapters::{
        containers::{self, Client, ContainerError, compose},
        systemd::SystemdError,
    },
    core::{
        container::{Engine, Health},
        image::{Tag, short},
        record::{Container, Record},
        recreate::{Change, Journal, Maker, Remade, Step},
    },
    observe::logging::chain,
};

/// The repository that keeps the old image of each name: without a name, a prune would take the way back.
const KEPT: &str = "localhost/lockkeeper/before";
/// No change is begun later than this after the first.
const TOGETHER: Duration = Duration::from_secs(1200);
/// How long a unit may take to stop and to start.
const RESTARTING: Duration = Duration::from_secs(180);
/// How long a container may take to run that was asked for.
const APPEARING: Duration = Duration::from_secs(30);
/// How long it may take to be healthy where it has no limit of its own.
const HEALTHY: Duration = Duration::from_secs(120);
/// One without a health check is to run for so long.
const SETTLING: Duration = Duration::from_secs(3);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// The changes of a cycle, and what they need.
pub(super) struct Work<'a> {
    pub(super) journal: Journal,
    context: &'a Context,
    record: &'a Record,
    clients: BTreeMap<Engine, Client>,
}

impl<'a> Work<'a> {
    pub(super) async fn new(
        context: &'a Context,
        record: &'a Record,
        journal: Journal,
    ) -> Result<Self, WorkloadError> {
        let mut clients = BTreeMap::new();
        if !journal.changes.is_empty() || !journal.pulled.is_empty() {
            let all = containers::at_work(&context.systemd).await?;
            clients.extend(all.into_iter().map(|client| (client.engine(), client)));
        }
        Ok(Self { journal, context, record, clients })
    }

    pub(super) fn write(&self) -> Result<(), WorkloadError> {
        write(self.context, &self.journal)
    }

    /// Takes everything that is planned; answers with the containers that were made anew.
    pub(super) async fn take_all(&mut self) -> Result<Vec<String>, WorkloadError> {
        let deadline = Instant::now() + TOGETHER;
        let mut taken = Vec::new();
        for at in 0..self.journal.changes.len() {
            if Instant::now() >= deadline {
                warn!("no time is left for all newer images: the rest is for the next cycle");
                break;
            }
            taken.extend(self.take(at).await?);
        }
        // What was not begun is nobody's concern any more.
        self.drop_planned()?;
        Ok(taken)
    }

    fn drop_planned(&mut self) -> Result<(), WorkloadError> {
        let before = self.journal.changes.len();
        self.journal.changes.retain(|change| change.step != Step::Planned);
        if self.journal.changes.len() == before { Ok(()) } else { self.write() }
    }

    async fn take(&mut self, at: usize) -> Result<Vec<String>, WorkloadError> {
        self.journal.changes[at].step = Step::Taking;
        self.write()?;
        let change = self.journal.changes[at].clone();
        let pointed = self.point(&change, &change.new).await;
        let remade = match pointed {
            Ok(()) => self.remake(&change, &change.new).await,
            Err(why) => Err(why),
        };
        match remade {
            Ok(ids) => {
                self.taken(at, ids)?;
                let engine = change.engine;
                let said = |own: &Remade| format!("container {} ({engine})", own.name);
                Ok(change.containers.iter().map(said).collect())
            }
            Err(why) => {
                self.go_back(at, Some(why)).await?;
                Ok(Vec::new())
            }
        }
    }

    fn taken(&mut self, at: usize, ids: Vec<String>) -> Result<(), WorkloadError> {
        self.note(&self.journal.changes[at], &ids)?;
        self.journal.changes[at].step = Step::Taken { ids };
        self.write()
    }

    /// Has the record know the containers that were made anew.
    fn note(&self, change: &Change, ids: &[String]) -> Result<(), WorkloadError> {
        let names = change.containers.iter().map(|own| own.name.as_str());
        let known: Vec<(&str, &str)> = names.zip(ids.iter().map(String::as_str)).collect();
        record::note_ids(self.context, change.engine, &known)
    }

    /// Goes back from a change, for `why`. That this has not led to anything healthy either is for `Verify`
    /// to see: the containers are part of the record.
    pub(super) async fn go_back(
        &mut self,
        at: usize,
        why: Option<String>,
    ) -> Result<(), WorkloadError> {
        let change = self.journal.changes[at].clone();
        let (old, new) = (short(&change.old), short(&change.new));
        let cause = why.as_deref().unwrap_or("it was interrupted");
        warn!("{} ({}): back from {new} to {old}: {cause}", change.reference, change.engine);
        self.journal.go_back(at, why.clone());
        self.write()?;
        if let Err(error) = self.point(&change, &change.old).await {
            // Until it does, the node is not well.
            warn!("{} ({}): {error}", change.reference, change.engine);
            return Ok(());
        }
        match self.remake(&change, &change.old).await {
            Ok(ids) => {
                self.note(&change, &ids)?;
                info!("{} ({}) runs as {old} again", change.reference, change.engine);
            }
            Err(error) => {
                warn!("{} ({}): {error}", change.reference, change.engine);
                if !self.all_run(&change, &change.old).await {
                    // It stays what is to be gone back from, and is tried again with each look.
                    return Ok(());
                }
            }
        }
        self.journal.changes[at].step = Step::Back { why };
        self.write()
    }

    /// Whether each of the containers is there and of this image; whether it is well is for `Verify` to see.
    async fn all_run(&self, change: &Change, image: &str) -> bool {
        let Ok(client) = self.client(change.engine) else { return false };
        for Remade { name, .. } in &change.containers {
            let of = client.image_of(name).await.unwrap_or_default();
            if of.as_deref() != Some(image) {
                return false;
            }
        }
        true
    }

    /// Ends what was cut off: a change that was begun is gone back from.
    pub(super) async fn finish(&mut self) -> Result<(), WorkloadError> {
        for at in 0..self.journal.changes.len() {
            match self.journal.changes[at].step.clone() {
                Step::Taking => self.go_back(at, None).await?,
                Step::GoingBack { why } => self.go_back(at, why).await?,
                Step::Planned | Step::Taken { .. } | Step::Back { .. } => {}
            }
        }
        self.drop_planned()
    }

    /// After a boot all containers are others: what runs the new image is what is to be watched.
    pub(super) async fn look_anew(&mut self) -> Result<(), WorkloadError> {
        for at in 0..self.journal.changes.len() {
            let change = self.journal.changes[at].clone();
            if matches!(change.step, Step::Taken { .. })
                && let Some(client) = self.clients.get(&change.engine)
                && let Ok(ids) = await_all(client, self.record, &change, &change.new).await
            {
                self.taken(at, ids)?;
            }
        }
        Ok(())
    }

    /// What is wrong with a change that was taken.
    pub(super) async fn wrong(&self, at: usize) -> Option<String> {
        let Change { engine, containers, step: Step::Taken { ids }, .. } =
            self.journal.changes.get(at)?
        else {
            return None;
        };
        // An engine that does not answer is the node's failure, not the image's.
        let client = self.clients.get(engine)?;
        for (Remade { name, .. }, id) in containers.iter().zip(ids) {
            let what = match client.inspect(name).await.ok()? {
                None => "is gone",
                Some(now) if now.id != *id => "was started anew by itself",
                Some(now) if now.restarts > 0 => "was restarted by its engine",
                Some(now) if !now.running => "does not run",
                Some(now) if now.health == Health::Unhealthy => "is unhealthy",
                Some(_) => continue,
            };
            return Some(format!("{name} {what}"));
        }
        None
    }

    fn client(&self, engine: Engine) -> Result<&Client, String> {
        self.clients.get(&engine).ok_or_else(|| format!("{engine} is not running"))
    }

    /// Has the name stand for `image`.
    async fn point(&self, change: &Change, image: &str) -> Result<(), String> {
        let Change { engine, reference, old, .. } = change;
        let failed = |error: ContainerError| chain(&error);
        let client = self.client(*engine)?;
        let tag = Tag::of(reference).ok_or_else(|| format!("{reference} is not a tag"))?;
        let kept = tag.kept_as();
        client.tag(old, &Tag { repository: KEPT, tag: &kept }).await.map_err(failed)?;
        client.tag(image, &tag).await.map_err(failed)
    }

    /// Has the containers run what the name stands for, `image`. Answers with their ids, or why not.
    async fn remake(&self, change: &Change, image: &str) -> Result<Vec<String>, String> {
        let client = self.client(change.engine)?;
        for Remade { name, maker } in &change.containers {
            // Another container of the same unit or service may have had it made anew.
            // Podman shows one that is just ending by words of its own: that is not it either.
            let runs = client.image_of(name).await.unwrap_or_default();
            if runs.as_deref() != Some(image) {
                self.make(maker).await?;
            }
            self.up(client, change, name, image).await?;
        }
        await_all(client, self.record, change, image).await
    }

    async fn make(&self, maker: &Maker) -> Result<(), String> {
        let systemd = &self.context.systemd;
        match maker {
            Maker::Compose(service) => compose::up(systemd.bus(), service).await,
            Maker::Unit(unit) => {
                let units = std::slice::from_ref(unit);
                let failed = |error: SystemdError| chain(&error);
                // One that does not run is not restarted, and one that runs is not started.
                systemd.restart(units, RESTARTING).await.map_err(failed)?;
                systemd.start(units, RESTARTING).await.map_err(failed)?;
                Ok(())
            }
        }
    }

    /// Waits until the container is there, and runs the image.
    async fn up(
        &self,
        client: &Client,
        change: &Change,
        name: &str,
        image: &str,
    ) -> Result<(), String> {
        let deadline = Instant::now() + APPEARING;
        loop {
            // One that cannot be seen is not up yet: the old one may just be ending.
            let runs = client.inspect(name).await.ok().flatten().is_some_and(|now| now.running);
            let of = client.image_of(name).await.unwrap_or_default();
            if runs && of.as_deref() == Some(image) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (image, secs) = (short(image), APPEARING.as_secs());
                return Err(format!(
                    "{name} does not run as {image} of {} after {secs} s",
                    change.reference
                ));
            }
            sleep(EVERY).await;
        }
    }
}

/// Waits until each container runs the image and is healthy; answers with their ids.
async fn await_all(
    client: &Client,
    record: &Record,
    change: &Change,
    image: &str,
) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    for Remade { name, .. } in &change.containers {
        let own = |c: &&crate::core::record::RecordedContainer| {
            c.engine == change.engine && c.name == *name
        };
        let limit = record.containers.iter().find(own).and_then(|c| c.health_timeout_secs);
        let limit = limit.map_or(HEALTHY, Duration::from_secs);
        if client.image_of(name).await.map_err(|error| chain(&error))?.as_deref() != Some(image) {
            return Err(format!("{name} does not run as {}", short(image)));
        }
        ids.push(await_health(client, name, limit).await?);
    }
    Ok(ids)
}

/// Waits until a container is healthy, or has run for a while; answers with its id.
async fn await_health(client: &Client, name: &str, limit: Duration) -> Result<String, String> {
    let begun = Instant::now();
    let mut first: Option<Container> = None;
    loop {
        let now = match client.inspect(name).await {
            Ok(now) => now,
            // An engine that cannot say is no fault of the image's, unless it never can.
            Err(_) if begun.elapsed() < limit => {
                sleep(EVERY).await;
                continue;
            }
            Err(error) => return Err(chain(&error)),
        };
        let Some(now) = now.filter(|now| now.running) else {
            return Err(format!("{name} does not run any more"));
        };
        let before = first.get_or_insert_with(|| now.clone());
        if before.id != now.id || before.restarts != now.restarts {
            return Err(format!("{name} does not keep running"));
        }
        match now.health {
            Health::Healthy => return Ok(now.id),
            Health::Unchecked if begun.elapsed() >= SETTLING => return Ok(now.id),
            Health::Unhealthy => return Err(format!("{name} is unhealthy")),
            Health::Starting if begun.elapsed() >= limit => {
                return Err(format!("{name} is not healthy after {} s", limit.as_secs()));
            }
            Health::Unchecked | Health::Starting => sleep(EVERY).await,
        }
    }
}
