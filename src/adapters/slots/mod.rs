//! Stores of the reboot semaphore: etcd for a fleet, a local file for one machine.

use std::time::Duration;

use crate::core::slots::{Halt, Holder, Refusal, SlotsView};

pub mod etcd;
pub mod local;

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

/// An admin's change to a group.
#[derive(Clone, Debug)]
pub enum AdminOp {
    /// Change the number of slots.
    SetMax(u32),
    /// Take a slot for a node, by hand.
    Lock(Holder),
    /// Take the slot away from a node, whoever holds it.
    Unlock(String),
    /// Stop the group.
    Halt(Halt),
    /// Let the group go on.
    Resume,
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
}

/// One group's semaphore in some store.
#[derive(Clone, Debug)]
pub enum SlotStore {
    /// etcd v3.
    Etcd(etcd::EtcdStore),
    /// A file on this machine.
    Local(local::LocalStore),
}

// The methods every store has (see tests/slots_contract.rs):
//
//   async fn acquire(&self, claim: &Holder, seen: impl Fn(Result<SlotsView, StoreError>)) -> Result<Token, StoreError>
//       Joins the queue (idempotent) and waits for its turn. Retries Unreachable inside, for ever, with bounded
//       back-off, telling `seen` of every failure and of every change it sees. Returns only on success, or on
//       Refused(DuplicateNode)/Unusable. May be dropped at any await; `leave` must be called after that.
//   async fn leave(&self, node: &str, nonce: &str) -> Result<Option<Token>, StoreError>
//       Takes the ticket back; answers the token if it turns out that we hold a slot.
//   async fn held(&self, node, nonce) -> Result<Option<Token>, StoreError>
//   async fn release(&self, node: &str, nonce: &str, settle: Duration) -> Result<(), StoreError>
//       Not holding is success without a write. Only our own entry (node + nonce) is removed.
//   async fn view(&self) -> Result<SlotsView, StoreError>
//   async fn admin(&self, op: &AdminOp) -> Result<SlotsView, StoreError>
//   async fn publish(&self, node: &str, record: &NodeRecord) -> Result<(), StoreError>
//   async fn nodes(&self) -> Result<BTreeMap<String, NodeRecord>, StoreError>
//   async fn safe_to_lose(&self, own_addresses: &[IpAddr]) -> Evidence      (core::health::Evidence; Yes = UNSAFE reasons)
//       etcd only: would the reboot of this machine cost etcd its quorum? local: Evidence::No.

/// Kept here so that the signatures above stay honest.
#[allow(dead_code)]
fn _uses(_: Duration, _: Holder, _: SlotsView) {}
