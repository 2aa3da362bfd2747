//! An honest environment for agents: machines, the lock store, admins, and every kind of bad luck.
//!
//! A reboot is requested now and happens later. What an agent ordered may have been carried out, or
//! not, when its answer is lost or the agent dies. An apply runs on without the agent, and is cut
//! short by a power cut. Tickets of dead waiters expire. A late write of a dead agent is not modelled
//! apart from a lost answer: the store takes a write only on the revision that was read.
#![allow(dead_code)] // each test program uses a part of it

#[path = "world/actions.rs"]
mod actions;
#[path = "world/agents.rs"]
mod agents;
#[path = "world/effects.rs"]
mod effects;
#[path = "world/fingerprint.rs"]
mod fingerprint;
#[path = "world/promises.rs"]
mod promises;

use std::{cell::Cell, rc::Rc};

use lockkeeper::core::{
    effect::{Effect, EffectId},
    event::{Ask, Event, Outcome},
    policy::Policy,
    slots::{Holder, Refusal, Slots},
    state::State,
    step::Step,
    time::{BootId, Mono, Now},
};

use crate::{
    machine::{Machine, Release},
    normal,
    support::{NIGHT, now},
};

use fingerprint::hash;

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
            admit: |slots, claim| slots.admit(claim, 0),
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
    /// The most slots there have been.
    pub most: u32,
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
    /// One that was accepted comes as a soft-reboot; it helps, or not.
    SoftReboot(usize, bool),
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
    /// What is to be done is not in order.
    Unready,
    /// A blocker is there.
    Blocked,
    /// A hook says no.
    Hook,
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
            most: max,
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
        let shared = (self.slots.max, self.most, self.slots.halt.is_some(), self.policy, self.wall);
        let flags = (self.channel, self.store_up, self.interfered, self.lowered, self.budget);
        hash(&(nodes, shared, flags))
    }
}
