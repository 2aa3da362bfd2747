//! The semaphore in etcd v3.
//!
//! One value per group holds the slots, without a lease, so that it outlives its holder's reboot.
//! Waiters queue with leased tickets. Every change is one transaction on the revision that was read.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnResponse,
};

use self::client::{Call, Pool};
use self::failure::{Failure, Kind};
use self::fleet::Alive;
use self::keys::Keys;
use self::look::{Seen, as_get};
use self::wait::Backoff;
use super::{AdminOp, StoreError, Token};
use crate::core::slots::{Holder, Refusal, Slots, SlotsView};

mod client;
mod failure;
mod fleet;
mod keys;
mod look;
mod quorum;
mod wait;
mod watch;

/// Rounds a change is tried while others change the same value; each round somebody wins.
const ROUNDS: u32 = 100;
/// Times in doubt about the outcome after which the caller decides.
const DOUBTS: u32 = 3;

/// How long things last.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// A waiter that is silent for this long has left the queue.
    ticket_lease: Duration,
    /// A waiter looks again after this long, whatever its watch says.
    look_again: Duration,
    /// A node whose agent is silent for this long is not alive.
    alive_lease: Duration,
}

/// One group's semaphore in etcd.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    pool: Pool,
    keys: Keys,
    timing: Timing,
    alive: Arc<Alive>,
}

impl EtcdStore {
    /// A store at `endpoints` (`http://192.0.2.10:2379`) for `group` under `prefix`.
    /// `request_timeout` is for each attempt at one endpoint. Does not connect yet.
    #[must_use]
    pub fn new(endpoints: &[String], prefix: &str, group: &str, request_timeout: Duration) -> Self {
        let timing = Timing {
            ticket_lease: Duration::from_secs(30),
            look_again: Duration::from_secs(60),
            alive_lease: Duration::from_secs(60),
        };
        Self {
            pool: Pool::new(endpoints, request_timeout),
            keys: Keys::new(prefix, group),
            timing,
            alive: Arc::default(),
        }
    }

    /// The same store with another life span for tickets of waiters that fell silent. etcd itself
    /// grants nothing below two seconds or so.
    #[must_use]
    pub fn with_ticket_lease(mut self, lease: Duration) -> Self {
        self.timing.ticket_lease = lease;
        self
    }

    /// See [`super::SlotStore::acquire`].
    pub(super) async fn acquire(
        &self,
        claim: &Holder,
        seen: impl Fn(Result<SlotsView, StoreError>),
    ) -> Result<Token, StoreError> {
        wait::acquire(self, claim, seen).await
    }

