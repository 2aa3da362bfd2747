//! What the reboot lock in etcd costs: latencies, hand-offs, requests.
//!
//! Everything is measured beside its floor in one run against one real etcd on loopback, in turns, so
//! that what else the machine does hits both alike. Prints tables for the README; asserts no figure.
//!
//! `cargo bench --bench lock -- --quick` leaves out the rounds that take minutes.

#![allow(clippy::print_stdout, reason = "it prints a report")]

#[allow(clippy::unwrap_used, clippy::expect_used, reason = "written for tests")]
#[path = "../../tests/support/etcd.rs"]
mod etcd;
mod fleetlock;
mod floor;
mod handoff;
#[allow(dead_code, clippy::unwrap_used, reason = "written for tests")]
#[path = "../../tests/support/hub.rs"]
mod hub;
mod latency;
mod meter;
mod ours;
mod report;
#[allow(dead_code, reason = "written for tests")]
#[path = "../../tests/support/wait.rs"]
mod wait;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::etcd::Cluster;
use self::handoff::Plan;

/// A way to take the one slot and to give it back, for one node.
trait Lock: Send + 'static {
    /// Returns when this node has the slot.
    fn acquire(&mut self) -> impl Future<Output = Result<()>> + Send;
    /// Gives the slot back.
    fn release(&mut self) -> impl Future<Output = Result<()>> + Send;
}

// One thread, as in the agent; etcd has the other cores to itself.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // Cargo says so when it is to be run for its figures rather than as a test.
    let options: Vec<_> = std::env::args().skip(1).collect();
    if !options.iter().any(|option| option == "--bench") {
        return Ok(());
    }
    let quick = options.iter().any(|option| option == "--quick");
    raise_open_files()?;
    let cluster = Cluster::start(1).await;
    let latencies = latency::measure(&cluster).await?;
    println!("{}", report::latency(&latencies));
    let mut rows = Vec::new();
    for plan in plans(quick) {
        rows.push(handoff::measure(&cluster, &plan).await?);
    }
    println!("{}", report::handoff(&rows));
    println!("{}", report::requests(&rows));
    println!("{}", report::aims(&rows));
    Ok(())
}

/// The rounds of each size: as many as a few minutes allow.
fn plans(quick: bool) -> Vec<Plan> {
    let plan = |waiters, hold, rounds| Plan { waiters, hold: Duration::from_millis(hold), rounds };
    let mut plans =
        vec![plan(10, 0, 15), plan(100, 0, 9), plan(1000, 0, if quick { 3 } else { 5 })];
    plans.extend([plan(10, 50, 3), plan(100, 50, if quick { 1 } else { 3 })]);
    if !quick {
        plans.push(plan(1000, 50, 1));
    }
    plans
}

/// A thousand nodes are a thousand connections, here and in etcd, which inherits the limit.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).context("cannot raise the number of open files")
}
