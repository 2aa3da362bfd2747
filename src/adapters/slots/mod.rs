//! Stores of the reboot semaphore: etcd for a fleet, a local file for one machine.
//!
//! Every store keeps the contract that `tests/slots_contract.rs` checks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use self::poll::Polled;
use crate::core::canary::Verified;
use crate::core::change::Change;
use crate::core::health::Evidence;
use crate::core::history::Entry;
use crate::core::quorum::{Aside, Cluster};
use crate::core::slots::{Holder, Refusal, SCHEMA, Slots, SlotsView, Views};

pub mod etcd;
pub mod fleetlock;
pub mod local;
pub mod poll;

/// Fencing token of an acquired slot (etcd: the revision of the transaction that admitted us).
pub type Token = i64;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, or has no quorum. The outcome of a write is unknown.
    #[error("{what}")]
    Unreachable {
        /// Endpoint and cause, short.
        what: String,
    },
    /// What answers is not a usable store (not etcd, a newer schema, access denied).
    #[error("{what}")]
    Unusable {
        /// What is wrong and what to do.
        what: String,
    },
    /// The semaphore's own rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What a node tells the fleet about itself, for `status` and for load balancers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeRecord {
    /// Host name.
    pub name: String,
    /// Where it is in the cycle (`Phase::word`).
    pub phase: String,
    /// What it runs, what it waits for, short.
    pub text: String,
    /// `in-service`, `draining` or `down`; also stored alone under `/service/<node>`.
    pub service: String,
    /// Where load balancers reach it, if the admin says so; told alone, under `/address/<node>`.
    #[serde(skip)]
    pub address: Option<String>,
}

/// The semaphores of a fleet in some store, one a group. Clones are the same store.
#[derive(Clone, Debug)]
pub enum SlotStore {
    /// etcd v3.
    Etcd(etcd::EtcdStore),
    /// A file, or an embedded database, on this machine.
    Local(local::LocalStore),
    /// A FleetLock server.
    FleetLock(fleetlock::FleetLockStore),
}

impl SlotStore {
    /// Joins the queue of every one of `groups` and waits for a slot in all of them, for as long as
    /// it takes. First come, first served; all are taken at once, or none.
    ///
    /// Idempotent: a claim (node and nonce) that holds the slots already has them. Trouble with
    /// reaching the store is waited out. `seen` is told of every such failure and of every change
    /// this waiter sees; a queue in such a view is only the ticket before its own, if any, and its
    /// own. `claim.since` is moved on by the time waited.
    ///
    /// May be dropped at any await; [`SlotStore::leave`] must be called after that.
    ///
    /// # Errors
    /// `Refused` when another machine uses this node id, `Unusable` when waiting would not help.
    pub async fn acquire(
        &self,
        groups: &[String],
        claim: &Holder,
        seen: impl Fn(Result<Views, StoreError>),
    ) -> Result<Token, StoreError> {
        match self {
            Self::Etcd(store) => store.acquire(groups, claim, seen).await,
            Self::Local(store) => store.acquire(groups, claim, seen).await,
            Self::FleetLock(store) => store.acquire(groups, claim, seen).await,
        }
    }