    /// See [`super::SlotStore::leave`].
    pub(super) async fn leave(&self, node: &str, nonce: &str) -> Result<Option<Token>, StoreError> {
        let key = self.keys.ticket(node);
        for _ in 0..=DOUBTS {
            let found = self.pool.get(&key, GetOptions::new()).await?;
            let own = found.kvs().first().filter(|kv| look::ticket(&self.keys, kv).nonce == nonce);
            let Some(own) = own else { return self.held(node, nonce).await };
            let seen = Compare::mod_revision(key.clone(), CompareOp::Equal, own.mod_revision());
            let delete = TxnOp::delete(key.clone(), None);
            match self.pool.txn(Call::Write, Txn::new().when([seen]).and_then([delete])).await {
                // Gone, renewed or admitted meanwhile, or in doubt: read back.
                Ok(_) | Err(Failure { kind: Kind::Unknown, .. }) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(StoreError::Unreachable { what: format!("{key} never rests") })
    }

    /// See [`super::SlotStore::held`].
    pub(super) async fn held(&self, node: &str, nonce: &str) -> Result<Option<Token>, StoreError> {
        let reads = [TxnOp::get(self.keys.slots(), None), TxnOp::get(self.keys.holder(node), None)];
        let answers = self.pool.txn(Call::Read, Txn::new().and_then(reads)).await?.op_responses();
        let gets: Vec<_> = answers.iter().filter_map(as_get).collect();
        let [slots, holder] = gets.as_slice() else { return Err(self.incomplete()) };
        let seen = Seen::read(&self.keys.slots(), slots)?;
        let token = holder.kvs().first().map_or(seen.revision, etcd_client::KeyValue::mod_revision);
        Ok(seen.slots.held_by(node, nonce).then_some(token))
    }

    /// See [`super::SlotStore::release`].
    pub(super) async fn release(
        &self,
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<(), StoreError> {
        let remove = |slots: &Slots| {
            Ok(if slots.held_by(node, nonce) { slots.without(node) } else { slots.clone() })
        };
        self.change(remove, settle).await
    }

    /// See [`super::SlotStore::view`].
    pub(super) async fn view(&self) -> Result<SlotsView, StoreError> {
        let in_order =
            GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend);
        let reads = [
            TxnOp::get(self.keys.slots(), None),
            TxnOp::get(self.keys.settle(), None),
            TxnOp::get(self.keys.queue(), Some(in_order)),
        ];
        let answers = self.pool.txn(Call::Read, Txn::new().and_then(reads)).await?.op_responses();
        let gets: Vec<_> = answers.iter().filter_map(as_get).collect();
        let [slots, settle, queue] = gets.as_slice() else { return Err(self.incomplete()) };
        Ok(SlotsView {
            slots: Seen::read(&self.keys.slots(), slots)?.slots,
            queue: queue.kvs().iter().map(|kv| look::ticket(&self.keys, kv)).collect(),
            settling: !settle.kvs().is_empty(),
        })
    }

    /// See [`super::SlotStore::admin`].
    pub(super) async fn admin(&self, op: &AdminOp) -> Result<SlotsView, StoreError> {
        self.change(|slots| op.apply(slots), Duration::ZERO).await?;
        self.view().await
    }

    /// Makes `edit` to the semaphore; no write when it changes nothing. Races are run again, and
    /// after an unknown outcome the value is read back: every edit made here may be made twice.
    async fn change(
        &self,
        edit: impl Fn(&Slots) -> Result<Slots, Refusal>,
        settle: Duration,
    ) -> Result<(), StoreError> {
        let mut backoff = Backoff::conflict();
        let mut doubts = 0;
        for _ in 0..ROUNDS {
            let seen = self.seen().await?;
            let next = edit(&seen.slots)?;
            if next == seen.slots {
                return Ok(());
            }
            match self.swap(&seen, &next, settle).await {
                Ok(answer) if answer.succeeded() => return Ok(()),
                Ok(_) => backoff.pause().await,
                Err(StoreError::Unreachable { .. }) if doubts < DOUBTS => doubts += 1,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unreachable { what: format!("{} never rests", self.keys.slots()) })
    }

    async fn seen(&self) -> Result<Seen, StoreError> {
        let key = self.keys.slots();
        Seen::read(&key, &self.pool.get(&key, GetOptions::new()).await?)
    }

    /// Puts `next` where `seen` was, the holders' keys along with it, and lets the group settle.
    async fn swap(
        &self,
        seen: &Seen,
        next: &Slots,
        settle: Duration,
    ) -> Result<TxnResponse, StoreError> {
        let key = self.keys.slots();
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Equal, seen.revision);
        let mut ops = vec![TxnOp::put(key, encode(next)?, None)];
        let gone = seen.slots.holders.iter().filter(|h| next.holder(&h.node).is_none());
        ops.extend(gone.map(|h| TxnOp::delete(self.keys.holder(&h.node), None)));
        let new = next.holders.iter().filter(|h| seen.slots.holder(&h.node).is_none());
        ops.extend(new.map(|h| TxnOp::put(self.keys.holder(&h.node), h.nonce.as_str(), None)));
        if !settle.is_zero() {
            let lease = PutOptions::new().with_lease(self.pool.grant(settle).await?);
            ops.push(TxnOp::put(self.keys.settle(), "", Some(lease)));
        }
        let txn = Txn::new().when([unchanged]).and_then(ops);
        Ok(self.pool.txn(Call::Write, txn).await?)
    }

    fn incomplete(&self) -> StoreError {
        StoreError::Unusable { what: format!("{}: incomplete answer", self.keys.slots()) }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Unusable { what: format!("encode: {e}") })
}
