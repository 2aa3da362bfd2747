//! What holds for every row, whatever the golden record says.

use lockkeeper::core::{
    effect::{Effect, EffectId},
    event::Event,
    invariants::step_keeps_promises,
    resume::resume,
    state::{Phase, State, Task},
    step::{Step, next_wakeup, step},
};

use crate::{
    events,
    situations::{self, Situation},
    support::{answers, boot, is_supply},
};

fn each_row(check: impl Fn(&Situation, &str, &Event, &Step)) {
    for row in situations::all() {
        for (name, event) in events::all(row.id) {
            let result = step(&row.state, &row.policy, row.now, event.clone());
            check(&row, &format!("{} × {name}", row.name), &event, &result);
        }
    }
}

fn each_restart(check: impl Fn(&Situation, &str, u32, &Step)) {
    for row in situations::all() {
        for n in [1, 2] {
            let result = resume(row.state.clone(), &boot(n), &row.policy, row.now);
            check(&row, &format!("{} × restart in boot {n}", row.name), n, &result);
        }
    }
}

#[test]
fn every_step_keeps_the_promises() {
    each_row(|row, name, event, result| {
        let answered = answers(&row.state, event);
        let kept = step_keeps_promises(&row.state, result, &row.policy, row.now, answered);
        assert_eq!(kept, Ok(()), "{name}");
    });
}

#[test]
fn every_restart_keeps_the_promises() {
    each_restart(|row, name, n, result| {
        // A reboot has ended whatever ran.
        let kept = step_keeps_promises(&row.state, result, &row.policy, row.now, n != 1);
        assert_eq!(kept, Ok(()), "{name}");
    });
}

#[test]
fn the_same_event_always_leads_to_the_same_step() {
    each_row(|row, name, event, result| {
        assert_eq!(*result, step(&row.state, &row.policy, row.now, event.clone()), "{name}");
    });
}

#[test]
fn what_nobody_waits_for_is_ignored_with_a_reason_and_changes_nothing() {
    each_row(|row, name, event, result| {
        let Event::Done { id: events::STALE, .. } = event else { return };
        let tick = step(&row.state, &row.policy, row.now, Event::Tick);
        assert_eq!(result.state, tick.state, "{name}");
        assert_eq!(result.effects, tick.effects, "{name}");
        assert!(result.ignored.as_ref().is_some_and(|reason| !reason.is_empty()), "{name}");
    });
}

#[test]
fn an_answer_to_something_else_is_never_taken_for_success() {
    each_row(|row, name, _, result| {
        if result.ignored.as_ref().is_none_or(|reason| !reason.contains("does not answer")) {
            return;
        }
        let tick = step(&row.state, &row.policy, row.now, Event::Tick).state.phase;
        let failed = matches!(result.state.phase, Phase::Failed { .. });
        assert!(failed || result.state.phase.word() == tick.word(), "{name}");
    });
}

/// The effects are numbered upwards from the state's counter; each is awaited by its task.
fn orders_are_sound(before: &State, result: &Step, name: &str) {
    let first = before.next_effect;
    let ids: Vec<u64> = result.effects.iter().map(|(id, _)| id.0).collect();
    let expected: Vec<u64> = (first..first + ids.len() as u64).collect();
    assert_eq!(ids, expected, "{name}: numbered in order");
    assert_eq!(result.state.next_effect, first + ids.len() as u64, "{name}: counted");
    let of = |supply: bool| -> Vec<(EffectId, &Effect)> {
        let all = result.effects.iter().filter(|(_, effect)| is_supply(effect) == supply);
        all.map(|(id, effect)| (*id, effect)).collect()
    };
    assert!(of(true).len() <= 1, "{name}: one supply effect at most");
    match (of(false).as_slice(), &result.state.task) {
        ([], _) => {}
        ([(id, _)], Task::Running { id: awaited, .. }) => assert_eq!(id, awaited, "{name}"),
        (orders, task) => panic!("{name}: {orders:?} with {task:?}"),
    }
}

#[test]
fn every_order_has_its_number_and_is_awaited() {
    each_row(|row, name, _, result| orders_are_sound(&row.state, result, name));
    each_restart(|row, name, _, result| orders_are_sound(&row.state, result, name));
}

#[test]
fn nothing_is_left_without_an_answer_to_come_or_a_time_to_act() {
    let check = |row: &Situation, name: &str, result: &Step| {
        let steady = matches!(result.state.phase, Phase::Steady);
        assert!(steady || result.state.task != Task::Due, "{name}");
        let wakeup = next_wakeup(&result.state, row.now);
        assert!(wakeup > row.now.mono, "{name}: wakes up at once, for ever");
        assert!(wakeup.since(row.now.mono).as_secs() <= 60, "{name}: looks once a minute");
    };
    each_row(|row, name, _, result| check(row, name, result));
    each_restart(|row, name, _, result| check(row, name, result));
}

/// A restart orders the running effect anew; only its counters tell.
fn without_counters(step: &Step) -> (State, Vec<&'static str>) {
    let mut state = step.state.clone();
    state.next_effect = 0;
    if let Task::Running { id, .. } = &mut state.task {
        *id = EffectId(0);
    }
    match &mut state.phase {
        Phase::Applying { orders, .. } | Phase::Undoing { orders, .. } => *orders = 0,
        Phase::Rebooting { requests, .. } => *requests = 0,
        _ => {}
    }
    (state, step.effects.iter().map(|(_, effect)| effect.word()).collect())
}

#[test]
fn restarting_twice_is_restarting_once() {
    each_restart(|row, name, n, once| {
        let twice = resume(once.state.clone(), &boot(n), &row.policy, row.now);
        if let (Phase::Rebooting { .. }, Phase::Failed { .. }) =
            (&once.state.phase, &twice.state.phase)
        {
            assert!(name.contains("rebooting"), "{name}: the last request has been made");
            return;
        }
        assert_eq!(without_counters(&twice), without_counters(once), "{name}");
    });
}

#[test]
fn only_a_new_boot_id_ends_the_wait_for_a_reboot_on_a_restart() {
    each_restart(|row, name, n, result| {
        if !matches!(row.state.phase, Phase::Rebooting { .. }) {
            return;
        }
        match (n, &result.state.phase) {
            (1, Phase::Rebooting { .. }) | (2, Phase::Restoring { .. }) => {}
            (2, Phase::Applying { job, .. }) => assert!(job.at_boot, "{name}"),
            (1, Phase::Failed { .. }) => assert!(name.contains("fi"), "{name}: five requests"),
            (_, phase) => panic!("{name}: {}", phase.word()),
        }
    });
}

#[test]
fn a_restart_neither_takes_nor_drops_a_slot() {
    each_restart(|row, name, _, result| {
        let held = row.state.phase.held().is_some();
        assert_eq!(result.state.phase.held().is_some(), held, "{name}");
    });
}