    /// Leaves the queues; answers a token if it turns out that we hold a slot in any of the groups.
    /// After this, an acquire dropped before can no longer be admitted.
    ///
    /// # Errors
    /// When the store cannot be reached or used; then nothing is known.
    pub async fn leave(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<Option<Token>, StoreError> {
        match self {
            Self::Etcd(store) => store.leave(groups, node, nonce).await,
            Self::Local(store) => store.leave(groups, node, nonce),
            Self::FleetLock(store) => store.leave(groups, node).await,
        }
    }

    /// The token of our slots, if we hold one in every one of the groups.
    ///
    /// # Errors
    /// When the store cannot be reached or used.
    pub async fn held(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<Option<Token>, StoreError> {
        match self {
            Self::Etcd(store) => store.held(groups, node, nonce).await,
            Self::Local(store) => store.held(groups, node, nonce),
            Self::FleetLock(store) => store.held(),
        }
    }

    /// Gives our slots back, all at once; nobody is admitted to a group we left for `settle` after
    /// that. Only our own entries (node and nonce) are removed. Not holding is success, without a
    /// write.
    ///
    /// # Errors
    /// When the store cannot be reached or used; call again.
    pub async fn release(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<(), StoreError> {
        match self {
            Self::Etcd(store) => store.release(groups, node, nonce, settle).await,
            Self::Local(store) => store.release(groups, node, nonce, settle),
            Self::FleetLock(store) => store.release(groups, node).await,
        }
    }

    /// One look for a claim that asks again and again: takes a slot of `group` if it is its turn,
    /// joins the queue if it is not in it, and writes nothing else. A claim that does not ask again
    /// within `ttl` leaves the queue.
    ///
    /// # Errors
    /// `Refused` when another machine uses this node id, or when the store cannot be reached or used.
    pub async fn poll(
        &self,
        group: &str,
        claim: &Holder,
        ttl: Duration,
    ) -> Result<Polled, StoreError> {
        match self {
            Self::Etcd(store) => store.poll(group, claim, ttl).await,
            Self::Local(store) => store.poll(group, claim, ttl),
            Self::FleetLock(store) => Err(store.cannot("be polled for others")),
        }
    }

    /// Ends a claim that was polled for: out of the queue, and out of the slot, as with
    /// [`SlotStore::release`]. Whether it held one. Nothing to end is success, without a write.
    ///
    /// # Errors
    /// When the store cannot be reached or used; call again.
    pub async fn depart(
        &self,
        group: &str,
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Etcd(store) => store.depart(group, node, nonce, settle).await,
            Self::Local(store) => store.depart(group, node, nonce, settle),
            Self::FleetLock(store) => Err(store.cannot("be polled for others")),
        }
    }

    /// The semaphores and whole queues of these groups, all of one moment.
    ///
    /// # Errors
    /// When the store cannot be reached or used.
    pub async fn view(&self, groups: &[String]) -> Result<Views, StoreError> {
        match self {
            Self::Etcd(store) => store.view(groups).await,
            Self::Local(store) => store.view(groups),
            Self::FleetLock(store) => Ok(store.view()),
        }
    }

    /// Every group the store knows, sorted.
    ///
    /// # Errors
    /// When the store cannot be reached or used.
    pub async fn groups(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Etcd(store) => store.groups().await,
            Self::Local(store) => store.groups(),
            Self::FleetLock(store) => Ok(store.view().into_keys().collect()),
        }
    }

    /// Makes a change and answers the group as it is then. A change that is already made is not
    /// made again.
    ///
    /// # Errors
    /// `Refused` when the semaphore's rules forbid it, or when the store cannot be reached or used.
    pub async fn admin(&self, group: &str, change: &Change) -> Result<SlotsView, StoreError> {
        match self {
            Self::Etcd(store) => store.admin(group, change).await,
            Self::Local(store) => store.admin(group, change),
            Self::FleetLock(store) => store.admin(group, change),
        }
    }

    /// What happened to a group, the oldest first; what is older than 30 days is forgotten.
    ///
    /// # Errors
    /// When the store cannot be reached or used.
    pub async fn history(&self, group: &str) -> Result<Vec<Entry>, StoreError> {
        match self {
            Self::Etcd(store) => store.history(group).await,
            Self::Local(store) => store.history(group),
            Self::FleetLock(_) => Ok(Vec::new()),
        }
    }

    /// Tells the fleet about this node. From the first call on, and until the last clone of this
    /// store is dropped, the node also counts as alive.
    ///
    /// # Errors
    /// When the store cannot be reached or used.
    pub async fn publish(&self, node: &str, record: &NodeRecord) -> Result<(), StoreError> {
        match self {
            Self::Etcd(store) => store.publish(node, record).await,
            Self::Local(store) => store.publish(node, record),
            Self::FleetLock(_) => Ok(()),
        }
    }

    /// The records of all nodes, by node id.
    ///
    /// # Errors
    /// When the store cannot be reached or used.
    pub async fn nodes(&self) -> Result<BTreeMap<String, NodeRecord>, StoreError> {
        match self {
            Self::Etcd(store) => store.nodes().await,
            Self::Local(store) => store.nodes(),
            Self::FleetLock(_) => Ok(BTreeMap::new()),
        }
    }

    /// Tells a group's followers what this node has installed and is healthy with.
    ///
    /// # Errors
    /// When the store cannot be reached or used, or has no place for it.
    pub async fn publish_verified(
        &self,
        group: &str,
        node: &str,
        verified: &Verified,
    ) -> Result<(), StoreError> {
        match self {
            Self::Etcd(store) => store.publish_verified(group, node, verified).await,
            Self::Local(_) | Self::FleetLock(_) => Err(no_canaries()),
        }
    }

    /// What each node of a group has verified. One that cannot be read is an error, not a node less.
    ///
    /// # Errors
    /// When the store cannot be reached or used, or has no place for it.
    pub async fn verified(&self, group: &str) -> Result<Vec<Verified>, StoreError> {
        match self {
            Self::Etcd(store) => store.verified(group).await,
            Self::Local(_) | Self::FleetLock(_) => Err(no_canaries()),
        }
    }

    /// The nodes whose agent has been heard within the last minute.
    ///
    /// # Errors
    /// When the store cannot be reached or used.
    pub async fn alive(&self) -> Result<BTreeSet<String>, StoreError> {
        match self {
            Self::Etcd(store) => store.alive().await,
            Self::Local(store) => Ok(store.nodes()?.into_keys().collect()),
            Self::FleetLock(_) => Ok(BTreeSet::new()),
        }
    }

    /// Would the reboot of the machine with these addresses put the store's quorum at risk?
    /// *Yes* gives the reasons not to reboot.
    pub async fn quorum_risk(&self, own_addresses: &[IpAddr]) -> Evidence {
        match self {
            Self::Etcd(store) => store.quorum_risk(own_addresses).await,
            Self::Local(_) | Self::FleetLock(_) => Evidence::No,
        }
    }

    /// The members behind the store, as seen from the machine with these addresses; `None` when it
    /// has none.
    ///
    /// # Errors
    /// Why they cannot be seen.
    pub async fn cluster(&self, own_addresses: &[IpAddr]) -> Result<Option<Cluster>, String> {
        match self {
            Self::Etcd(store) => store.cluster(own_addresses).await.map(Some),
            Self::Local(_) | Self::FleetLock(_) => Ok(None),
        }
    }

    /// Whether a member of the store runs on the machine with these addresses.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub async fn member_here(&self, own_addresses: &[IpAddr]) -> Result<bool, String> {
        match self.cluster(own_addresses).await? {
            Some(cluster) => cluster.carries_member(),
            None => Ok(false),
        }
    }

