//! The D-Bus side of the agent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};
use tracing::debug;
use zbus::{Connection, fdo, object_server::SignalEmitter};

use super::{
    driver::{Input, now},
    snapshot::Snapshot,
};
use crate::{
    adapters::slots::{NodeRecord, SlotStore, StoreError},
    core::{change::Change, event::Ask, plan::PlanId, progress::Progress},
    dbus::{
        AGENT_PATH,
        agent::LockDoc,
        executor::{ExecutorProxy, PlanDetails},
    },
    observe::logging::chain,
};

/// How long `Status` waits for the lock store.
const LOOK: Duration = Duration::from_secs(3);

/// `org.lockkeeper1.Status`.
#[derive(Debug)]
pub struct StatusInterface {
    snapshots: watch::Receiver<Snapshot>,
    inputs: UnboundedSender<Input>,
}

impl StatusInterface {
    pub fn new(snapshots: watch::Receiver<Snapshot>, inputs: UnboundedSender<Input>) -> Self {
        Self { snapshots, inputs }
    }

    /// Lets the driver see the store as it is now, and waits until it has.
    async fn look(&self) -> BTreeMap<String, NodeRecord> {
        let (store, groups) = {
            let snapshot = self.snapshots.borrow();
            (snapshot.store.clone(), snapshot.lock_groups.clone())
        };
        let look = async { tokio::join!(store.view(&groups), store.nodes()) };
        let (seen, nodes) = match tokio::time::timeout(LOOK, look).await {
            Ok((view, nodes)) => (view.map_err(|e| chain(&e)), nodes.unwrap_or_default()),
            Err(_) => (Err(format!("no answer within {} s", LOOK.as_secs())), BTreeMap::new()),
        };
        let (reply, known) = oneshot::channel();
        if self.inputs.send(Input::Look(seen, reply)).is_ok() {
            let _ = known.await;
        }
        nodes
    }
}

#[zbus::interface(name = "org.lockkeeper1.Status")]
impl StatusInterface {
    async fn status(&self) -> fdo::Result<String> {
        let nodes = self.look().await;
        json(&self.snapshots.borrow().status(&nodes))
    }

    async fn explain(&self) -> fdo::Result<String> {
        self.look().await;
        json(&self.snapshots.borrow().explanation)
    }

    fn progress(&self) -> fdo::Result<String> {
        json(&self.snapshots.borrow().progress)
    }

    #[zbus(signal)]
    async fn progressed(
        emitter: &SignalEmitter<'_>,
        doing: &str,
        percent: u8,
        step: &str,
    ) -> zbus::Result<()>;

    async fn nodes(&self) -> fdo::Result<String> {
        let store = self.snapshots.borrow().store.clone();
        json(&store.nodes().await.map_err(|error| store_failed(&error))?)
    }

    async fn details(&self, #[zbus(connection)] bus: &Connection) -> fdo::Result<String> {
        let Some(plan) = staged(&self.snapshots) else { return json(&None::<PlanDetails>) };
        match ExecutorProxy::new(bus).await?.describe(plan.as_str()).await {
            // It has gone meanwhile.
            Err(error) if is_unknown(&error) => json(&None::<PlanDetails>),
            answer => answer.map_err(|error| failed(chain(&error))),
        }
    }

    async fn history(&self, group: &str) -> fdo::Result<String> {
        let (store, group) = store_and_group(&self.snapshots, group);
        json(&store.history(&group).await.map_err(|error| store_failed(&error))?)
    }
}

/// Tells on `bus` how far work has come, whenever that is news; ends with the agent.
pub async fn signal_progress(bus: zbus::Connection, mut snapshots: watch::Receiver<Snapshot>) {
    let Ok(emitter) = SignalEmitter::new(&bus, AGENT_PATH) else { return };
    let mut told = None;
    while snapshots.changed().await.is_ok() {
        let now = snapshots.borrow_and_update().progress.clone();
        if now == told {
            continue;
        }
        let Progress { doing, percent, step } = now.clone().unwrap_or(Progress {
            doing: String::new(),
            percent: 100,
            step: String::new(),
        });
        if let Err(error) = StatusInterface::progressed(&emitter, &doing, percent, &step).await {
            debug!("progress is not told: {error}");
        }
        told = now;
    }
}

/// `org.lockkeeper1.Control`. The bus policy lets only root and the group `lockkeeper` call it.
#[derive(Debug)]
pub struct ControlInterface {
    snapshots: watch::Receiver<Snapshot>,
    inputs: UnboundedSender<Input>,
}

