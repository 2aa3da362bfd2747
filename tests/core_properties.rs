//! Random lives of small fleets: whatever happens, every promise is kept at every step, and when
//! nothing goes wrong any more, all nodes find their end.
//!
//! The world is the honest one of support/world.rs with real delays, clocks that jump, checks that
//! find several releases, and a state file that is written and read again at every death. A failure
//! prints the shortest life that shows it and its seed, which goes to `core_properties.regressions`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unnecessary_wraps,
    clippy::struct_excessive_bools,
    reason = "builders, reports and switches of the tests"
)]

#[path = "support/chances.rs"]
mod chances;
#[path = "support/machine.rs"]
mod machine;
#[path = "support/normal.rs"]
mod normal;
#[path = "support/core.rs"]
mod support;
#[path = "support/world.rs"]
mod world;

use std::{collections::BTreeSet, time::Duration};

use lockkeeper::core::{
    event::Event,
    explain::explain,
    invariants::every_wait_has_a_reason,
    policy::Policy,
    resume::resume,
    state::{Phase, State, StoreSeen, Task},
    step::{Step, next_wakeup, step},
    time::{BootId, Now},
    window::Schedule,
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{FileFailurePersistence, TestRunner},
};

use chances::Luck;
use machine::{Release, release};
use support::{NIGHT, boot, now, policy};
use world::{Action, Outcomes, Rules, Setup, Violation, World, name};

/// So many phases has the cycle.
const PHASES: usize = 17;

/// One life: which chance is taken each time.
#[derive(Clone, Debug)]
struct Life {
    nodes: usize,
    max: u32,
    /// Of each release: needs a reboot, is bad.
    releases: Vec<(bool, bool)>,
    /// Seconds after the window opened that it begins.
    begins: i64,
    /// Out of ten: how often something goes wrong.
    trouble: u8,
    chances: Vec<(u8, u16)>,
}

fn lives(nodes: std::ops::Range<usize>, length: usize) -> impl Strategy<Value = Life> {
    let releases = vec((any::<bool>(), prop::bool::weighted(0.2)), 1..4);
    let chances = vec((0_u8..100, any::<u16>()), 1..length);
    (nodes, 1_u32..3, releases, 0_i64..86_400, 0_u8..4, chances).prop_map(
        |(nodes, max, releases, begins, trouble, chances)| Life {
            nodes,
            max,
            releases,
            begins,
            trouble,
            chances,
        },
    )
}

/// The step, which must be the same each time.
fn same_step(state: &State, policy: &Policy, now: Now, event: Event) -> Step {
    let first = step(state, policy, now, event.clone());
    assert_eq!(first, step(state, policy, now, event), "deterministic");
    first
}

/// The resume, which must be the same each time, also after one that died at once.
fn same_resume(state: State, boot: &BootId, policy: &Policy, now: Now) -> Step {
    let first = resume(state.clone(), boot, policy, now);
    assert_eq!(first, resume(state, boot, policy, now), "deterministic");
    let again = resume(first.state.clone(), boot, policy, now);
    let given_up = matches!(again.state.phase, Phase::Failed { halted: false, .. });
    let (is, was) = (again.state.phase.word(), first.state.phase.word());
    assert!(given_up || is == was, "resumed to {was}, then to {is}");
    first
}

/// A state can be written down, does not wake up at once for ever, and knows why it waits.
fn audit(step: &Step, policy: &Policy, now: Now) -> Result<(), String> {
    let state = &step.state;
    let file = serde_json::to_string(state).map_err(|error| error.to_string())?;
    let read: State = serde_json::from_str(&file).map_err(|error| format!("{file}: {error}"))?;
    if read != (State { store: StoreSeen::default(), ..state.clone() }) {
        return Err(format!("the state file says otherwise: {file}"));
    }
    if next_wakeup(state, now) <= now.mono {
        return Err(format!("wakes up at once, for ever: {file}"));
    }
    let explanation = explain(state, policy, now);
    let mut verdicts = explanation.also.iter().chain([&explanation.verdict]);
    verdicts.try_for_each(every_wait_has_a_reason).map_err(|broken| broken.to_string())
}

fn real() -> Rules {
    Rules { step: same_step, resume: same_resume, ..Rules::real() }
}

fn setup(life: &Life, rules: Rules) -> Setup {
    let policies = |n| {
        // Some of a fleet may install at boot.
        let nightly = Policy { at_boot: n % 2 == 1, ..policy(&name(n)) };
        let off = Policy { act: false, ..nightly.clone() };
        let always = Policy { schedule: Schedule::default(), ..nightly.clone() };
        [nightly, off, always]
    };
    let releases: Vec<Release> = (1..)
        .zip(&life.releases)
        .map(|(version, (reboots, bad))| release(version, *reboots, *bad))
        .collect();
    Setup {
        rules,
        releases,
        policies: (0..life.nodes).map(policies).collect(),
        supply: true,
        finite: false,
        audit,
    }
}

