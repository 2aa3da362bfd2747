//! What the answers of the cycle's effects lead to.

use std::time::Duration;

use super::{BLOCKED_PAUSE, Machine, Outcome, Phase, Verdict};
use crate::core::{
    blocker, gate,
    health::{Evidence, HealthReport},
    invariants::{MAX_APPLY_ORDERS, MAX_REBOOT_REQUESTS, MAX_UNDO_ORDERS},
    state::{Cause, Denied, Ended, Job, LastCycle, Undone},
};

/// After an admin has called a cycle off, the next one.
const CALLED_OFF_PAUSE: Duration = Duration::from_secs(3600);
/// Tries of a step before the cycle takes its way out.
const MAX_TRIES: u32 = 5;
/// Between two looks at a node whose update failed. Shorter than the executor stays without a call:
/// it remembers from look to look what keeps restarting.
const FAILED_POLL: Duration = Duration::from_secs(15);

impl Machine<'_> {
    pub(super) fn take_phase_outcome(&mut self, outcome: Outcome) {
        match self.state.phase.clone() {
            Phase::Steady => self.ignore("nothing was ordered"),
            Phase::Probing { job } => self.probed(job, outcome),
            Phase::Queued { job } => self.slot(job, outcome),
            Phase::Leaving => self.left(outcome),
            Phase::Preflight { job } => self.preflight(job, outcome),
            Phase::Draining { job } => self.drained(job, outcome),
            Phase::Recording { job } => self.recorded(job, outcome),
            Phase::Applying { job, orders } => self.applied(job, orders, outcome),
            Phase::Deciding { job } => self.decided(job, outcome),
            Phase::Rebooting { job, requests, .. } => self.reboot_answered(job, requests, outcome),
            Phase::Restoring { job } => self.restored(job, outcome),
            Phase::Verifying { job, healthy_since, .. } => {
                self.verified(job, healthy_since, outcome);
            }
            Phase::Confirming { job } => self.confirmed(job, outcome),
            Phase::Returning { job, ended } => self.undrained(job, ended, outcome),
            Phase::Releasing { job, ended } => self.released(&job, ended, outcome),
            Phase::Undoing { orders, .. } => self.undo_answered(orders, outcome),
            Phase::Failed { job, cause, .. } => self.failed_answered(job, cause, outcome),
        }
    }

    fn probed(&mut self, job: Job, outcome: Outcome) {
        // Quorum is a matter of the moment the slot is held: now, another node may be down in its turn.
        let outcome = match outcome {
            Outcome::Probed { inhibitors, blockers, .. } => {
                Outcome::Probed { inhibitors, quorum: Evidence::No, blockers }
            }
            other => other,
        };
        match probe_verdict(&job, outcome) {
            Ok(()) => self.go(Phase::Queued { job }),
            Err(why) => {
                self.hold_off(BLOCKED_PAUSE, why);
                self.go(Phase::Steady);
            }
        }
    }

    fn slot(&mut self, job: Job, outcome: Outcome) {
        match outcome {
            Outcome::SlotGranted => {
                // What is staged now is what the cycle is about: it may be newer than the ticket.
                let job = gate::wanted(&self.state, self.policy).unwrap_or(job);
                self.state.store.error = None;
                self.go(Phase::Preflight { job });
            }
            Outcome::Failed(error) => {
                self.hold_off(BLOCKED_PAUSE, Verdict::new("lock-store-unusable", error));
                self.go(Phase::Leaving);
            }
            other => self.confused(&other),
        }
    }

    fn left(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::LeftQueue { held: false } => self.go(Phase::Steady),
            Outcome::LeftQueue { held: true } => {
                let job = gate::wanted(&self.state, self.policy).unwrap_or(Job {
                    plan: None,
                    reason: String::new(),
                    always_reboot: false,
                    now: false,
                    at_boot: false,
                    undone: None,
                });
                self.go(Phase::Releasing { job, ended: Ended::GaveBack });
            }
            Outcome::Failed(error) => self.retry(error),
            other => self.confused(&other),
        }
    }

    fn preflight(&mut self, job: Job, outcome: Outcome) {
        let clear = probe_verdict(&job, outcome);
        // What the gate has against it, it will say itself, and only for as long as it is true.
        if clear.is_ok() && gate::may_wait(&self.state, self.policy, self.now, &job).is_ok() {
            return self.go(Phase::Draining { job });
        }
        if let Err(why) = clear {
            self.hold_off(BLOCKED_PAUSE, why);
        }
        // In service all the time: there is nothing to put back.
        self.go(Phase::Releasing { job, ended: Ended::GaveBack });
    }

    fn drained(&mut self, job: Job, outcome: Outcome) {
        match outcome {
            Outcome::Drained => self.go(Phase::Recording { job }),
            Outcome::HookFailed(why) => self.give_back(job, Verdict::new("hook-failed", why)),
            other => self.retry_or_give_back(job, "drain-failed", other),
        }
    }

    fn recorded(&mut self, job: Job, outcome: Outcome) {
        match outcome {
            Outcome::Recorded if job.at_boot => self.boot_to_apply(job),
            Outcome::Recorded if job.plan.is_some() => self.go(Phase::Applying { job, orders: 0 }),
            Outcome::Recorded => self.go(Phase::Deciding { job }),
            other => self.retry_or_give_back(job, "record-failed", other),
        }
    }

    /// Reboots into a boot that installs the plan. Everything is as it was until then.
    fn boot_to_apply(&mut self, job: Job) {
        match gate::may_reboot(self.policy, self.now, &job) {
            Ok(()) => {
                let boot = self.state.boot_id.clone();
                let reasons = vec!["updates to be installed while it boots".to_owned()];
                self.go(Phase::Rebooting { job, boot, reasons, requests: 0 });
            }
            Err(why) => self.give_back(job, why),
        }
    }

    /// Nothing was changed: the stage is not to be trusted, or apt is busy. Stage anew.
    fn stage_anew(&mut self, job: Job, reason: String) {
        self.forget_stage();
        self.give_back(job, Verdict::new("apply-refused", reason));
    }

    /// No package was changed, and yet the node has booted since it was in service.
    fn booted_in_vain(&mut self, job: Job, reason: String) {
        self.forget_stage();
        self.hold_off_after_vain(Verdict::new("apply-refused", reason));
        self.go(Phase::Restoring { job: Job { plan: None, at_boot: false, ..job } });
    }

    /// What was staged is not to be applied as it is; the next check comes soon.
    fn forget_stage(&mut self) {
        self.state.staged = None;
        self.state.supply.next_check = self.now.mono.plus(BLOCKED_PAUSE);
    }

    fn applied(&mut self, job: Job, orders: u32, outcome: Outcome) {
        match outcome {
            Outcome::Applied => {
                self.state.in_vain = 0;
                self.go(Phase::Deciding { job: Job { at_boot: false, ..job } });
            }
            Outcome::ApplyRefused(reason) if job.at_boot && orders <= 1 => {
                self.booted_in_vain(job, reason);
            }
            Outcome::ApplyRefused(reason) if orders <= 1 => self.stage_anew(job, reason),
            Outcome::ApplyRefused(reason) | Outcome::ApplyFailed(reason) => {
                self.fail(job, Cause::Apply, reason);
            }
            Outcome::Failed(error) if orders >= MAX_APPLY_ORDERS => {
                self.fail(job, Cause::Apply, error);
            }
            Outcome::Failed(error) => self.retry(error),
            other if orders >= MAX_APPLY_ORDERS => {
                let reason = format!("{} does not answer an apply", other.word());
                self.fail(job, Cause::Apply, reason);
            }
            other => self.confused(&other),
        }
    }

    /// Gives an apply up, or a way back, that power cuts have interrupted as often as it may be
    /// ordered. In the same boot one may still run: then the order only leads to its answer, and is
    /// not counted.
    pub(in crate::core) fn give_up(&mut self) {
        match self.state.phase.clone() {
            Phase::Applying { job, orders } if orders >= MAX_APPLY_ORDERS => {
                self.fail(job, Cause::Apply, format!("interrupted {orders} times"));
            }
            Phase::Undoing { orders, .. } if orders >= MAX_UNDO_ORDERS => {
                self.not_undone(&format!("interrupted {orders} times"));
            }
            _ => {}
        }
    }

    /// The way back from a failed plan, unless there is none or it was tried.
    fn can_undo(&self, job: &Job, cause: Cause) -> bool {
        self.policy.roll_back
            && job.plan.is_some()
            && job.undone.is_none()
            && cause != Cause::Reboot
    }

    fn undo_answered(&mut self, orders: u32, outcome: Outcome) {
        match outcome {
            Outcome::Undone => {
                if let Some((job, ..)) = self.after_undo(true) {
                    self.go(Phase::Deciding { job });
                }
            }
            Outcome::UndoImpossible(why) => {
                self.not_undone(&format!("there is no way back: {why}"));
            }
            Outcome::UndoFailed(why) => self.not_undone(&why),
            Outcome::Failed(error) if orders >= MAX_UNDO_ORDERS => self.not_undone(&error),
            Outcome::Failed(error) => self.retry(error),
            other if orders >= MAX_UNDO_ORDERS => {
                self.not_undone(&format!("{} does not answer an undo", other.word()));
            }
            other => self.confused(&other),
        }
    }

    /// The job with what became of it, what had failed, and whether the group is halted.
    fn after_undo(&self, complete: bool) -> Option<(Job, Cause, String, bool)> {
        let Phase::Undoing { mut job, cause, reason, halted, .. } = self.state.phase.clone() else {
            return None;
        };
        // The reboot that was asked for may have been made already.
        job.always_reboot &= self.state.request.is_some();
        job.undone = Some(Undone { cause, reason: reason.clone(), complete, halted });
        Some((job, cause, reason, halted))
    }

    fn not_undone(&mut self, why: &str) {
        if let Some((job, cause, reason, halted)) = self.after_undo(false) {
            let reason = format!("{reason}; not rolled back: {why}");
            self.go(Phase::Failed { job, cause, reason, halted, healthy_since: None });
        }
    }

    fn decided(&mut self, job: Job, outcome: Outcome) {
        let evidence = match outcome {
            Outcome::EvidenceRead(evidence) => evidence,
            Outcome::Failed(error) if self.failures() < MAX_TRIES => return self.retry(error),
            Outcome::Failed(why) => Evidence::Unknown { why },
            other => return self.confused(&other),
        };
        // A reboot was made for the same reasons, and a check has seen since that it did not help.
        let useless = self.state.reboot_needed == evidence
            && matches!(&evidence, Evidence::Yes { reasons } if *reasons == self.state.rebooted_for);
        self.state.reboot_needed = evidence.clone();
        let reasons = match (evidence, job.always_reboot) {
            (Evidence::Yes { reasons }, true) => reasons,
            (Evidence::Yes { reasons }, false) if !useless => reasons,
            (Evidence::No | Evidence::Unknown { .. }, true) => vec!["asked by an admin".to_owned()],
            (Evidence::Yes { .. } | Evidence::No | Evidence::Unknown { .. }, false) => {
                return self.go(Phase::Restoring { job });
            }
        };
        match gate::may_reboot(self.policy, self.now, &job) {
            Ok(()) => {
                let boot = self.state.boot_id.clone();
                self.go(Phase::Rebooting { job, boot, reasons, requests: 0 });
            }
            Err(why) => {
                self.hold_off(BLOCKED_PAUSE, why);
                self.go(Phase::Restoring { job });
            }
        }
    }

    fn reboot_answered(&mut self, job: Job, requests: u32, outcome: Outcome) {
        match outcome {
            Outcome::RebootAccepted => self.later(self.policy.reboot_timeout, String::new()),
            // The only request there was is known to have been refused: no reboot can come of it. What
            // asked for it (evidence, an admin) is still in the state, and asks again.
            Outcome::ApplyRefused(why) if requests <= 1 && job.at_boot => {
                self.stage_anew(job, why);
            }
            Outcome::RebootRefused(why) if requests <= 1 => {
                self.not_rebooted(job, Verdict::new("inhibited", why));
            }
            Outcome::HookFailed(why) if requests <= 1 => {
                self.not_rebooted(job, Verdict::new("hook-failed", why));
            }
            // An earlier request may still come. Requests are few, and an inhibitor may last: no hurry.
            Outcome::RebootRefused(error) | Outcome::HookFailed(error) => {
                self.later(self.policy.reboot_timeout, error);
            }
            Outcome::ApplyRefused(error) if job.at_boot => {
                self.later(self.policy.reboot_timeout, error);
            }
            Outcome::Failed(error) => self.later(BLOCKED_PAUSE, error),
            other => self.confused(&other),
        }
    }

    /// No reboot is under way: the slot is given back, by way of what an update without one needs.
    fn not_rebooted(&mut self, job: Job, why: Verdict) {
        if job.at_boot {
            return self.give_back(job, why);
        }
        self.hold_off_after_vain(why);
        self.go(Phase::Restoring { job });
    }

    /// Leaves the wait for a reboot where it must not be requested (again). True when it is dealt with.
    pub(super) fn reboot_must_wait(&mut self) -> bool {
        let Phase::Rebooting { job, requests, .. } = self.state.phase.clone() else { return false };
        if requests >= MAX_REBOOT_REQUESTS {
            let reason = format!("the reboot did not come after {requests} requests");
            self.fail(job, Cause::Reboot, reason);
            self.order_duty(0);
            return true;
        }
        // The earlier request may still be carried out, so the slot stays; a new one waits.
        match gate::may_reboot(self.policy, self.now, &job) {
            Err(why) if requests > 0 => {
                self.later(BLOCKED_PAUSE, why.text);
                true
            }
            Err(_) | Ok(()) => false,
        }
    }

    fn restored(&mut self, job: Job, outcome: Outcome) {
        match outcome {
            Outcome::Failed(error) if self.failures() < MAX_TRIES => self.retry(error),
            // What could not be restored shows up as not healthy.
            Outcome::Restored(_) | Outcome::Failed(_) => {
                self.go(Phase::Verifying { job, healthy_since: None, failing: Vec::new() });
            }
            other => self.confused(&other),
        }
    }

    fn verified(
        &mut self,
        job: Job,
        healthy_since: Option<crate::core::time::Mono>,
        outcome: Outcome,
    ) {
        let failing = match failing(outcome) {
            Ok(failing) => failing,
            Err(other) => return self.confused(&other),
        };
        if failing.is_empty() {
            let since = healthy_since.unwrap_or(self.now.mono);
            if self.now.mono.since(since) >= self.policy.verify_settle {
                return self.go(Phase::Confirming { job });
            }
            self.state.phase = Phase::Verifying { job, healthy_since: Some(since), failing };
        } else if self.now.mono.since(self.state.entered.mono) >= self.policy.verify_timeout {
            return self.fail(job, Cause::Health, failing.join("; "));
        } else {
            self.state.phase = Phase::Verifying { job, healthy_since: None, failing };
        }
        self.later(self.poll(), String::new());
    }

    fn confirmed(&mut self, job: Job, outcome: Outcome) {
        match outcome {
            Outcome::Failed(error) if self.failures() < MAX_TRIES => self.retry(error),
            // The node is healthy; a stage that cannot be cleaned up must not keep the fleet waiting.
            Outcome::Confirmed | Outcome::Failed(_) => self.leave(job),
            other => self.confused(&other),
        }
    }

    /// Ends the cycle of a healthy node. A slot is not given back after a failure before the group is
    /// halted.
    fn leave(&mut self, job: Job) {
        let ended = match &job.undone {
            Some(Undone { cause, reason, halted: false, .. }) => {
                let (cause, reason) = (*cause, reason.clone());
                return self.go(Phase::Failed {
                    job,
                    cause,
                    reason,
                    halted: false,
                    healthy_since: None,
                });
            }
            Some(Undone { complete: true, .. }) => Ended::RolledBack,
            Some(_) | None => Ended::Done,
        };
        self.go(Phase::Returning { job, ended });
    }

    /// The slot stays until the node is back in service, however long that takes.
    fn undrained(&mut self, job: Job, ended: Ended, outcome: Outcome) {
        match outcome {
            Outcome::Undrained => self.go(Phase::Releasing { job, ended }),
            Outcome::Failed(error) => self.retry(error),
            other => self.confused(&other),
        }
    }

    fn released(&mut self, job: &Job, ended: Ended, outcome: Outcome) {
        match outcome {
            Outcome::Released => {
                if ended != Ended::GaveBack {
                    self.finish(job);
                }
                self.state.last =
                    Some(LastCycle { ended, at: self.now.wall, plan: job.plan.clone() });
                self.go(Phase::Steady);
            }
            Outcome::Failed(error) => self.retry(error),
            other => self.confused(&other),
        }
    }

    fn finish(&mut self, job: &Job) {
        if job.plan.is_some() && self.state.staged.as_ref().map(|s| &s.plan.id) == job.plan.as_ref()
        {
            self.state.staged = None;
        }
        self.state.supply.offered = None;
    }

    fn failed_answered(&mut self, job: Job, cause: Cause, outcome: Outcome) {
        let Phase::Failed { halted, healthy_since, reason, .. } = self.state.phase.clone() else {
            return;
        };
        if !halted {
            match outcome {
                Outcome::Halted if self.can_undo(&job, cause) => {
                    self.go(Phase::Undoing { job, cause, reason, halted: true, orders: 0 });
                }
                Outcome::Halted => self.halted(job, cause, reason),
                // The update may be what keeps the halt from being published: etcd may run here.
                Outcome::Failed(_) if self.can_undo(&job, cause) => {
                    self.go(Phase::Undoing { job, cause, reason, halted: false, orders: 0 });
                }
                Outcome::Failed(error) => self.retry(error),
                other => self.confused(&other),
            }
            return;
        }
        let failing = match failing(outcome) {
            Ok(failing) => failing,
            Err(other) => return self.confused(&other),
        };
        let since = failing.is_empty().then(|| healthy_since.unwrap_or(self.now.mono));
        let settled = since.is_some_and(|s| self.now.mono.since(s) >= self.policy.verify_settle);
        // A reboot that may still come keeps the slot, however healthy the node looks meanwhile.
        if settled && cause != Cause::Reboot {
            return self.go(Phase::Confirming { job });
        }
        self.state.phase = Phase::Failed { job, cause, reason, halted, healthy_since: since };
        self.later(FAILED_POLL, String::new());
    }

    /// The group is halted; what is left is to watch the node.
    fn halted(&mut self, mut job: Job, cause: Cause, reason: String) {
        if let Some(undone) = &mut job.undone {
            undone.halted = true;
        }
        self.state.phase = Phase::Failed { job, cause, reason, halted: true, healthy_since: None };
        self.later(FAILED_POLL, String::new());
    }

    /// Ends a cycle that an admin does not want now, if it has changed nothing yet; whether it did.
    pub(super) fn call_off(&mut self) -> bool {
        let ended = Ended::GaveBack;
        let next = match self.state.phase.clone() {
            Phase::Preflight { job } => Phase::Releasing { job, ended },
            Phase::Draining { job } | Phase::Recording { job } => Phase::Returning { job, ended },
            _ => return false,
        };
        self.hold_off(CALLED_OFF_PAUSE, Verdict::new("called-off", "called off by an admin"));
        self.go(next);
        true
    }

    /// Ends a cycle that has drained the node and changed nothing.
    fn give_back(&mut self, job: Job, why: Verdict) {
        self.hold_off_after_vain(why);
        self.go(Phase::Returning { job, ended: Ended::GaveBack });
    }

    fn retry_or_give_back(&mut self, job: Job, code: &str, outcome: Outcome) {
        match outcome {
            Outcome::Failed(error) if self.failures() < MAX_TRIES => self.retry(error),
            Outcome::Failed(error) => self.give_back(job, Verdict::new(code, error)),
            other => self.confused(&other),
        }
    }

    /// Keeps the slot, denies the plan, halts the group.
    fn fail(&mut self, mut job: Job, cause: Cause, reason: String) {
        // The reboot that did not come may still come, and install it.
        job.at_boot &= cause == Cause::Reboot;
        let (reason, halted) = match &job.undone {
            None => (reason, false),
            Some(undone) => {
                (format!("{}; rolled back, and then: {reason}", undone.reason), undone.halted)
            }
        };
        if let Some(plan) = &job.plan {
            let denied = Denied { reason: reason.clone(), at: self.now.wall };
            self.state.denied.insert(plan.clone(), denied);
        }
        self.go(Phase::Failed { job, cause, reason, halted, healthy_since: None });
    }

    /// An answer of another kind than the order: not understood is not done.
    fn confused(&mut self, outcome: &Outcome) {
        let text = format!("{} does not answer {}", outcome.word(), self.state.phase.word());
        self.ignore(&text);
        self.retry(text);
    }
}

fn probe_verdict(job: &Job, outcome: Outcome) -> Result<(), Verdict> {
    match outcome {
        Outcome::Probed { inhibitors, quorum, blockers } => {
            gate::clear(&inhibitors, &quorum)?;
            blocker::clear(job, &blockers)
        }
        Outcome::HookFailed(why) => Err(Verdict::new("hook-failed", why)),
        Outcome::Failed(why) => Err(Verdict::new("probe-unknown", why)),
        other => Err(Verdict::new("probe-unknown", format!("{} does not answer", other.word()))),
    }
}

/// What is wrong by a health report. Not being able to look is wrong too.
fn failing(outcome: Outcome) -> Result<Vec<String>, Box<Outcome>> {
    match outcome {
        Outcome::Verified(HealthReport { failing }) => Ok(failing),
        Outcome::Failed(error) => Ok(vec![format!("health cannot be read: {error}")]),
        other => Err(Box::new(other)),
    }
}
