//! Wrong agents and wrong stores, each of which the search must find out: a search that finds nothing
//! says nothing.

use lockkeeper::core::{
    effect::{Effect, EffectId},
    event::{Event, Outcome},
    health::Evidence,
    policy::Policy,
    resume::resume,
    slots::{Holder, Refusal, Slots},
    state::{Cause, Ended, Phase, State, SupplyTask, Task},
    step::{Step, step},
    time::{BootId, Now},
    window::Schedule,
};

use crate::{
    chances::Luck,
    machine::{Release, release},
    scopes::{Scope, asked, has_staged, search},
    support::{NIGHT, wall},
    world::Rules,
};

/// What the search says of wrong rules.
fn found_out(rules: Rules, scope: &Scope) -> String {
    let found = search(scope, rules);
    let (broken, way) = found.violation.expect("found out");
    println!("found after {} states, {} actions: {}", found.states, way.len(), broken.0);
    broken.0
}

fn crashes() -> Scope {
    Scope { luck: Luck { crashes: true, ..Luck::default() }, budget: 1, ..Scope::default() }
}

fn obstacles() -> Scope {
    Scope { luck: Luck { obstacles: true, ..Luck::default() }, budget: 1, ..Scope::default() }
}

fn windows() -> Scope {
    Scope { luck: Luck { policy: true, ..Luck::default() }, budget: 1, ..Scope::default() }
}

fn releases(reboots: bool, bad: bool) -> Vec<Release> {
    vec![release(1, reboots, bad)]
}

fn rules(step: fn(&State, &Policy, Now, Event) -> Step) -> Rules {
    Rules { step, ..Rules::real() }
}

fn resuming(resume: fn(State, &BootId, &Policy, Now) -> Step) -> Rules {
    Rules { resume, ..Rules::real() }
}

/// The step leads to `phase` and orders `effect` instead.
fn instead(mut wrong: Step, phase: Phase, effect: Effect) -> Step {
    let id = EffectId(wrong.state.next_effect);
    wrong.state.phase = phase;
    wrong.state.task = Task::Running { id, tries: 0 };
    wrong.state.next_effect += 1;
    wrong.effects = vec![(id, effect)];
    wrong
}

#[test]
fn a_slot_given_back_before_the_node_was_seen_healthy_is_found() {
    fn eager(right: Step) -> Step {
        match right.state.phase.clone() {
            Phase::Verifying { job, .. } => {
                instead(right, Phase::Returning { job, ended: Ended::Done }, Effect::Undrain)
            }
            _ => right,
        }
    }
    let wrong = rules(|state, policy, now, event| eager(step(state, policy, now, event)));
    assert_eq!(
        found_out(wrong, &Scope::default()),
        "down implies holder: web-0 is down and holds nothing"
    );
}

#[test]
fn a_slot_given_back_without_an_undrain_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let right = step(state, policy, now, event);
        match right.state.phase.clone() {
            Phase::Returning { job, ended } => {
                instead(right, Phase::Releasing { job, ended }, Effect::Release)
            }
            _ => right,
        }
    });
    let found = found_out(wrong, &Scope::default());
    assert_eq!(found, "web-0: an undrain follows every drain: confirming → releasing");
}

#[test]
fn an_undrain_that_a_restart_believes_to_have_been_made_is_found() {
    let wrong = resuming(|mut state, boot, policy, now| {
        if let Phase::Returning { job, ended } = state.phase {
            state.phase = Phase::Releasing { job, ended };
        }
        resume(state, boot, policy, now)
    });
    assert_eq!(found_out(wrong, &crashes()), "web-0 is still drained");
}

#[test]
fn a_restart_taken_for_a_reboot_is_found() {
    let wrong = resuming(|mut state, boot, policy, now| {
        let other = BootId("another".to_owned());
        if let Phase::Rebooting { boot, .. } = &mut state.phase {
            boot.clone_from(&other);
        }
        state.boot_id = other;
        resume(state, boot, policy, now)
    });
    let found = found_out(wrong, &crashes());
    assert!(found.starts_with("web-0 reboots in"), "{found}");
}

