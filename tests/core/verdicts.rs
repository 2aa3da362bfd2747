//! Why things are as they are: each wait has its word, and docs/verdicts.md knows every word.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lockkeeper::core::{
    explain::explain,
    health::Evidence,
    invariants::every_wait_has_a_reason,
    resume::resume,
    slots::{Halt, Holder, Slots, SlotsView},
    state::{Cause, HoldOff, Job, Phase, State, SupplyTask, Task},
    step::step,
    time::{Mono, Now},
    verdict::Verdict,
    window::{Freeze, Schedule},
};

use crate::{
    events,
    situations::{self, denied},
    support::{
        CHOICE, NIGHT, NOON, boot, job, nightly, now, plan, policy, quiet, running, staged, wall,
    },
};

fn open() -> Now {
    now(NIGHT, 10_000_000)
}

struct Case {
    code: &'static str,
    /// Words the sentence must have.
    says: &'static str,
    state: State,
    schedule: Schedule,
    act: bool,
    now: Now,
}

fn case(code: &'static str, says: &'static str, state: State) -> Case {
    Case { code, says, state, schedule: nightly(), act: true, now: open() }
}

fn queued(view: Option<SlotsView>) -> State {
    let mut state = running(staged(open()), Phase::Queued { job: job(Some(plan(0).id)) });
    state.store.view = view.map(|view| [("default".to_owned(), view)].into());
    state.store.at = Some(wall(NIGHT));
    state
}

fn holder(name: &str) -> Holder {
    Holder {
        node: format!("{name}-id"),
        name: name.to_owned(),
        nonce: "other".to_owned(),
        since: wall(NIGHT),
        reason: "1 package(s)".to_owned(),
        release: None,
        boot_id: "boot".to_owned(),
        expected_secs: 0,
        overdue: false,
    }
}

fn view(slots: Slots, settling: bool) -> Option<SlotsView> {
    Some(SlotsView { slots, queue: Vec::new(), settling })
}

fn idle_cases() -> Vec<Case> {
    let mut unchecked = quiet(open());
    unchecked.supply.last_ok = None;
    let mut checked = quiet(open());
    checked.supply.last_ok = Some(wall(NIGHT - 60));
    let mut checking = quiet(open());
    checking.supply.task = SupplyTask::Checking { id: lockkeeper::core::effect::EffectId(7) };
    let mut staging = quiet(open());
    staging.supply.task = SupplyTask::Staging {
        id: lockkeeper::core::effect::EffectId(7),
        plan: plan(1),
        choice: CHOICE.to_owned(),
    };
    let mut other = staged(open());
    if let Some(staged) = &mut other.staged {
        "security".clone_into(&mut staged.choice);
    }
    let mut failing = checked.clone();
    failing.supply.problem = Some(Verdict::new("check-failed", "no route").since(wall(NIGHT)));
    let mut denying = checked.clone();
    denying.supply.offered = Some(plan(0).id);
    denying.denied = denied(plan(0).id);
    vec![
        case("not-checked", "no check", unchecked),
        case("up-to-date", "nothing to install", checked),
        case("rules-changed", "other rules", other),
        case("checking", "checking", checking),
        case("staging", "2 package(s)", staging),
        case("check-failed", "no route", failing),
        case("denied", "it broke", denying),
    ]
}

fn waiting_cases() -> Vec<Case> {
    let at = |secs| now(NIGHT + secs, 10_000_000);
    let freeze = Freeze {
        from: jiff::civil::date(2026, 3, 4),
        to: jiff::civil::date(2026, 3, 5),
        zone: jiff::tz::TimeZone::UTC,
        reason: "year end".to_owned(),
    };
    let frozen = Schedule { freezes: vec![freeze], ..nightly() };
    let spread = Schedule { spread: Duration::from_secs(4 * 3600), ..nightly() };
    let mut held_off = staged(open());
    let why = Verdict::new("inhibited", "shutdown is inhibited: backup").since(wall(NIGHT));
    held_off.hold_off = Some(HoldOff { until: Mono(10_000_001), why });
    vec![
        case("ready", "about to queue", staged(open())),
        case("inhibited", "backup", held_off),
        Case { act: false, ..case("strategy-off", "never touches", staged(open())) },
        Case {
            now: now(NOON, 10_000_000),
            ..case("window-closed", "opens at 2026-03-05T02", staged(open()))
        },
        Case {
            now: at(2 * 3600 + 2700 + 1),
            ..case("window-too-short", "opens at 2026-03-05T02", staged(open()))
        },
        Case { schedule: frozen, ..case("frozen", "year end", staged(open())) },
        Case { schedule: spread, now: at(-3600), ..case("spread", "turn", staged(open())) },
    ]
}

