//! Every way the lock's protocol can go, for one to three nodes in one or two groups: the decisions are
//! the real ones (`core::turn`), etcd is a model of it, and replies are lost, writes arrive late, agents
//! die, leases end, admins interfere. The promises about admissions are those that the real histories
//! are checked with (`support/trace/rules.rs`). `MODEL_DEEPER=1` allows one mishap more in each scope.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "lock_model/real.rs"]
mod real;
#[path = "lock_model/same.rs"]
mod same;
#[path = "lock_model/store.rs"]
mod store;
#[path = "support/trace.rs"]
mod trace;
#[path = "lock_model/world.rs"]
mod world;

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};

use store::{Cast, Mutant};
use world::{Action, World};

/// Node ids and groups of the processes, number of groups.
type Scope = (Vec<(u8, Vec<usize>)>, usize);

fn two_in_one() -> Scope {
    (vec![(0, vec![0]), (1, vec![0])], 1)
}

/// The two groups of the first are each shared with another.
fn three_in_two() -> Scope {
    (vec![(0, vec![0, 1]), (1, vec![1]), (2, vec![0])], 2)
}

fn two_across_two() -> Scope {
    (vec![(0, vec![0, 1]), (1, vec![0, 1])], 2)
}

/// A machine and its clone.
fn a_clone() -> Scope {
    (vec![(0, vec![0]), (0, vec![0])], 1)
}

/// What a search found.
struct Found {
    states: usize,
    broken: Option<(String, Vec<Action>)>,
}

struct Search<'a> {
    cast: &'a Cast,
    root: World,
    seen: HashMap<u64, Option<(u64, Action)>>,
    /// From here everybody gets to an end.
    good: HashSet<u64>,
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

fn after(cast: &Cast, world: &World, action: Action) -> Result<World, String> {
    let mut next = world.clone();
    next.take(cast, action)?;
    Ok(next.canonical())
}

/// Searches everything that can come of a scope with so many mishaps.
fn search((procs, groups): Scope, mishaps: u8, mutant: Mutant) -> Found {
    // With three nodes that is too much to search.
    let hears_by_half = procs.len() < 3;
    let cast = Cast { procs, hears_by_half, mutant };
    let deeper = u8::from(std::env::var_os("MODEL_DEEPER").is_some());
    let root = World::new(&cast, groups, mishaps + deeper).canonical();
    let seen = HashMap::from([(fingerprint(&root), None)]);
    let mut search = Search { cast: &cast, root: root.clone(), seen, good: HashSet::new() };
    let mut queue = VecDeque::from([root]);
    while let Some(world) = queue.pop_front() {
        if let Err(broken) = search.expand(&world, &mut queue) {
            return Found { states: search.seen.len(), broken: Some(broken) };
        }
    }
    Found { states: search.seen.len(), broken: None }
}

impl Search<'_> {
    fn expand(
        &mut self,
        world: &World,
        queue: &mut VecDeque<World>,
    ) -> Result<(), (String, Vec<Action>)> {
        let from = fingerprint(world);
        // What is on its way may arrive, or be lost for good.
        let lost = World { flying: Vec::new(), ..world.clone() }.canonical();
        for world in [world, &lost] {
            self.ends_well(world).map_err(|why| (why, self.way(from, None)))?;
        }
        for action in world.actions(self.cast) {
            let next = after(self.cast, world, action)
                .map_err(|why| (why, self.way(from, Some(action))))?;
            if let Entry::Vacant(place) = self.seen.entry(fingerprint(&next)) {
                place.insert(Some((from, action)));
                queue.push_back(next);
            }
        }
        Ok(())
    }

    /// Without further mishaps everybody gets what it wants. Every wait ends by something it waits for.
    fn ends_well(&mut self, world: &World) -> Result<(), String> {
        let mut world = World { mishaps: 0, ..world.clone() };
        let mut way = Vec::new();
        loop {
            let here = fingerprint(&world);
            if self.good.contains(&here) {
                break;
            }
            if way.contains(&here) {
                return Err("it goes round in circles".to_owned());
            }
            way.push(here);
            match world.fair(self.cast) {
                Some(action) => world = after(self.cast, &world, action)?,
                None if world.at_rest() => break,
                None => return Err(format!("nothing happens any more: {:?}", world.procs)),
            }
        }
        self.good.extend(way);
        Ok(())
    }

    fn way(&self, mut from: u64, last: Option<Action>) -> Vec<Action> {
        let mut way: Vec<Action> = last.into_iter().collect();
        while let Some(Some((before, action))) = self.seen.get(&from) {
            way.push(*action);
            from = *before;
        }
        debug_assert_eq!(from, fingerprint(&self.root));
        way.reverse();
        way
    }
}

fn holds(scope: Scope, mishaps: u8) {
    let found = search(scope, mishaps, Mutant::None);
    if let Some((why, way)) = found.broken {
        panic!("{why}, after\n{way:#?}");
    }
    assert!(found.states > 100, "a search of {} states shows nothing", found.states);
}

#[test]
fn two_nodes_in_one_group_share_its_slot() {
    holds(two_in_one(), 2);
}

#[test]
fn three_nodes_in_two_groups_share_the_slots() {
    holds(three_in_two(), 1);
}

#[test]
fn two_nodes_in_the_same_two_groups_share_the_slots() {
    holds(two_across_two(), 1);
}

#[test]
fn a_cloned_node_never_shares_a_slot_with_its_original() {
    holds(a_clone(), 2);
}

#[test]
fn every_deliberate_mistake_is_found() {
    for (mutant, scope, mishaps) in [
        (Mutant::NoTicketGuard, two_in_one(), 2),
        (Mutant::NoSlotsGuard, two_in_one(), 2),
        (Mutant::IgnoresSettle, two_in_one(), 2),
        (Mutant::NoSettleGuard, two_in_one(), 2),
        (Mutant::NoHaltGuard, two_in_one(), 2),
        (Mutant::NoReadBack, two_in_one(), 2),
        (Mutant::GroupByGroup, two_across_two(), 0),
        (Mutant::AnybodyTries, three_in_two(), 0),
        (Mutant::KeepsAPart, two_across_two(), 2),
        (Mutant::ReleasesAnybody, a_clone(), 2),
    ] {
        let found = search(scope, mishaps, mutant);
        let (why, way) = found.broken.unwrap_or_else(|| panic!("{mutant:?} is not found"));
        let way: Vec<_> = way.iter().map(|action| format!("{action:?}")).collect();
        println!("{mutant:?}: {why}, after\n  {}", way.join("\n  "));
    }
}