#[test]
fn giving_a_reboot_up_that_may_still_come_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let mut state = state.clone();
        if let (Phase::Rebooting { requests, .. }, Event::Done { .. }) = (&mut state.phase, &event)
        {
            *requests = 1;
        }
        step(&state, policy, now, event)
    });
    let luck = Luck { crashes: true, obstacles: true, ..Luck::default() };
    let found = found_out(wrong, &Scope { luck, budget: 2, ..Scope::default() });
    assert_eq!(found, "web-0: only a boot id proves a reboot: rebooting → restoring");
}

#[test]
fn giving_the_slot_back_while_a_reboot_may_still_come_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let mut state = state.clone();
        if let Phase::Failed { cause, .. } = &mut state.phase {
            *cause = Cause::Health;
        }
        step(&state, policy, now, event)
    });
    let found = found_out(wrong, &Scope::default());
    assert!(found.starts_with("web-0 reboots in"), "{found}");
}

#[test]
fn a_reboot_that_is_not_requested_again_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let waits = matches!(state.phase, Phase::Rebooting { .. });
        if waits && event == Event::Tick {
            return Step { state: state.clone(), effects: Vec::new(), ignored: None };
        }
        step(state, policy, now, event)
    });
    assert_eq!(found_out(wrong, &obstacles()), "web-0 is stuck: rebooting");
}

#[test]
fn a_failure_that_does_not_halt_the_group_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let mut right = step(state, policy, now, event);
        if let Phase::Failed { halted, .. } = &mut right.state.phase {
            if !*halted {
                let at = now.mono.plus(std::time::Duration::from_secs(30));
                let since = wall(NIGHT);
                right.state.task = Task::Later { at, tries: 0, error: String::new(), since };
                right.effects.clear();
            }
            *halted = true;
        }
        right
    });
    let scope = Scope { releases: releases(false, true), ..Scope::default() };
    assert_eq!(found_out(wrong, &scope), "web-0 failed and the group goes on");
}

#[test]
fn a_slot_given_back_after_a_roll_back_before_the_group_is_halted_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let mut state = state.clone();
        if let Phase::Confirming { job } = &mut state.phase
            && let Some(undone) = &mut job.undone
        {
            undone.halted = true;
        }
        step(&state, policy, now, event)
    });
    // The halt is lost; then the second node tries the bad release, too.
    let luck = Luck { lost_answers: true, ..Luck::default() };
    let scope = Scope { nodes: 2, releases: releases(false, true), luck, ..Scope::default() };
    let found = found_out(wrong, &Scope { budget: 1, ..scope });
    assert!(found.contains("bad release"), "{found}");
}

#[test]
fn a_store_that_admits_more_than_max_is_found() {
    fn generous(slots: &Slots, claim: &Holder) -> Result<Slots, Refusal> {
        let admitted = Slots { max: u32::MAX, ..slots.clone() }.admit(claim, 0)?;
        Ok(Slots { max: slots.max, ..admitted })
    }
    let wrong = Rules { admit: generous, ..Rules::real() };
    let found = found_out(wrong, &Scope { nodes: 2, ..Scope::default() });
    assert!(found.starts_with("at most max down"), "{found}");
}

#[test]
fn a_store_that_admits_to_a_halted_group_is_found() {
    fn deaf(slots: &Slots, claim: &Holder) -> Result<Slots, Refusal> {
        let admitted = Slots { halt: None, ..slots.clone() }.admit(claim, 0)?;
        Ok(Slots { halt: slots.halt.clone(), ..admitted })
    }
    let wrong = Rules { admit: deaf, ..Rules::real() };
    // The first node gives its slot back once it is mended; only the halt stops the second.
    let scope = Scope { nodes: 2, releases: releases(false, true), ..Scope::default() };
    let found = found_out(wrong, &scope);
    assert!(found.contains("bad release"), "{found}");
}

