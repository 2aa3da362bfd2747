//! The least that etcd can do: a compare-and-swap of one value, and a queue that waits by watch.

use anyhow::{Context as _, Result, bail};
use etcd_client::{
    Client, Compare, CompareOp, EventType, GetOptions, SortOrder, SortTarget, Txn, TxnOp,
};

use crate::Lock;

/// A value of 64 bytes that is swapped again and again, by one client.
pub struct Swap {
    client: Client,
    key: String,
    revision: i64,
}

impl Swap {
    pub async fn connect(url: &str, key: &str) -> Result<Self> {
        let mut client = Client::connect([url], None).await?;
        let put = client.put(key, [b'-'; 64], None).await?;
        let revision = put.header().context("no header")?.revision();
        Ok(Self { client, key: key.to_owned(), revision })
    }

    pub async fn swap(&mut self) -> Result<()> {
        let unchanged = Compare::mod_revision(self.key.as_str(), CompareOp::Equal, self.revision);
        let put = TxnOp::put(self.key.as_str(), [b'-'; 64], None);
        let answer = self.client.txn(Txn::new().when([unchanged]).and_then([put])).await?;
        if !answer.succeeded() {
            bail!("somebody else changed {}", self.key);
        }
        self.revision = answer.header().context("no header")?.revision();
        Ok(())
    }

    pub async fn read(&mut self) -> Result<()> {
        self.revision_of_etcd().await?;
        Ok(())
    }

    /// Grows with each write, whoever makes it.
    pub async fn revision_of_etcd(&mut self) -> Result<i64> {
        let read = self.client.get(self.key.as_str(), None).await?;
        Ok(read.header().context("no header")?.revision())
    }
}

/// A place in a queue of keys without leases: whoever has no key before its own has the slot. Nobody
/// may die, leave, halt or settle; there is one slot.
pub struct Queue {
    client: Client,
    prefix: String,
    own: String,
}

impl Queue {
    pub async fn connect(url: &str, prefix: &str, node: &str) -> Result<Self> {
        let mut client = Client::connect([url], None).await?;
        client.get("connected", None).await?;
        Ok(Self { client, prefix: prefix.to_owned(), own: format!("{prefix}{node}") })
    }

    /// The youngest key older than the one of this `revision`.
    async fn before(&mut self, revision: i64) -> Result<Option<Vec<u8>>> {
        let youngest = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_max_create_revision(revision - 1)
            .with_limit(1);
        let found = self.client.get(self.prefix.as_str(), Some(youngest)).await?;
        Ok(found.kvs().first().map(|kv| kv.key().to_vec()))
    }

    /// Returns when `key` is gone.
    async fn gone(&mut self, key: Vec<u8>) -> Result<()> {
        let mut watch = self.client.watch(key.clone(), None).await?;
        // Read after the watch has begun, which then misses nothing.
        while !watch.message().await?.context("the watch ended")?.created() {}
        if self.client.get(key, None).await?.kvs().is_empty() {
            return Ok(());
        }
        loop {
            let answer = watch.message().await?.context("the watch ended")?;
            if answer.events().iter().any(|event| event.event_type() == EventType::Delete) {
                return Ok(());
            }
        }
    }
}

impl Lock for Queue {
    async fn acquire(&mut self) -> Result<()> {
        let put = self.client.put(self.own.as_str(), "", None).await?;
        let revision = put.header().context("no header")?.revision();
        match self.before(revision).await? {
            Some(key) => self.gone(key).await,
            None => Ok(()),
        }
    }

    async fn release(&mut self) -> Result<()> {
        self.client.delete(self.own.as_str(), None).await?;
        Ok(())
    }
}
