//! A place to try a store in: fresh, with as many clients as a test wants.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::fleetlock::wire::NONCE;
use lockkeeper::adapters::slots::local::LocalStore;
use lockkeeper::adapters::slots::{NodeRecord, SlotStore, StoreError, Token};
use lockkeeper::core::change::{AdminOp, Change};
use lockkeeper::core::slots::{Halt, Holder, SlotsView, Views};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::etcd::Cluster;
use crate::fenced::{Asks, Fenced};
use crate::hub::{self, RULES};
use crate::wait::{eventually, within};

/// Where tests keep their keys.
pub const PREFIX: &str = "/lockkeeper/v1";
/// Tickets of silent waiters live this long in tests.
pub const TICKET_LEASE: Duration = Duration::from_secs(1);

/// A fresh store.
pub enum Bench {
    /// One real member.
    Etcd(Box<Cluster>),
    /// One real member that asks for a certificate and a user.
    Fenced(Box<Fenced>),
    /// A file in a directory of its own.
    Local(TempDir, LocalStore),
    /// A database in a directory of its own.
    Database(TempDir, LocalStore),
    /// A hub over one of the others, and its URL. Clients speak FleetLock.
    Hub(Box<Bench>, String),
}

/// A store, as a node in some groups uses it.
#[derive(Clone)]
pub struct Lock {
    pub store: SlotStore,
    pub groups: Vec<String>,
    /// Where is looked, and where admins work, for a client whose protocol has no words for that.
    pub beside: Option<SlotStore>,
}

impl Lock {
    /// The lock of the group `default`.
    pub fn of(store: SlotStore) -> Self {
        Self { store, groups: vec!["default".to_owned()], beside: None }
    }

    /// The same store, for a node in these groups.
    pub fn in_groups(mut self, groups: &[&str]) -> Self {
        self.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self
    }

    pub async fn acquire(
        &self,
        claim: &Holder,
        seen: impl Fn(Result<Views, StoreError>),
    ) -> Result<Token, StoreError> {
        self.store.acquire(&self.groups, claim, seen).await
    }

    pub async fn leave(&self, node: &str, nonce: &str) -> Result<Option<Token>, StoreError> {
        self.store.leave(&self.groups, node, nonce).await
    }

    pub async fn held(&self, node: &str, nonce: &str) -> Result<Option<Token>, StoreError> {
        let own = self.beside.is_some() && nonce == format!("nonce-{node}");
        self.looker().held(&self.groups, node, if own { NONCE } else { nonce }).await
    }

    fn looker(&self) -> &SlotStore {
        self.beside.as_ref().unwrap_or(&self.store)
    }

    pub async fn release(
        &self,
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<(), StoreError> {
        self.store.release(&self.groups, node, nonce, settle).await
    }

    /// The first group.
    pub async fn view(&self) -> Result<SlotsView, StoreError> {
        let mut views = self.looker().view(&self.groups).await?;
        Ok(views.remove(&self.groups[0]).expect("a view of what was asked for"))
    }

    /// A change to the first group.
    pub async fn admin(&self, op: &AdminOp) -> Result<SlotsView, StoreError> {
        let (op, by) = (op.clone(), "an admin on host-x".to_owned());
        let change = Change { op, by, reason: "because".to_owned() };
        self.looker().admin(&self.groups[0], &change).await
    }

    pub async fn publish(&self, node: &str, record: &NodeRecord) -> Result<(), StoreError> {
        self.store.publish(node, record).await
    }

    pub async fn nodes(&self) -> Result<BTreeMap<String, NodeRecord>, StoreError> {
        self.store.nodes().await
    }
}

/// A lock at these endpoints.
pub fn etcd_store(endpoints: &[String]) -> Lock {
    store_by(&Access::open(endpoints, Duration::from_secs(2)))
}

/// A lock reached like this.
pub fn store_by(access: &Access) -> Lock {
    let store = EtcdStore::new(access, PREFIX);
    Lock::of(SlotStore::Etcd(store.with_ticket_lease(TICKET_LEASE)))
}

impl Bench {
    pub async fn etcd() -> Self {
        Self::Etcd(Box::new(Cluster::start(1).await))
    }

    pub async fn fenced() -> Self {
        let asks = Asks { certificate: true, user: true, ..Asks::default() };
        Self::Fenced(Box::new(Fenced::start(1, asks).await))
    }

    pub fn local() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::new(dir.path().join("slots.json"));
        Self::Local(dir, store)
    }

    pub fn database() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::database(&dir.path().join("slots.redb"), TICKET_LEASE).unwrap();
        Self::Database(dir, store)
    }

    /// FleetLock clients of a hub over `behind`.
    pub async fn hub(behind: Self) -> Self {
        let url = hub::serve(behind.store().store, RULES).await;
        Self::Hub(Box::new(behind), url)
    }

    /// A client, as another node would have.
    pub fn store(&self) -> Lock {
        match self {
            Self::Etcd(cluster) => etcd_store(&cluster.endpoints()),
            Self::Fenced(fenced) => store_by(&fenced.access()),
            Self::Local(_, store) | Self::Database(_, store) => {
                Lock::of(SlotStore::Local(store.clone()))
            }
            Self::Hub(behind, url) => {
                Lock { beside: Some(behind.store().store), ..Lock::of(hub::client(url)) }
            }
        }
    }

    /// Something that changes with every write.
    pub async fn mark(&self) -> String {
        match self {
            Self::Etcd(cluster) => revision(cluster).await,
            Self::Fenced(fenced) => revision(&fenced.cluster).await,
            Self::Local(dir, _) => match std::fs::metadata(dir.path().join("slots.json")) {
                Ok(file) => format!("{} {} {}", file.ino(), file.mtime(), file.mtime_nsec()),
                Err(_) => "none".to_owned(),
            },
            Self::Database(dir, _) => {
                let bytes = std::fs::read(dir.path().join("slots.redb")).unwrap();
                format!("{:?}", Sha256::digest(bytes))
            }
            Self::Hub(behind, _) => Box::pin(behind.mark()).await,
        }
    }
}

async fn revision(cluster: &Cluster) -> String {
    let answer = cluster.client().await.get("any", None).await.unwrap();
    answer.header().unwrap().revision().to_string()
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
        expected_secs: 0,
        overdue: false,
    }
}

/// A halt.
pub fn halt() -> AdminOp {
    let halt = Halt {
        reason: "web.service does not start".to_owned(),
        by: "host-x".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        release: None,
        expires: None,
    };
    AdminOp::Halt { halt, for_secs: None }
}

/// An acquire that runs in the background.
pub struct Waiter {
    pub node: String,
    pub task: JoinHandle<Result<Token, StoreError>>,
    seen: mpsc::UnboundedReceiver<Result<SlotsView, StoreError>>,
}

/// Starts to acquire.
pub fn start(store: Lock, claim: Holder) -> Waiter {
    let (tell, seen) = mpsc::unbounded_channel();
    let node = claim.node.clone();
    let task = tokio::spawn(async move {
        store
            .acquire(&claim, |news| {
                let first = |views: Views| views.into_values().next().expect("a view");
                let _ = tell.send(news.map(first));
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
