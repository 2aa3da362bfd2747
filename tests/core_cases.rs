//! Cases that once went wrong, one test each.

#[path = "support/core.rs"]
mod support;

use lockkeeper::core::{
    event::{Event, Outcome},
    invariants::attempts_are_bounded,
    resume::resume,
    state::{HoldOff, Phase, State, Task},
    step::{next_wakeup, step},
    time::Mono,
    verdict::Verdict,
};

use support::{NIGHT, boot, done, job, now, plan, policy, quiet, running, staged, words};

#[test]
fn a_pause_that_is_over_does_not_wake_the_agent_up_for_ever() {
    let mut state = quiet(now(NIGHT, 1000));
    let why = Verdict::new("inhibited", "shutdown is inhibited");
    state.hold_off = Some(HoldOff { until: Mono(5000), why });
    assert_eq!(next_wakeup(&state, now(NIGHT, 1000)), Mono(5000));
    assert_eq!(next_wakeup(&state, now(NIGHT, 5000)), Mono(65_000));
}

fn applying(orders: u32) -> State {
    running(staged(now(NIGHT, 0)), Phase::Applying { job: job(Some(plan(0).id)), orders })
}

#[test]
fn an_agent_that_restarts_often_while_applying_attaches_each_time_and_counts_no_further() {
    let mut state = applying(1);
    for _ in 0..20 {
        let step = resume(state.clone(), &boot(1), &policy("web-1"), now(NIGHT, 1000));
        assert_eq!(words(&step), ["apply"]);
        assert_eq!(attempts_are_bounded(&step.state), Ok(()));
        state = step.state;
    }
}

#[test]
fn an_apply_that_every_boot_interrupts_is_given_up_and_the_slot_is_kept() {
    let mut state = applying(1);
    for n in 2..=10 {
        state = resume(state, &boot(n), &policy("web-1"), now(NIGHT, 1000)).state;
        assert_eq!(state.phase.word(), "applying");
    }
    let step = resume(state, &boot(11), &policy("web-1"), now(NIGHT, 1000));
    assert_eq!((step.state.phase.word(), words(&step)), ("failed", vec!["halt"]));
    assert!(step.state.denied.contains_key(&plan(0).id));
}

#[test]
fn an_apply_answered_with_something_else_time_and_again_fails() {
    let mut state = applying(1);
    for n in 0..30 {
        let Task::Running { id, .. } = state.task else { break };
        let at = now(NIGHT, 100_000 * n);
        let later = now(NIGHT, 100_000 * n + 90_000);
        state = step(&state, &policy("web-1"), at, done(id, Outcome::Drained)).state;
        state = step(&state, &policy("web-1"), later, Event::Tick).state;
        assert_eq!(attempts_are_bounded(&state), Ok(()));
    }
    assert_eq!(state.phase.word(), "failed");
}
