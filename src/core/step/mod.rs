//! One step of the agent: state and event in, state and effects out. Total: an event that makes no
//! sense here is ignored with a reason.

mod cycle;
mod duty;
mod supply;

use std::time::Duration;

use super::{
    effect::{Effect, EffectId},
    event::{Ask, Event, Outcome},
    policy::Policy,
    state::{HoldOff, Phase, Request, State, SupplyTask, Task},
    time::{Mono, Now, backoff},
    verdict::Verdict,
};

/// After a blocker was seen, the next look.
const BLOCKED_PAUSE: Duration = Duration::from_secs(30);
/// After the node was taken out of service in vain over and over, the next try.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// So many times are counted: the pause does not grow any more.
const MOST_IN_VAIN: u32 = 8;

/// What a step leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The new state; durable before any of `effects` is begun.
    pub state: State,
    /// Orders, in order.
    pub effects: Vec<(EffectId, Effect)>,
    /// Why the event changed nothing, if it was out of place.
    pub ignored: Option<String>,
}

/// Takes one event.
#[must_use]
pub fn step(state: &State, policy: &Policy, now: Now, event: Event) -> Step {
    let mut machine = Machine::new(state.clone(), policy, now);
    machine.take(event);
    machine.advance();
    machine.into_step()
}

/// When the agent must wake up by itself at the latest. Derived from the state, so that no crash can
/// lose a timer.
#[must_use]
pub fn next_wakeup(state: &State, now: Now) -> Mono {
    // The wall clock may jump and windows open by it: look at least once a minute.
    let mut next = now.mono.plus(Duration::from_secs(60));
    if let Task::Later { at, .. } = state.task {
        next = next.min(at);
    }
    if state.supply.task == SupplyTask::Idle && state.phase.held().is_none() {
        next = next.min(state.supply.next_check);
    }
    if let Some(hold_off) = state.hold_off.as_ref().filter(|h| h.until > now.mono) {
        next = next.min(hold_off.until);
    }
    next.max(now.mono)
}

