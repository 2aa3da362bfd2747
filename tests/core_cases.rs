//! Cases that once went wrong, one test each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unnecessary_wraps,
    clippy::struct_excessive_bools,
    reason = "builders, reports and switches of the tests"
)]

#[path = "support/core.rs"]
mod support;

use std::time::Duration;

use lockkeeper::core::{
    blocker::{Blocker, Kind},
    effect::EffectId,
    event::{Again, Ask, Event, Outcome},
    explain::explain,
    fast, gate,
    health::Evidence,
    invariants::attempts_are_bounded,
    policy::Policy,
    resume::resume,
    state::{Ended, HoldOff, Job, Phase, Request, State, SupplyTask, Task},
    step::{next_wakeup, step},
    time::Mono,
    verdict::Verdict,
};

use support::{
    CHOICE, NIGHT, NOON, boot, done, job, now, plan, policy, quiet, running, staged, wall, words,
};

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

/// A reboot that an admin asked for, requested `requests` times.
fn asked_reboot(requests: u32) -> State {
    let mut state = quiet(now(NIGHT, 0));
    state.request = Some(Request { at: wall(NIGHT), now: true });
    let job = Job { always_reboot: true, now: true, ..job(None) };
    let reasons = vec!["asked by an admin".to_owned()];
    running(state, Phase::Rebooting { job, boot: boot(1), reasons, requests })
}

#[test]
fn a_reboot_an_admin_asked_for_is_not_forgotten_when_logind_refuses_it() {
    let refused = Outcome::RebootRefused("inhibited by backup".to_owned());
    let event = done(EffectId(7), refused);
    let refused = step(&asked_reboot(1), &policy("web-1"), now(NIGHT, 1000), event).state;
    assert_eq!(refused.phase.word(), "restoring");
    let released = running(
        refused.clone(),
        Phase::Releasing { job: refused.phase.held().unwrap().clone(), ended: Ended::Done },
    );
    let event = done(EffectId(7), Outcome::Released);
    let steady = step(&released, &policy("web-1"), now(NIGHT, 30_000), event).state;
    assert_eq!(steady.phase.word(), "steady");
    let again = step(&steady, &policy("web-1"), now(NIGHT, 90_000), Event::Tick).state;
    assert_eq!(again.phase.word(), "probing");
    assert!(gate::wanted(&again, &policy("web-1")).unwrap().always_reboot);
}

#[test]
fn a_reboot_an_admin_asked_for_is_made_once() {
    let step = resume(asked_reboot(1), &boot(2), &policy("web-1"), now(NIGHT, 1000));
    assert_eq!(step.state.phase.word(), "restoring");
    assert_eq!(step.state.request, None);
}

#[test]
fn a_soft_reboot_ends_the_wait_and_is_no_answer_to_an_admin() {
    let softly = fast::boot(&boot(1).0, 1);
    let step = resume(asked_reboot(1), &softly, &policy("web-1"), now(NIGHT, 1000));
    assert_eq!(step.state.phase.word(), "restoring");
    assert!(step.state.request.is_some(), "the reboot that was asked for is a full one");
    assert_eq!(step.state.rebooted_for, [""; 0], "what it has not answered asks again");
    // Power was lost in it, or after it: the kernel's id is another one.
    let step = resume(step.state, &boot(2), &policy("web-1"), now(NIGHT, 2000));
    assert_eq!((step.state.phase.word(), step.state.request), ("restoring", None));
    let step = resume(asked_reboot(1), &boot(1), &policy("web-1"), now(NIGHT, 1000));
    assert_eq!(step.state.phase.word(), "rebooting");
}

#[test]
fn a_plan_does_not_bring_back_a_reboot_that_did_not_help() {
    let mut state = running(staged(now(NIGHT, 0)), Phase::Deciding { job: job(None) });
    let reasons = vec!["kernel 6.1.0-56 is installed, 6.1.0-55 runs".to_owned()];
    state.rebooted_for.clone_from(&reasons);
    state.reboot_needed = Evidence::Yes { reasons: reasons.clone() };
    let decide = |state: &State, reasons: &[String]| {
        let evidence = Evidence::Yes { reasons: reasons.to_vec() };
        let event = done(EffectId(7), Outcome::EvidenceRead(evidence));
        let step = step(state, &policy("web-1"), now(NIGHT, 1000), event);
        step.state.phase.word().to_owned()
    };
    assert_eq!(decide(&state, &reasons), "restoring");
    assert_eq!(decide(&state, &["libc6".to_owned()]), "rebooting");
    state.phase = Phase::Deciding { job: Job { always_reboot: true, ..job(None) } };
    assert_eq!(decide(&state, &reasons), "rebooting");
}

