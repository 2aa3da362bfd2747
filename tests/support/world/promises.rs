//! The promises about all nodes together, and where it all ends.

use std::collections::BTreeSet;

use lockkeeper::core::{gate, invariants, state::Phase};

use super::{Action, Outcomes, Setup, Violation, World, name, violation};

impl World {
    /// The promises about all nodes together.
    pub(super) fn keeps_promises(&self) -> Outcomes<()> {
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
            let held = node.agent.state.phase.held().is_some();
            if node.machine.drained && !held {
                return violation(format!("{} is still drained", name(n)));
            }
            if halted && self.slots.halt.is_none() && !self.interfered {
                return violation(format!("{} failed and the group goes on", name(n)));
            }
        }
        self.bad_stops()
    }

    /// A bad release is tried on as many nodes as could be down at once, unless an admin lets it go on.
    pub(super) fn bad_stops(&self) -> Outcomes<()> {
        let tried = self.nodes.iter().filter(|node| node.machine.tried_bad).count();
        if tried > self.most as usize && !self.interfered {
            return violation(format!("{tried} nodes have tried a bad release"));
        }
        Ok(())
    }
}

/// Where it ends.
impl World {
    pub(super) fn failed(&self) -> Vec<usize> {
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
    pub fn is_quiet(&self, setup: &Setup) -> Outcomes<()> {
        for (n, node) in self.nodes.iter().enumerate() {
            let (state, machine) = (&node.agent.state, &node.machine);
            let wanted = gate::wanted(state, self.policy(setup, n));
            let done = matches!(state.phase, Phase::Steady) && wanted.is_none();
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

    /// Where a node is.
    pub fn word(&self, n: usize) -> &'static str {
        self.nodes[n].agent.state.phase.word()
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
