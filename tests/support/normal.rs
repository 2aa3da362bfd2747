//! Maps times, numbers and sentences to a few, so that worlds that differ in nothing that decides are
//! the same world: every deadline is either past or one [`DEADLINE`] away, effects have two numbers.
#![allow(dead_code)] // each test program uses a part of it

use std::rc::Rc;

use lockkeeper::core::{
    effect::{Effect, EffectId},
    slots::Halt,
    state::{Job, Phase, State, SupplyTask, Task},
    time::{BootId, Mono, Now},
    verdict::Verdict,
};

use crate::{
    machine::Machine,
    support::{self, NIGHT, is_supply},
    world::Node,
};

/// When whatever waits for a time is due, in milliseconds from now.
pub const DEADLINE: u64 = 1_000;
/// Later than any timeout.
pub const LATE: u64 = 10_000_000;

/// More failures of one effect than this decide nothing new.
const ENOUGH_TRIES: u32 = 5;
const PHASE_EFFECT: EffectId = EffectId(1);
const SUPPLY_EFFECT: EffectId = EffectId(2);
/// An effect that nobody waits for any more.
const STALE_EFFECT: EffectId = EffectId(3);
const NEXT_EFFECT: u64 = 4;

/// The one halt.
pub fn halt() -> Halt {
    let (reason, by) = ("failed".to_owned(), "somebody".to_owned());
    Halt { reason, by, since: support::wall(NIGHT), release: None, expires: None }
}

fn start() -> Now {
    support::now(NIGHT, 0)
}

/// A node after a step at `now` to `next`.
pub fn node(node: &mut Node, next: &mut State, supply: bool, now: Mono) {
    let phase_id = match next.task {
        Task::Running { id, .. } => Some(id),
        Task::Due | Task::Later { .. } => None,
    };
    for flight in &mut node.agent.flight {
        let (own, awaited) = if is_supply(&flight.effect) {
            (SUPPLY_EFFECT, supply_id(next))
        } else {
            (PHASE_EFFECT, phase_id)
        };
        flight.id = if awaited == Some(flight.id) { own } else { STALE_EFFECT };
        if let Effect::AcquireSlot { reason, .. } = &mut flight.effect {
            reason.clear();
        }
        if let Effect::Halt(what) = &mut flight.effect {
            *what = halt();
        }
    }
    state(next, &node.machine, supply, now);
}

fn supply_id(state: &State) -> Option<EffectId> {
    match state.supply.task {
        SupplyTask::Checking { id } | SupplyTask::Staging { id, .. } => Some(id),
        SupplyTask::Idle => None,
    }
}

fn due(at: Mono, now: Mono) -> Mono {
    if at > now { Mono(DEADLINE) } else { Mono(0) }
}

/// A state after a step at `now`.
pub fn state(state: &mut State, machine: &Machine, supply: bool, now: Mono) {
    assert_eq!(machine.boot, 1, "boots are mapped at once");
    state.entered = start();
    state.next_effect = NEXT_EFFECT;
    state.last = None;
    task(&mut state.task, now);
    phase(&mut state.phase);
    match &mut state.supply.task {
        SupplyTask::Checking { id } | SupplyTask::Staging { id, .. } => *id = SUPPLY_EFFECT,
        SupplyTask::Idle => {}
    }
    state.supply.checks = 0;
    state.supply.failures = 0;
    state.supply.problem = None;
    state.supply.last_ok = None;
    state.supply.offered = None;
    state.supply.next_check =
        if supply { due(state.supply.next_check, now) } else { Mono(u64::MAX) };
    if let Some(staged) = &mut state.staged {
        staged.at = start().wall;
    }
    if let Some(request) = &mut state.request {
        request.at = start().wall;
    }
    for denied in state.denied.values_mut() {
        denied.reason.clear();
        denied.at = start().wall;
    }
    state.in_vain = 0;
    state.hold_off = state.hold_off.take().filter(|hold_off| hold_off.until > now);
    if let Some(hold_off) = &mut state.hold_off {
        hold_off.until = Mono(DEADLINE);
        hold_off.why = Verdict::new("blocked", "blocked");
    }
}

fn task(task: &mut Task, now: Mono) {
    match task {
        Task::Due => {}
        Task::Running { id, tries } => {
            *id = PHASE_EFFECT;
            *tries = (*tries).min(ENOUGH_TRIES);
        }
        Task::Later { at, error, since, tries } => {
            *tries = (*tries).min(ENOUGH_TRIES);
            *at = due(*at, now);
            *since = start().wall;
            error.truncate(1);
        }
    }
}

fn phase(phase: &mut Phase) {
    if let Some(undone) = job(phase).and_then(|job| job.undone.as_mut()) {
        undone.reason.clear();
    }
    match phase {
        // These decide only with the times that are mapped to nothing here.
        Phase::Verifying { healthy_since, failing, .. } => {
            *healthy_since = None;
            failing.clear();
        }
        Phase::Undoing { reason, .. } => reason.clear(),
        Phase::Failed { healthy_since, reason, .. } => {
            *healthy_since = None;
            reason.clear();
        }
        Phase::Steady
        | Phase::Probing { .. }
        | Phase::Queued { .. }
        | Phase::Leaving
        | Phase::Preflight { .. }
        | Phase::Draining { .. }
        | Phase::Recording { .. }
        | Phase::Applying { .. }
        | Phase::Deciding { .. }
        | Phase::Rebooting { .. }
        | Phase::Restoring { .. }
        | Phase::Confirming { .. }
        | Phase::Returning { .. }
        | Phase::Releasing { .. } => {}
    }
}

fn job(phase: &mut Phase) -> Option<&mut Job> {
    match phase {
        Phase::Steady | Phase::Leaving => None,
        Phase::Probing { job }
        | Phase::Queued { job }
        | Phase::Preflight { job }
        | Phase::Draining { job }
        | Phase::Recording { job }
        | Phase::Applying { job, .. }
        | Phase::Deciding { job }
        | Phase::Rebooting { job, .. }
        | Phase::Restoring { job }
        | Phase::Verifying { job, .. }
        | Phase::Confirming { job }
        | Phase::Returning { job, .. }
        | Phase::Releasing { job, .. }
        | Phase::Undoing { job, .. }
        | Phase::Failed { job, .. } => Some(job),
    }
}

/// A node after a boot: this one is boot 1 again, and all earlier ones are boot 0.
pub fn boot(node: &mut Node) {
    let old = |boot: &mut BootId| *boot = support::boot(0);
    node.machine.boot = 1;
    node.machine.mono = 0;
    let state = Rc::make_mut(&mut node.agent.state);
    old(&mut state.boot_id);
    if let Phase::Rebooting { boot, .. } = &mut state.phase {
        old(boot);
    }
}

/// What a dead agent's state says of its effects matters no more: each is ordered anew.
pub fn dead(state: &mut State) {
    state.task = Task::Due;
    state.supply.task = SupplyTask::Idle;
}