#[test]
fn a_second_plan_that_needs_a_reboot_for_the_same_reason_gets_it() {
    // Staged during the first plan's cycle: no check has looked since the reboot.
    let mut state = running(staged(now(NIGHT, 0)), Phase::Deciding { job: job(None) });
    let reasons = vec!["libc6 asks for it".to_owned()];
    state.rebooted_for.clone_from(&reasons);
    state.reboot_needed = Evidence::No;
    let event = done(EffectId(7), Outcome::EvidenceRead(Evidence::Yes { reasons }));
    let step = step(&state, &policy("web-1"), now(NIGHT, 1000), event);
    assert_eq!(step.state.phase.word(), "rebooting");
}

#[test]
fn a_slot_given_back_because_of_the_policy_is_explained_by_the_policy_of_the_moment() {
    let job = job(Some(plan(0).id));
    let state = running(staged(now(NIGHT, 0)), Phase::Preflight { job: job.clone() });
    let off = Policy { act: false, ..policy("web-1") };
    let clear =
        Outcome::Probed { inhibitors: Evidence::No, quorum: Evidence::No, blockers: Vec::new() };
    let back = step(&state, &off, now(NIGHT, 1000), done(EffectId(7), clear)).state;
    assert_eq!(back.phase.word(), "releasing");
    let id = EffectId(back.next_effect - 1);
    let steady = step(&back, &off, now(NIGHT, 2000), done(id, Outcome::Released)).state;
    assert_eq!(explain(&steady, &off, now(NIGHT, 3000)).verdict.code, "strategy-off");
    assert_eq!(explain(&steady, &policy("web-1"), now(NIGHT, 3000)).verdict.code, "ready");
}

#[test]
fn a_blocker_seen_again_long_after_counts_from_then() {
    let seen = |state: &State, at| {
        let probing = running(state.clone(), Phase::Probing { job: job(None) });
        let event = done(EffectId(7), Outcome::Failed("no bus".to_owned()));
        step(&probing, &policy("web-1"), at, event).state
    };
    let since = |state: &State| state.hold_off.as_ref().unwrap().why.since;
    let first = seen(&quiet(now(NIGHT, 0)), now(NIGHT, 0));
    let again = seen(&first, now(NIGHT + 31, 31_000));
    assert_eq!(since(&again), Some(wall(NIGHT)));
    let much_later = seen(&again, now(NIGHT + 7200, 7_200_000));
    assert_eq!(since(&much_later), Some(wall(NIGHT + 7200)));
}

/// A drain that a hook refuses, over and over; how long the node is left in service after each.
fn drained_in_vain(mut state: State, times: usize) -> (State, Vec<u64>) {
    let mut pauses = Vec::new();
    for _ in 0..times {
        // However long each took.
        let at = state.hold_off.as_ref().map_or(0, |hold_off| hold_off.until.0) + 600_000;
        state = running(state, Phase::Draining { job: job(Some(plan(0).id)) });
        let no =
            done(EffectId(7), Outcome::HookFailed("hook pre-apply/10-pool says no".to_owned()));
        state = step(&state, &policy("web-1"), now(NIGHT, at), no).state;
        assert_eq!(state.phase.word(), "returning");
        pauses.push((state.hold_off.as_ref().unwrap().until.0 - at) / 1000);
    }
    (state, pauses)
}

#[test]
fn a_node_that_is_drained_in_vain_is_left_in_service_for_longer_each_time() {
    let (state, pauses) = drained_in_vain(staged(now(NIGHT, 0)), 9);
    assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    let why = state.hold_off.clone().unwrap().why;
    assert_eq!(why.code, "hook-failed");
    assert!(why.text.contains("10-pool says no") && why.text.contains("60 min"), "{}", why.text);
    // An admin who has mended it does not wait, and what comes of it counts anew.
    for ask in [Ask::Check, Ask::Reboot { now: false }] {
        let asked = step(&state, &policy("web-1"), now(NIGHT, 1000), Event::Ask(ask)).state;
        assert_eq!((&asked.hold_off, asked.in_vain), (&None, 0));
    }
    let id = plan(0).id;
    let applying = running(state, Phase::Applying { job: job(Some(id)), orders: 1 });
    let event = done(EffectId(7), Outcome::Applied);
    assert_eq!(step(&applying, &policy("web-1"), now(NIGHT, 9000), event).state.in_vain, 0);
}

#[test]
fn what_an_admin_has_called_off_stays_off_after_a_check() {
    let draining = running(staged(now(NIGHT, 0)), Phase::Draining { job: job(Some(plan(0).id)) });
    let take =
        |state: &State, ask| step(state, &policy("web-1"), now(NIGHT, 1000), Event::Ask(ask));
    let off = take(&draining, Ask::Cancel).state;
    assert_eq!(take(&off, Ask::Check).state.hold_off.unwrap().why.code, "called-off");
}

