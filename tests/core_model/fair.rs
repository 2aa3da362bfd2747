//! What becomes of a fleet when nothing goes wrong any more.

use std::collections::HashSet;

use crate::world::{Action, Outcomes, Setup, Violation, World};

/// Rounds within which every fleet must find its end.
const ROUNDS: usize = 400;

/// States from which the end is known to be found.
pub type Good = HashSet<u64>;

/// Lets everything that is not bad luck happen, round after round, until nothing changes any more;
/// then lets an admin mend and resume. In the end all is quiet and every slot is free.
pub fn ends_well(mut world: World, setup: &Setup, good: &mut Good) -> Outcomes<()> {
    world.budget = 0;
    let mut trail = Vec::new();
    for _ in 0..ROUNDS {
        let before = world.fingerprint();
        if good.contains(&before) {
            good.extend(trail);
            return Ok(());
        }
        trail.push(before);
        for late in [false, true] {
            if world.fingerprint() == before {
                round(&mut world, setup, late)?;
            }
        }
        if world.fingerprint() == before {
            world.rests()?;
            if !admin(&mut world, setup)? {
                world.is_quiet(setup)?;
                good.extend(trail);
                return Ok(());
            }
        }
    }
    Err(Violation(format!("no end after {ROUNDS} rounds: {}", world.phases())))
}

/// Everything that can happen by itself, once; `late`: answers come after every deadline.
fn round(world: &mut World, setup: &Setup, late: bool) -> Outcomes<()> {
    world.act(setup, Action::Window(true))?;
    world.act(setup, Action::Policy(0))?;
    for n in 0..world.nodes.len() {
        if !world.holds(n) {
            // What an admin locked by hand, an admin unlocks.
            world.act(setup, Action::Unlock(n))?;
        }
        world.act(setup, Action::Start(n))?;
        let ids: Vec<_> = world.nodes[n].agent.flight.iter().map(|flight| flight.id).collect();
        for id in ids {
            world.act(setup, Action::Carry(n, id))?;
            world.act(setup, Action::UnitEnds(n, true))?;
            let deliver = if late { Action::DeliverLate(n, id) } else { Action::Deliver(n, id) };
            world.act(setup, deliver)?;
        }
        world.act(setup, Action::UnitEnds(n, true))?;
        world.act(setup, Action::Reboot(n))?;
        world.act(setup, Action::Recover(n))?;
        world.act(setup, Action::Deadline(n))?;
    }
    Ok(())
}

/// What an admin does about a fleet that has come to rest. False: nothing.
fn admin(world: &mut World, setup: &Setup) -> Outcomes<bool> {
    let before = world.fingerprint();
    world.admin_helps(setup)?;
    Ok(world.fingerprint() != before)
}
