//! lockkeeper's lock, as one node's agent uses it.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use lockkeeper::adapters::slots::SlotStore;
use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::core::slots::Holder;

use crate::Lock;

/// As in the settings an agent ships with.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// One node, with a connection of its own.
pub struct Node {
    store: SlotStore,
    groups: [String; 1],
    claim: Holder,
}

impl Node {
    pub async fn connect(url: &str, group: &str, node: &str) -> Result<Self> {
        let access = Access::open(&[url.to_owned()], REQUEST_TIMEOUT);
        let store = EtcdStore::new(&access, "/lockkeeper/v1");
        let store = SlotStore::Etcd(store);
        let groups = [group.to_owned()];
        store.view(&groups).await?;
        let claim = Holder {
            node: node.to_owned(),
            name: format!("host-{node}"),
            nonce: format!("nonce-{node}"),
            since: Timestamp::UNIX_EPOCH,
            reason: "update".to_owned(),
            release: None,
            boot_id: "7c8e4ad1-52a0-4c0e-9f3b-6f1f5a3d9e10".to_owned(),
            expected_secs: 0,
            overdue: false,
        };
        Ok(Self { store, groups, claim })
    }
}

impl Lock for Node {
    async fn acquire(&mut self) -> Result<()> {
        self.store.acquire(&self.groups, &self.claim, |_| ()).await?;
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        let Holder { node, nonce, .. } = &self.claim;
        self.store.release(&self.groups, node, nonce, Duration::ZERO).await?;
        Ok(())
    }
}