#[test]
fn a_node_in_the_queue_goes_by_what_an_admin_says_meanwhile() {
    let asked = |now| Some(Request { at: wall(NIGHT), now });
    let queued = |now_said, now_wanted| {
        let job = Job { always_reboot: true, now: now_said, ..job(None) };
        let mut state = running(quiet(now(NOON, 0)), Phase::Queued { job });
        state.request = asked(now_wanted);
        step(&state, &policy("web-1"), now(NOON, 1000), Event::Tick).state.phase.word()
    };
    assert_eq!(queued(false, true), "queued");
    assert_eq!(queued(true, false), "leaving");
}

#[test]
fn a_check_that_an_admin_asks_for_during_a_cycle_follows_it() {
    let releasing = Phase::Releasing { job: job(None), ended: Ended::Done };
    let state = running(quiet(now(NIGHT, 0)), releasing);
    let asked = step(&state, &policy("web-1"), now(NIGHT, 1000), Event::Ask(Ask::Check));
    assert_eq!((words(&asked), &asked.ignored), (vec![], &None));
    let event = done(EffectId(7), Outcome::Released);
    let released = step(&asked.state, &policy("web-1"), now(NIGHT, 9000), event);
    assert_eq!(words(&released), ["check"]);
}

#[test]
fn what_a_check_saw_before_the_cycle_does_not_begin_another_one_after_it() {
    let job = job(Some(plan(0).id));
    let mut state = running(staged(now(NIGHT, 0)), Phase::Queued { job: job.clone() });
    state.supply.task = SupplyTask::Checking { id: EffectId(5) };
    let granted = done(EffectId(7), Outcome::SlotGranted);
    let held = step(&state, &policy("web-1"), now(NIGHT, 1000), granted).state;
    let released = running(held, Phase::Releasing { job, ended: Ended::Done });
    let event = done(EffectId(7), Outcome::Released);
    let steady = step(&released, &policy("web-1"), now(NIGHT, 60_000), event).state;
    assert_eq!(steady.staged, None);
    // The answer was found before the plan was installed.
    let old = Outcome::Checked {
        plan: Some(plan(0)),
        kept_back: Vec::new(),
        reboot: Evidence::No,
        choice: CHOICE.to_owned(),
        again: Again::default(),
    };
    let late = step(&steady, &policy("web-1"), now(NIGHT, 61_000), done(EffectId(5), old));
    assert!(late.ignored.is_some());
    assert!(!words(&late).contains(&"stage"), "{:?}", words(&late));
}

#[test]
fn an_inhibitor_of_half_an_hour_after_a_crash_does_not_use_up_the_reboot_requests() {
    // The answer to the first request was lost in a crash; a backup inhibits the next ones.
    let mut state = asked_reboot(2);
    for minute in 0..30 {
        let at = now(NIGHT + minute * 60, 60_000 * u64::try_from(minute).unwrap());
        state = step(&state, &policy("web-1"), at, Event::Tick).state;
        if let Task::Running { id, .. } = state.task {
            let refused = Outcome::RebootRefused("inhibited by backup".to_owned());
            state = step(&state, &policy("web-1"), at, done(id, refused)).state;
        }
        assert_eq!(state.phase.word(), "rebooting", "after {minute} minutes");
        assert_eq!(explain(&state, &policy("web-1"), at).also[0].code, "retrying");
    }
}

#[test]
fn a_plan_chosen_by_other_rules_is_never_applied_and_replaced_at_once() {
    let old = staged(now(NIGHT, 1000));
    let strict = Policy { choice: "security".to_owned(), ..policy("web-1") };
    assert_eq!(gate::wanted(&old, &strict), None);
    let changed = step(&old, &strict, now(NIGHT, 2000), Event::PolicyChanged);
    assert_eq!(words(&changed), ["check"]);

    // The same packages, found by the new rules, need not be staged again.
    let SupplyTask::Checking { id } = changed.state.supply.task else { panic!("{changed:?}") };
    let same = Outcome::Checked {
        plan: Some(plan(0)),
        kept_back: Vec::new(),
        reboot: Evidence::No,
        choice: strict.choice.clone(),
        again: Again::default(),
    };
    let found = step(&changed.state, &strict, now(NIGHT, 3000), done(id, same));
    assert_eq!(words(&found), ["probe"]);
    assert!(gate::wanted(&found.state, &strict).is_some());
}

