//! Cases that once went wrong, one test each.

#[path = "support/core.rs"]
mod support;

use lockkeeper::core::{state::HoldOff, step::next_wakeup, time::Mono, verdict::Verdict};

use support::{NIGHT, now, quiet};

#[test]
fn a_pause_that_is_over_does_not_wake_the_agent_up_for_ever() {
    let mut state = quiet(now(NIGHT, 1000));
    let why = Verdict::new("inhibited", "shutdown is inhibited");
    state.hold_off = Some(HoldOff { until: Mono(5000), why });
    assert_eq!(next_wakeup(&state, now(NIGHT, 1000)), Mono(5000));
    assert_eq!(next_wakeup(&state, now(NIGHT, 5000)), Mono(65_000));
}
