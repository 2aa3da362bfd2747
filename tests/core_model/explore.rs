//! Breadth-first search of all worlds that can come of one.

use std::collections::{HashMap, VecDeque};

use crate::{
    chances::{self, Luck},
    fair,
    world::{Action, Setup, Violation, World},
};

/// What a search has found.
pub struct Found {
    pub states: usize,
    pub steps: usize,
    /// A broken promise, and the shortest way to it.
    pub violation: Option<(Violation, Vec<String>)>,
}

struct Search<'a> {
    setup: &'a Setup,
    /// From every one in so many states, the end is looked for.
    sample: u64,
    root: World,
    /// How each world was first reached.
    seen: HashMap<u64, Option<(u64, Action)>>,
    good: fair::Good,
    steps: usize,
}

/// Searches everything that can come of `root`, until a promise is broken. From every one in `sample`
/// states, the fleet must find its end.
pub fn explore(setup: &Setup, root: World, luck: Luck, sample: u64) -> Found {
    let mut search = Search {
        setup,
        sample,
        seen: HashMap::from([(root.fingerprint(), None)]),
        root: root.clone(),
        good: fair::Good::new(),
        steps: 0,
    };
    let mut queue = VecDeque::from([root]);
    let mut violation = None;
    while let Some(world) = queue.pop_front() {
        if let Err((broken, way)) = search.expand(&world, luck, &mut queue) {
            violation = Some((broken, way));
            break;
        }
    }
    Found { states: search.seen.len(), steps: search.steps, violation }
}

impl Search<'_> {
    fn expand(
        &mut self,
        world: &World,
        luck: Luck,
        queue: &mut VecDeque<World>,
    ) -> Result<(), (Violation, Vec<String>)> {
        let from = world.fingerprint();
        if from.is_multiple_of(self.sample) {
            fair::ends_well(world.clone(), self.setup, &mut self.good)
                .map_err(|broken| (broken, self.way(from)))?;
        }
        let mut next: Vec<(Action, u8)> =
            chances::ordinary(world).into_iter().map(|action| (action, 0)).collect();
        next.extend((0..world.nodes.len()).map(|n| (Action::Deadline(n), 0)));
        if world.budget > 0 {
            next.extend(chances::unlucky(world, luck).into_iter().map(|action| (action, 1)));
        }
        for (action, cost) in next {
            let mut after = world.clone();
            after.budget -= cost;
            let happened = after.act(self.setup, action).map_err(|broken| {
                let mut way = self.way(from);
                way.push(format!("{action:?}"));
                (broken, way)
            })?;
            if !happened {
                continue;
            }
            self.steps += 1;
            let to = after.fingerprint();
            if let std::collections::hash_map::Entry::Vacant(entry) = self.seen.entry(to) {
                entry.insert(Some((from, action)));
                queue.push_back(after);
            }
        }
        Ok(())
    }

    /// The actions that lead to a world, with the phases after each.
    fn way(&self, to: u64) -> Vec<String> {
        let mut actions = Vec::new();
        let mut at = to;
        while let Some(Some((from, action))) = self.seen.get(&at) {
            actions.push(*action);
            at = *from;
        }
        let mut world = self.root.clone();
        let mut way = Vec::new();
        for action in actions.into_iter().rev() {
            world.act(self.setup, action).unwrap();
            way.push(format!("{action:?} → {}", world.phases()));
        }
        way
    }
}
