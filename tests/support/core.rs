//! Builders for tests of the core: plans, policies, instants, and a state for every phase.
#![allow(dead_code)] // each test program uses a part of it

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::{Time, Weekday},
    tz::TimeZone,
};
use lockkeeper::core::{
    effect::{Effect, EffectId},
    event::{Event, Outcome},
    plan::{PackageChange, Plan, PlanId},
    policy::Policy,
    state::{Job, Phase, Staged, State, Task},
    step::Step,
    time::{BootId, Mono, Now},
    window::{Schedule, Window},
};

/// 2026-03-04 03:00 UTC, a Wednesday: inside the window of [`nightly`].
pub const NIGHT: i64 = 1_772_593_200;
/// Nine hours later: outside of it.
pub const NOON: i64 = NIGHT + 9 * 3600;

/// Seconds since 1970 as an instant.
pub fn wall(secs: i64) -> Timestamp {
    Timestamp::from_second(secs).unwrap()
}

/// An instant: wall clock in seconds since 1970, monotonic clock in milliseconds.
pub fn now(wall_secs: i64, mono: u64) -> Now {
    Now { wall: wall(wall_secs), mono: Mono(mono) }
}

/// The `n`th boot.
pub fn boot(n: u32) -> BootId {
    BootId(format!("boot-{n}"))
}

/// The `n`th plan: `n` + 1 packages.
pub fn plan(n: u32) -> Plan {
    let package = |p: u32| PackageChange {
        name: format!("package-{p}"),
        arch: "all".to_owned(),
        from: Some(format!("1.{n}")),
        to: format!("1.{}", n + 1),
        sha256: "00".to_owned(),
        size: 1000,
        origin: "Debian:12/stable".to_owned(),
    };
    Plan::new((0..=n).map(package).collect()).unwrap()
}

/// 02:00 to 06:00 UTC every day, not begun in the last 15 minutes.
pub fn nightly() -> Schedule {
    let days = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    let window = Window {
        days: days.to_vec(),
        start: Time::constant(2, 0, 0, 0),
        length: Duration::from_secs(4 * 3600),
        zone: TimeZone::UTC,
    };
    Schedule {
        windows: vec![window],
        min_remaining: Duration::from_secs(15 * 60),
        ..Schedule::default()
    }
}

/// The rules that plans are chosen by.
pub const CHOICE: &str = "distribution";

/// The shipped delays, with acting on and the window of [`nightly`].
pub fn policy(node: &str) -> Policy {
    Policy {
        act: true,
        schedule: nightly(),
        check_first: Duration::from_secs(7 * 60),
        check_interval: Duration::from_secs(45 * 60),
        check_spread: Duration::from_secs(5 * 60),
        reboot_timeout: Duration::from_secs(600),
        verify_settle: Duration::from_secs(30),
        verify_timeout: Duration::from_secs(600),
        choice: CHOICE.to_owned(),
        at_boot: false,
        roll_back: true,
        node: node.to_owned(),
        name: node.to_owned(),
    }
}

/// A cycle for `plan`.
pub fn job(plan: Option<PlanId>) -> Job {
    let reason = if plan.is_some() { "1 package(s)" } else { "kernel" };
    Job {
        plan,
        reason: reason.to_owned(),
        always_reboot: false,
        now: false,
        at_boot: false,
        undone: None,
    }
}

/// A fresh state whose next check is far away, at `at`.
pub fn quiet(at: Now) -> State {
    let mut state = State::new("nonce".to_owned(), boot(1), at);
    state.supply.next_check = at.mono.plus(Duration::from_secs(3600));
    state
}

/// [`quiet`] with the first plan staged.
pub fn staged(at: Now) -> State {
    let mut state = quiet(at);
    state.staged = Some(Staged { plan: plan(0), at: at.wall, choice: CHOICE.to_owned() });
    state
}

/// `state` in `phase` since its `entered`, with effect 7 running and 8 the next.
pub fn running(mut state: State, phase: Phase) -> State {
    state.phase = phase;
    state.task = Task::Running { id: EffectId(7), tries: 0 };
    state.next_effect = 8;
    state
}

/// Whether `event` answers the effect that `state` waits for in its cycle.
pub fn answers(state: &State, event: &Event) -> bool {
    match (event, &state.task) {
        (Event::Done { id, .. }, Task::Running { id: running, .. }) => id == running,
        _ => false,
    }
}

/// An answer as an event.
pub fn done(id: EffectId, outcome: Outcome) -> Event {
    Event::Done { id, outcome }
}

/// The effects of a step by their words, in order.
pub fn words(step: &Step) -> Vec<&'static str> {
    step.effects.iter().map(|(_, effect)| effect.word()).collect()
}

/// Whether the effect belongs to checking and staging, not to the cycle.
pub fn is_supply(effect: &Effect) -> bool {
    matches!(effect, Effect::Check | Effect::Stage(_))
}
