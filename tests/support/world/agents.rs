//! What agents make of events.

use std::rc::Rc;

use lockkeeper::core::{
    effect::Effect,
    event::Event,
    invariants,
    state::{Phase, State, Task},
    step::Step,
    time::Now,
};

use super::{Flight, Outcomes, Setup, Violation, World, name, violation};
use crate::{
    machine::version,
    normal,
    support::{self, is_supply},
};

impl World {
    /// Gives an event to an agent. True: it was not ignored.
    pub(super) fn feed(
        &mut self,
        setup: &Setup,
        n: usize,
        now: Now,
        event: Event,
    ) -> Outcomes<bool> {
        let before = self.nodes[n].agent.state.clone();
        let answered = support::answers(&before, &event);
        let step = (setup.rules.step)(&before, self.policy(setup, n), now, event);
        let taken = step.ignored.is_none();
        self.take_step(setup, n, now, &before, step, answered)?;
        Ok(taken)
    }

    /// Writes the new state down, then begins the effects.
    pub(super) fn take_step(
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
}
