//! The fleets that are searched.

use std::time::Duration;

use lockkeeper::core::{
    policy::Policy,
    state::{Request, State},
    window::Schedule,
};

use crate::{
    chances::Luck,
    explore::{Found, explore},
    machine::{Release, release},
    support::{NIGHT, now, policy, quiet, staged},
    world::{Rules, Setup, World, name},
};

/// A fleet to search.
pub struct Scope {
    pub nodes: usize,
    pub max: u32,
    pub releases: Vec<Release>,
    /// What each node wants at first.
    pub start: State,
    pub luck: Luck,
    pub budget: u8,
    pub supply: bool,
    /// A failed release is undone.
    pub roll_back: bool,
    /// Releases are installed in a boot made for that.
    pub at_boot: bool,
    /// The end is looked for from every one in so many states.
    pub sample: u64,
}

impl Default for Scope {
    /// One node, which has a good release staged that needs a reboot.
    fn default() -> Self {
        let releases = vec![release(1, true, false)];
        Self {
            nodes: 1,
            max: 1,
            start: has_staged(&releases),
            releases,
            luck: Luck::default(),
            budget: 0,
            supply: false,
            roll_back: true,
            at_boot: false,
            sample: 1,
        }
    }
}

/// A node that has the first release staged.
pub fn has_staged(releases: &[Release]) -> State {
    let mut state = staged(now(NIGHT, 0));
    state.staged.as_mut().unwrap().plan = releases[0].plan.clone();
    state
}

/// A node that an admin has asked for a reboot.
pub fn asked() -> State {
    let at = now(NIGHT, 0);
    let mut state = quiet(at);
    state.request = Some(Request { at: at.wall, now: false });
    state
}

fn policies(n: usize, scope: &Scope) -> [Policy; 3] {
    let (roll_back, at_boot) = (scope.roll_back, scope.at_boot);
    let nightly = Policy { verify_settle: Duration::ZERO, roll_back, at_boot, ..policy(&name(n)) };
    let off = Policy { act: false, ..nightly.clone() };
    let always = Policy { schedule: Schedule::default(), ..nightly.clone() };
    [nightly, off, always]
}

/// Searches a scope.
pub fn search(scope: &Scope, rules: Rules) -> Found {
    let setup = Setup {
        rules,
        releases: scope.releases.clone(),
        policies: (0..scope.nodes).map(|n| policies(n, scope)).collect(),
        supply: scope.supply,
        finite: true,
        audit: |_, _, _| Ok(()),
    };
    let states = vec![scope.start.clone(); scope.nodes];
    explore(&setup, World::new(&setup, states, scope.max, scope.budget), scope.luck, scope.sample)
}

/// `MODEL_DEEPER=1` adds one mishap to each scope: minutes instead of seconds.
fn deeper() -> u8 {
    u8::from(std::env::var_os("MODEL_DEEPER").is_some())
}

fn holds(what: &str, scope: Scope) {
    let scope = &Scope { budget: scope.budget + deeper(), ..scope };
    let found = search(scope, Rules::real());
    println!("{what}: {} states, {} steps", found.states, found.steps);
    if let Some((broken, way)) = found.violation {
        panic!("{what}: {}\n  {}", broken.0, way.join("\n  "));
    }
    assert!(found.states > 50, "{what}: only {} states", found.states);
}

fn mishaps() -> Luck {
    Luck { asks: false, force: false, ..Luck::all() }
}

fn bad() -> Vec<Release> {
    vec![release(1, true, true)]
}

fn without_reboot() -> Vec<Release> {
    vec![release(1, false, false)]
}

#[test]
fn one_node_survives_any_three_mishaps() {
    holds("one node", Scope { luck: mishaps(), budget: 3, ..Scope::default() });
}

#[test]
fn one_node_that_updates_at_boot_survives_any_three_mishaps() {
    let scope = Scope { at_boot: true, ..Scope::default() };
    holds("one node, at boot", Scope { luck: mishaps(), budget: 3, ..scope });
}

