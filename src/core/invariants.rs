//! The promises, each a function that answers with what breaks it.
//!
//! The driver checks the ones about one node after every step and refuses to act on a state that
//! breaks one; tests check all of them on tables, random runs and exhaustive searches.

use std::collections::BTreeSet;

use super::{
    effect::Effect,
    gate,
    policy::Policy,
    slots::Slots,
    state::{Ended, Phase, State, SupplyTask},
    step::Step,
    time::Now,
    verdict::Verdict,
};

/// Orders of one apply; each attaches to one that still runs.
pub const MAX_APPLY_ORDERS: u32 = 10;
/// Orders of one way back; each attaches to one that still runs.
pub const MAX_UNDO_ORDERS: u32 = 10;
/// Requests of one reboot.
pub const MAX_REBOOT_REQUESTS: u32 = 5;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise}: {how}")]
pub struct Broken {
    /// Which.
    pub promise: &'static str,
    /// How.
    pub how: String,
}

type Check = Result<(), Broken>;

fn broken(promise: &'static str, how: impl Into<String>) -> Check {
    Err(Broken { promise, how: how.into() })
}

/// At most `max` nodes of a group are down.
pub fn at_most_max_down(slots: &Slots, down: &BTreeSet<String>) -> Check {
    if down.len() > slots.max as usize {
        return broken("at most max down", format!("{down:?} are down, max is {}", slots.max));
    }
    Ok(())
}

/// Who is down holds a slot.
pub fn down_implies_holder(slots: &Slots, down: &BTreeSet<String>) -> Check {
    match down.iter().find(|node| slots.holder(node).is_none()) {
        Some(node) => broken("down implies holder", format!("{node} is down and holds nothing")),
        None => Ok(()),
    }
}

/// Leaving the slot-holding phases always passes through release.
pub fn leaving_passes_release(before: &State, after: &State) -> Check {
    let left = before.phase.held().is_some() && after.phase.held().is_none();
    if left && !matches!(before.phase, Phase::Releasing { .. }) {
        let how = format!("{} → {}", before.phase.word(), after.phase.word());
        return broken("leaving passes release", how);
    }
    Ok(())
}

/// A slot is held only from a grant on: the phases before it lead into the held ones one way only.
pub fn holding_begins_with_a_grant(before: &State, after: &State) -> Check {
    let entered = before.phase.held().is_none() && after.phase.held().is_some();
    let allowed = matches!(
        (&before.phase, &after.phase),
        (Phase::Queued { .. }, Phase::Preflight { .. })
            | (Phase::Leaving, Phase::Releasing { ended: Ended::GaveBack, .. })
    );
    if entered && !allowed {
        let how = format!("{} → {}", before.phase.word(), after.phase.word());
        return broken("holding begins with a grant", how);
    }
    Ok(())
}

/// Only a changed boot id proves a reboot: while it is the same, `Rebooting` is left only backwards,
/// after the only request made is known to be refused, or into `Failed`. What a boot was to install is
/// given back, or looked after.
pub fn only_boot_id_proves_reboot(before: &State, after: &State) -> Check {
    let Phase::Rebooting { boot, requests, .. } = &before.phase else { return Ok(()) };
    let same_boot = *boot == after.boot_id;
    let ok = match &after.phase {
        Phase::Rebooting { .. } | Phase::Failed { .. } => true,
        Phase::Restoring { .. } => !same_boot || *requests <= 1,
        Phase::Applying { job, .. } => !same_boot && job.at_boot,
        Phase::Returning { job, ended: Ended::GaveBack } => *requests <= 1 && job.at_boot,
        _ => false,
    };
    if !ok {
        return broken(
            "only a boot id proves a reboot",
            format!("rebooting → {}", after.phase.word()),
        );
    }
    Ok(())
}

/// No reboot is ordered outside the window, unless an admin said now; with strategy off there is
/// none at all, unless the cycle began before.
pub fn no_reboot_outside_window(step: &Step, policy: &Policy, now: Now) -> Check {
    let ordered = step
        .effects
        .iter()
        .any(|(_, effect)| matches!(effect, Effect::Reboot(_) | Effect::ApplyAtBoot { .. }));
    let Some(job) = step.state.phase.held().filter(|_| ordered) else { return Ok(()) };
    match gate::may_reboot(policy, now, job) {
        Ok(()) => Ok(()),
        Err(verdict) => broken("no reboot outside the window", verdict.text),
    }
}

/// Disturbing effects are ordered only while a slot is held.
pub fn disturbs_only_while_holding(step: &Step) -> Check {
    let disturbing = step.effects.iter().find(|(_, effect)| match effect {
        Effect::Drain
        | Effect::Apply(_)
        | Effect::Undo(_)
        | Effect::Reboot(_)
        | Effect::ApplyAtBoot { .. }
        | Effect::Finish(_)
        | Effect::Restore
        | Effect::Undrain => true,
        Effect::Check
        | Effect::Stage(_)
        | Effect::Probe
        | Effect::AcquireSlot { .. }
        | Effect::LeaveQueue
        | Effect::Record
        | Effect::ReadEvidence
        | Effect::Verify(_)
        | Effect::Confirm(_)
        | Effect::Release
        | Effect::Halt(_) => false,
    });
    match disturbing {
        Some((_, effect)) if step.state.phase.held().is_none() => {
            broken("disturbs only while holding", effect.word())
        }
        _ => Ok(()),
    }
}