    /// Before the machine with these addresses goes down: if its member leads, another one takes
    /// over. Leadership moves by itself too when the machine is gone, only more slowly.
    ///
    /// # Errors
    /// Why it was not handed over.
    pub async fn step_aside(&self, own_addresses: &[IpAddr]) -> Result<Aside, String> {
        match self {
            Self::Etcd(store) => store.step_aside(own_addresses).await,
            Self::Local(_) | Self::FleetLock(_) => Ok(Aside::default()),
        }
    }

    /// Whether all voters are well, which a machine with these addresses that carries a member waits
    /// for before it gives its slot back. A machine without one is not concerned.
    ///
    /// # Errors
    /// What is not well, or why that cannot be told.
    pub async fn all_well(&self, own_addresses: &[IpAddr]) -> Result<(), String> {
        match self.cluster(own_addresses).await? {
            Some(cluster) => cluster.all_well(),
            None => Ok(()),
        }
    }
}

fn no_canaries() -> StoreError {
    let what = "canaries are known only by a lock in etcd (strategy = \"etcd-lock\")".to_owned();
    StoreError::Unusable { what }
}

/// `slots` with the admission of `claim` dated by the time it `waited`, on the claimant's own clock.
fn dated(mut slots: Slots, claim: &Holder, waited: Duration) -> Slots {
    let waited = jiff::SignedDuration::try_from(waited).unwrap_or_default();
    let same =
        |h: &&mut Holder| h.node == claim.node && h.nonce == claim.nonce && h.since == claim.since;
    for holder in slots.holders.iter_mut().filter(same) {
        holder.since = claim.since.checked_add(waited).unwrap_or(claim.since);
    }
    slots
}

/// The semaphore as stored at `place` (a key, a path).
///
/// # Errors
/// When it is none, or a newer program's.
pub fn parse_slots(bytes: &[u8], place: &str) -> Result<Slots, StoreError> {
    parse(bytes, place)
}

/// A value that says its schema, as stored at `place`. A newer one is refused and so never
/// overwritten by a program that would lose half of it.
fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], place: &str) -> Result<T, StoreError> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u32,
    }
    let unusable = |what: String| StoreError::Unusable { what: format!("{place}: {what}") };
    let not_ours = |cause| unusable(format!("not a value of lockkeeper's ({cause})"));
    let Schema { schema } = serde_json::from_slice(bytes).map_err(not_ours)?;
    if schema > SCHEMA {
        return Err(unusable(format!(
            "written by a newer lockkeeper (schema {schema}, known here {SCHEMA}): update this one"
        )));
    }
    serde_json::from_slice(bytes).map_err(not_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_refused_before_the_rest_is_read() {
        let error = parse_slots(br#"{"schema":2,"slots":[]}"#, "/k").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/k: written by a newer lockkeeper (schema 2, known here 1): update this one"
        );
    }

    #[test]
    fn what_is_not_a_semaphore_is_unusable() {
        for bytes in [&b""[..], b"hello", b"[]", b"{}", br#"{"schema":1}"#] {
            let error = parse_slots(bytes, "/k").unwrap_err();
            assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
            assert!(error.to_string().starts_with("/k: not a value"), "{error}");
        }
    }
}
