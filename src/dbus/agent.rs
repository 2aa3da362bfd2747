//! The agent's D-Bus interfaces and the documents they answer with.
//!
//! `org.lockkeeper1.Status` is for everyone; `org.lockkeeper1.Control` is for root and the group
//! `lockkeeper` (the bus policy says so, interface by interface).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::executor::PlanDetails;
use crate::core::{
    choice::KeptBack,
    plan::Plan,
    progress::Progress,
    slots::{Halt, SlotsView, Ticket},
    state::LastCycle,
    verdict::Verdict,
};

/// Format of [`StatusDoc`].
pub const SCHEMA: u32 = 1;

/// Answer of `Status`; what `rebootctl status --json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusDoc {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the agent.
    pub agent: String,
    /// This node's id.
    pub node: String,
    /// Its host name.
    pub name: String,
    /// `off`, `reboot`, `etcd-lock` or `fleet-lock`.
    pub strategy: String,
    /// The lock groups.
    pub groups: Vec<String>,
    /// Where in the cycle the node is (`Phase::word`).
    pub phase: String,
    /// Why.
    pub verdict: Verdict,
    /// What else there is to know.
    pub also: Vec<Verdict>,
    /// The running boot.
    pub boot_id: String,
    /// The plan that is staged.
    pub staged: Option<Plan>,
    /// What has a newer version and is left as it is.
    pub kept_back: Vec<KeptBack>,
    /// Reasons of a pending reboot.
    pub reboot_needed: Vec<String>,
    /// An admin asked for a reboot.
    pub reboot_requested: bool,
    /// Last good check.
    pub last_check: Option<Timestamp>,
    /// The last cycle that ended.
    pub last_cycle: Option<LastCycle>,
    /// How far staging or installing has come, while it goes on.
    pub progress: Option<Progress>,
    /// The maintenance windows now, in words.
    pub window: String,
    /// Why a changed configuration is not in force.
    pub config_problem: Option<String>,
    /// The lock of each group, in the order of `groups`; that of etcd's members last, if it is in use.
    pub locks: Vec<LockDoc>,
}

/// The lock of one group as this node sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LockDoc {
    /// The group.
    pub group: String,
    /// Free slots.
    pub available: u32,
    /// All slots.
    pub max: u32,
    /// Who holds one.
    pub holders: Vec<HolderDoc>,
    /// Who waits, first in line first.
    pub queue: Vec<QueuedDoc>,
    /// The group is stopped.
    pub halt: Option<Halt>,
    /// The group settles after an unlock: nobody is admitted yet.
    pub settling: bool,
    /// Why the lock cannot be seen now. What else is here is then the last good look, or nothing.
    pub error: Option<LockError>,
    /// When this was seen.
    pub seen: Option<Timestamp>,
}

/// A holder, with what it says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HolderDoc {
    /// Node id.
    pub node: String,
    /// Host name.
    pub name: String,
    /// By the holder's clock.
    pub since: Timestamp,
    /// Why it wants to be down.
    pub reason: String,
    /// Where in its cycle it is; empty when it has said nothing yet.
    pub phase: String,
    /// The plan it applies, if any.
    pub release: Option<String>,
    /// It needs longer than it expected to.
    pub overdue: bool,
}

/// A waiter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueuedDoc {
    /// Node id.
    pub node: String,
    /// Host name.
    pub name: String,
    /// Why it waits.
    pub reason: String,
}

/// The lock store cannot be seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockError {
    /// Why.
    pub text: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// Answer of `Check` and `Stage`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SupplyDoc {
    /// What is staged now.
    pub staged: Option<Plan>,
    /// What has a newer version and is left as it is.
    pub kept_back: Vec<KeptBack>,
    /// What went wrong, if anything did.
    pub problem: Option<Verdict>,
    /// A denied plan was offered, a reboot cannot be told, …
    pub also: Vec<Verdict>,
    /// More about what is staged; filled in by `rebootctl`.
    #[serde(default)]
    pub details: Option<PlanDetails>,
}

impl LockDoc {
    /// The document of a look at a group; `phase` tells a holder's phase by node id.
    #[must_use]
    pub fn of(
        group: &str,
        view: &SlotsView,
        seen: Option<Timestamp>,
        phase: impl Fn(&str) -> String,
    ) -> Self {
        Self {
            group: group.to_owned(),
            available: view.slots.available(),
            max: view.slots.max,
            holders: view
                .slots
                .holders
                .iter()
                .map(|h| HolderDoc {
                    node: h.node.clone(),
                    name: h.name.clone(),
                    since: h.since,
                    reason: h.reason.clone(),
                    phase: phase(&h.node),
                    release: h.release.clone(),
                    overdue: h.overdue,
                })
                .collect(),
            queue: view
                .queue
                .iter()
                .map(|Ticket { node, name, reason, .. }| QueuedDoc {
                    node: node.clone(),
                    name: name.clone(),
                    reason: reason.clone(),
                })
                .collect(),
            halt: view.slots.halt.clone(),
            settling: view.settling,
            error: None,
            seen,
        }
    }
}

/// What everyone may ask.
#[zbus::proxy(
    interface = "org.lockkeeper1.Status",
    default_service = "org.lockkeeper1",
    default_path = "/org/lockkeeper1"
)]
pub trait Status {
    /// A [`StatusDoc`] as JSON.
    fn status(&self) -> zbus::Result<String>;
    /// An [`Explanation`](crate::core::explain::Explanation) as JSON.
    fn explain(&self) -> zbus::Result<String>;
    /// More about the plan that is staged: a [`PlanDetails`] as JSON, or null.
    fn details(&self) -> zbus::Result<String>;
    /// How far staging or installing has come: a [`Progress`] as JSON, or null. Cheap to ask.
    fn progress(&self) -> zbus::Result<String>;
    /// It has come further; at most once a second. `doing` is empty when the work has ended.
    #[zbus(signal)]
    fn progressed(&self, doing: &str, percent: u8, step: &str) -> zbus::Result<()>;
    /// All nodes' records as JSON (node id → record).
    fn nodes(&self) -> zbus::Result<String>;
    /// What happened to a group (empty: the first of this node's), the oldest first: a JSON list of
    /// [`Entry`](crate::core::history::Entry).
    fn history(&self, group: &str) -> zbus::Result<String>;
}

/// What root and the group `lockkeeper` may ask.
#[zbus::proxy(
    interface = "org.lockkeeper1.Control",
    default_service = "org.lockkeeper1",
    default_path = "/org/lockkeeper1"
)]
pub trait Control {
    /// What is new in a package of the staged plan (empty: in all of them): a JSON list of
    /// [`Changelog`](super::executor::Changelog).
    fn changelogs(&self, package: &str) -> zbus::Result<String>;
    /// What becomes of everything that runs in a reboot: an [`Outlook`](crate::core::outlook::Outlook) as
    /// JSON.
    fn workloads(&self) -> zbus::Result<String>;
    /// Checks, and stages what is found; answers when that is done: a [`SupplyDoc`] as JSON.
    fn check(&self) -> zbus::Result<String>;
    /// Asks for a reboot; `now`: outside the windows too.
    fn reboot(&self, now: bool) -> zbus::Result<()>;
    /// Forgets an asked-for reboot.
    fn cancel(&self) -> zbus::Result<()>;
    /// Makes a [`Change`](crate::core::change::Change), as JSON, in a group (empty: the first of this
    /// node's); answers with the lock's document before and after (JSON list).
    fn admin(&self, group: &str, change: &str) -> zbus::Result<String>;
}
