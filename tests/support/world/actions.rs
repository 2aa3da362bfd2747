//! What happens in the world, apart from effects.

use std::rc::Rc;

use lockkeeper::core::{
    event::{Ask, Event},
    slots::Holder,
    state::{Cause, Phase},
};

use super::{Action, Outcomes, Setup, World, name, violation};
use crate::{
    normal,
    support::{self, NIGHT, NOON},
};

impl World {
    /// Lets `action` happen. `Ok(false)`: it cannot happen here.
    pub fn act(&mut self, setup: &Setup, action: Action) -> Outcomes<bool> {
        let happened = self.happens(setup, action)?;
        if happened {
            self.lowered &= self.slots.holders.len() > self.slots.max as usize;
            self.keeps_promises()?;
        }
        Ok(happened)
    }

    pub(super) fn happens(&mut self, setup: &Setup, action: Action) -> Outcomes<bool> {
        match action {
            Action::Start(n) => return self.start(setup, n),
            Action::Carry(n, id) => return Ok(self.carry(setup, n, id)),
            Action::Spoil(n, id, how) => return Ok(self.spoil(setup, n, id, how)),
            Action::Deliver(n, id) => return self.deliver(setup, n, id, 0),
            Action::DeliverLate(n, id) => return self.deliver(setup, n, id, normal::LATE),
            Action::Deadline(n) => return self.tick(setup, n, normal::DEADLINE),
            Action::Advance(millis) => return self.advance(setup, millis),
            Action::SetWall(by) => self.wall += by,
            Action::Crash(n) => return Ok(self.crash(setup, n)),
            Action::PowerCut(n) => {
                let held = self.nodes[n].agent.state.phase.held().is_some();
                let down = held && self.nodes[n].agent.state.phase.service() == "down";
                self.machine(n).down |= down;
                self.boots(setup, n);
            }
            Action::Reboot(n) => return self.reboot(setup, n),
            Action::SoftReboot(n, helped) => return self.soft_reboot(setup, n, helped),
            Action::RebootLost(n) => {
                return Ok(std::mem::take(&mut self.machine(n).reboot_pending));
            }
            Action::UnitEnds(n, well) => {
                let running = self.nodes[n].machine.busy();
                if self.machine(n).unit_ends(&setup.releases, well) {
                    self.boots(setup, n);
                }
                return Ok(running);
            }
            Action::Sicken(n) => {
                let machine = self.machine(n);
                return Ok(machine.down && !std::mem::replace(&mut machine.sick, true));
            }
            Action::Recover(n) => return Ok(std::mem::take(&mut self.machine(n).sick)),
            Action::Expire(n) => {
                let dead = !self.nodes[n].agent.alive;
                let before = self.queue.len();
                self.queue.retain(|waiter| !dead || *waiter != n);
                return Ok(self.queue.len() < before);
            }
            Action::Window(open) => {
                let wall = if open { NIGHT } else { NOON };
                return Ok(std::mem::replace(&mut self.wall, wall) != wall);
            }
            Action::Policy(policy) => return self.replace_policy(setup, policy),
            Action::Ask(n, ask) => return self.ask(setup, n, ask),
            Action::Unlock(n) => return Ok(self.unlock(n)),
            Action::Lock(n) => return Ok(self.lock(setup, n)),
            Action::Halt => {
                let halted = self.slots.halt.is_some();
                self.slots = self.slots.halted(normal::halt());
                return Ok(!halted);
            }
            Action::Resume => {
                self.interfered |= self.slots.halt.is_some();
                return Ok(self.slots.halt.take().is_some());
            }
            Action::SetMax(max) => {
                let other = self.slots.max != max;
                self.slots = self.slots.with_max(max).unwrap();
                self.most = self.most.max(max);
                self.lowered = self.slots.holders.len() > max as usize;
                return Ok(other);
            }
            Action::Mend(n) => self.mend(setup, n),
            Action::Store(up) => return Ok(std::mem::replace(&mut self.store_up, up) != up),
            Action::Publish => {
                let more = (self.channel as usize) < setup.releases.len();
                self.channel += u32::from(more);
                return Ok(more);
            }
        }
        Ok(true)
    }

    pub(super) fn start(&mut self, setup: &Setup, n: usize) -> Outcomes<bool> {
        if self.nodes[n].agent.alive || self.nodes[n].machine.updating {
            return Ok(false);
        }
        let (now, policy) = (self.now(n), self.policy(setup, n));
        let boot = self.nodes[n].machine.boot_id();
        let before = self.nodes[n].agent.state.clone();
        let step = (setup.rules.resume)((*before).clone(), &boot, policy, now);
        self.node(n).agent.alive = true;
        self.take_step(setup, n, now, &before, step, before.boot_id != boot)?;
        Ok(true)
    }

    pub(super) fn boots(&mut self, setup: &Setup, n: usize) {
        self.machine(n).boots(&setup.releases);
        if !setup.finite {
            self.wall += 10;
        }
        self.crash(setup, n);
        if setup.finite {
            normal::boot(self.node(n));
        }
    }

    /// The agent is gone; what is left is its state file.
    pub(super) fn crash(&mut self, setup: &Setup, n: usize) -> bool {
        if !self.nodes[n].agent.alive {
            return false;
        }
        let agent = &mut self.node(n).agent;
        agent.alive = false;
        agent.flight.clear();
        if setup.finite {
            normal::dead(Rc::make_mut(&mut agent.state));
        } else {
            let file = serde_json::to_string_pretty(&*agent.state).unwrap();
            agent.state = Rc::new(serde_json::from_str(&file).unwrap());
        }
        true
    }