fn queue_cases() -> Vec<Case> {
    let taken = Slots { holders: vec![holder("web-2")], ..Slots::default() };
    let halt = Halt {
        reason: "nginx did not start".to_owned(),
        by: "web-3".to_owned(),
        since: wall(NIGHT),
        release: None,
        expires: None,
    };
    let mut gone = queued(view(Slots::default(), false));
    gone.store.error = Some(("connection refused".to_owned(), wall(NIGHT)));
    vec![
        case("queued", "joining", queued(None)),
        case("queued", "for a slot", queued(view(Slots::default(), false))),
        case("queued", "settles", queued(view(Slots::default(), true))),
        case("queued", "web-2", queued(view(taken, false))),
        case("halted", "nginx did not start", queued(view(Slots::default().halted(halt), false))),
        case("lock-store-unreachable", "connection refused", gone),
    ]
}

fn phase_cases() -> Vec<Case> {
    let p = || job(Some(plan(0).id));
    let case = |code, says, phase| case(code, says, running(staged(open()), phase));
    let verifying = |failing: &[&str]| Phase::Verifying {
        job: p(),
        healthy_since: None,
        failing: failing.iter().map(|text| (*text).to_owned()).collect(),
    };
    let failed = |halted| Phase::Failed {
        job: p(),
        cause: Cause::Health,
        reason: "web.service is failed".to_owned(),
        halted,
        healthy_since: None,
    };
    let undoing = Phase::Undoing {
        job: p(),
        cause: Cause::Health,
        reason: "web.service is failed".to_owned(),
        halted: true,
        orders: 1,
    };
    let rebooting = Phase::Rebooting {
        job: p(),
        boot: boot(1),
        reasons: vec!["kernel".to_owned()],
        requests: 1,
    };
    vec![
        case("probing", "blockers", Phase::Probing { job: p() }),
        case("leaving", "ticket", Phase::Leaving),
        case("preflight", "slot is held", Phase::Preflight { job: p() }),
        case("draining", "draining", Phase::Draining { job: p() }),
        case("recording", "running", Phase::Recording { job: p() }),
        case("applying", "installing", Phase::Applying { job: p(), orders: 1 }),
        case("deciding", "reboot", Phase::Deciding { job: p() }),
        case("rebooting", "kernel", rebooting),
        case("restoring", "starting", Phase::Restoring { job: p() }),
        case("verifying", "settled", verifying(&[])),
        case("not-healthy", "web.service", verifying(&["web.service is failed"])),
        case("confirming", "good", Phase::Confirming { job: p() }),
        case(
            "returning",
            "into service",
            Phase::Returning { job: p(), ended: lockkeeper::core::state::Ended::Done },
        ),
        case(
            "releasing",
            "slot back",
            Phase::Releasing { job: p(), ended: lockkeeper::core::state::Ended::Done },
        ),
        case("undoing", "web.service", undoing),
        case("failed", "is being halted", failed(false)),
        case("failed", "is halted", failed(true)),
    ]
}

fn cases() -> Vec<Case> {
    [idle_cases(), waiting_cases(), queue_cases(), phase_cases()].into_iter().flatten().collect()
}