impl ControlInterface {
    pub fn new(snapshots: watch::Receiver<Snapshot>, inputs: UnboundedSender<Input>) -> Self {
        Self { snapshots, inputs }
    }

    async fn ask(&self, ask: Ask) -> fdo::Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| failed("the agent is stopping");
        self.inputs.send(Input::Ask(ask, reply)).map_err(|_| failed("the agent is stopping"))?;
        answer.await.map_err(gone)?.map_err(failed)
    }
}

#[zbus::interface(name = "org.lockkeeper1.Control")]
impl ControlInterface {
    async fn check(&self) -> fdo::Result<String> {
        let mut snapshots = self.snapshots.clone();
        let stopping = |_| failed("the agent is stopping");
        // One that is under way already may have looked before what the caller wants it to see.
        let free = |s: &Snapshot| s.state.phase.held().is_some() || s.supply_idle();
        let target = snapshots.wait_for(free).await.map_err(stopping)?.state.supply.checks + 1;
        self.ask(Ask::Check).await?;
        let ended = |s: &Snapshot| {
            s.state.phase.held().is_some() || (s.state.supply.checks >= target && s.supply_idle())
        };
        let ended = snapshots.wait_for(ended).await.map_err(stopping)?;
        match ended.state.phase.held() {
            Some(job) => Err(failed(format!(
                "a cycle is under way ({}, {}); the next check follows it",
                ended.state.phase.word(),
                job.reason
            ))),
            None => json(&ended.supply_doc()),
        }
    }

    async fn changelogs(
        &self,
        package: &str,
        #[zbus(connection)] bus: &Connection,
    ) -> fdo::Result<String> {
        let plan = staged(&self.snapshots).ok_or_else(|| failed("nothing is staged"))?;
        let answer = ExecutorProxy::new(bus).await?.changelogs(plan.as_str(), package).await;
        answer.map_err(|error| failed(chain(&error)))
    }

    async fn workloads(&self, #[zbus(connection)] bus: &Connection) -> fdo::Result<String> {
        let answer = ExecutorProxy::new(bus).await?.workloads().await;
        answer.map_err(|error| failed(chain(&error)))
    }

    async fn reboot(&self, now: bool) -> fdo::Result<()> {
        self.ask(Ask::Reboot { now }).await
    }

    async fn cancel(&self) -> fdo::Result<()> {
        self.ask(Ask::Cancel).await
    }

    async fn admin(&self, group: &str, change: &str) -> fdo::Result<String> {
        let change: Change = serde_json::from_str(change)
            .map_err(|error| fdo::Error::InvalidArgs(format!("not a change: {error}")))?;
        let (store, group) = store_and_group(&self.snapshots, group);
        let before = store.view(std::slice::from_ref(&group)).await;
        let before = before.map_err(|error| store_failed(&error))?.remove(&group);
        let after = store.admin(&group, &change).await.map_err(|error| store_failed(&error))?;
        let documents = [before.unwrap_or_default(), after]
            .map(|view| LockDoc::of(&group, &view, Some(now().wall), |_| String::new()));
        json(&documents)
    }
}

fn staged(snapshots: &watch::Receiver<Snapshot>) -> Option<PlanId> {
    snapshots.borrow().state.staged.as_ref().map(|staged| staged.plan.id.clone())
}

fn is_unknown(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..) if name.ends_with(".UnknownPlan"))
}

/// The store in force, and the group that is meant: an empty name is the first of this node's.
fn store_and_group(snapshots: &watch::Receiver<Snapshot>, group: &str) -> (Arc<SlotStore>, String) {
    let snapshot = snapshots.borrow();
    let first = || snapshot.groups.first().cloned().unwrap_or_default();
    let group = if group.is_empty() { first() } else { group.to_owned() };
    (snapshot.store.clone(), group)
}

fn json(document: &impl serde::Serialize) -> fdo::Result<String> {
    serde_json::to_string(document).map_err(|error| failed(error.to_string()))
}

/// A refusal is `Failed`; a store that cannot be used is `IOError`: another exit code of `rebootctl`.
fn store_failed(error: &StoreError) -> fdo::Error {
    match error {
        StoreError::Refused(_) => failed(chain(error)),
        StoreError::Unreachable { .. } | StoreError::Unusable { .. } => {
            fdo::Error::IOError(chain(error))
        }
    }
}

fn failed(text: impl Into<String>) -> fdo::Error {
    fdo::Error::Failed(text.into())
}
