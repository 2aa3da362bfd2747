//! A cluster of its own that takes one round after the other.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::etcd::{Cluster, Place};
use crate::netns::{self, Net};
use crate::observer::Observer;
use crate::round;
use crate::scribe::Raw;
use crate::tally::Tally;

/// Members of a cluster.
const MEMBERS: usize = 3;
/// Quick elections, and heartbeats as rare as etcd allows beside them: they cost more than all else.
const PACE: [&str; 4] = ["--heartbeat-interval", "40", "--election-timeout", "200"];

pub struct Lane {
    // Dropped in this order: members end before their namespaces.
    pub observer: Observer,
    pub cluster: Cluster,
    pub net: Net,
    pub raw: Arc<Raw>,
    pub endpoints: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub tally: Tally,
}

impl Lane {
    async fn start(number: usize, tally: Tally) -> Self {
        let net = Net::new(number, MEMBERS);
        net.enter();
        let place = |m| Place { address: Net::address(m), space: Some(net.member(m)) };
        let dir = tempfile::Builder::new().prefix(&netns::own()).tempdir_in(memory()).unwrap();
        let cluster = Cluster::at((0..MEMBERS).map(place).collect(), dir, &PACE).await;
        let endpoints = cluster.endpoints();
        let raw = Raw::to(&endpoints).await;
        Self {
            observer: Observer::start(&endpoints, 1),
            addresses: (0..MEMBERS).map(|m| cluster.address(m)).collect(),
            cluster,
            net,
            raw,
            endpoints,
            tally,
        }
    }
}

/// Members' data is in memory where that can be had: a disk is slowed down when it is to be slow.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// Removes what processes that are no more have left.
pub fn sweep() {
    netns::sweep();
    for orphan in netns::orphans(&memory()) {
        let _ = std::fs::remove_dir_all(memory().join(orphan));
    }
}

/// Runs the rounds that `take` gives, on a cluster of its own.
pub fn run(number: usize, take: impl Fn() -> Option<u64>, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut lane = Lane::start(number, tally.clone()).await;
        while let Some(seed) = take() {
            let _named = Named(seed, tally);
            if let Err(why) = round::run(&mut lane, seed).await {
                tally.fail(format!("round {seed} failed: {why}\n{}", again(seed)));
            }
        }
    });
}

/// Says which round it was that panicked.
struct Named<'a>(u64, &'a Tally);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.fail(format!("round {} panicked\n{}", self.0, again(self.0)));
        }
    }
}

fn again(seed: u64) -> String {
    format!("again: LOCK_FAULTS_SEED={seed} LOCK_FAULTS_ROUNDS=1")
}
