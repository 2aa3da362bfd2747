//! An honest environment for agents: machines, the lock store, admins, and every kind of bad luck.
//!
//! A reboot is requested now and happens later. What an agent ordered may have been carried out, or
//! not, when its answer is lost or the agent dies. An apply runs on without the agent, and is cut
//! short by a power cut. Tickets of dead waiters expire. A late write of a dead agent is not modelled
//! apart from a lost answer: the store takes a write only on the revision that was read.
#![allow(dead_code)] // each test program uses a part of it

use std::{
    cell::Cell,
    collections::BTreeSet,
    hash::{Hash, Hasher},
    rc::Rc,
};

use lockkeeper::core::{
    effect::{Effect, EffectId},
    event::{Ask, Event, Outcome},
    gate,
    health::Evidence,
    invariants,
    policy::Policy,
    slots::{Holder, Refusal, Slots},
    state::{Cause, Phase, State, Task},
    step::Step,
    time::{BootId, Mono, Now},
};

use crate::{
    machine::{Machine, Release, version, version_installed},
    normal,
    support::{self, NIGHT, NOON, is_supply, now},
};

/// The functions under test; a mutant replaces some of them.
#[derive(Clone, Copy)]
pub struct Rules {
    pub step: fn(&State, &Policy, Now, Event) -> Step,
    pub resume: fn(State, &BootId, &Policy, Now) -> Step,
    pub admit: fn(&Slots, &Holder) -> Result<Slots, Refusal>,
    /// What leaving the queue answers to the question whether a slot is held.
    pub held: fn(bool) -> bool,
}

impl Rules {
    /// Those of the program.
    pub fn real() -> Self {
        Self {
            step: lockkeeper::core::step::step,
            resume: lockkeeper::core::resume::resume,
            admit: Slots::admit,
            held: |held| held,
        }
    }
}

/// What does not change in one world.
pub struct Setup {
    pub rules: Rules,
    pub releases: Vec<Release>,
    /// For each node: acting by night, off, acting at any time.
    pub policies: Vec<[Policy; 3]>,
    /// Agents check for updates.
    pub supply: bool,
    /// Times and numbers are mapped to a few, so that the worlds are finitely many.
    pub finite: bool,
    /// What else every step (of a state) must keep.
    pub audit: fn(&Step, &Policy, Now) -> Result<(), String>,
}

/// A world.
#[derive(Clone)]
pub struct World {
    pub nodes: Vec<Rc<Node>>,
    pub slots: Slots,
    pub queue: Vec<usize>,
    /// Which of the policies is in force.
    pub policy: usize,
    /// The wall clock, in seconds since 1970.
    pub wall: i64,
    /// The newest release in the channel.
    pub channel: u32,
    /// The lock store answers.
    pub store_up: bool,
    /// An admin has resumed the group or unlocked a node: what comes of it is theirs.
    pub interfered: bool,
    /// An admin has lowered `max` below the number of holders.
    pub lowered: bool,
    /// Bad luck left.
    pub budget: u8,
}

/// A machine and its agent.
#[derive(Clone)]
pub struct Node {
    pub machine: Machine,
    pub agent: Agent,
    /// The fingerprint, once it has been asked for.
    print: Cell<Option<u64>>,
}

/// An agent, dead or alive. What it remembers is durable before an effect begins.
#[derive(Clone, Hash)]
pub struct Agent {
    pub state: Rc<State>,
    pub alive: bool,
    pub flight: Vec<Flight>,
}

/// An effect that was begun.
#[derive(Clone, Hash)]
pub struct Flight {
    pub id: EffectId,
    pub effect: Effect,
    /// Carried out, with this answer on its way.
    pub answer: Option<Outcome>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The agent starts.
    Start(usize),
    /// An effect is carried out as it should be.
    Carry(usize, EffectId),
    /// An effect is answered in another way.
    Spoil(usize, EffectId, Spoil),
    /// An answer arrives.
    Deliver(usize, EffectId),
    /// An answer arrives after every deadline.
    DeliverLate(usize, EffectId),
    /// The agent looks at the clock when its next deadline has come.
    Deadline(usize),
    /// Milliseconds pass; agents whose time has come look at the clock.
    Advance(u64),
    /// Somebody sets the wall clock forward or back, by seconds.
    SetWall(i64),
    /// The agent dies.
    Crash(usize),
    /// The machine loses power.
    PowerCut(usize),
    /// A reboot that was accepted comes.
    Reboot(usize),
    /// A reboot that was accepted never comes.
    RebootLost(usize),
    /// The apply unit ends.
    UnitEnds(usize, bool),
    /// Something on a disturbed node is not healthy, for a while.
    Sicken(usize),
    /// It is healthy again.
    Recover(usize),
    /// The ticket of a dead waiter expires.
    Expire(usize),
    /// The window opens or closes.
    Window(bool),
    /// The policy is replaced.
    Policy(usize),
    /// An admin asks a node.
    Ask(usize, Ask),
    /// An admin takes the slot away from a node.
    Unlock(usize),
    /// An admin takes a slot for a node.
    Lock(usize),
    /// An admin halts the group.
    Halt,
    /// An admin resumes the group.
    Resume,
    /// An admin changes the number of slots.
    SetMax(u32),
    /// An admin mends a node whose update failed.
    Mend(usize),
    /// The lock store goes or comes.
    Store(bool),
    /// The channel has another release.
    Publish,
}

