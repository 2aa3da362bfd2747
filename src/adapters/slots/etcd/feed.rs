//! Any keys of etcd, as they are now, and again when they have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_client::{GetOptions, GetResponse, KeyValue, Txn, TxnOp};
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::client::{Call, Pool};
use super::keys::Range;
use super::look::as_get;
use super::watch::{News, Watch};
use crate::adapters::slots::StoreError;

/// Keys are read again after this long, whatever the watch says.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A view of some keys that is kept fresh.
pub struct Feed {
    pool: Pool,
    watch: Option<Watch>,
}

impl Feed {
    /// One that is reached by `access`. Does not connect yet.
    #[must_use]
    pub fn new(access: &Access) -> Self {
        Self { pool: Pool::new(access), watch: None }
    }

    /// Each of the keys `tops` with all that is below it, of one moment. What changes after that moment
    /// ends [`Feed::changed`].
    ///
    /// # Errors
    /// When etcd cannot be reached or used.
    pub async fn read(
        &mut self,
        tops: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let ranges = tops.iter().map(|top| around(top)).collect();
        if !self.watch.as_ref().is_some_and(|watch| watch.is_on(&ranges)) {
            self.watch = Some(Watch::on(&self.pool, &ranges, self.watch.take()).await?);
        }
        let reads = tops.iter().flat_map(|top| {
            let below = GetOptions::new().with_prefix();
            [TxnOp::get(top.as_str(), None), TxnOp::get(format!("{top}/"), Some(below))]
        });
        let reads: Vec<_> = reads.collect();
        let wanted = reads.len();
        let answer = self.pool.txn(Call::Read, Txn::new().and_then(reads)).await?;
        let answers = answer.op_responses();
        if answers.len() != wanted {
            let what = "etcd's answer is not complete".to_owned();
            return Err(StoreError::Unreachable { what });
        }
        let found = answers.iter().filter_map(as_get).flat_map(GetResponse::kvs);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(found.map(|kv: &KeyValue| (text(kv.key()), text(kv.value()))).collect())
    }

    /// Returns when something may have changed since the last read. May be dropped while it waits.
    pub async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else { return sleep(LOOK_AGAIN).await };
        match timeout(LOOK_AGAIN, watch.next()).await {
            Ok(News::Changes(_)) | Err(_) => {}
            Ok(News::Lost(why)) => {
                tracing::debug!(why, "watching anew");
                self.watch = None;
                self.pool.pass_over();
            }
        }
    }
}

/// A range that holds a key and all below it; and a few more, which do not matter to a watch.
fn around(top: &str) -> Range {
    // '0' follows on '/'.
    Range { from: top.to_owned(), last: format!("{top}0") }
}