#[test]
fn a_slot_forgotten_on_leaving_the_queue_is_found() {
    let wrong = Rules { held: |_| false, ..Rules::real() };
    // The node must not want it any more, else it finds it again.
    let luck = Luck { asks: true, ..Luck::default() };
    let found = found_out(wrong, &Scope { luck, budget: 1, start: asked(), ..Scope::default() });
    assert!(found.ends_with("is left"), "{found}");
}

#[test]
fn an_apply_dropped_by_a_restart_is_found() {
    let wrong = resuming(|mut state, boot, policy, now| {
        if let Phase::Applying { job, .. } = state.phase {
            state.phase = Phase::Returning { job, ended: Ended::GaveBack };
        }
        resume(state, boot, policy, now)
    });
    let found = found_out(wrong, &crashes());
    assert_eq!(found, "web-0: an apply is never cancelled: applying → returning");
}

#[test]
fn a_slot_that_a_restart_believes_to_have_been_given_back_is_found() {
    let wrong = resuming(|mut state, boot, policy, now| {
        if let Phase::Releasing { .. } = state.phase {
            state.phase = Phase::Steady;
            state.staged = None;
        }
        resume(state, boot, policy, now)
    });
    // It is still published as draining, and the store still has it as a holder.
    assert_eq!(found_out(wrong, &crashes()), "web-0 is stuck: steady");
}

#[test]
fn a_slot_taken_without_a_grant_is_found() {
    let wrong = rules(|state, policy, now, event| match &state.phase {
        Phase::Queued { job } if event == Event::Tick => {
            let phase = Phase::Preflight { job: job.clone() };
            instead(step(state, policy, now, event), phase, Effect::Probe)
        }
        _ => step(state, policy, now, event),
    });
    let found = found_out(wrong, &Scope { nodes: 2, ..Scope::default() });
    assert!(found.starts_with("down implies holder"), "{found}");
}

#[test]
fn a_reboot_on_unknown_evidence_is_found() {
    let wrong = rules(|state, policy, now, mut event| {
        if let Event::Done { outcome: Outcome::EvidenceRead(evidence), .. } = &mut event
            && matches!(evidence, Evidence::Unknown { .. })
        {
            *evidence = Evidence::Yes { reasons: vec!["who knows".to_owned()] };
        }
        step(state, policy, now, event)
    });
    let scope = Scope { releases: releases(false, false), ..obstacles() };
    assert_eq!(found_out(wrong, &scope), "web-0 reboots for no reason");
}

#[test]
fn a_reboot_outside_the_window_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let always = Policy { schedule: Schedule::default(), ..policy.clone() };
        step(state, &always, now, event)
    });
    let found = found_out(wrong, &windows());
    assert!(found.starts_with("web-0: no reboot outside the window"), "{found}");
}

#[test]
fn an_admins_wish_forgotten_with_the_end_of_its_cycle_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let mut state = state.clone();
        if let Phase::Releasing { .. } = state.phase {
            state.request = None;
        }
        step(&state, policy, now, event)
    });
    let scope = Scope { start: asked(), releases: releases(false, false), ..obstacles() };
    assert_eq!(found_out(wrong, &scope), "web-0 is stuck: steady");
}

#[test]
fn a_check_awaited_beyond_the_grant_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let mut right = step(state, policy, now, event);
        if state.phase.held().is_none() && right.state.supply.task == SupplyTask::Idle {
            right.state.supply.task = state.supply.task.clone();
        }
        right
    });
    let scope =
        Scope { supply: true, start: has_staged(&releases(true, false)), ..Scope::default() };
    let found = found_out(wrong, &scope);
    assert!(found.contains("supply rests while holding"), "{found}");
}

#[test]
fn a_release_without_an_end_is_found() {
    let wrong = rules(|state, policy, now, event| {
        let right = step(state, policy, now, event);
        match (&state.phase, &right.state.phase) {
            (Phase::Releasing { .. }, Phase::Steady) => {
                let phase = state.phase.clone();
                instead(right, phase, Effect::Release)
            }
            _ => right,
        }
    });
    assert_eq!(found_out(wrong, &Scope::default()), "web-0 is stuck: releasing");
}
