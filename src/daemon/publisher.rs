//! Tells the fleet what this node does: the newest record, in order, as soon as the store takes it.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::debug;

use crate::adapters::slots::{NodeRecord, SlotStore};

/// What is to be published, numbered.
#[derive(Clone, Debug)]
pub struct Item {
    /// Number; grows.
    pub number: u64,
    /// Where to.
    pub store: Arc<SlotStore>,
    /// What.
    pub record: NodeRecord,
}

/// The handle of the publishing task. One task writes, and the store sees to it that an older record
/// never lands on a newer one.
#[derive(Clone, Debug)]
pub struct Publisher {
    wanted: watch::Sender<Option<Item>>,
    written: watch::Receiver<u64>,
}

impl Publisher {
    /// Starts the task for one node.
    pub fn start(node: String) -> Self {
        let (wanted, wanted_rx) = watch::channel(None);
        let (written_tx, written) = watch::channel(0);
        tokio::spawn(publish(node, wanted_rx, written_tx));
        Self { wanted, written }
    }

    /// Makes `record` the one to publish; nothing happens when it is the last one already.
    pub fn set(&self, store: &Arc<SlotStore>, record: NodeRecord) {
        self.wanted.send_if_modified(|item| {
            let same = item
                .as_ref()
                .is_some_and(|old| old.record == record && Arc::ptr_eq(&old.store, store));
            if !same {
                let number = item.as_ref().map_or(1, |old| old.number + 1);
                *item = Some(Item { number, store: Arc::clone(store), record });
            }
            !same
        });
    }

    /// Waits until what was last set is published.
    pub async fn flushed(&self) {
        let number = self.wanted.borrow().as_ref().map_or(0, |item| item.number);
        let mut written = self.written.clone();
        // An error means that the task is gone, which only happens when the agent ends.
        let _ = written.wait_for(|done| *done >= number).await;
    }
}

async fn publish(
    node: String,
    mut wanted: watch::Receiver<Option<Item>>,
    written: watch::Sender<u64>,
) {
    let mut tries = 0;
    loop {
        let Some(item) = wanted.borrow_and_update().clone() else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let pause = match item.store.publish(&node, &item.record).await {
            Ok(()) => {
                tries = 0;
                let _ = written.send(item.number);
                None
            }
            Err(error) => {
                tries += 1;
                debug!("publishing this node's record failed: {error}");
                Some(crate::core::time::backoff(tries).min(Duration::from_secs(15)))
            }
        };
        let changed = match pause {
            None => wanted.changed().await,
            Some(pause) => tokio::select! {
                changed = wanted.changed() => changed,
                () = tokio::time::sleep(pause) => Ok(()),
            },
        };
        if changed.is_err() {
            return;
        }
    }
}