/// A state on its way to the next one.
pub(super) struct Machine<'a> {
    pub(super) state: State,
    pub(super) policy: &'a Policy,
    pub(super) now: Now,
    effects: Vec<(EffectId, Effect)>,
    ignored: Option<String>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(state: State, policy: &'a Policy, now: Now) -> Self {
        Self { state, policy, now, effects: Vec::new(), ignored: None }
    }

    pub(super) fn into_step(self) -> Step {
        Step { state: self.state, effects: self.effects, ignored: self.ignored }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::PolicyChanged => self.hasten_check(),
            Event::Store(Ok(view)) => {
                self.state.store.view = Some(view);
                self.state.store.at = Some(self.now.wall);
                self.state.store.error = None;
            }
            Event::Store(Err(text)) => {
                let since =
                    self.state.store.error.as_ref().map_or(self.now.wall, |(_, since)| *since);
                self.state.store.error = Some((text, since));
            }
            Event::Ask(ask) => self.take_ask(ask),
            Event::Done { id, outcome } => self.take_outcome(id, outcome),
        }
    }

    fn take_ask(&mut self, ask: Ask) {
        match ask {
            // While a slot is held, the check follows the cycle.
            Ask::Check => {
                self.state.supply.next_check = self.now.mono;
                self.try_again_now();
            }
            Ask::Reboot { .. } if !self.policy.act => self.ignore(
                "strategy is \"off\", so lockkeeper never reboots this machine: set another strategy, \
                 or use `systemctl reboot`",
            ),
            Ask::Reboot { now } => {
                self.state.request = Some(Request { at: self.now.wall, now });
                self.state.hold_off = None;
                self.state.in_vain = 0;
            }
            Ask::Cancel => {
                if self.state.phase.held().is_none() || self.call_off() {
                    self.state.request = None;
                } else {
                    self.ignore("the cycle is under way and cannot be cancelled");
                }
            }
        }
    }

    fn take_outcome(&mut self, id: EffectId, outcome: Outcome) {
        let supply = match &self.state.supply.task {
            SupplyTask::Checking { id } | SupplyTask::Staging { id, .. } => Some(*id),
            SupplyTask::Idle => None,
        };
        if supply == Some(id) {
            self.take_supply_outcome(outcome);
        } else if matches!(self.state.task, Task::Running { id: running, .. } if running == id) {
            self.take_phase_outcome(outcome);
        } else {
            self.ignore("nobody waits for this effect any more");
        }
    }

    /// Orders what is due, until nothing is.
    pub(super) fn advance(&mut self) {
        self.advance_supply();
        self.reconsider();
        if let Task::Later { at, tries, .. } = &self.state.task
            && *at <= self.now.mono
        {
            let tries = *tries;
            self.order_duty(tries);
        } else if self.state.task == Task::Due {
            self.order_duty(0);
        }
    }

    /// Numbers an effect and puts it on the list.
    fn order(&mut self, effect: Effect) -> EffectId {
        let id = EffectId(self.state.next_effect);
        self.state.next_effect += 1;
        self.effects.push((id, effect));
        id
    }

    /// Goes to another phase; its effect is due. What a check asked before the slot came sees of a
    /// node that the cycle changes is nothing to go by, so its answer is not awaited any more.
    fn go(&mut self, phase: Phase) {
        if phase.held().is_some() {
            self.state.supply.task = SupplyTask::Idle;
        }
        self.state.phase = phase;
        self.state.entered = self.now;
        self.state.task = Task::Due;
    }

    /// Orders the phase's effect again later: it failed with `error`, or (empty) it is a poll.
    fn later(&mut self, delay: Duration, error: String) {
        let (tries, since) = match &self.state.task {
            Task::Running { tries, .. } => (*tries, self.now.wall),
            Task::Later { tries, since, .. } => (*tries, *since),
            Task::Due => (0, self.now.wall),
        };
        let tries = if error.is_empty() { 0 } else { tries.saturating_add(1) };
        self.state.task = Task::Later { at: self.now.mono.plus(delay), tries, error, since };
    }

    /// Failures of the running effect so far, counting the one just reported.
    fn failures(&self) -> u32 {
        match self.state.task {
            Task::Running { tries, .. } | Task::Later { tries, .. } => tries.saturating_add(1),
            Task::Due => 1,
        }
    }

    /// Orders the phase's effect again after the usual back-off.
    fn retry(&mut self, error: String) {
        self.later(backoff(self.failures()), error);
    }

    /// Pauses before the next cycle. The same blocker right after the last pause counts from its start.
    fn hold_off(&mut self, delay: Duration, why: Verdict) {
        let since = match &self.state.hold_off {
            Some(old) if old.why.code == why.code && self.now.mono.since(old.until) <= delay => {
                old.why.since
            }
            _ => None,
        };
        let why = why.since(since.unwrap_or(self.now.wall));
        self.state.hold_off = Some(HoldOff { until: self.now.mono.plus(delay), why });
    }

    /// Pauses after the node was taken out of service in vain, each time twice as long: what says no then
    /// (a drain that does not succeed, a check that cannot be run) often does so until somebody mends it,
    /// and meanwhile the node would be in service half of the time only.
    fn hold_off_after_vain(&mut self, why: Verdict) {
        let times = self.state.in_vain.saturating_add(1).min(MOST_IN_VAIN);
        let delay = BLOCKED_PAUSE.saturating_mul(1 << (times - 1)).min(LONGEST_PAUSE);
        self.state.in_vain = times;
        if times == 1 {
            return self.hold_off(delay, why);
        }
        let text = format!(
            "{}; taken out of service in vain again, so the next try comes {} min later, or after \
             `rebootctl check`",
            why.text,
            delay.as_secs() / 60
        );
        self.hold_off(delay, Verdict { text, ..why });
    }

    /// An admin looks after it. What one has called off stays off.
    fn try_again_now(&mut self) {
        if self.state.hold_off.as_ref().is_some_and(|hold_off| hold_off.why.code != "called-off") {
            self.state.hold_off = None;
        }
        self.state.in_vain = 0;
    }

    fn ignore(&mut self, reason: &str) {
        self.ignored = Some(reason.to_owned());
    }
}
