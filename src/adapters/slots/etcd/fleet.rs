//! What nodes tell the fleet about themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::client::{Call, Pool};
use super::failure::{Failure, Kind};
use super::{EtcdStore, ROUNDS, encode, route};
use crate::adapters::slots::{NodeRecord, StoreError, parse};
use crate::core::canary::Verified;

/// Pause after a failure to say that we are alive.
const RETRY: Duration = Duration::from_secs(5);

/// The task that says we are alive; it ends with the last clone of the store.
#[derive(Debug, Default)]
pub(super) struct Alive(Mutex<Option<(String, JoinHandle<()>)>>);

impl Alive {
    /// Says it for `node` from now on.
    fn start(&self, node: &str, task: impl FnOnce() -> JoinHandle<()>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|(of, task)| of == node && !task.is_finished()) {
            return;
        }
        if let Some((_, other)) = running.replace((node.to_owned(), task())) {
            other.abort();
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let running = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, task)) = running.take() {
            task.abort();
        }
    }
}

impl EtcdStore {
    /// See [`crate::adapters::slots::SlotStore::publish`].
    pub(in crate::adapters::slots) async fn publish(
        &self,
        node: &str,
        record: &NodeRecord,
    ) -> Result<(), StoreError> {
        self.alive.start(node, || {
            let (pool, key, lease) =
                (self.pool.clone(), self.keys.alive(node), self.timing.alive_lease);
            tokio::spawn(async move { stay_alive(&pool, &key, lease).await })
        });
        let key = self.keys.node(node);
        let mut puts = vec![
            TxnOp::put(key.as_str(), encode(record)?, None),
            TxnOp::put(self.keys.service(node), record.service.as_str(), None),
            TxnOp::put(self.keys.name(node), record.name.as_str(), None),
        ];
        let own = match &record.address {
            Some(address) => Some(address.clone()),
            None => route::own_address(self.pool.endpoints()).await,
        };
        puts.extend(own.map(|own| TxnOp::put(self.keys.address(node), route::in_url(&own), None)));
        self.put_newest(&key, &puts).await
    }

    /// See [`crate::adapters::slots::SlotStore::publish_verified`].
    pub(in crate::adapters::slots) async fn publish_verified(
        &self,
        group: &str,
        node: &str,
        verified: &Verified,
    ) -> Result<(), StoreError> {
        let key = self.keys.verified(group, node);
        let put = TxnOp::put(key.as_str(), encode(verified)?, None);
        self.put_newest(&key, &[put]).await
    }

    /// Makes `puts`, of which `key` is one. One made earlier, which is still on its way, does not land
    /// on them.
    async fn put_newest(&self, key: &str, puts: &[TxnOp]) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            let found = self.pool.get(key, GetOptions::new().with_keys_only()).await?;
            let newest = found.kvs().first().map_or(0, KeyValue::mod_revision);
            let unchanged = Compare::mod_revision(key, CompareOp::Equal, newest);
            let txn = Txn::new().when([unchanged]).and_then(puts);
            if self.pool.txn(Call::Write, txn).await?.succeeded() {
                return Ok(());
            }
        }
        Err(StoreError::Unreachable { what: format!("{key} never rests") })
    }

    /// See [`crate::adapters::slots::SlotStore::verified`].
    pub(in crate::adapters::slots) async fn verified(
        &self,
        group: &str,
    ) -> Result<Vec<Verified>, StoreError> {
        let prefix = self.keys.all_verified(group);
        let found = self.pool.get(&prefix, GetOptions::new().with_prefix()).await?;
        found.kvs().iter().map(|kv| parse(kv.value(), &String::from_utf8_lossy(kv.key()))).collect()
    }

    /// See [`crate::adapters::slots::SlotStore::nodes`].
    pub(in crate::adapters::slots) async fn nodes(
        &self,
    ) -> Result<BTreeMap<String, NodeRecord>, StoreError> {
        let prefix = self.keys.nodes();
        let found = self.pool.get(&prefix, GetOptions::new().with_prefix()).await?;
        let record = |kv: &etcd_client::KeyValue| {
            let key = String::from_utf8_lossy(kv.key());
            let node = key.strip_prefix(&prefix)?.to_owned();
            match serde_json::from_slice(kv.value()) {
                Ok(record) => Some((node, record)),
                Err(error) => {
                    tracing::warn!(%key, %error, "a node's record is in a form not known here");
                    None
                }
            }
        };
        Ok(found.kvs().iter().filter_map(record).collect())
    }

    /// See [`crate::adapters::slots::SlotStore::alive`].
    pub(in crate::adapters::slots) async fn alive(&self) -> Result<BTreeSet<String>, StoreError> {
        let prefix = self.keys.all_alive();
        let how = GetOptions::new().with_prefix().with_keys_only();
        let found = self.pool.get(&prefix, how).await?;
        let node = |kv: &etcd_client::KeyValue| {
            let key = String::from_utf8_lossy(kv.key());
            key.strip_prefix(&prefix).map(str::to_owned)
        };
        Ok(found.kvs().iter().filter_map(node).collect())
    }
}

/// Keeps `key` under a lease, for ever.
async fn stay_alive(pool: &Pool, key: &str, ttl: Duration) {
    loop {
        if let Err(failure) = live(pool, key, ttl).await {
            tracing::debug!(why = failure.what, "cannot say that this node is alive");
            if failure.kind != Kind::LeaseGone {
                sleep(RETRY).await;
            }
        }
    }
}

async fn live(pool: &Pool, key: &str, ttl: Duration) -> Result<(), Failure> {
    let lease = pool.grant(ttl).await?;
    let put = TxnOp::put(key, "", Some(PutOptions::new().with_lease(lease)));
    pool.txn(Call::Write, Txn::new().and_then([put])).await?;
    loop {
        sleep(ttl / 3).await;
        pool.keep_alive(lease).await?;
    }
}