/// What may happen next, by the chance taken.
fn choose(world: &World, life: &Life, (kind, which): (u8, u16)) -> Option<Action> {
    let pick = |actions: &[Action]| {
        (!actions.is_empty()).then(|| actions[usize::from(which) % actions.len()])
    };
    let delays = [100, 1_000, 5_000, 30_000, 61_000, 600_000, 3_600_000, 6 * 3_600_000];
    match kind {
        k if k < life.trouble * 7 => pick(&chances::unlucky(world, Luck::all())),
        k if k < 32 => pick(&delays.map(Action::Advance)),
        k if k < 38 => pick(&[
            Action::Store(false),
            Action::Store(true),
            Action::Store(true),
            Action::SetWall(-7200),
            Action::SetWall(26_000),
            Action::Publish,
            Action::Policy(0),
            Action::Policy(2),
        ]),
        _ => {
            let actions = [chances::ordinary(world), chances::soft_reboots(world)].concat();
            pick(&actions).or_else(|| pick(&delays.map(Action::Advance)))
        }
    }
}

/// What happened in some lives: the kind of event, and the phase it found a node in.
type Seen = BTreeSet<(&'static str, &'static str)>;

/// Lives a life, with what becomes of it when nothing goes wrong any more.
fn live(life: &Life, rules: Rules) -> Outcomes<()> {
    let setup = setup(life, rules);
    let (world, log) = begin(life, &setup, &mut Seen::new())?;
    settle(world, &setup).map_err(|broken| with_log(&broken, &log))
}

fn begin(life: &Life, setup: &Setup, seen: &mut Seen) -> Outcomes<(World, Vec<String>)> {
    let fresh = State::new("nonce".to_owned(), boot(1), now(NIGHT, 0));
    let mut world = World::new(setup, vec![fresh; life.nodes], life.max, 0);
    world.channel = 1;
    world.wall = NIGHT - 3600 + life.begins;
    let mut log = Vec::new();
    for chance in &life.chances {
        let Some(action) = choose(&world, life, *chance) else { continue };
        match action {
            Action::Crash(n) => seen.insert(("crash", world.word(n))),
            Action::PowerCut(n) => seen.insert(("power cut", world.word(n))),
            _ => false,
        };
        let happened = world.act(setup, action);
        log.push(format!("{action:?} → {}", world.phases()));
        happened.map_err(|broken| with_log(&broken, &log))?;
    }
    Ok((world, log))
}

fn with_log(broken: &Violation, log: &[String]) -> Violation {
    Violation(format!("{}, after\n  {}", broken.0, log.join("\n  ")))
}

/// Rounds within which a fleet must find its end.
const ROUNDS: usize = 3_000;
/// Rounds without a change of phase after which nothing will come by itself: with ten minutes each,
/// longer than between two checks.
const QUIET_ROUNDS: usize = 8;

fn settle(mut world: World, setup: &Setup) -> Outcomes<()> {
    world.act(setup, Action::Store(true))?;
    world.act(setup, Action::Policy(2))?;
    let mut quiet = 0;
    for _ in 0..ROUNDS {
        let before = world.phases();
        round(&mut world, setup, quiet)?;
        let resting = world.rests().is_ok() && world.phases() == before;
        quiet = if resting { quiet + 1 } else { 0 };
        if quiet <= QUIET_ROUNDS {
            continue;
        }
        if world.is_quiet(setup).is_ok() {
            return ended(&world, setup);
        }
        world.admin_helps(setup)?;
        quiet = 0;
    }
    world.rests()?;
    world.is_quiet(setup)?;
    Err(Violation(format!("no end after {ROUNDS} rounds: {}", world.phases())))
}

/// Everything that can happen by itself, once; then the time to the next wake-up passes.
fn round(world: &mut World, setup: &Setup, quiet: usize) -> Outcomes<()> {
    for n in 0..world.nodes.len() {
        if !world.holds(n) {
            world.act(setup, Action::Unlock(n))?;
        }
        world.act(setup, Action::Start(n))?;
        let ids: Vec<_> = world.nodes[n].agent.flight.iter().map(|flight| flight.id).collect();
        for id in ids {
            world.act(setup, Action::Carry(n, id))?;
            world.act(setup, Action::UnitEnds(n, true))?;
            world.act(setup, Action::Deliver(n, id))?;
        }
        world.act(setup, Action::UnitEnds(n, true))?;
        world.act(setup, Action::Reboot(n))?;
        world.act(setup, Action::Recover(n))?;
    }
    let wakeups = (0..world.nodes.len()).map(|n| {
        let now = world.now(n);
        next_wakeup(&world.nodes[n].agent.state, now).0 - now.mono.0
    });
    let next = wakeups.min().unwrap_or(0).max(1);
    world.act(setup, Action::Advance(if quiet > 0 { 600_000 } else { next }))?;
    Ok(())
}

