//! Why is this machine (not) being updated or rebooted? The one source for CLI, D-Bus and
//! journal.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    gate,
    health::Evidence,
    plan::PlanId,
    policy::Policy,
    slots::{Holder, SlotsView},
    state::{Job, Phase, State, SupplyTask, Task},
    time::Now,
    verdict::Verdict,
};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The one thing that decides now.
    pub verdict: Verdict,
    /// What else an admin should know (a failing check, a denied plan, …).
    pub also: Vec<Verdict>,
}

/// Explains `state`. Every wait has a reason: there is always a verdict.
#[must_use]
pub fn explain(state: &State, policy: &Policy, now: Now) -> Explanation {
    let verdict = verdict(state, policy, now);
    let mut also: Vec<Verdict> = [
        state.supply.problem.clone(),
        store_problem(state),
        reboot_unknown(state),
        useless_reboot(state),
    ]
    .into_iter()
    .flatten()
    .chain(denied(state))
    .chain(retrying(state))
    .filter(|other| other.code != verdict.code)
    .collect();
    also.dedup();
    Explanation { verdict, also }
}

fn verdict(state: &State, policy: &Policy, now: Now) -> Verdict {
    let at = state.entered.wall;
    let doing = |code: &str, text: String| Verdict::new(code, text).since(at);
    match &state.phase {
        Phase::Steady => idle(state, policy, now),
        Phase::Probing { job } => {
            doing("probing", format!("looking for blockers before {}", what(job)))
        }
        Phase::Queued { job } => queued(state, policy, job, at),
        Phase::Leaving => doing("leaving", "taking the ticket out of the queue".to_owned()),
        Phase::Preflight { job } => {
            doing("preflight", format!("the slot is held; looking once more before {}", what(job)))
        }
        Phase::Draining { job } => doing("draining", format!("draining before {}", what(job))),
        Phase::Recording { .. } => doing("recording", "writing down what is running".to_owned()),
        Phase::Applying { job, .. } => doing("applying", format!("installing {}", what(job))),
        Phase::Deciding { .. } => {
            doing("deciding", "reading whether a reboot is needed".to_owned())
        }
        Phase::Rebooting { reasons, requests, .. } => doing(
            "rebooting",
            format!("rebooting because of {} (request {requests})", reasons.join(", ")),
        ),
        Phase::Restoring { .. } => {
            doing("restoring", "starting what was running before".to_owned())
        }
        Phase::Verifying { failing, healthy_since: None, .. } if !failing.is_empty() => {
            doing("not-healthy", format!("not healthy yet: {}", failing.join("; ")))
        }
        Phase::Verifying { .. } => {
            doing("verifying", "healthy so far; watching until it has settled".to_owned())
        }
        Phase::Confirming { .. } => {
            doing("confirming", "making the new state the good one".to_owned())
        }
        Phase::Returning { .. } => {
            doing("returning", "putting the node back into service".to_owned())
        }
        Phase::Undoing { reason, .. } => {
            doing("undoing", format!("going back to the packages from before: {reason}"))
        }
        Phase::Releasing { .. } => doing("releasing", "giving the slot back".to_owned()),
        Phase::Failed { reason, halted, .. } => doing(
            "failed",
            format!(
                "the update failed: {reason}; the slot is kept and the group {} (mend the node, then `rebootctl resume`)",
                if *halted { "is halted" } else { "is being halted" }
            ),
        ),
    }
}

fn idle(state: &State, policy: &Policy, now: Now) -> Verdict {
    if let Some(job) = gate::wanted(state, policy) {
        return match gate::may_begin(state, policy, now, &job) {
            Ok(()) => Verdict::new("ready", format!("about to queue for {}", what(&job))),
            Err(verdict) => verdict,
        };
    }
    match &state.supply.task {
        SupplyTask::Checking { .. } => return Verdict::new("checking", "checking for updates"),
        SupplyTask::Staging { plan, .. } => {
            let text = format!("staging {} ({} package(s))", plan.id.short(), plan.packages.len());
            return Verdict::new("staging", text);
        }
        SupplyTask::Idle => {}
    }
    if state.staged.as_ref().is_some_and(|staged| staged.choice != policy.choice) {
        let text = "what is staged was chosen by other rules ([packages], [canary]) than those in \
                    force, and is not installed; the next check replaces it";
        return Verdict::new("rules-changed", text);
    }
    if let Some(problem) = &state.supply.problem {
        return problem.clone();
    }
    if let Some(denied) = denied(state).next() {
        return denied;
    }
    match state.supply.last_ok {
        Some(at) => {
            Verdict::new("up-to-date", "nothing to install and no reboot pending").since(at)
        }
        None => Verdict::new("not-checked", "no check has been made yet"),
    }
}

