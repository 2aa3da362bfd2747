//! N nodes want the one slot at once: how long until all have had it?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::Lock;
use crate::etcd::Cluster;
use crate::floor::Queue;
use crate::meter::{Cost, Meter};
use crate::ours::Node;

/// What to measure.
pub struct Plan {
    pub waiters: usize,
    /// How long each keeps the slot.
    pub hold: Duration,
    pub rounds: usize,
}

/// What came of it: a cost each round.
pub struct Row {
    pub waiters: usize,
    pub hold: Duration,
    pub floor: Vec<Cost>,
    pub ours: Vec<Cost>,
}

/// Floor and lock in turns.
pub async fn measure(cluster: &Cluster, plan: &Plan) -> Result<Row> {
    let url = &cluster.endpoints()[0];
    let (waiters, hold) = (plan.waiters, plan.hold);
    let mut row = Row { waiters, hold, floor: Vec::new(), ours: Vec::new() };
    for round in 0..plan.rounds {
        let place = format!("{waiters}-{}-{round}", hold.as_millis());
        let mut queue = Vec::new();
        let mut nodes = Vec::new();
        for index in 0..waiters {
            let node = format!("{index:032x}");
            queue.push(Queue::connect(url, &format!("/floor/{place}/"), &node).await?);
            nodes.push(Node::connect(url, &place, &node).await?);
        }
        row.floor.push(run(cluster, queue, hold).await?);
        row.ours.push(run(cluster, nodes, hold).await?);
    }
    Ok(row)
}

/// Starts all at once and waits until each has had the slot and given it back.
async fn run<L: Lock>(cluster: &Cluster, locks: Vec<L>, hold: Duration) -> Result<Cost> {
    let start = Arc::new(Barrier::new(locks.len() + 1));
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for mut lock in locks {
        let (start, inside) = (Arc::clone(&start), Arc::clone(&inside));
        tasks.spawn(async move {
            start.wait().await;
            lock.acquire().await?;
            if inside.fetch_add(1, Ordering::SeqCst) > 0 {
                bail!("two hold the one slot");
            }
            if !hold.is_zero() {
                tokio::time::sleep(hold).await;
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            lock.release().await?;
            // Its connection is not closed while others are measured.
            Ok(lock)
        });
    }
    let meter = Meter::start(cluster).await?;
    start.wait().await;
    let done: Result<Vec<L>> = tasks.join_all().await.into_iter().collect();
    let cost = meter.stop(cluster).await?;
    done?;
    Ok(cost)
}
