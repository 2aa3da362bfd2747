//! Everything the agent remembers. What is marked `skip` is only an observation; the rest is durable.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    choice::KeptBack,
    effect::EffectId,
    event::Again,
    health::Evidence,
    plan::{Plan, PlanId},
    slots::Views,
    time::{BootId, Mono, Now},
    verdict::Verdict,
};

/// Format of the state file; a newer one is refused, never guessed at.
pub const SCHEMA: u32 = 1;

/// The agent's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Tells this installation apart from another with the same node id.
    pub nonce: String,
    /// The boot this state was last written in.
    pub boot_id: BootId,
    /// Number of the next effect.
    pub next_effect: u64,
    /// Where in the cycle the node is.
    pub phase: Phase,
    /// When it got there.
    pub entered: Now,
    /// The effect of this phase.
    pub task: Task,
    /// Checking and staging, which go on beside the cycle.
    pub supply: Supply,
    /// A plan that is staged and verified.
    pub staged: Option<Staged>,
    /// Is a reboot pending, as the last check saw it?
    pub reboot_needed: Evidence,
    /// The reasons of the last reboot made here: the same reasons do not cause another one.
    pub rebooted_for: Vec<String>,
    /// An admin's wish for a reboot; fulfilled by nothing but a reboot.
    pub request: Option<Request>,
    /// Plans that failed on this node: never tried again by themselves.
    pub denied: BTreeMap<PlanId, Denied>,
    /// Do not try before this, and why.
    pub hold_off: Option<HoldOff>,
    /// How often in a row a node was taken out of service, and nothing came of it.
    #[serde(default)]
    pub in_vain: u32,
    /// The last cycle that ended.
    pub last: Option<LastCycle>,
    /// The lock store as last seen.
    #[serde(skip)]
    pub store: StoreSeen,
}

/// Where in the cycle the node is. From `Preflight` to `Failed` it holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing disturbs the node and nothing is queued.
    Steady,
    /// About to queue: looking for blockers.
    Probing {
        /// What for.
        job: Job,
    },
    /// In the queue for a slot.
    Queued {
        /// What for.
        job: Job,
    },
    /// Taking the ticket back.
    Leaving,
    /// Slot held; looking for blockers again.
    Preflight {
        /// What for.
        job: Job,
    },
    /// Publishing "draining", waiting.
    Draining {
        /// What for.
        job: Job,
    },
    /// Writing down what is running.
    Recording {
        /// What for.
        job: Job,
    },
    /// Installing; or, after the boot made for that, seeing what has come of it.
    Applying {
        /// What for.
        job: Job,
        /// How often the apply was ordered, counted up to the most it may be.
        orders: u32,
    },
    /// Reading whether a reboot is needed.
    Deciding {
        /// What for.
        job: Job,
    },
    /// A reboot is wanted, requested, or under way.
    Rebooting {
        /// What for.
        job: Job,
        /// The boot to leave.
        boot: BootId,
        /// Why.
        reasons: Vec<String>,
        /// How often it was requested.
        requests: u32,
    },
    /// Starting what was running and is not.
    Restoring {
        /// What for.
        job: Job,
    },
    /// Watching the node's health.
    Verifying {
        /// What for.
        job: Job,
        /// Healthy without a break since.
        healthy_since: Option<Mono>,
        /// What was wrong at the last look.
        failing: Vec<String>,
    },
    /// Making the new state the good one.
    Confirming {
        /// What for.
        job: Job,
    },
    /// Putting a drained node back into service, before the slot is given back.
    Returning {
        /// What for.
        job: Job,
        /// How the cycle ended.
        ended: Ended,
    },
    /// Giving the slot back.
    Releasing {
        /// What for.
        job: Job,
        /// How the cycle ended.
        ended: Ended,
    },
    /// Going back to the packages from before.
    Undoing {
        /// What for.
        job: Job,
        /// What failed.
        cause: Cause,
        /// In words.
        reason: String,
        /// The halt is published.
        halted: bool,
        /// How often the way back was ordered, counted up to the most it may be.
        orders: u32,
    },
    /// The update failed: the slot is kept and the group halted.
    Failed {
        /// What for.
        job: Job,
        /// What failed.
        cause: Cause,
        /// In words.
        reason: String,
        /// The halt is published.
        halted: bool,
        /// Healthy again since.
        healthy_since: Option<Mono>,
    },
}