#[test]
fn an_answer_by_rules_that_are_no_longer_in_force_is_staged_and_waits() {
    let mut state = quiet(now(NIGHT, 1000));
    state.supply.task = SupplyTask::Checking { id: EffectId(5) };
    let strict = Policy { choice: "security".to_owned(), ..policy("web-1") };
    let old = Outcome::Checked {
        plan: Some(plan(0)),
        kept_back: Vec::new(),
        reboot: Evidence::No,
        choice: CHOICE.to_owned(),
        again: Again::default(),
    };
    let staging = step(&state, &strict, now(NIGHT, 2000), done(EffectId(5), old)).state;
    let SupplyTask::Staging { id, .. } = staging.supply.task else { panic!("{staging:?}") };
    let staged = step(&staging, &strict, now(NIGHT, 3000), done(id, Outcome::Staged));
    assert!(words(&staged).is_empty(), "{:?}", words(&staged));
    assert_eq!(gate::wanted(&staged.state, &strict), None);
}

#[test]
fn an_admin_calls_a_cycle_off_as_long_as_it_has_changed_nothing() {
    let asked = |phase: Phase| {
        let mut state = running(staged(now(NIGHT, 0)), phase);
        state.request = Some(Request { at: wall(NIGHT), now: false });
        step(&state, &policy("web-1"), now(NIGHT, 1000), Event::Ask(Ask::Cancel))
    };
    let it = || job(Some(plan(0).id));
    for phase in [
        Phase::Preflight { job: it() },
        Phase::Draining { job: it() },
        Phase::Recording { job: it() },
    ] {
        let expected = match phase {
            Phase::Preflight { .. } => "releasing",
            // What drained the node is undone first.
            _ => "returning",
        };
        let step = asked(phase);
        assert_eq!((step.state.phase.word(), step.ignored), (expected, None));
        assert_eq!(step.state.request, None);
        assert_eq!(step.state.hold_off.unwrap().why.code, "called-off");
    }
    for phase in [
        Phase::Applying { job: it(), orders: 1 },
        Phase::Deciding { job: it() },
        Phase::Restoring { job: it() },
        Phase::Confirming { job: it() },
    ] {
        let step = asked(phase.clone());
        assert_eq!(step.state.phase, phase);
        assert!(step.ignored.is_some() && step.state.request.is_some());
    }
}

#[test]
fn what_an_admin_does_not_want_disturbed_keeps_a_cycle_from_going_on() {
    let probed = |phase: Phase, kind: Kind| {
        let evidence = Evidence::Yes { reasons: vec!["backup.service is running".to_owned()] };
        let outcome = Outcome::Probed {
            inhibitors: Evidence::No,
            quorum: Evidence::No,
            blockers: vec![Blocker::new(kind, evidence)],
        };
        let state = running(staged(now(NIGHT, 0)), phase);
        step(&state, &policy("web-1"), now(NIGHT, 1000), done(EffectId(7), outcome)).state
    };
    let it = |now| Job { now, ..job(Some(plan(0).id)) };
    let before = probed(Phase::Probing { job: it(false) }, Kind::Units);
    assert_eq!(before.phase, Phase::Steady);
    let verdict = explain(&before, &policy("web-1"), now(NIGHT, 2000)).verdict;
    assert_eq!(
        (verdict.code.as_str(), verdict.text.as_str()),
        ("unit-running", "backup.service is running")
    );
    let held = probed(Phase::Preflight { job: it(false) }, Kind::Users);
    assert_eq!(held.phase.word(), "releasing");
    assert_eq!(held.hold_off.unwrap().why.code, "users-logged-in");
    let asked_now = probed(Phase::Preflight { job: it(true) }, Kind::Users);
    assert_eq!(asked_now.phase.word(), "draining");
}

#[test]
fn a_channel_says_when_it_wants_to_be_looked_at_again() {
    let policy = policy("web-1");
    let next = |again: Again| {
        let mut state = quiet(now(NIGHT, 1000));
        state.supply.task = SupplyTask::Checking { id: EffectId(5) };
        let answer = Outcome::Checked {
            plan: None,
            kept_back: Vec::new(),
            reboot: Evidence::No,
            choice: CHOICE.to_owned(),
            again,
        };
        let state = step(&state, &policy, now(NIGHT, 2000), done(EffectId(5), answer)).state;
        state.supply.next_check.since(now(NIGHT, 2000).mono)
    };
    let usual = next(Again::default());
    let turn = |seconds: i64| Again { at: Some(now(NIGHT + seconds, 0).wall), wait: None };
    assert_eq!(next(turn(90)), Duration::from_secs(90));
    assert_eq!(next(turn(-90)), Duration::from_secs(1), "it has come meanwhile");
    assert_eq!(next(turn(7 * 24 * 3600)), usual, "a look is due before");
    let day = Duration::from_secs(24 * 3600);
    let slow = next(Again { at: None, wait: Some(day) });
    assert!(slow + policy.check_spread >= day && slow > usual, "{slow:?}");
}
