//! A fleet follows a rollout: each node decides for itself, by the same code as on a real one, and
//! together they keep to the plan.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use lockkeeper::core::channel::{
    choose::{Node, choose},
    listing::{Listing, Offer},
    rollout::Rollout,
};
use semver::Version;

const NODES: usize = 20_000;
const DAY: u64 = 24 * 60 * 60;
const MINUTE: u64 = 60;

/// A small generator, so that every run is the same (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn rollout_of(version: Version) -> Listing {
    let mut listing = Listing::new("stable");
    listing.releases.push(Offer::new(Version::new(1, 0, 0), Rollout::EVERYBODY));
    let ramp = Rollout::Ramp { start: start(), seconds: DAY, from: 0.0 };
    listing.releases.push(Offer::new(version, ramp));
    listing
}

/// When each node takes the release, in seconds after the start; by the node's number. Nodes look every
/// 45 ± 5 minutes, and when it is their turn.
fn take(listing: &Listing, random: &mut Random) -> BTreeMap<usize, u64> {
    let mut taken = BTreeMap::new();
    for number in 0..NODES {
        let node = Node {
            id: format!("{:032x}", number * 7919),
            partial: None,
            current: Some(Version::new(1, 0, 0)),
            agent: Version::new(1, 0, 0),
            within: None,
            denied: BTreeSet::new(),
            paced: None,
        };
        let mut now = start() - Duration::from_secs(random.below(45 * MINUTE));
        loop {
            let choice = choose(listing, &node, now);
            if choice.target.is_some() {
                break;
            }
            let poll = now + Duration::from_secs(40 * MINUTE + random.below(10 * MINUTE));
            now = choice.next_change(now).map_or(poll, |turn| turn.min(poll));
            assert!(now < start() + Duration::from_secs(2 * DAY), "node {number} never gets it");
        }
        let after = now.duration_since(start()).as_secs();
        taken.insert(number, u64::try_from(after).expect("nobody takes it before it begins"));
    }
    taken
}

#[test]
#[allow(clippy::cast_precision_loss)]
fn a_fleet_keeps_to_the_plan_of_a_day_within_one_per_cent() {
    let taken = take(&rollout_of(Version::new(2, 0, 0)), &mut Random(42));
    let mut worst: f64 = 0.0;
    for second in (0..=DAY + 60).step_by(60) {
        let reached = taken.values().filter(|at| **at <= second).count() as f64 / NODES as f64;
        let planned = (second as f64 / DAY as f64).min(1.0);
        worst = worst.max((reached - planned).abs());
    }
    println!("{NODES} nodes, worst difference {:.2} %", worst * 100.0);
    assert!(worst <= 0.01, "{worst}");
}

#[test]
#[allow(clippy::cast_precision_loss)]
fn other_nodes_go_first_with_another_release() {
    let first_tenth = |version: Version| -> HashSet<usize> {
        let taken = take(&rollout_of(version), &mut Random(7));
        let mut nodes: Vec<_> = taken.into_iter().collect();
        nodes.sort_by_key(|(_, at)| *at);
        nodes.into_iter().take(NODES / 10).map(|(node, _)| node).collect()
    };
    let tenths = [(2, 0), (2, 1), (3, 0)].map(|(a, b)| first_tenth(Version::new(a, b, 0)));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let both = tenths[one].intersection(&tenths[other]).count();
        let overlap = both as f64 / (NODES / 10) as f64;
        println!("overlap of two first tenths: {:.1} %", overlap * 100.0);
        assert!((0.08..=0.12).contains(&overlap), "{overlap}");
    }
}
