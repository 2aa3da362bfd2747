//! Orders to the outside. Each is idempotent: after a crash it is simply given again.

use serde::{Deserialize, Serialize};

use super::{plan::PlanId, slots::Halt, time::BootId};

/// Number of one order; its completion carries the same number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct EffectId(pub u64);

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask the channel what this node should run, and whether a reboot is pending.
    Check,
    /// Download and verify a plan.
    Stage(PlanId),
    /// Look for what forbids a disturbance now: inhibitors, etcd's quorum, hooks.
    Probe,
    /// Queue for a slot and wait for the turn. Runs until granted, or until `LeaveQueue` replaces it.
    AcquireSlot {
        /// Why this node wants to be down.
        reason: String,
        /// The plan it wants to apply.
        release: Option<PlanId>,
    },
    /// Take the ticket back; tells whether a slot turns out to be held.
    LeaveQueue,
    /// Publish "draining", wait as configured, run the hooks that drain the node.
    Drain,
    /// Write down what is running.
    Record,
    /// Install exactly what was staged.
    Apply(PlanId),
    /// Go back from a plan to exactly what was installed before.
    Undo(PlanId),
    /// Is a reboot needed?
    ReadEvidence,
    /// Run the hooks for it, and reboot, if this boot is still the running one.
    Reboot(BootId),
    /// The same, into a boot that installs exactly what was staged and then reboots.
    ApplyAtBoot {
        /// The boot to leave.
        boot: BootId,
        /// What to install.
        plan: PlanId,
    },
    /// What has come of a plan that a boot was to install; what was cut off there is finished.
    Finish(PlanId),
    /// Start what was running and is not.
    Restore,
    /// Compare the node with the record, and with the plan.
    Verify(Option<PlanId>),
    /// The node is good: forget stage and record.
    Confirm(Option<PlanId>),
    /// Run the hooks that put the node back into service, if it was drained.
    Undrain,
    /// Publish "in service" and give the slot back.
    Release,
    /// Stop the group.
    Halt(Halt),
}

impl Effect {
    /// Stable word for logs and tests.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Stage(_) => "stage",
            Self::Probe => "probe",
            Self::AcquireSlot { .. } => "acquire-slot",
            Self::LeaveQueue => "leave-queue",
            Self::Drain => "drain",
            Self::Record => "record",
            Self::Apply(_) => "apply",
            Self::Undo(_) => "undo",
            Self::ReadEvidence => "read-evidence",
            Self::Reboot(_) => "reboot",
            Self::ApplyAtBoot { .. } => "apply-at-boot",
            Self::Finish(_) => "finish",
            Self::Restore => "restore",
            Self::Verify(_) => "verify",
            Self::Confirm(_) => "confirm",
            Self::Undrain => "undrain",
            Self::Release => "release",
            Self::Halt(_) => "halt",
        }
    }
}
