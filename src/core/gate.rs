//! May a cycle begin, or go on waiting, now? Each *no* has its verdict.

use super::{
    health::Evidence,
    policy::Policy,
    state::{Job, State},
    time::Now,
    verdict::Verdict,
    window::{NotYet, Opening},
};

/// What this node wants to do, if anything: the job of the next cycle.
#[must_use]
pub fn wanted(state: &State, policy: &Policy) -> Option<Job> {
    let plan = state
        .staged
        .as_ref()
        .filter(|staged| staged.choice == policy.choice)
        .map(|staged| &staged.plan)
        .filter(|plan| !state.denied.contains_key(&plan.id));
    let pending = pending_reboot(state);
    if state.request.is_none() && plan.is_none() && pending.is_none() {
        return None;
    }
    let mut reasons = Vec::new();
    if let Some(plan) = plan {
        reasons.push(format!("{} package(s)", plan.packages.len()));
    }
    reasons.extend(pending.into_iter().flatten().cloned());
    if state.request.is_some() {
        reasons.push("asked by an admin".to_owned());
    }
    Some(Job {
        plan: plan.map(|plan| plan.id.clone()),
        reason: reasons.join(", "),
        always_reboot: state.request.is_some(),
        now: state.request.as_ref().is_some_and(|request| request.now),
        at_boot: plan.is_some() && policy.at_boot,
        undone: None,
    })
}

/// The reasons of a pending reboot, unless a reboot for the same reasons was made and did not help.
#[must_use]
pub fn pending_reboot(state: &State) -> Option<&Vec<String>> {
    match &state.reboot_needed {
        Evidence::Yes { reasons } if *reasons != state.rebooted_for => Some(reasons),
        Evidence::Yes { .. } | Evidence::No | Evidence::Unknown { .. } => None,
    }
}

/// May `job` begin now?
///
/// # Errors
/// The verdict that forbids it.
pub fn may_begin(state: &State, policy: &Policy, now: Now, job: &Job) -> Result<(), Verdict> {
    may_wait(state, policy, now, job)?;
    match opening(policy, now, job) {
        Some(Opening::OpenButWaiting { why: NotYet::Spread, next, .. }) => Err(Verdict::new(
            "spread",
            format!("the window is open; this node's turn in its spread comes {}", when(next)),
        )),
        _ => Ok(()),
    }
}

/// May `job` stay in the queue now (its place in the spread has come before)?
///
/// # Errors
/// The verdict that forbids it.
pub fn may_wait(state: &State, policy: &Policy, now: Now, job: &Job) -> Result<(), Verdict> {
    if !policy.act {
        return Err(Verdict::new(
            "strategy-off",
            "strategy is \"off\": lockkeeper checks and stages, and never touches this machine",
        ));
    }
    if let Some(hold_off) = state.hold_off.as_ref().filter(|h| h.until > now.mono) {
        return Err(hold_off.why.clone());
    }
    match opening(policy, now, job) {
        None | Some(Opening::Open { .. } | Opening::OpenButWaiting { why: NotYet::Spread, .. }) => {
            Ok(())
        }
        Some(Opening::OpenButWaiting { why: NotYet::TooShort, next, .. }) => Err(Verdict::new(
            "window-too-short",
            format!("too little of the maintenance window is left; the next opens {}", when(next)),
        )),
        Some(Opening::Closed { next }) => Err(Verdict::new(
            "window-closed",
            format!("outside every maintenance window; the next opens {}", when(next)),
        )),
        Some(Opening::Frozen { reason, next }) => Err(Verdict::new(
            "frozen",
            format!("frozen ({reason}); a cycle may begin {}", when(next)),
        )),
    }
}

/// May a reboot of a cycle already begun be requested now?
///
/// # Errors
/// The verdict that forbids it.
pub fn may_reboot(policy: &Policy, now: Now, job: &Job) -> Result<(), Verdict> {
    if job.now || policy.schedule.contains(now.wall) {
        return Ok(());
    }
    Err(Verdict::new(
        "window-closed",
        "the maintenance window closed before the reboot; it will be made in the next one",
    ))
}

/// May the slot be used, by what the probe saw? Unknown is a no.
///
/// # Errors
/// The verdict that forbids it.
pub fn clear(inhibitors: &Evidence, quorum: &Evidence) -> Result<(), Verdict> {
    let no = |code: &str, what: &str, evidence: &Evidence| match evidence {
        Evidence::No => Ok(()),
        Evidence::Yes { reasons } => {
            Err(Verdict::new(code, format!("{what}: {}", reasons.join("; "))))
        }
        Evidence::Unknown { why } => {
            Err(Verdict::new("probe-unknown", format!("{what}: cannot be told: {why}")))
        }
    };
    no("inhibited", "shutdown is inhibited", inhibitors)?;
    no("quorum-at-risk", "etcd's quorum is at risk", quorum)
}

fn opening(policy: &Policy, now: Now, job: &Job) -> Option<Opening> {
    if job.now {
        return None;
    }
    let release = job.plan.as_ref().map_or("", |plan| plan.as_str());
    Some(policy.schedule.at(now.wall, policy.place(release)))
}

fn when(next: Option<jiff::Timestamp>) -> String {
    next.map_or_else(|| "never".to_owned(), |at| format!("at {at}"))
}
