//! What a stretch of work cost: time, etcd's requests as etcd counts them, CPU on both sides.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use crate::etcd::Cluster;

/// Messages a client sends to etcd, by method; a stream's each count (one for each watched key).
const METHODS: [&str; 6] = ["Txn", "Range", "Put", "DeleteRange", "LeaseGrant", "Watch"];
/// Counted apart: their number depends on how long the wait takes, not on the protocol.
const KEEP_ALIVE: &str = "LeaseKeepAlive";

/// The counters at one moment.
pub struct Meter {
    at: Instant,
    methods: Vec<f64>,
    keep_alives: f64,
    etcd_cpu: f64,
    own_cpu: f64,
}

/// What happened between two moments.
#[derive(Clone)]
pub struct Cost {
    pub took: Duration,
    /// Requests by method, in the order of [`METHODS`].
    pub methods: Vec<f64>,
    pub keep_alives: f64,
    /// CPU seconds of etcd.
    pub etcd_cpu: f64,
    /// CPU seconds of this process's one busy thread.
    pub own_cpu: f64,
}

impl Meter {
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let mut methods = Vec::new();
        for method in METHODS {
            methods.push(received(cluster, method).await);
        }
        Ok(Self {
            methods,
            keep_alives: received(cluster, KEEP_ALIVE).await,
            etcd_cpu: cluster.metric(0, "process_cpu_seconds_total").await,
            own_cpu: own_cpu()?,
            at: Instant::now(),
        })
    }

    /// The cost since the start.
    pub async fn stop(self, cluster: &Cluster) -> Result<Cost> {
        let took = self.at.elapsed();
        let own_cpu = own_cpu()? - self.own_cpu;
        let now = Self::start(cluster).await?;
        let methods = now.methods.iter().zip(&self.methods);
        Ok(Cost {
            took,
            methods: methods.map(|(now, then)| now - then).collect(),
            keep_alives: now.keep_alives - self.keep_alives,
            etcd_cpu: now.etcd_cpu - self.etcd_cpu,
            own_cpu,
        })
    }
}

impl Cost {
    /// All requests but the keep-alives.
    pub fn requests(&self) -> f64 {
        self.methods.iter().sum()
    }

    /// The methods used, with `requests / nodes` of each.
    pub fn by_method(&self, nodes: f64) -> String {
        let used = METHODS.iter().zip(&self.methods).filter(|(_, requests)| **requests > 0.0);
        let each: Vec<_> = used.map(|(name, n)| format!("{name} {:.1}", n / nodes)).collect();
        each.join(", ")
    }
}

async fn received(cluster: &Cluster, method: &str) -> f64 {
    cluster.metric(0, &format!("grpc_server_msg_received_total{{grpc_method=\"{method}\"")).await
}

/// CPU seconds of the main thread, which does all the work here.
fn own_cpu() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanos = text.split_whitespace().next().context("/proc/self/schedstat is empty")?;
    Ok(Duration::from_nanos(nanos.parse()?).as_secs_f64())
}
