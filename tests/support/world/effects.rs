//! Effects: carried out, spoiled, answered.

use lockkeeper::core::{
    effect::{Effect, EffectId},
    event::{Again, Event, Outcome},
    health::Evidence,
    slots::Refusal,
};

use super::{Flight, Outcomes, Setup, Spoil, World, name};
use crate::{
    machine::{version, version_installed},
    normal,
    support::CHOICE,
};

impl World {
    pub(super) fn flight(&self, n: usize, id: EffectId) -> Option<&Flight> {
        self.nodes[n].agent.flight.iter().find(|flight| flight.id == id)
    }

    pub(super) fn answer(&mut self, n: usize, id: EffectId, outcome: Outcome) {
        let flight = &mut self.node(n).agent.flight;
        if let Some(flight) = flight.iter_mut().find(|flight| flight.id == id) {
            flight.answer = Some(outcome);
        }
    }

    /// Carries an effect out. False: there is nothing to be done now.
    pub(super) fn carry(&mut self, setup: &Setup, n: usize, id: EffectId) -> bool {
        let Some(Flight { effect, answer: None, .. }) = self.flight(n, id).cloned() else {
            return false;
        };
        let stored = matches!(
            effect,
            Effect::AcquireSlot { .. } | Effect::LeaveQueue | Effect::Release | Effect::Halt(_)
        );
        if stored && !self.store_up {
            return false;
        }
        let outcome = match &effect {
            Effect::Check => Some(self.check(setup, n)),
            Effect::AcquireSlot { .. } => return self.acquire(setup, n, id),
            Effect::LeaveQueue => {
                self.queue.retain(|waiter| *waiter != n);
                let held = (setup.rules.held)(self.holds(n));
                self.machine(n).forced &= held;
                Some(Outcome::LeftQueue { held })
            }
            Effect::Release => {
                if self.holds(n) {
                    self.slots = self.slots.without(&name(n));
                }
                self.machine(n).forced = false;
                self.machine(n).draining = false;
                Some(Outcome::Released)
            }
            Effect::Halt(halt) => {
                let halt = if setup.finite { normal::halt() } else { halt.clone() };
                self.slots = self.slots.halted(halt);
                Some(Outcome::Halted)
            }
            // One unit at a time, and each is waited for.
            Effect::Apply(_) | Effect::Finish(_) | Effect::Undo(_)
                if self.nodes[n].machine.busy() =>
            {
                return false;
            }
            local => self.machine(n).carry_out(&setup.releases, local),
        };
        if let Some(outcome) = outcome {
            self.answer(n, id, outcome);
        }
        true
    }

    pub(super) fn check(&self, setup: &Setup, n: usize) -> Outcome {
        let machine = &self.nodes[n].machine;
        let newer = self.channel > machine.installed;
        let plan = version_installed(&setup.releases, self.channel).filter(|_| newer);
        let choice = CHOICE.to_owned();
        Outcome::Checked {
            plan: plan.map(|r| r.plan.clone()),
            kept_back: Vec::new(),
            reboot: machine.evidence(),
            choice,
            again: Again::default(),
        }
    }

    pub(super) fn acquire(&mut self, setup: &Setup, n: usize, id: EffectId) -> bool {
        if !self.holds(n) && !self.queue.contains(&n) {
            self.queue.push(n);
            return true;
        }
        if !self.holds(n) && self.queue.first() != Some(&n) {
            return false;
        }
        match (setup.rules.admit)(&self.slots, &self.claim(n)) {
            Ok(slots) => {
                self.slots = slots;
                self.queue.retain(|waiter| *waiter != n);
                self.answer(n, id, Outcome::SlotGranted);
            }
            Err(refusal @ Refusal::DuplicateNode { .. }) => {
                self.answer(n, id, Outcome::Failed(refusal.to_string()));
            }
            // A slot that an admin took by hand is waited for like any other.
            Err(
                Refusal::Full { .. }
                | Refusal::Halted(_)
                | Refusal::AlreadyHeld { .. }
                | Refusal::BadMax,
            ) => return false,
        }
        true
    }

    /// An effect goes otherwise than it should. False: not this one.
    pub(super) fn spoil(&mut self, setup: &Setup, n: usize, id: EffectId, how: Spoil) -> bool {
        let Some(Flight { effect, answer, .. }) = self.flight(n, id).cloned() else {
            return false;
        };
        let text = || "lost".to_owned();
        let yes = || Evidence::Yes { reasons: vec!["backup".to_owned()] };
        let unknown = || Evidence::Unknown { why: "no answer".to_owned() };
        let machine = &self.nodes[n].machine;
        let unit = machine.unit.is_some() || machine.unit_failed;
        let installed = |plan| machine.installed >= version(&setup.releases, plan);
        let outcome = match (how, &effect, answer) {
            (Spoil::Lost, _, Some(answer)) if !matches!(answer, Outcome::Failed(_)) => {
                Outcome::Failed(text())
            }
            (Spoil::Undone, _, None) => {
                self.machine(n).drained |= effect == Effect::Drain;
                Outcome::Failed(text())
            }
            (Spoil::Hook, Effect::Probe | Effect::Reboot(_), None) => Outcome::HookFailed(text()),
            (Spoil::Hook, Effect::Drain, None) => {
                // The hooks before it have done their part.
                (self.machine(n).draining, self.machine(n).drained) = (true, true);
                Outcome::HookFailed(text())
            }
            // The link of an earlier request stays: nothing of it was taken back.
            (Spoil::Hook, Effect::ApplyAtBoot { .. }, None) => Outcome::HookFailed(text()),
            (Spoil::Refused, Effect::Apply(plan), None) if !unit && !installed(plan) => {
                Outcome::ApplyRefused(text())
            }
            (Spoil::Refused, Effect::Undo(_), None) if !machine.busy() && !machine.rolled_back => {
                Outcome::UndoImpossible(text())
            }
            (Spoil::Refused, Effect::Reboot(_), None) => Outcome::RebootRefused(text()),
            (Spoil::Refused, Effect::ApplyAtBoot { .. }, None) => {
                // A refusal takes back what an earlier request has arranged.
                self.machine(n).ordered = None;
                Outcome::RebootRefused(text())
            }
            (Spoil::Unready, Effect::ApplyAtBoot { .. }, None) => Outcome::ApplyRefused(text()),
            (Spoil::Blocked, Effect::Probe, None) => {
                Outcome::Probed { inhibitors: Evidence::No, quorum: yes(), blockers: Vec::new() }
            }
            (Spoil::Unknown, Effect::Probe, None) => Outcome::Probed {
                inhibitors: unknown(),
                quorum: Evidence::No,
                blockers: Vec::new(),
            },
            (Spoil::Unknown, Effect::ReadEvidence, None) => Outcome::EvidenceRead(unknown()),
            _ => return false,
        };
        self.answer(n, id, outcome);
        true
    }

    pub(super) fn deliver(
        &mut self,
        setup: &Setup,
        n: usize,
        id: EffectId,
        later: u64,
    ) -> Outcomes<bool> {
        let Some(Flight { answer: Some(outcome), .. }) = self.flight(n, id).cloned() else {
            return Ok(false);
        };
        self.node(n).agent.flight.retain(|flight| flight.id != id);
        let mut now = self.now(n);
        now.mono.0 += later;
        self.feed(setup, n, now, Event::Done { id, outcome })?;
        Ok(true)
    }
}
