//! How long one call takes when nobody else wants the slot.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::Lock as _;
use crate::etcd::Cluster;
use crate::fleetlock::{self, Client};
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

/// What was measured.
pub struct Measured {
    pub calls: Vec<Call>,
    /// Writes to etcd while a holder of a ticket was refused over `FleetLock`, so many times.
    pub writes: i64,
    pub refused: usize,
}

/// Runs every call in turn, over kept connections. The first is the floor of the others.
pub async fn measure(cluster: &Cluster) -> Result<Measured> {
    let url = &cluster.endpoints()[0];
    let mut swap = Swap::connect(url, "/floor/swap").await?;
    let mut node = Node::connect(url, "latency", "web-1").await?;
    let hub = fleetlock::hub(url).await?;
    let mut client = Client::new(&hub, "latency", "web-1")?;
    // It holds its slot to the end.
    Client::new(&hub, "held", "web-1")?.acquire().await?;
    let mut poller = Client::new(&hub, "held", "web-2")?;
    let mut calls = [
        "bare compare-and-swap",
        "bare read",
        "acquire",
        "release",
        "FleetLock: lock",
        "FleetLock: unlock",
        "FleetLock: refused",
    ]
    .map(|name| Call { name, took: Vec::with_capacity(ROUNDS) });
    for round in 0..WARM_UP + ROUNDS {
        let took = [
            timed(swap.swap()).await?,
            timed(swap.read()).await?,
            timed(node.acquire()).await?,
            timed(node.release()).await?,
            timed(client.acquire()).await?,
            timed(client.release()).await?,
            timed(poller.refused()).await?,
        ];
        if round >= WARM_UP {
            calls.iter_mut().zip(took).for_each(|(call, took)| call.took.push(took));
        }
    }
    let before = swap.revision_of_etcd().await?;
    for _ in 0..ROUNDS {
        poller.refused().await?;
    }
    let writes = swap.revision_of_etcd().await? - before;
    Ok(Measured { calls: calls.into(), writes, refused: ROUNDS })
}

async fn timed(call: impl Future<Output = Result<()>>) -> Result<Duration> {
    let begun = Instant::now();
    call.await?;
    Ok(begun.elapsed())
}