/// In the end each node runs the newest release, or one that it denies after trying it.
fn ended(world: &World, setup: &Setup) -> Outcomes<()> {
    for (n, node) in world.nodes.iter().enumerate() {
        let newest = machine::version_installed(&setup.releases, world.channel).unwrap();
        let denied = node.agent.state.denied.contains_key(&newest.plan.id);
        if node.machine.installed < world.channel && !denied {
            return Err(Violation(format!("{} never gets release {}", name(n), world.channel)));
        }
        if node.machine.needs_reboot && node.agent.state.rebooted_for.is_empty() {
            return Err(Violation(format!("{} never reboots", name(n))));
        }
    }
    Ok(())
}

/// `PROPTEST_CASES` sets how many lives there are.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| ProptestConfig::default().cases);
    ProptestConfig {
        cases: asked.unwrap_or(100),
        max_shrink_iters: 20_000,
        max_shrink_time: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

fn lives_well(life: &Life) -> Result<(), TestCaseError> {
    live(life, real()).map_err(|broken| TestCaseError::fail(broken.0))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_node_lives_well(life in lives(1..2, 300)) {
        lives_well(&life)?;
    }

    #[test]
    fn small_fleets_live_well(life in lives(2..4, 500)) {
        lives_well(&life)?;
    }
}

/// Lives that are the same in every run.
fn fixed_lives(count: usize) -> impl Iterator<Item = Life> {
    let mut runner = TestRunner::deterministic();
    let strategy = lives(1..2, 400);
    (0..count).map(move |_| strategy.new_tree(&mut runner).unwrap().current())
}

#[test]
fn agents_die_in_every_phase() {
    let mut seen = Seen::new();
    let phases = |seen: &Seen, kind: &str| -> BTreeSet<&str> {
        seen.iter().filter(|(what, _)| *what == kind).map(|(_, phase)| *phase).collect()
    };
    let kinds = ["crash", "power cut"];
    for life in fixed_lives(5000) {
        begin(&life, &setup(&life, real()), &mut seen).unwrap();
        if kinds.iter().all(|kind| phases(&seen, kind).len() == PHASES) {
            return;
        }
    }
    let found = kinds.map(|kind| phases(&seen, kind));
    panic!("deaths in {found:?}, not in all {PHASES} phases");
}

/// Wrong agents do not live well, else these lives show nothing.
#[test]
fn wrong_agents_are_found_out() {
    let forgets_wishes: Rules = Rules {
        step: |state, policy, now, event| {
            let mut state = state.clone();
            if let Phase::Releasing { .. } = state.phase {
                state.request = None;
            }
            step(&state, policy, now, event)
        },
        ..real()
    };
    let takes_restarts_for_reboots = Rules {
        resume: |mut state, boot, policy, now| {
            if let Phase::Rebooting { boot, .. } = &mut state.phase {
                boot.0.clear();
            }
            state.boot_id.0.clear();
            resume(state, boot, policy, now)
        },
        ..real()
    };
    let waits_for_ever = Rules {
        step: |state, policy, now, event| {
            let mut right = step(state, policy, now, event);
            if let Task::Later { at, .. } = &mut right.state.task {
                *at = at.plus(Duration::from_secs(1_000_000_000));
            }
            right
        },
        ..real()
    };
    let gives_back_unseen = Rules {
        step: |state, policy, now, event| {
            let mut right = step(state, policy, now, event);
            if let Phase::Verifying { job, .. } = right.state.phase.clone() {
                right.state.phase = Phase::Confirming { job };
            }
            right
        },
        ..real()
    };
    let wrong = [forgets_wishes, takes_restarts_for_reboots, waits_for_ever, gives_back_unseen];
    for (n, rules) in wrong.into_iter().enumerate() {
        let found = fixed_lives(1000).position(|life| live(&life, rules).is_err());
        println!("wrong agent {n} found out in life {found:?}");
        assert!(found.is_some(), "wrong agent {n} lives well");
    }
}

#[test]
fn a_life_without_trouble_installs_and_reboots() {
    // That the lives above are lives at all: this one gets somewhere by the same means.
    let life = Life {
        nodes: 2,
        max: 1,
        releases: vec![(true, false)],
        begins: 3600,
        trouble: 0,
        chances: Vec::new(),
    };
    let setup = setup(&life, real());
    let fresh = State::new("nonce".to_owned(), boot(1), now(NIGHT, 0));
    let mut world = World::new(&setup, vec![fresh; 2], 1, 0);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        round(&mut world, &setup, 0).unwrap();
        seen.extend(world.nodes.iter().map(|node| node.agent.state.phase.word()));
    }
    let boots: Vec<u32> = world.nodes.iter().map(|node| node.machine.boot).collect();
    assert_eq!(boots, [2, 3], "each rebooted once, the second by way of a boot that installs");
    assert!(world.nodes.iter().all(|node| node.machine.installed == 1));
    world.is_quiet(&setup).unwrap();
    assert_eq!(seen.len(), 14, "every phase but the short and the bad ones: {seen:?}");
}
