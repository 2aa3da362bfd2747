//! Checking and staging: beside the cycle, and never while a slot is held.

use std::time::Duration;

use jiff::Timestamp;

use super::{Effect, Machine, Outcome, SupplyTask};
use crate::core::{
    event::Again, health::Evidence, plan::Plan, policy::Policy, state::Staged, verdict::Verdict,
};

/// Longest time between a failure and the next check.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

impl Machine<'_> {
    /// Starts a check that is due.
    pub(super) fn advance_supply(&mut self) {
        let idle = self.state.supply.task == SupplyTask::Idle;
        let due = self.state.supply.next_check <= self.now.mono;
        if idle && due && self.state.phase.held().is_none() {
            let id = self.order(Effect::Check);
            self.state.supply.checks += 1;
            self.state.supply.task = SupplyTask::Checking { id };
        }
    }

    /// Under a changed policy the next check comes no later than if it had been in force all along; a
    /// plan that was chosen by other rules is replaced at once.
    pub(super) fn hasten_check(&mut self) {
        if self.state.staged.as_ref().is_some_and(|s| s.choice != self.policy.choice) {
            self.state.supply.next_check = self.now.mono;
        }
        let policy = self.policy;
        let checked = self.state.supply.last_ok.is_some();
        let base = if checked { policy.check_interval } else { policy.check_first };
        let delay =
            Policy::varied(base, policy.check_spread, &policy.node, self.state.supply.checks);
        let latest = self.now.mono.plus(delay);
        self.state.supply.next_check = self.state.supply.next_check.min(latest);
    }

    pub(super) fn take_supply_outcome(&mut self, outcome: Outcome) {
        match (self.state.supply.task.clone(), outcome) {
            (
                SupplyTask::Checking { .. },
                Outcome::Checked { plan, kept_back, reboot, choice, again },
            ) => {
                self.state.supply.kept_back = kept_back;
                self.state.supply.again = again;
                self.take_check(plan, reboot, choice);
            }
            (SupplyTask::Checking { .. }, Outcome::Failed(error)) => {
                self.supply_failed("check-failed", &format!("the check failed: {error}"));
            }
            (SupplyTask::Staging { plan, choice, .. }, Outcome::Staged) => {
                self.state.staged = Some(Staged { plan, at: self.now.wall, choice });
                self.supply_succeeded();
            }
            (SupplyTask::Staging { plan, .. }, Outcome::Failed(error)) => {
                let text = format!("staging {} failed: {error}", plan.id.short());
                self.supply_failed("stage-failed", &text);
            }
            (task, outcome) => {
                // An answer of another kind than the order: the outside is confused, not we.
                self.ignore(&format!("{} does not answer {task:?}", outcome.word()));
                self.supply_failed("check-failed", "the check was answered with something else");
            }
        }
    }

    fn take_check(&mut self, plan: Option<Plan>, reboot: Evidence, choice: String) {
        self.state.supply.last_ok = Some(self.now.wall);
        self.state.supply.offered = plan.as_ref().map(|plan| plan.id.clone());
        if reboot == Evidence::No {
            self.state.rebooted_for.clear();
        }
        self.state.reboot_needed = reboot;
        match plan {
            Some(plan) if self.state.denied.contains_key(&plan.id) => {
                self.state.staged = None;
                self.supply_succeeded();
            }
            Some(plan) => match &mut self.state.staged {
                Some(staged) if staged.plan.id == plan.id => {
                    staged.choice = choice;
                    self.supply_succeeded();
                }
                _ => {
                    let id = self.order(Effect::Stage(plan.id.clone()));
                    self.state.supply.task = SupplyTask::Staging { id, plan, choice };
                }
            },
            None => {
                self.state.staged = None;
                self.supply_succeeded();
            }
        }
    }

    fn supply_succeeded(&mut self) {
        self.state.supply.failures = 0;
        self.state.supply.problem = None;
        self.state.supply.task = SupplyTask::Idle;
        let Again { wait, at } = self.state.supply.again;
        let delay = Policy::varied(
            wait.unwrap_or(self.policy.check_interval),
            self.policy.check_spread,
            &self.policy.node,
            self.state.supply.checks,
        );
        // A moment that the clock has passed meanwhile is one second away.
        let until = |at: Timestamp| {
            Duration::try_from(at.duration_since(self.now.wall)).unwrap_or(Duration::ZERO)
        };
        let delay = at.map_or(delay, |at| delay.min(until(at).max(Duration::from_secs(1))));
        self.state.supply.next_check = self.now.mono.plus(delay);
    }

    fn supply_failed(&mut self, code: &str, text: &str) {
        let supply = &mut self.state.supply;
        supply.failures = supply.failures.saturating_add(1);
        let since = supply
            .problem
            .as_ref()
            .filter(|problem| problem.code == code)
            .and_then(|problem| problem.since)
            .unwrap_or(self.now.wall);
        supply.problem = Some(Verdict::new(code, text).since(since));
        supply.task = SupplyTask::Idle;
        let doubled = Duration::from_secs(10_u64 << supply.failures.min(9));
        let delay =
            doubled.min(LONGEST_RETRY).min(self.policy.check_interval.max(Duration::from_secs(1)));
        supply.next_check = self.now.mono.plus(delay);
    }
}