/// How an effect can go otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoil {
    /// Not done; the answer says that it failed.
    Undone,
    /// Done; the answer is lost.
    Lost,
    /// Refused.
    Refused,
    /// A blocker is there.
    Blocked,
    /// It cannot be told.
    Unknown,
}

/// A broken promise of the agents.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

pub type Outcomes<T> = Result<T, Violation>;

fn violation<T>(text: impl Into<String>) -> Outcomes<T> {
    Err(Violation(text.into()))
}

/// Id of a node.
pub fn name(n: usize) -> String {
    format!("web-{n}")
}

impl World {
    /// Nodes in `states`, free slots.
    pub fn new(setup: &Setup, states: Vec<State>, max: u32, budget: u8) -> Self {
        let channel = u32::try_from(setup.releases.len()).unwrap();
        let node = |mut state: State| {
            let mut machine = Machine::new();
            machine.asked = state.request.is_some();
            machine.wish = machine.asked;
            if setup.finite {
                normal::state(&mut state, &machine, setup.supply, Mono(0));
            }
            let agent = Agent { state: Rc::new(state), alive: true, flight: Vec::new() };
            Rc::new(Node { machine, agent, print: Cell::new(None) })
        };
        Self {
            nodes: states.into_iter().map(node).collect(),
            slots: Slots { max, ..Slots::default() },
            queue: Vec::new(),
            policy: 0,
            wall: NIGHT,
            channel,
            store_up: true,
            interfered: false,
            lowered: false,
            budget,
        }
    }

    /// The time on node `n`.
    pub fn now(&self, n: usize) -> Now {
        now(self.wall, self.nodes[n].machine.mono)
    }

    /// The policy in force on node `n`.
    pub fn policy<'a>(&self, setup: &'a Setup, n: usize) -> &'a Policy {
        &setup.policies[n][self.policy]
    }

    fn node(&mut self, n: usize) -> &mut Node {
        let node = Rc::make_mut(&mut self.nodes[n]);
        node.print.set(None);
        node
    }

    fn machine(&mut self, n: usize) -> &mut Machine {
        &mut self.node(n).machine
    }

    /// Whether `n` holds a slot of its own (not one that an admin took for it).
    pub fn holds(&self, n: usize) -> bool {
        self.slots.holder(&name(n)).is_some_and(|holder| !holder.nonce.is_empty())
    }

    /// A number that is the same for worlds that differ only in which node is which.
    pub fn fingerprint(&self) -> u64 {
        let mut nodes: Vec<u64> = (0..self.nodes.len())
            .map(|n| {
                let node = &self.nodes[n];
                let place = self.queue.iter().position(|waiter| *waiter == n);
                let holder = self.slots.holder(&name(n)).map(|holder| holder.nonce.is_empty());
                let print = node.print.get().unwrap_or_else(|| hash(&(&node.machine, &node.agent)));
                node.print.set(Some(print));
                hash(&(print, place, holder))
            })
            .collect();
        nodes.sort_unstable();
        let shared = (self.slots.max, self.slots.halt.is_some(), self.policy, self.wall);
        let flags = (self.channel, self.store_up, self.interfered, self.lowered, self.budget);
        hash(&(nodes, shared, flags))
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = Mix(0);
    value.hash(&mut hasher);
    hasher.finish()
}

/// A quick hash of 64 bits: folded multiplication of each eight bytes.
struct Mix(u64);

