//! Everything that can happen next in a world.
#![allow(dead_code)] // each test program uses a part of it

use lockkeeper::core::{
    effect::Effect,
    event::{Ask, Outcome},
    state::Phase,
};

use crate::world::{Action, Flight, Spoil, World};

/// Kinds of bad luck, and of admins, that a search allows. Each event costs one of the budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Luck {
    pub crashes: bool,
    pub power_cuts: bool,
    pub lost_answers: bool,
    /// Refusals, inhibitors, unknown answers, failed installations, reboots that never come, sickness.
    pub obstacles: bool,
    /// Windows close and open, acting is switched off and on.
    pub policy: bool,
    /// Admins ask nodes.
    pub asks: bool,
    /// Admins lock, unlock, halt, resume, change `max`.
    pub force: bool,
}

impl Luck {
    /// Everything.
    pub fn all() -> Self {
        Self {
            crashes: true,
            power_cuts: true,
            lost_answers: true,
            obstacles: true,
            policy: true,
            asks: true,
            force: true,
        }
    }
}

/// What can happen without bad luck. Some of these turn out not to be possible.
pub fn ordinary(world: &World) -> Vec<Action> {
    let mut actions = Vec::new();
    for (n, node) in world.nodes.iter().enumerate() {
        let machine = &node.machine;
        if !node.agent.alive {
            actions.push(Action::Start(n));
            if world.queue.contains(&n) {
                actions.push(Action::Expire(n));
            }
        }
        for flight in &node.agent.flight {
            actions.extend(flight_goes_on(n, flight));
        }
        if machine.reboot_pending {
            actions.push(Action::Reboot(n));
        }
        if machine.busy() {
            actions.push(Action::UnitEnds(n, true));
        }
        if machine.sick {
            actions.push(Action::Recover(n));
        }
    }
    actions
}

/// Reboots that may come as soft ones. Only the first one of a boot does not help: the next one for the
/// same reasons is not a soft one.
pub fn soft_reboots(world: &World) -> Vec<Action> {
    let mut actions = Vec::new();
    for (n, node) in world.nodes.iter().enumerate().filter(|(_, node)| node.machine.reboot_pending)
    {
        actions.push(Action::SoftReboot(n, true));
        if node.machine.soft == 0 {
            actions.push(Action::SoftReboot(n, false));
        }
    }
    actions
}

fn flight_goes_on(n: usize, flight: &Flight) -> Vec<Action> {
    match &flight.answer {
        None => vec![Action::Carry(n, flight.id)],
        Some(Outcome::Verified(report)) if !report.healthy() => {
            vec![Action::Deliver(n, flight.id), Action::DeliverLate(n, flight.id)]
        }
        Some(_) => vec![Action::Deliver(n, flight.id)],
    }
}

/// What can happen with bad luck.
pub fn unlucky(world: &World, luck: Luck) -> Vec<Action> {
    let mut actions = Vec::new();
    for n in 0..world.nodes.len() {
        troubles(world, n, luck, &mut actions);
        if luck.asks && world.nodes[n].agent.alive {
            actions.extend([
                Action::Ask(n, Ask::Reboot { now: false }),
                Action::Ask(n, Ask::Reboot { now: true }),
                Action::Ask(n, Ask::Cancel),
                Action::Ask(n, Ask::Check),
            ]);
        }
        if luck.force {
            actions.extend([Action::Unlock(n), Action::Lock(n)]);
        }
    }
    if luck.policy {
        actions.extend([Action::Window(false), Action::Window(true)]);
        actions.extend([Action::Policy(0), Action::Policy(1)]);
    }
    if luck.force {
        actions.extend([Action::Halt, Action::Resume, Action::SetMax(1), Action::SetMax(2)]);
    }
    actions
}

fn troubles(world: &World, n: usize, luck: Luck, actions: &mut Vec<Action>) {
    let node = &world.nodes[n];
    if luck.crashes && node.agent.alive {
        actions.push(Action::Crash(n));
    }
    if luck.power_cuts {
        actions.push(Action::PowerCut(n));
    }
    for flight in &node.agent.flight {
        let spoil = |how| Action::Spoil(n, flight.id, how);
        if luck.lost_answers {
            let how = if flight.answer.is_some() { Spoil::Lost } else { Spoil::Undone };
            actions.push(spoil(how));
        }
        if luck.obstacles && flight.answer.is_none() {
            actions.extend(obstacles(&flight.effect).iter().map(|how| spoil(*how)));
        }
    }
    if luck.obstacles {
        if node.machine.busy() {
            actions.push(Action::UnitEnds(n, false));
        }
        if node.machine.reboot_pending {
            actions.push(Action::RebootLost(n));
        }
        let watched = matches!(node.agent.state.phase, Phase::Verifying { .. });
        if node.machine.down && watched {
            actions.push(Action::Sicken(n));
        }
    }
}

fn obstacles(effect: &Effect) -> &'static [Spoil] {
    match effect {
        Effect::Probe => &[Spoil::Blocked, Spoil::Unknown, Spoil::Hook],
        Effect::Drain => &[Spoil::Hook],
        Effect::ReadEvidence => &[Spoil::Unknown],
        Effect::Apply(_) | Effect::Undo(_) => &[Spoil::Refused],
        Effect::Reboot(_) => &[Spoil::Refused, Spoil::Hook],
        Effect::ApplyAtBoot { .. } => &[Spoil::Refused, Spoil::Unready, Spoil::Hook],
        Effect::Check
        | Effect::Stage(_)
        | Effect::AcquireSlot { .. }
        | Effect::LeaveQueue
        | Effect::Record
        | Effect::Finish(_)
        | Effect::Restore
        | Effect::Verify(_)
        | Effect::Confirm(_)
        | Effect::Undrain
        | Effect::Release
        | Effect::Halt(_) => &[],
    }
}