#[test]
fn each_wait_has_its_word_and_its_sentence() {
    for case in cases() {
        let policy = lockkeeper::core::policy::Policy {
            act: case.act,
            schedule: case.schedule,
            ..policy("web-1")
        };
        let verdict = explain(&case.state, &policy, case.now).verdict;
        assert_eq!(verdict.code, case.code, "{}", verdict.text);
        assert!(verdict.text.contains(case.says), "{}: {:?}", case.code, verdict.text);
    }
}

#[test]
fn what_else_an_admin_should_know_is_said_beside_the_verdict() {
    let codes = |state: &State| -> Vec<String> {
        let also = explain(state, &policy("web-1"), open()).also;
        also.into_iter().map(|verdict| verdict.code).collect()
    };
    let mut unknown = quiet(open());
    unknown.reboot_needed = Evidence::Unknown { why: "no dbus".to_owned() };
    assert_eq!(codes(&unknown), ["reboot-unknown"]);
    let mut useless = quiet(open());
    useless.reboot_needed = Evidence::Yes { reasons: vec!["kernel".to_owned()] };
    useless.rebooted_for = vec!["kernel".to_owned()];
    assert_eq!(codes(&useless), ["reboot-did-not-help"]);
    let mut retrying = running(
        staged(open()),
        Phase::Releasing {
            job: Job {
                plan: None,
                reason: String::new(),
                always_reboot: false,
                now: false,
                at_boot: false,
                undone: None,
            },
            ended: lockkeeper::core::state::Ended::Done,
        },
    );
    retrying.task = Task::Later {
        at: Mono(10_001_000),
        tries: 3,
        error: "etcd is gone".to_owned(),
        since: wall(NIGHT),
    };
    retrying.store.error = Some(("refused".to_owned(), wall(NIGHT)));
    assert_eq!(codes(&retrying), ["lock-store-unreachable", "retrying"]);
}

#[test]
fn every_state_the_table_reaches_has_a_verdict_that_the_manual_knows() {
    let listed = documented();
    let check = |state: &State, policy: &lockkeeper::core::policy::Policy, now, name: &str| {
        let explanation = explain(state, policy, now);
        assert_eq!(every_wait_has_a_reason(&explanation.verdict), Ok(()), "{name}");
        for verdict in explanation.also.iter().chain([&explanation.verdict]) {
            assert!(listed.contains_key(&verdict.code), "{name}: {verdict:?} is not in the manual");
        }
    };
    for row in situations::all() {
        for (name, event) in events::all(row.id) {
            let after = step(&row.state, &row.policy, row.now, event).state;
            check(&after, &row.policy, row.now, &format!("{} × {name}", row.name));
        }
        for n in [1, 2] {
            let after = resume(row.state.clone(), &boot(n), &row.policy, row.now).state;
            check(&after, &row.policy, row.now, &format!("{} × boot {n}", row.name));
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of docs/verdicts.md: "| `code` | meaning |".
fn documented() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("docs/verdicts.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let (code, meaning) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((code.to_owned(), meaning.trim_end_matches(" |").to_owned()))
    });
    rows.collect()
}

/// How a verdict's word comes into being in the core: the calls it is the argument of.
const MAKERS: [&str; 5] =
    ["Verdict::new(", "doing(", "supply_failed(", "retry_or_give_back(job, ", "no("];

/// The words in one source file, tests aside.
fn used_in(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut words = BTreeSet::new();
    for maker in MAKERS {
        for (at, _) in code.match_indices(maker) {
            let Some(rest) = code[at + maker.len()..].trim_start().strip_prefix('"') else {
                continue;
            };
            let (word, _) = rest.split_once('"').unwrap();
            if word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                words.insert(word.to_owned());
            }
        }
    }
    words
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn the_manual_lists_exactly_the_words_in_use() {
    let texts: Vec<String> = sources(&root().join("src/core"))
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let used: BTreeSet<String> = texts.iter().flat_map(|text| used_in(text)).collect();
    let listed = documented();
    assert_eq!(listed.keys().cloned().collect::<BTreeSet<_>>(), used);
    assert!(listed.values().all(|meaning| meaning.len() > 15), "each with its meaning");
    for case in cases() {
        assert!(used.contains(case.code), "the scanner misses {}", case.code);
    }
}
