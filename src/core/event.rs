//! Facts from the outside.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    blocker::Blocker,
    choice::KeptBack,
    effect::EffectId,
    health::{Evidence, HealthReport},
    plan::Plan,
    slots::Views,
};

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The policy was replaced.
    PolicyChanged,
    /// The lock store was looked at, or could not be.
    Store(Result<Views, String>),
    /// An admin asks for something.
    Ask(Ask),
    /// An effect ended.
    Done {
        /// Which.
        id: EffectId,
        /// How.
        outcome: Outcome,
    },
}

/// What an admin can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Check (and stage what is found) now.
    Check,
    /// Run the cycle with a reboot; `now`: without waiting for a window.
    Reboot {
        /// Outside the windows too.
        now: bool,
    },
    /// Forget an earlier `Reboot`, as long as nothing was disturbed.
    Cancel,
}

/// What a release channel has to say of when to look at it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Again {
    /// How long to wait, instead of the configured interval.
    pub wait: Option<Duration>,
    /// When its answer is to become another one.
    pub at: Option<Timestamp>,
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `Check` got an answer.
    Checked {
        /// What to install, if anything.
        plan: Option<Plan>,
        /// What has a newer version and is left as it is.
        kept_back: Vec<KeptBack>,
        /// Is a reboot pending?
        reboot: Evidence,
        /// The rules that the packages were chosen by ([`super::policy::Policy::choice`]).
        choice: String,
        /// When to look again.
        again: Again,
    },
    /// `Stage` is complete.
    Staged,
    /// `Probe` looked.
    Probed {
        /// *Yes* = somebody inhibits shutdown.
        inhibitors: Evidence,
        /// *Yes* = without this machine etcd's quorum would be at risk.
        quorum: Evidence,
        /// What else is not to be disturbed.
        blockers: Vec<Blocker>,
    },
    /// `AcquireSlot` got one.
    SlotGranted,
    /// `LeaveQueue` is done.
    LeftQueue {
        /// A slot had been granted before the ticket could be taken back.
        held: bool,
    },
    /// `Drain` is complete.
    Drained,
    /// `Record` is durable.
    Recorded,
    /// `Apply`, `Finish`: every package is installed and configured.
    Applied,
    /// `Apply`, `Finish`: nothing was changed. `ApplyAtBoot`: nor is a reboot under way because of it.
    ApplyRefused(String),
    /// `Apply`, `Finish`: the system was changed, or may have been, and the plan is not complete.
    ApplyFailed(String),
    /// `Undo`: the node has exactly the packages it had before.
    Undone,
    /// `Undo` changed nothing: there is no way back.
    UndoImpossible(String),
    /// `Undo` changed, or may have changed, the system, and is not complete.
    UndoFailed(String),
    /// `ReadEvidence` looked.
    EvidenceRead(Evidence),
    /// `Reboot`, `ApplyAtBoot`: accepted, it happens now or later.
    RebootAccepted,
    /// `Reboot`, `ApplyAtBoot`: refused, none is under way because of this request.
    RebootRefused(String),
    /// `Restore` is done; these had to be started.
    Restored(Vec<String>),
    /// `Verify` looked.
    Verified(HealthReport),
    /// `Confirm` is done.
    Confirmed,
    /// `Undrain` is done: the node is in service again.
    Undrained,
    /// `Release` is done: no slot is held.
    Released,
    /// `Halt` is published.
    Halted,
    /// `Probe`, `Drain`, `Reboot`, `ApplyAtBoot`: a hook that has a say said no. Nothing was disturbed.
    HookFailed(String),
    /// The effect could not be done, or its result is not known.
    Failed(String),
}

impl Outcome {
    /// Stable word for logs and tests.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Checked { .. } => "checked",
            Self::Staged => "staged",
            Self::Probed { .. } => "probed",
            Self::SlotGranted => "slot-granted",
            Self::LeftQueue { .. } => "left-queue",
            Self::Drained => "drained",
            Self::Recorded => "recorded",
            Self::Applied => "applied",
            Self::ApplyRefused(_) => "apply-refused",
            Self::ApplyFailed(_) => "apply-failed",
            Self::Undone => "undone",
            Self::UndoImpossible(_) => "undo-impossible",
            Self::UndoFailed(_) => "undo-failed",
            Self::EvidenceRead(_) => "evidence-read",
            Self::RebootAccepted => "reboot-accepted",
            Self::RebootRefused(_) => "reboot-refused",
            Self::Restored(_) => "restored",
            Self::Verified(_) => "verified",
            Self::Confirmed => "confirmed",
            Self::Undrained => "undrained",
            Self::Released => "released",
            Self::Halted => "halted",
            Self::HookFailed(_) => "hook-failed",
            Self::Failed(_) => "failed",
        }
    }
}