impl Mix {
    fn mix(&mut self, word: u64) {
        let product =
            u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f_u128;
        #[allow(clippy::cast_possible_truncation)] // both halves are used
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = low ^ high.rotate_left(23);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
}

/// What happens to the world.
impl World {
    /// Lets `action` happen. `Ok(false)`: it cannot happen here.
    pub fn act(&mut self, setup: &Setup, action: Action) -> Outcomes<bool> {
        let happened = self.happens(setup, action)?;
        if happened {
            self.lowered &= self.slots.holders.len() > self.slots.max as usize;
            self.keeps_promises(setup)?;
        }
        Ok(happened)
    }

    fn happens(&mut self, setup: &Setup, action: Action) -> Outcomes<bool> {
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
            Action::RebootLost(n) => {
                return Ok(std::mem::take(&mut self.machine(n).reboot_pending));
            }
            Action::UnitEnds(n, well) => {
                let running = self.nodes[n].machine.unit.is_some();
                self.machine(n).unit_ends(&setup.releases, well);
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

    fn start(&mut self, setup: &Setup, n: usize) -> Outcomes<bool> {
        if self.nodes[n].agent.alive {
            return Ok(false);
        }
        let (now, policy) = (self.now(n), self.policy(setup, n));
        let boot = support::boot(self.nodes[n].machine.boot);
        let before = self.nodes[n].agent.state.clone();
        let step = (setup.rules.resume)((*before).clone(), &boot, policy, now);
        self.node(n).agent.alive = true;
        self.take_step(setup, n, now, &before, step, before.boot_id != boot)?;
        Ok(true)
    }

    fn boots(&mut self, setup: &Setup, n: usize) {
        self.machine(n).boots();
        if !setup.finite {
            self.wall += 10;
        }
        self.crash(setup, n);
        if setup.finite {
            normal::boot(self.node(n));
        }
    }

    /// The agent is gone; what is left is its state file.
    fn crash(&mut self, setup: &Setup, n: usize) -> bool {
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

    fn reboot(&mut self, setup: &Setup, n: usize) -> Outcomes<bool> {
        let node = &self.nodes[n];
        // A shutdown waits for the apply unit.
        if !node.machine.reboot_pending || node.machine.unit.is_some() {
            return Ok(false);
        }
        let boot = support::boot(node.machine.boot);
        let awaited = match &node.agent.state.phase {
            Phase::Rebooting { boot: leaving, .. } => *leaving == boot,
            Phase::Failed { cause: Cause::Reboot, .. } => true,
            _ => false,
        };
        if !awaited {
            let phase = node.agent.state.phase.word();
            return violation(format!("{} reboots in {phase}", name(n)));
        }
        if !node.machine.needs_reboot && !node.machine.asked {
            return violation(format!("{} reboots for no reason", name(n)));
        }
        let asked = node.agent.state.phase.held().is_some_and(|job| job.always_reboot);
        let machine = self.machine(n);
        machine.down = true;
        machine.asked &= !asked;
        self.boots(setup, n);
        Ok(true)
    }

    fn tick(&mut self, setup: &Setup, n: usize, later: u64) -> Outcomes<bool> {
        if !self.nodes[n].agent.alive {
            return Ok(false);
        }
        let mut now = self.now(n);
        now.mono.0 += later;
        self.feed(setup, n, now, Event::Tick)?;
        Ok(true)
    }

    fn advance(&mut self, setup: &Setup, millis: u64) -> Outcomes<bool> {
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

    fn replace_policy(&mut self, setup: &Setup, policy: usize) -> Outcomes<bool> {
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

    fn ask(&mut self, setup: &Setup, n: usize, ask: Ask) -> Outcomes<bool> {
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

    fn unlock(&mut self, n: usize) -> bool {
        let (locked, held) = (self.slots.holder(&name(n)).is_some(), self.holds(n));
        self.machine(n).forced |= held;
        self.interfered |= held;
        self.slots = self.slots.without(&name(n));
        locked
    }

    fn lock(&mut self, setup: &Setup, n: usize) -> bool {
        let mut claim = self.claim(n);
        claim.nonce.clear();
        match (setup.rules.admit)(&self.slots, &claim) {
            Ok(slots) => std::mem::replace(&mut self.slots, slots) != self.slots,
            Err(_) => false,
        }
    }

    fn mend(&mut self, setup: &Setup, n: usize) {
        let phase = self.nodes[n].agent.state.phase.clone();
        let Phase::Failed { job, cause, .. } = &phase else { return };
        self.machine(n).mend(&setup.releases, job.plan.as_ref());
        self.machine(n).reboot_pending |= *cause == Cause::Reboot;
    }

    fn claim(&self, n: usize) -> Holder {
        Holder {
            node: name(n),
            name: name(n),
            nonce: self.nodes[n].agent.state.nonce.clone(),
            since: support::wall(NIGHT),
            reason: String::new(),
            release: None,
            boot_id: String::new(),
        }
    }
}

/// What happens to effects.
impl World {
    fn flight(&self, n: usize, id: EffectId) -> Option<&Flight> {
        self.nodes[n].agent.flight.iter().find(|flight| flight.id == id)
    }

    fn answer(&mut self, n: usize, id: EffectId, outcome: Outcome) {
        let flight = &mut self.node(n).agent.flight;
        if let Some(flight) = flight.iter_mut().find(|flight| flight.id == id) {
            flight.answer = Some(outcome);
        }
    }

    /// Carries an effect out. False: there is nothing to be done now.
    fn carry(&mut self, setup: &Setup, n: usize, id: EffectId) -> bool {
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
            local if self.nodes[n].machine.unit.is_some() && matches!(local, Effect::Apply(_)) => {
                return false;
            }
            local => self.machine(n).carry_out(&setup.releases, local),
        };
        if let Some(outcome) = outcome {
            self.answer(n, id, outcome);
        }
        true
    }

    fn check(&self, setup: &Setup, n: usize) -> Outcome {
        let machine = &self.nodes[n].machine;
        let newer = self.channel > machine.installed;
        let plan = version_installed(&setup.releases, self.channel).filter(|_| newer);
        Outcome::Checked { plan: plan.map(|r| r.plan.clone()), reboot: machine.evidence() }
    }

    fn acquire(&mut self, setup: &Setup, n: usize, id: EffectId) -> bool {
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
    fn spoil(&mut self, setup: &Setup, n: usize, id: EffectId, how: Spoil) -> bool {
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
            (Spoil::Undone, _, None) => Outcome::Failed(text()),
            (Spoil::Refused, Effect::Apply(plan), None) if !unit && !installed(plan) => {
                Outcome::ApplyRefused(text())
            }
            (Spoil::Refused, Effect::Reboot(_), None) => Outcome::RebootRefused(text()),
            (Spoil::Blocked, Effect::Probe, None) => {
                Outcome::Probed { inhibitors: yes(), quorum: Evidence::No }
            }
            (Spoil::Unknown, Effect::Probe, None) => {
                Outcome::Probed { inhibitors: Evidence::No, quorum: unknown() }
            }
            (Spoil::Unknown, Effect::ReadEvidence, None) => Outcome::EvidenceRead(unknown()),
            _ => return false,
        };
        self.answer(n, id, outcome);
        true
    }

    fn deliver(&mut self, setup: &Setup, n: usize, id: EffectId, later: u64) -> Outcomes<bool> {
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

/// What agents do, and whether they may.
impl World {
    /// Gives an event to an agent. True: it was not ignored.
    fn feed(&mut self, setup: &Setup, n: usize, now: Now, event: Event) -> Outcomes<bool> {
        let before = self.nodes[n].agent.state.clone();
        let answered = support::answers(&before, &event);
        let step = (setup.rules.step)(&before, self.policy(setup, n), now, event);
        let taken = step.ignored.is_none();
        self.take_step(setup, n, now, &before, step, answered)?;
        Ok(taken)
    }

    /// Writes the new state down, then begins the effects.
    fn take_step(
        &mut self,
        setup: &Setup,
        n: usize,
        now: Now,
        before: &State,
        step: Step,
        answered: bool,
    ) -> Outcomes<()> {
        let policy = self.policy(setup, n);
        invariants::step_keeps_promises(before, &step, policy, now, answered)
            .map_err(|broken| Violation(format!("{}: {broken}", name(n))))?;
        (setup.audit)(&step, policy, now).map_err(Violation)?;
        let finite = setup.finite;
        let node = self.node(n);
        for (id, effect) in step.effects {
            let agent = &mut node.agent;
            if let (Effect::Apply(plan), Phase::Applying { orders: 1, .. }) =
                (&effect, &step.state.phase)
                && node.machine.installed >= version(&setup.releases, plan)
            {
                return violation(format!("{} applies {plan} again", name(n)));
            }
            // What was begun before on the same side is not run any more.
            agent.flight.retain(|f| is_supply(&f.effect) != is_supply(&effect));
            agent.flight.push(Flight { id, effect, answer: None });
        }
        let mut state = step.state;
        if finite {
            normal::node(node, &mut state, setup.supply, now.mono);
        }
        node.agent.state = Rc::new(state);
        let agent = &node.agent;
        if let Task::Running { id, .. } = agent.state.task
            && !agent.flight.iter().any(|flight| flight.id == id)
        {
            return violation(format!("{} waits for what nobody does", name(n)));
        }
        Ok(())
    }

    /// The promises about all nodes together.
    fn keeps_promises(&self, setup: &Setup) -> Outcomes<()> {
        let nodes = || (0..self.nodes.len()).map(|n| (n, &self.nodes[n].machine));
        let down: BTreeSet<String> = nodes()
            .filter(|(_, machine)| (machine.down || machine.draining) && !machine.forced)
            .map(|(n, _)| name(n))
            .collect();
        let broken = |broken: invariants::Broken| Violation(broken.to_string());
        invariants::down_implies_holder(&self.slots, &down).map_err(broken)?;
        if !self.lowered {
            invariants::at_most_max_down(&self.slots, &down).map_err(broken)?;
        }
        for (n, node) in self.nodes.iter().enumerate() {
            let halted = matches!(node.agent.state.phase, Phase::Failed { halted: true, .. });
            if halted && self.slots.halt.is_none() && !self.interfered {
                return violation(format!("{} failed and the group goes on", name(n)));
            }
        }
        self.bad_stops(setup)
    }

    /// A bad release is tried on as many nodes as may be down at once, unless an admin lets it go on.
    fn bad_stops(&self, setup: &Setup) -> Outcomes<()> {
        let bad = |version| version_installed(&setup.releases, version).is_some_and(|r| r.bad);
        let on_bad =
            |node: &Rc<Node>| bad(node.machine.installed) || node.machine.unit.is_some_and(bad);
        let tried = self.nodes.iter().filter(|node| on_bad(node)).count();
        if tried > self.slots.max as usize && !self.interfered && !self.lowered {
            return violation(format!("{tried} nodes have tried a bad release"));
        }
        Ok(())
    }
}

/// Where it ends.
impl World {
    fn failed(&self) -> Vec<usize> {
        let failed = |n: &usize| matches!(self.nodes[*n].agent.state.phase, Phase::Failed { .. });
        (0..self.nodes.len()).filter(failed).collect()
    }

    /// Where nothing happens by itself any more, each node is steady, failed with the group halted, or
    /// in the queue behind such a node or a halt.
    pub fn rests(&self) -> Outcomes<()> {
        let waits = self.slots.halt.is_some() || !self.failed().is_empty();
        for (n, node) in self.nodes.iter().enumerate() {
            let rests = match &node.agent.state.phase {
                Phase::Steady | Phase::Failed { halted: true, .. } => true,
                Phase::Queued { .. } => waits,
                _ => false,
            };
            if !rests || !node.agent.alive {
                return violation(format!("{} is stuck: {}", name(n), self.phases()));
            }
        }
        Ok(())
    }

    /// What an admin does about a fleet that has come to rest: mend what failed, then resume.
    pub fn admin_helps(&mut self, setup: &Setup) -> Outcomes<()> {
        let failed = self.failed();
        for n in &failed {
            self.act(setup, Action::Mend(*n))?;
        }
        if failed.is_empty() {
            self.act(setup, Action::Resume)?;
        }
        Ok(())
    }

    /// In the end nothing is wanted, nothing is left, and every slot is free.
    pub fn is_quiet(&self) -> Outcomes<()> {
        for (n, node) in self.nodes.iter().enumerate() {
            let (state, machine) = (&node.agent.state, &node.machine);
            let done = matches!(state.phase, Phase::Steady) && gate::wanted(state).is_none();
            let well = !machine.down && !machine.draining && !machine.reboot_pending;
            if !done || !well || machine.wish {
                return violation(format!("{} is stuck: {}", name(n), self.phases()));
            }
        }
        if !self.slots.holders.is_empty() || !self.queue.is_empty() || self.slots.halt.is_some() {
            return violation(format!("{:?} queue {:?} is left", self.slots, self.queue));
        }
        Ok(())
    }

    /// Where the nodes are, for messages.
    pub fn phases(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            let dead = if node.agent.alive { "" } else { " (dead)" };
            format!("{}{dead}", node.agent.state.phase.word())
        });
        nodes.collect::<Vec<_>>().join(", ")
    }
}