#[test]
fn one_node_with_a_bad_release_at_boot_goes_back_and_halts() {
    let scope = Scope { releases: bad(), at_boot: true, ..Scope::default() };
    holds("one node, bad, at boot", Scope { luck: mishaps(), budget: 2, ..scope });
}

#[test]
fn one_node_that_updates_at_boot_and_is_asked_for_a_reboot_makes_it_once() {
    let luck = Luck { force: false, ..Luck::all() };
    let mut start = asked();
    start.staged = has_staged(&without_reboot()).staged;
    let scope = Scope { start, releases: without_reboot(), at_boot: true, ..Scope::default() };
    holds("one node, asked, at boot", Scope { luck, budget: 2, ..scope });
}

#[test]
fn one_node_survives_mishaps_and_admins() {
    holds("one node, admins", Scope { luck: Luck::all(), budget: 2, ..Scope::default() });
}

#[test]
fn one_node_that_is_asked_for_a_reboot_makes_it_once() {
    let luck = Luck { force: false, ..Luck::all() };
    let scope = Scope { start: asked(), releases: without_reboot(), ..Scope::default() };
    holds("one node, asked", Scope { luck, budget: 3, ..scope });
}

#[test]
fn one_node_checks_and_stages_for_itself() {
    let scope = Scope { supply: true, start: quiet(now(NIGHT, 0)), ..Scope::default() };
    holds("one node, checks", Scope { luck: mishaps(), budget: 2, ..scope });
}

#[test]
fn one_node_with_a_bad_release_keeps_its_slot_and_halts() {
    let scope = Scope { releases: bad(), roll_back: false, ..Scope::default() };
    holds("one node, bad, stays", Scope { luck: mishaps(), budget: 3, ..scope });
}

#[test]
fn one_node_with_a_bad_release_goes_back_and_halts() {
    let scope = Scope { releases: bad(), ..Scope::default() };
    holds("one node, bad", Scope { luck: mishaps(), budget: 3, ..scope });
}

#[test]
fn one_node_without_a_reboot_survives_any_three_mishaps() {
    let scope = Scope { releases: without_reboot(), ..Scope::default() };
    holds("one node, no reboot", Scope { luck: mishaps(), budget: 3, ..scope });
}

#[test]
fn two_nodes_survive_any_two_mishaps() {
    holds(
        "two nodes",
        Scope { nodes: 2, luck: mishaps(), budget: 2, sample: 16, ..Scope::default() },
    );
}

#[test]
fn two_nodes_survive_admins() {
    holds(
        "two nodes, admins",
        Scope { nodes: 2, luck: Luck::all(), budget: 1, sample: 8, ..Scope::default() },
    );
}

#[test]
fn two_nodes_at_once_survive_a_mishap() {
    holds(
        "two nodes at once",
        Scope { nodes: 2, max: 2, luck: mishaps(), budget: 1, sample: 8, ..Scope::default() },
    );
}

#[test]
fn two_nodes_stop_a_bad_release_at_the_first() {
    let scope = Scope {
        nodes: 2,
        releases: bad(),
        luck: mishaps(),
        budget: 2,
        sample: 8,
        ..Scope::default()
    };
    holds("two nodes, bad", scope);
}

#[test]
fn three_nodes_survive_a_mishap() {
    holds(
        "three nodes",
        Scope { nodes: 3, luck: mishaps(), budget: 1, sample: 8, ..Scope::default() },
    );
}

#[test]
fn three_nodes_with_two_slots_are_never_all_down() {
    holds(
        "three nodes, two at once",
        Scope { nodes: 3, max: 2, luck: mishaps(), budget: 0, sample: 8, ..Scope::default() },
    );
}

#[test]
fn three_nodes_stop_a_bad_release_at_the_first() {
    let scope = Scope {
        nodes: 3,
        releases: bad(),
        luck: mishaps(),
        budget: 1,
        sample: 8,
        ..Scope::default()
    };
    holds("three nodes, bad", scope);
}
