//! A place to try a store in: fresh, with as many clients as a test wants.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::adapters::slots::etcd::EtcdStore;
use lockkeeper::adapters::slots::local::LocalStore;
use lockkeeper::adapters::slots::{AdminOp, SlotStore, StoreError, Token};
use lockkeeper::core::slots::{Halt, Holder, SlotsView};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::etcd::Cluster;
use crate::wait::{eventually, within};

/// Where tests keep their keys.
pub const PREFIX: &str = "/lockkeeper/v1";
/// Tickets of silent waiters live this long in tests.
pub const TICKET_LEASE: Duration = Duration::from_secs(1);

/// A fresh store.
pub enum Bench {
    /// One real member.
    Etcd(Box<Cluster>),
    /// A file in a directory of its own.
    Local(TempDir, LocalStore),
}

/// A store of the group `default` at these endpoints.
pub fn etcd_store(endpoints: &[String]) -> SlotStore {
    let store = EtcdStore::new(endpoints, PREFIX, "default", Duration::from_secs(2));
    SlotStore::Etcd(store.with_ticket_lease(TICKET_LEASE))
}

impl Bench {
    pub async fn etcd() -> Self {
        Self::Etcd(Box::new(Cluster::start(1).await))
    }

    pub fn local() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::new(dir.path().join("slots.json"));
        Self::Local(dir, store)
    }

    /// A client, as another node would have.
    pub fn store(&self) -> SlotStore {
        match self {
            Self::Etcd(cluster) => etcd_store(&cluster.endpoints()),
            Self::Local(_, store) => SlotStore::Local(store.clone()),
        }
    }

    /// Something that changes with every write.
    pub async fn mark(&self) -> String {
        match self {
            Self::Etcd(cluster) => {
                let answer = cluster.client().await.get("any", None).await.unwrap();
                answer.header().unwrap().revision().to_string()
            }
            Self::Local(dir, _) => match std::fs::metadata(dir.path().join("slots.json")) {
                Ok(file) => format!("{} {} {}", file.ino(), file.mtime(), file.mtime_nsec()),
                Err(_) => "none".to_owned(),
            },
        }
    }
}

/// A claim of `node`.
pub fn claim(node: &str) -> Holder {
    Holder {
        node: node.to_owned(),
        name: format!("host-{node}"),
        nonce: format!("nonce-{node}"),
        since: Timestamp::UNIX_EPOCH,
        reason: "update".to_owned(),
        release: None,
        boot_id: "boot".to_owned(),
    }
}

/// A halt.
pub fn halt() -> AdminOp {
    AdminOp::Halt(Halt {
        reason: "web.service does not start".to_owned(),
        by: "host-x".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        release: None,
    })
}

/// An acquire that runs in the background.
pub struct Waiter {
    pub node: String,
    pub task: JoinHandle<Result<Token, StoreError>>,
    seen: mpsc::UnboundedReceiver<Result<SlotsView, StoreError>>,
}

/// Starts to acquire.
pub fn start(store: SlotStore, claim: Holder) -> Waiter {
    let (tell, seen) = mpsc::unbounded_channel();
    let node = claim.node.clone();
    let task = tokio::spawn(async move {
        store
            .acquire(&claim, |news| {
                let _ = tell.send(news);
            })
            .await
    });
    Waiter { node, task, seen }
}

/// Starts to acquire, and returns when the ticket is in the queue.
pub async fn queue(bench: &Bench, node: &str) -> Waiter {
    let store = bench.store();
    let waiter = start(store.clone(), claim(node));
    eventually(&format!("{node} is in the queue"), || async {
        let view = store.view().await.unwrap();
        view.queue.iter().any(|t| t.node == node).then_some(())
    })
    .await;
    waiter
}

impl Waiter {
    /// The token, once admitted.
    pub async fn token(self) -> Token {
        within(&format!("{} is admitted", self.node), self.task).await.unwrap().unwrap()
    }

    /// The error acquire ends with.
    pub async fn error(self) -> StoreError {
        within(&format!("{} is refused", self.node), self.task).await.unwrap().unwrap_err()
    }

    /// Returns when acquire has told of something like this.
    pub async fn told<T>(
        &mut self,
        what: &str,
        like: impl Fn(&Result<SlotsView, StoreError>) -> Option<T>,
    ) -> T {
        let listen = async {
            loop {
                let news = self.seen.recv().await.expect("acquire still runs");
                if let Some(found) = like(&news) {
                    return found;
                }
            }
        };
        within(what, listen).await
    }

    pub fn waits(&self) -> bool {
        !self.task.is_finished()
    }
}