    pub(super) fn reboot(&mut self, setup: &Setup, n: usize) -> Outcomes<bool> {
        if !self.reboot_comes(n)? {
            return Ok(false);
        }
        let node = &self.nodes[n];
        let asked = node.agent.state.phase.held().is_some_and(|job| job.always_reboot);
        let machine = self.machine(n);
        machine.down = true;
        machine.asked &= !asked;
        self.boots(setup, n);
        Ok(true)
    }

    /// Whether one that was accepted can come now: it is awaited, and there is a reason.
    fn reboot_comes(&self, n: usize) -> Outcomes<bool> {
        let node = &self.nodes[n];
        // A shutdown waits for the units.
        if !node.machine.reboot_pending || node.machine.busy() {
            return Ok(false);
        }
        let boot = node.machine.boot_id();
        let awaited = match &node.agent.state.phase {
            Phase::Rebooting { boot: leaving, .. } => *leaving == boot,
            Phase::Failed { cause: Cause::Reboot, .. } => true,
            _ => false,
        };
        if !awaited {
            let phase = node.agent.state.phase.word();
            return violation(format!("{} reboots in {phase}", name(n)));
        }
        let updates = node.agent.state.phase.held().is_some_and(|job| job.at_boot);
        if !node.machine.needs_reboot && !node.machine.asked && !updates {
            return violation(format!("{} reboots for no reason", name(n)));
        }
        Ok(true)
    }

    /// Neither an admin's wish, nor an order to install, is answered by one.
    pub(super) fn soft_reboot(&mut self, setup: &Setup, n: usize, helped: bool) -> Outcomes<bool> {
        let node = &self.nodes[n];
        let job = node.agent.state.phase.held();
        let full = job.is_none_or(|job| job.at_boot || job.always_reboot);
        if full || !node.machine.needs_reboot || !self.reboot_comes(n)? {
            return Ok(false);
        }
        let machine = self.machine(n);
        machine.down = true;
        machine.boots_softly(helped);
        self.crash(setup, n);
        Ok(true)
    }

    pub(super) fn tick(&mut self, setup: &Setup, n: usize, later: u64) -> Outcomes<bool> {
        if !self.nodes[n].agent.alive {
            return Ok(false);
        }
        let mut now = self.now(n);
        now.mono.0 += later;
        self.feed(setup, n, now, Event::Tick)?;
        Ok(true)
    }

    pub(super) fn advance(&mut self, setup: &Setup, millis: u64) -> Outcomes<bool> {
        self.wall += i64::try_from(millis / 1000).unwrap();
        for n in 0..self.nodes.len() {
            let wakeup =
                lockkeeper::core::step::next_wakeup(&self.nodes[n].agent.state, self.now(n));
            self.machine(n).mono += millis;
            if wakeup <= self.now(n).mono {
                self.tick(setup, n, 0)?;
            }
        }
        Ok(true)
    }

    pub(super) fn replace_policy(&mut self, setup: &Setup, policy: usize) -> Outcomes<bool> {
        if std::mem::replace(&mut self.policy, policy) == policy {
            return Ok(false);
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].agent.alive {
                self.feed(setup, n, self.now(n), Event::PolicyChanged)?;
            }
        }
        Ok(true)
    }

    pub(super) fn ask(&mut self, setup: &Setup, n: usize, ask: Ask) -> Outcomes<bool> {
        if !self.nodes[n].agent.alive {
            return Ok(false);
        }
        let taken = self.feed(setup, n, self.now(n), Event::Ask(ask))?;
        let wish = self.nodes[n].agent.state.request.is_some();
        let machine = self.machine(n);
        match ask {
            Ask::Check => {}
            Ask::Reboot { .. } if taken => (machine.asked, machine.wish) = (true, true),
            Ask::Reboot { .. } => {}
            Ask::Cancel => {
                (machine.asked, machine.wish) = (machine.asked && wish, machine.wish && wish);
            }
        }
        Ok(true)
    }

    pub(super) fn unlock(&mut self, n: usize) -> bool {
        let (locked, held) = (self.slots.holder(&name(n)).is_some(), self.holds(n));
        self.machine(n).forced |= held;
        self.interfered |= held;
        self.slots = self.slots.without(&name(n));
        locked
    }

    pub(super) fn lock(&mut self, setup: &Setup, n: usize) -> bool {
        let mut claim = self.claim(n);
        claim.nonce.clear();
        match (setup.rules.admit)(&self.slots, &claim) {
            Ok(slots) => std::mem::replace(&mut self.slots, slots) != self.slots,
            Err(_) => false,
        }
    }

    pub(super) fn mend(&mut self, setup: &Setup, n: usize) {
        let phase = self.nodes[n].agent.state.phase.clone();
        let Phase::Failed { job, cause, .. } = &phase else { return };
        self.machine(n).mend(&setup.releases, job.plan.as_ref());
        self.machine(n).reboot_pending |= *cause == Cause::Reboot;
    }

    pub(super) fn claim(&self, n: usize) -> Holder {
        Holder {
            node: name(n),
            name: name(n),
            nonce: self.nodes[n].agent.state.nonce.clone(),
            since: support::wall(NIGHT),
            reason: String::new(),
            release: None,
            boot_id: String::new(),
            expected_secs: 0,
            overdue: false,
        }
    }
}