fn queued(state: &State, policy: &Policy, job: &Job, at: Timestamp) -> Verdict {
    if let Some(problem) = store_problem(state) {
        return problem;
    }
    let Some(views) = &state.store.view else {
        return Verdict::new("queued", format!("joining the queue for {}", what(job))).since(at);
    };
    // One group goes without saying.
    let of = |group: &str| if views.len() > 1 { format!("{group}: ") } else { String::new() };
    let halt = views.iter().find_map(|(group, view)| Some((group, view.slots.halt.as_ref()?)));
    if let Some((group, halt)) = halt {
        let text = format!("{}the group is halted by {}: {}", of(group), halt.by, halt.reason);
        return Verdict::new("halted", text).since(halt.since);
    }
    let whys = views.iter().filter_map(|(group, view)| {
        blocked(view, &policy.node).map(|why| format!("{}{why}", of(group)))
    });
    let text = match whys.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => "waiting in the queue for a slot".to_owned(),
        whys => format!("waiting in the queue: {whys}"),
    };
    Verdict::new("queued", text).since(at)
}

/// Why `node` gets no slot of this group now, if there is anything to say.
fn blocked(view: &SlotsView, node: &str) -> Option<String> {
    let before = view.queue.iter().take_while(|ticket| ticket.node != node).last();
    let queue = before.map(|ticket| format!("after {}", ticket.name));
    let holder = |h: &Holder| {
        if h.overdue { format!("{} (overdue)", h.name) } else { h.name.clone() }
    };
    let holders: Vec<String> = view.slots.holders.iter().map(holder).collect();
    let slots = if view.slots.available() == 0 {
        let (taken, max) = (holders.len(), view.slots.max);
        Some(format!("{taken} of {max} slot(s) taken by {}", holders.join(", ")))
    } else if view.settling {
        Some("the group settles after an unlock".to_owned())
    } else {
        None
    };
    let whys: Vec<String> = queue.into_iter().chain(slots).collect();
    (!whys.is_empty()).then(|| whys.join(", "))
}

fn store_problem(state: &State) -> Option<Verdict> {
    let (text, since) = state.store.error.as_ref()?;
    let seen = state.store.at.map_or("never".to_owned(), |at| at.to_string());
    let text = format!("the lock store cannot be reached: {text}; last seen: {seen}");
    Some(Verdict::new("lock-store-unreachable", text).since(*since))
}

fn reboot_unknown(state: &State) -> Option<Verdict> {
    match &state.reboot_needed {
        Evidence::Unknown { why } => Some(Verdict::new(
            "reboot-unknown",
            format!("cannot tell whether a reboot is needed, so none is made: {why}"),
        )),
        Evidence::Yes { .. } | Evidence::No => None,
    }
}

fn useless_reboot(state: &State) -> Option<Verdict> {
    match &state.reboot_needed {
        Evidence::Yes { reasons } if *reasons == state.rebooted_for => Some(Verdict::new(
            "reboot-did-not-help",
            format!(
                "a reboot was made for {} and it is still asked for: not again",
                reasons.join(", ")
            ),
        )),
        Evidence::Yes { .. } | Evidence::No | Evidence::Unknown { .. } => None,
    }
}

fn denied(state: &State) -> impl Iterator<Item = Verdict> {
    state.supply.offered.iter().filter_map(|offered: &PlanId| {
        let denied = state.denied.get(offered)?;
        let text = format!("{} was tried here and failed: {}", offered.short(), denied.reason);
        Some(Verdict::new("denied", text).since(denied.at))
    })
}

fn retrying(state: &State) -> Option<Verdict> {
    match &state.task {
        Task::Later { error, tries, since, .. } if !error.is_empty() => {
            let text = format!("{} failed {tries} time(s): {error}", state.phase.word());
            Some(Verdict::new("retrying", text).since(*since))
        }
        Task::Due | Task::Running { .. } | Task::Later { .. } => None,
    }
}

fn what(job: &Job) -> String {
    match &job.plan {
        Some(plan) => format!("{} ({})", plan.short(), job.reason),
        None => format!("a reboot ({})", job.reason),
    }
}
