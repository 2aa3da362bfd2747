//! What each phase orders, and when a phase is left without an answer.

use std::time::Duration;

use super::{Effect, Machine, Phase, Task};
use crate::core::{
    gate,
    invariants::{MAX_APPLY_ORDERS, MAX_UNDO_ORDERS},
    slots::Halt,
};

impl Machine<'_> {
    /// Begins a cycle, or ends the wait for one, where the gate says so.
    pub(super) fn reconsider(&mut self) {
        match &self.state.phase {
            Phase::Steady => {
                if let Some(job) = gate::wanted(&self.state, self.policy)
                    && gate::may_begin(&self.state, self.policy, self.now, &job).is_ok()
                {
                    self.go(Phase::Probing { job });
                }
            }
            Phase::Queued { .. } => {
                // By what is wanted now: an admin may have said "now" since, or taken it back.
                let keep = gate::wanted(&self.state, self.policy).is_some_and(|job| {
                    gate::may_wait(&self.state, self.policy, self.now, &job).is_ok()
                });
                if !keep {
                    self.go(Phase::Leaving);
                }
            }
            Phase::Probing { .. }
            | Phase::Leaving
            | Phase::Preflight { .. }
            | Phase::Draining { .. }
            | Phase::Recording { .. }
            | Phase::Applying { .. }
            | Phase::Deciding { .. }
            | Phase::Rebooting { .. }
            | Phase::Restoring { .. }
            | Phase::Verifying { .. }
            | Phase::Confirming { .. }
            | Phase::Returning { .. }
            | Phase::Releasing { .. }
            | Phase::Undoing { .. }
            | Phase::Failed { .. } => {}
        }
    }

    /// Orders the effect of the present phase; `tries` = how often it failed before.
    pub(super) fn order_duty(&mut self, tries: u32) {
        if self.reboot_must_wait() {
            return;
        }
        if let Some(effect) = self.duty() {
            let id = self.order(effect);
            self.state.task = Task::Running { id, tries };
        }
    }

    fn duty(&mut self) -> Option<Effect> {
        let now = self.now;
        match &mut self.state.phase {
            Phase::Steady => None,
            Phase::Probing { .. } | Phase::Preflight { .. } => Some(Effect::Probe),
            Phase::Queued { job } => {
                Some(Effect::AcquireSlot { reason: job.reason.clone(), release: job.plan.clone() })
            }
            Phase::Leaving => Some(Effect::LeaveQueue),
            Phase::Draining { .. } => Some(Effect::Drain),
            Phase::Recording { .. } => Some(Effect::Record),
            Phase::Applying { job, orders } => {
                *orders = (*orders + 1).min(MAX_APPLY_ORDERS);
                let order = if job.at_boot { Effect::Finish } else { Effect::Apply };
                job.plan.clone().map(order)
            }
            Phase::Undoing { job, orders, .. } => {
                *orders = (*orders + 1).min(MAX_UNDO_ORDERS);
                job.plan.clone().map(Effect::Undo)
            }
            Phase::Deciding { .. } => Some(Effect::ReadEvidence),
            Phase::Rebooting { job, boot, requests, .. } => {
                *requests += 1;
                let boot = boot.clone();
                Some(match job.plan.clone().filter(|_| job.at_boot) {
                    Some(plan) => Effect::ApplyAtBoot { boot, plan },
                    None => Effect::Reboot(boot),
                })
            }
            Phase::Restoring { .. } => Some(Effect::Restore),
            Phase::Verifying { job, .. } => Some(Effect::Verify(job.plan.clone())),
            Phase::Confirming { job } => Some(Effect::Confirm(job.plan.clone())),
            Phase::Returning { .. } => Some(Effect::Undrain),
            Phase::Releasing { .. } => Some(Effect::Release),
            Phase::Failed { job, reason, halted: false, .. } => Some(Effect::Halt(Halt {
                reason: reason.clone(),
                by: self.policy.name.clone(),
                since: now.wall,
                release: job.plan.as_ref().map(ToString::to_string),
                expires: None,
            })),
            Phase::Failed { job, halted: true, .. } => Some(Effect::Verify(job.plan.clone())),
        }
    }

    /// Time between two looks at the node's health.
    pub(super) fn poll(&self) -> Duration {
        self.policy.verify_settle.clamp(Duration::from_secs(1), Duration::from_secs(5))
    }
}