/// What one cycle is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The plan to apply, if any.
    pub plan: Option<PlanId>,
    /// Why, for people.
    pub reason: String,
    /// Reboot also without evidence (an admin asked).
    pub always_reboot: bool,
    /// Windows do not matter (an admin said now).
    pub now: bool,
    /// The plan is to be installed in a boot made for that, and that boot is not over.
    #[serde(default)]
    pub at_boot: bool,
    /// The plan failed, and was to be undone.
    #[serde(default)]
    pub undone: Option<Undone>,
}

/// What became of a failed plan that was to be undone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Undone {
    /// What had failed.
    pub cause: Cause,
    /// In words.
    pub reason: String,
    /// The node has exactly the packages it had before. Otherwise there was no way back, or it was
    /// not gone to its end.
    pub complete: bool,
    /// The halt is published.
    pub halted: bool,
}

/// How a cycle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Applied, rebooted if needed, healthy.
    Done,
    /// The plan failed and was undone: healthy on what the node had before.
    RolledBack,
    /// Given back before anything was changed.
    GaveBack,
}

/// What made a cycle fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The packages could not be installed.
    Apply,
    /// The reboot did not come. It may still come, so the slot is kept until it does or an admin decides.
    Reboot,
    /// The node is not healthy.
    Health,
}

/// The effect of the phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Task {
    /// Not ordered yet.
    #[default]
    Due,
    /// Ordered; the answer is awaited.
    Running {
        /// Its number.
        id: EffectId,
        /// How often it failed before.
        tries: u32,
    },
    /// To be ordered again.
    Later {
        /// When.
        at: Mono,
        /// How often it failed so far.
        tries: u32,
        /// What went wrong the last time; empty when nothing did.
        error: String,
        /// Since when it fails.
        since: Timestamp,
    },
}

/// Checking and staging.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Supply {
    /// What runs now.
    pub task: SupplyTask,
    /// When the next check is due.
    pub next_check: Mono,
    /// Checks begun so far.
    pub checks: u64,
    /// Failures since the last success.
    pub failures: u32,
    /// What fails.
    pub problem: Option<Verdict>,
    /// Last successful check.
    pub last_ok: Option<Timestamp>,
    /// What the channel offered then.
    pub offered: Option<PlanId>,
    /// What had a newer version then and is left as it is.
    #[serde(default)]
    pub kept_back: Vec<KeptBack>,
    /// When the channel wants to be looked at again.
    #[serde(default)]
    pub again: Again,
}

/// What the supply side does now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum SupplyTask {
    /// Nothing.
    Idle,
    /// A check runs.
    Checking {
        /// Its number.
        id: EffectId,
    },
    /// A plan is being staged.
    Staging {
        /// Its number.
        id: EffectId,
        /// Which.
        plan: Plan,
        /// The rules it was chosen by.
        #[serde(default)]
        choice: String,
    },
}

/// A staged plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Staged {
    /// The plan.
    pub plan: Plan,
    /// Staged when.
    pub at: Timestamp,
    /// The rules it was chosen by ([`super::policy::Policy::choice`]).
    #[serde(default)]
    pub choice: String,
}

/// An admin's wish for a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// When it was asked.
    pub at: Timestamp,
    /// Without waiting for a window.
    pub now: bool,
}

/// A plan that failed here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Denied {
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A pause the agent gives itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HoldOff {
    /// Until then.
    pub until: Mono,
    /// Because of this.
    pub why: Verdict,
}

