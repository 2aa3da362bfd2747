//! The way in after every start: durable state plus what is observed gives the next effect.

use super::{
    policy::Policy,
    state::{Cause, Ended, Phase, State, SupplyTask, Task},
    step::{Machine, Step},
    time::{BootId, Now},
};

/// Continues from `state`, found in boot `boot`. Idempotent: what is ordered may have been done, in
/// part or in full, before the agent died.
#[must_use]
pub fn resume(mut state: State, boot: &BootId, policy: &Policy, now: Now) -> Step {
    let rebooted = state.boot_id != *boot;
    let soft = rebooted && state.boot_id.same_kernel(boot);
    if rebooted {
        // The old monotonic clock is gone, and so is what it timed.
        state.hold_off = None;
        // In a boot that was to install, nothing has come of it yet.
        if !state.phase.job().is_some_and(|job| job.at_boot) {
            state.in_vain = 0;
        }
        state.reboot_needed = super::health::Evidence::No;
    }
    state.boot_id = boot.clone();
    state.task = Task::Due;
    state.supply.task = SupplyTask::Idle;
    let first =
        Policy::varied(policy.check_first, policy.check_spread, &policy.node, state.supply.checks);
    state.supply.next_check = now.mono.plus(first);
    let before = state.phase.clone();
    state.phase = match state.phase {
        Phase::Steady | Phase::Probing { .. } => Phase::Steady,
        same @ (Phase::Queued { .. } | Phase::Leaving | Phase::Releasing { .. }) => same,
        // Interrupted before anything was changed: start over from the queue.
        Phase::Preflight { job } if rebooted => Phase::Releasing { job, ended: Ended::GaveBack },
        Phase::Draining { job } | Phase::Recording { job } if rebooted => {
            Phase::Returning { job, ended: Ended::GaveBack }
        }
        same @ (Phase::Preflight { .. } | Phase::Draining { .. } | Phase::Recording { .. }) => same,
        same @ (Phase::Applying { .. } | Phase::Undoing { .. }) => same,
        // Also where it came too late to be waited for.
        Phase::Rebooting { job, .. } | Phase::Failed { job, cause: Cause::Reboot, .. }
            if rebooted && job.at_boot =>
        {
            Phase::Applying { job, orders: 0 }
        }
        Phase::Rebooting { job, boot: old, reasons, .. } if old != *boot => {
            // What a soft-reboot has not answered asks again, and gets a full one.
            state.rebooted_for = if old.same_kernel(boot) { Vec::new() } else { reasons };
            Phase::Restoring { job }
        }
        same @ Phase::Rebooting { .. } => same,
        Phase::Deciding { job } | Phase::Confirming { job } | Phase::Failed { job, .. }
            if rebooted =>
        {
            Phase::Restoring { job }
        }
        Phase::Returning { job, ended: Ended::Done | Ended::RolledBack } if rebooted => {
            Phase::Restoring { job }
        }
        same @ (Phase::Deciding { .. } | Phase::Confirming { .. } | Phase::Returning { .. }) => {
            same
        }
        // Its clocks start anew.
        Phase::Verifying { job, .. } if rebooted => Phase::Restoring { job },
        Phase::Verifying { job, .. } => {
            Phase::Verifying { job, healthy_since: None, failing: Vec::new() }
        }
        Phase::Failed { job, cause, reason, halted, .. } => {
            Phase::Failed { job, cause, reason, halted, healthy_since: None }
        }
        same @ Phase::Restoring { .. } => same,
    };
    if rebooted && !soft {
        fulfil(&mut state);
    }
    if rebooted || state.phase != before {
        state.entered = now;
    }
    let mut machine = Machine::new(state, policy, now);
    if rebooted {
        machine.give_up();
    }
    machine.advance();
    machine.into_step()
}

/// The reboot that an admin asked for has been made. A soft-reboot is none.
fn fulfil(state: &mut State) {
    match &mut state.phase {
        Phase::Restoring { job } if job.always_reboot => state.request = None,
        Phase::Applying { job, .. } if job.at_boot && job.always_reboot => {
            job.always_reboot = false;
            state.request = None;
        }
        _ => {}
    }
}
