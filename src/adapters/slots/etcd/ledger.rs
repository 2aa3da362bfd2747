//! What happened to the semaphores, kept for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{KeyValue, PutOptions, TxnOp};
use tokio::time::Instant;

use super::client::Pool;
use super::encode;
use super::failure::Failure;
use crate::core::history::Entry;

/// What happened longer ago is forgotten.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Entries share a lease, so that each change needs one request and not two; it is used for so long.
const SHARED: Duration = Duration::from_secs(24 * 3600);

/// The lease on which this process's entries hang.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Option<(i64, Instant)>>);

impl Ledger {
    /// The lease for entries made now.
    pub(super) async fn lease(&self, pool: &Pool) -> Result<i64, Failure> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((lease, _)) = known.filter(|(_, since)| since.elapsed() < SHARED) {
            return Ok(lease);
        }
        let lease = pool.grant(KEPT).await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((lease, Instant::now()));
        Ok(lease)
    }

    /// The lease is gone (an etcd restored from a backup): the next one will be new.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Puts an entry under the ledger's lease.
pub(super) fn put(key: String, entry: &Entry, lease: i64) -> Result<TxnOp, Failure> {
    Ok(TxnOp::put(key, encode(entry)?, Some(PutOptions::new().with_lease(lease))))
}

/// An entry as stored; one in a form not known here is left out.
pub(super) fn entry(kv: &KeyValue) -> Option<Entry> {
    let read = serde_json::from_slice(kv.value());
    if let Err(error) = &read {
        let key = String::from_utf8_lossy(kv.key());
        tracing::warn!(%key, %error, "an entry of the history is in a form not known here");
    }
    read.ok()
}
