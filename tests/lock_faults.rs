//! The reboot lock on three real etcd members that die, freeze, are cut off and slowed down, with
//! agents that are killed between any two calls: seeded rounds, each judged by etcd's own history.
//!
//! `LOCK_FAULTS_SEED` and `LOCK_FAULTS_ROUNDS` run other rounds, or one of them again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "lock_faults/accidents.rs"]
mod accidents;
#[path = "lock_faults/admin.rs"]
mod admin;
#[path = "lock_faults/agent.rs"]
mod agent;
#[path = "lock_faults/broken.rs"]
mod broken;
#[path = "support/dice.rs"]
mod dice;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "lock_faults/lane.rs"]
mod lane;
#[path = "support/netns.rs"]
mod netns;
#[path = "support/observer.rs"]
mod observer;
#[path = "lock_faults/plan.rs"]
mod plan;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "lock_faults/round.rs"]
mod round;
#[path = "lock_faults/scribe.rs"]
mod scribe;
#[path = "lock_faults/tally.rs"]
mod tally;
#[path = "support/trace.rs"]
mod trace;
#[path = "support/wait.rs"]
mod wait;

use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tally::Tally;

/// Rounds in all.
const ROUNDS: u64 = 1000;
/// Clusters that take rounds at the same time. Rounds wait more than they work.
const LANES: usize = 4;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var_os(name)?.into_string().ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text} is not a number")))
}

#[test]
fn the_lock_keeps_its_promises_whatever_fails() {
    let rounds: u64 = setting("LOCK_FAULTS_ROUNDS").unwrap_or(ROUNDS);
    let first: u64 =
        setting("LOCK_FAULTS_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 16);
    println!("rounds {first} to {}", first + rounds - 1);
    lane::sweep();
    let (next, tally) = (AtomicU64::new(0), Tally::default());
    let lanes = LANES.min(usize::try_from(rounds).unwrap());
    let run = |lane| {
        let take = || {
            let round = next.fetch_add(1, Ordering::SeqCst);
            (round < rounds && !tally.failed()).then_some(first + round)
        };
        lane::run(lane, take, &tally);
    };
    std::thread::scope(|scope| {
        let named = |lane| std::thread::Builder::new().name(format!("lane {lane}"));
        let threads: Vec<_> = (0..lanes)
            .map(|lane| named(lane).spawn_scoped(scope, move || run(lane)).unwrap())
            .collect();
        // A panic is in the tally.
        for thread in threads {
            drop(thread.join());
        }
    });
    println!("{tally}");
    let failures = tally.failures();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert_eq!(tally.rounds(), rounds);
}