/// Checking and staging rest while a slot is held: what they see of a node that changes is nothing to
/// go by, and their answers must not outlive the cycle.
pub fn supply_rests_while_holding(state: &State) -> Check {
    if state.phase.held().is_some() && state.supply.task != SupplyTask::Idle {
        return broken("supply rests while holding", format!("{:?}", state.supply.task));
    }
    Ok(())
}

/// Attempts are bounded: applies, ways back and reboots of one cycle.
pub fn attempts_are_bounded(state: &State) -> Check {
    match &state.phase {
        Phase::Applying { orders, .. } if *orders > MAX_APPLY_ORDERS => {
            broken("attempts are bounded", format!("{orders} applies"))
        }
        Phase::Undoing { orders, .. } if *orders > MAX_UNDO_ORDERS => {
            broken("attempts are bounded", format!("{orders} ways back"))
        }
        Phase::Rebooting { requests, .. } if *requests > MAX_REBOOT_REQUESTS => {
            broken("attempts are bounded", format!("{requests} reboot requests"))
        }
        _ => Ok(()),
    }
}

/// An apply, or the way back from one, is never left before its end: it goes on only by an answer to
/// its order, or on a resume in another boot (`answered` in both cases).
pub fn apply_is_never_cancelled(before: &State, after: &State, answered: bool) -> Check {
    let (from, to) = (before.phase.word(), after.phase.word());
    if ["applying", "undoing"].contains(&from) && from != to && !answered {
        return broken("an apply is never cancelled", format!("{from} → {to}"));
    }
    Ok(())
}

/// A plan denied on this node is never ordered again.
pub fn denied_is_never_applied(step: &Step, before: &State) -> Check {
    for (_, effect) in &step.effects {
        if let Effect::Apply(plan) | Effect::ApplyAtBoot { plan, .. } = effect
            && before.denied.contains_key(plan)
        {
            return broken("a denied plan is never applied", plan.short());
        }
    }
    Ok(())
}

/// Only what failed is undone, once, and whoever was rolled back has halted the group.
pub fn only_what_failed_is_undone(step: &Step) -> Check {
    let promise = "only what failed is undone";
    let undo = step.effects.iter().find_map(|(_, effect)| match effect {
        Effect::Undo(plan) => Some(plan),
        _ => None,
    });
    if let Some(plan) = undo.filter(|plan| !step.state.denied.contains_key(plan)) {
        return broken(promise, format!("{} has not failed", plan.short()));
    }
    let again = step.state.phase.held().is_some_and(|job| job.undone.is_some());
    if undo.is_some() && again {
        return broken(promise, "twice");
    }
    match &step.state.phase {
        Phase::Returning { job, ended } | Phase::Releasing { job, ended } => {
            let whole = job.undone.as_ref().map(|undone| (undone.complete, undone.halted));
            let right = match whole {
                None => *ended != Ended::RolledBack,
                Some((complete, halted)) => halted && (complete == (*ended == Ended::RolledBack)),
            };
            if right { Ok(()) } else { broken(promise, format!("{ended:?} after {whole:?}")) }
        }
        _ => Ok(()),
    }
}

/// An undrain follows every drain: what was drained gives its slot back only after it.
pub fn undrain_follows_drain(before: &State, after: &State) -> Check {
    let releases = matches!(after.phase, Phase::Releasing { .. });
    let allowed = match &before.phase {
        // Of these, none has begun to drain.
        Phase::Steady
        | Phase::Probing { .. }
        | Phase::Queued { .. }
        | Phase::Leaving
        | Phase::Preflight { .. }
        // And these have undrained.
        | Phase::Returning { .. }
        | Phase::Releasing { .. } => true,
        Phase::Draining { .. }
        | Phase::Recording { .. }
        | Phase::Applying { .. }
        | Phase::Deciding { .. }
        | Phase::Rebooting { .. }
        | Phase::Restoring { .. }
        | Phase::Verifying { .. }
        | Phase::Confirming { .. }
        | Phase::Undoing { .. }
        | Phase::Failed { .. } => false,
    };
    if releases && !allowed {
        let how = format!("{} → {}", before.phase.word(), after.phase.word());
        return broken("an undrain follows every drain", how);
    }
    Ok(())
}

/// Every wait has a reason.
pub fn every_wait_has_a_reason(verdict: &Verdict) -> Check {
    if verdict.code.is_empty() || verdict.text.is_empty() {
        return broken("every wait has a reason", format!("{verdict:?}"));
    }
    Ok(())
}

/// All promises about one step, or one resume, of one node. `answered`: the event answers the phase's
/// effect, or the resume is in another boot than the state.
pub fn step_keeps_promises(
    before: &State,
    step: &Step,
    policy: &Policy,
    now: Now,
    answered: bool,
) -> Check {
    leaving_passes_release(before, &step.state)?;
    holding_begins_with_a_grant(before, &step.state)?;
    only_boot_id_proves_reboot(before, &step.state)?;
    no_reboot_outside_window(step, policy, now)?;
    disturbs_only_while_holding(step)?;
    supply_rests_while_holding(&step.state)?;
    attempts_are_bounded(&step.state)?;
    apply_is_never_cancelled(before, &step.state, answered)?;
    denied_is_never_applied(step, before)?;
    only_what_failed_is_undone(step)?;
    undrain_follows_drain(before, &step.state)?;
    every_wait_has_a_reason(&super::explain::explain(&step.state, policy, now).verdict)
}
