//! What etcd's own quorum asks of a machine that carries one of its members.

use std::net::IpAddr;
use std::time::Duration;

use etcd_client::ResponseHeader;
use tokio::time::{sleep, timeout};

use super::EtcdStore;
use super::client::Pool;
use super::members;
use crate::core::health::Evidence;
use crate::core::quorum::{Aside, Cluster, Member};

/// A hand-over of leadership takes this long at most; etcd itself gives it an election's time.
const HAND_OVER: Duration = Duration::from_secs(10);
/// Between two looks whether leadership has moved.
const LOOK: Duration = Duration::from_millis(100);

impl EtcdStore {
    /// See [`crate::adapters::slots::SlotStore::cluster`].
    pub(in crate::adapters::slots) async fn cluster(
        &self,
        own: &[IpAddr],
    ) -> Result<Cluster, String> {
        self.members(own).await.map_err(|failure| failure.what)
    }

    /// See [`crate::adapters::slots::SlotStore::quorum_risk`].
    pub(in crate::adapters::slots) async fn quorum_risk(&self, own: &[IpAddr]) -> Evidence {
        match self.cluster(own).await {
            Ok(cluster) => cluster.risk(),
            Err(why) => Evidence::Unknown { why },
        }
    }

    /// See [`crate::adapters::slots::SlotStore::step_aside`].
    pub(in crate::adapters::slots) async fn step_aside(
        &self,
        own: &[IpAddr],
    ) -> Result<Aside, String> {
        let cluster = self.cluster(own).await?;
        let warning = cluster.pause();
        let Some((leader, heir)) = cluster.successor() else {
            return Ok(Aside { handed_to: None, warning });
        };
        let handed = timeout(HAND_OVER, hand_over(&self.pool, &cluster, leader, heir)).await;
        handed.map_err(|_| format!("leadership of etcd did not move within {HAND_OVER:?}"))??;
        Ok(Aside { handed_to: Some(heir.title()), warning })
    }
}

/// Has `leader` hand its leadership to `heir`, and waits until it has. Only the leader takes such a
/// request, so it goes to where that very member answers.
async fn hand_over(
    pool: &Pool,
    cluster: &Cluster,
    leader: &Member,
    heir: &Member,
) -> Result<(), String> {
    let endpoints = cluster.endpoints.iter().filter(|endpoint| endpoint.answer == Ok(leader.id));
    let urls = endpoints.map(|endpoint| &endpoint.url).chain(&leader.client_urls);
    let mut why = "it has no address for clients".to_owned();
    for url in urls {
        let is_it = |status: &etcd_client::StatusResponse| {
            status.header().map_or(0, ResponseHeader::member_id) == leader.id
        };
        match members::status(pool, url).await {
            Ok(status) if is_it(&status) => {
                return move_leader(pool, url, leader.id, heir.id).await;
            }
            Ok(_) => why = format!("{url}: another member answers"),
            Err(failure) => why = failure.what,
        }
    }
    Err(format!("etcd member {} cannot be asked to hand over: {why}", leader.title()))
}

async fn move_leader(pool: &Pool, url: &str, from: u64, to: u64) -> Result<(), String> {
    let asked = pool.at(url, HAND_OVER, |mut client| async move { client.move_leader(to).await });
    asked.await.map_err(|failure| failure.what)?;
    // etcd answers once it sees the other lead; what counts is that it stays so.
    while members::status(pool, url).await.map_err(|failure| failure.what)?.leader() == from {
        sleep(LOOK).await;
    }
    Ok(())
}