/// The last cycle that ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LastCycle {
    /// How.
    pub ended: Ended,
    /// When.
    pub at: Timestamp,
    /// The plan it was about.
    pub plan: Option<PlanId>,
}

/// The lock store as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoreSeen {
    /// The last good look.
    pub view: Option<Views>,
    /// When that was.
    pub at: Option<Timestamp>,
    /// Why it cannot be seen now, and since when.
    pub error: Option<(String, Timestamp)>,
}

impl State {
    /// The state of a fresh installation.
    #[must_use]
    pub fn new(nonce: String, boot_id: BootId, now: Now) -> Self {
        Self {
            schema: SCHEMA,
            nonce,
            boot_id,
            next_effect: 1,
            phase: Phase::Steady,
            entered: now,
            task: Task::Due,
            supply: Supply {
                task: SupplyTask::Idle,
                next_check: now.mono,
                checks: 0,
                failures: 0,
                problem: None,
                last_ok: None,
                offered: None,
                kept_back: Vec::new(),
                again: Again::default(),
            },
            staged: None,
            reboot_needed: Evidence::No,
            rebooted_for: Vec::new(),
            request: None,
            denied: BTreeMap::new(),
            hold_off: None,
            in_vain: 0,
            last: None,
            store: StoreSeen::default(),
        }
    }
}

impl Phase {
    /// Stable word for the phase.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Probing { .. } => "probing",
            Self::Queued { .. } => "queued",
            Self::Leaving => "leaving",
            Self::Preflight { .. } => "preflight",
            Self::Draining { .. } => "draining",
            Self::Recording { .. } => "recording",
            Self::Applying { .. } => "applying",
            Self::Deciding { .. } => "deciding",
            Self::Rebooting { .. } => "rebooting",
            Self::Restoring { .. } => "restoring",
            Self::Verifying { .. } => "verifying",
            Self::Confirming { .. } => "confirming",
            Self::Returning { .. } => "returning",
            Self::Releasing { .. } => "releasing",
            Self::Undoing { .. } => "undoing",
            Self::Failed { .. } => "failed",
        }
    }

    /// What it is about, if it is about anything.
    #[must_use]
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Probing { job } | Self::Queued { job } => Some(job),
            phase => phase.held(),
        }
    }

    /// The job of a cycle that holds a slot.
    #[must_use]
    pub fn held(&self) -> Option<&Job> {
        match self {
            Self::Steady | Self::Probing { .. } | Self::Queued { .. } | Self::Leaving => None,
            Self::Preflight { job }
            | Self::Draining { job }
            | Self::Recording { job }
            | Self::Applying { job, .. }
            | Self::Deciding { job }
            | Self::Rebooting { job, .. }
            | Self::Restoring { job }
            | Self::Verifying { job, .. }
            | Self::Confirming { job }
            | Self::Returning { job, .. }
            | Self::Releasing { job, .. }
            | Self::Undoing { job, .. }
            | Self::Failed { job, .. } => Some(job),
        }
    }

    /// What load balancers should think of the node: `in-service`, `draining` or `down`.
    #[must_use]
    pub fn service(&self) -> &'static str {
        match self {
            Self::Steady
            | Self::Probing { .. }
            | Self::Queued { .. }
            | Self::Leaving
            | Self::Preflight { .. }
            | Self::Releasing { .. } => "in-service",
            Self::Draining { .. }
            | Self::Recording { .. }
            | Self::Returning { ended: Ended::GaveBack, .. } => "draining",
            Self::Applying { .. }
            | Self::Deciding { .. }
            | Self::Rebooting { .. }
            | Self::Restoring { .. }
            | Self::Verifying { .. }
            | Self::Confirming { .. }
            | Self::Returning { .. }
            | Self::Undoing { .. }
            | Self::Failed { .. } => "down",
        }
    }
}
