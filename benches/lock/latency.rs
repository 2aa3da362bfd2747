//! How long one call takes when nobody else wants the slot.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::Lock as _;
use crate::etcd::Cluster;
use crate::floor::Swap;
use crate::ours::Node;

/// Rounds of all calls, each once a round.
const ROUNDS: usize = 2000;
/// Rounds before that, to warm up.
const WARM_UP: usize = 100;

/// A call and how long each of its runs took.
pub struct Call {
    pub name: &'static str,
    pub took: Vec<Duration>,
}

/// Runs every call in turn, over kept connections. The first is the floor of the others.
pub async fn measure(cluster: &Cluster) -> Result<Vec<Call>> {
    let url = &cluster.endpoints()[0];
    let mut swap = Swap::connect(url, "/floor/swap").await?;
    let mut node = Node::connect(url, "latency", "web-1").await?;
    let mut calls = ["bare compare-and-swap", "bare read", "acquire", "release"]
        .map(|name| Call { name, took: Vec::with_capacity(ROUNDS) });
    for round in 0..WARM_UP + ROUNDS {
        let took = [
            timed(swap.swap()).await?,
            timed(swap.read()).await?,
            timed(node.acquire()).await?,
            timed(node.release()).await?,
        ];
        if round >= WARM_UP {
            calls.iter_mut().zip(took).for_each(|(call, took)| call.took.push(took));
        }
    }
    Ok(calls.into())
}

async fn timed(call: impl Future<Output = Result<()>>) -> Result<Duration> {
    let begun = Instant::now();
    call.await?;
    Ok(begun.elapsed())
}
