//! The semaphores of a fleet in etcd v3.
//!
//! One value per group holds the slots, without a lease, so that it outlives its holder's reboot.
//! Waiters queue with leased tickets. Every change is one transaction on the revisions that were read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnResponse,
};

pub use self::access::Access;
use self::admitted::Admitted;
use self::client::{Call, Pool};
use self::failure::{Failure, Kind};
use self::fleet::Alive;
use self::keys::Keys;
use self::ledger::Ledger;
use self::look::{as_get, semaphore};
use self::wait::Backoff;
use super::{StoreError, Token};
use crate::adapters::clock;
use crate::core::change::Change;
use crate::core::history::{Entry, What};
use crate::core::slots::{Holder, Refusal, Slots, SlotsView, Views};

mod access;
mod admitted;
mod client;
mod depart;
mod failure;
pub mod feed;
mod fleet;
pub mod foreign;
mod keys;
mod ledger;
mod line;
mod look;
mod members;
mod papers;
mod place;
mod poll;
mod quorum;
mod route;
mod tls;
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

/// The semaphores of a fleet in etcd.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    pool: Pool,
    keys: Keys,
    timing: Timing,
    quarantine: u32,
    alive: Arc<Alive>,
    ledger: Arc<Ledger>,
    in_doubt: Arc<depart::InDoubt>,
    admitted: Arc<Admitted>,
}

/// The semaphores of some groups, as they count, at one revision.
#[derive(Debug)]
struct Seen {
    revision: i64,
    /// With the revision of each one's last change.
    groups: BTreeMap<String, (Slots, i64)>,
    /// What else must still be so when they are changed.
    also: Vec<Compare>,
}

/// What came of a change.
enum Changed {
    Yes,
    /// There was nothing to change.
    Nothing,
    /// Somebody was faster.
    Lost,
}

/// A key of a group.
type Key = fn(&Keys, &str) -> String;

/// What an edit makes of a semaphore: the new value, and what the history says of it.
type Edited = (Slots, Entry);

impl EtcdStore {
    /// A store reached by `access`, under `prefix`. Does not connect yet.
    #[must_use]
    pub fn new(access: &Access, prefix: &str) -> Self {
        let timing = Timing {
            ticket_lease: Duration::from_secs(30),
            look_again: Duration::from_secs(60),
            alive_lease: Duration::from_secs(60),
        };
        Self {
            pool: Pool::new(access),
            keys: Keys::new(prefix),
            timing,
            quarantine: 0,
            alive: Arc::default(),
            ledger: Arc::default(),
            in_doubt: Arc::default(),
            admitted: Arc::default(),
        }
    }

    /// The same store with another life span for tickets of waiters that fell silent. etcd itself
    /// grants nothing below two seconds or so.
    #[must_use]
    pub fn with_ticket_lease(mut self, lease: Duration) -> Self {
        self.timing.ticket_lease = lease;
        self
    }

    /// The same store, whose waiters pass by up to so many overdue holders (see [`Slots::admit`]).
    #[must_use]
    pub fn with_quarantine(mut self, most: u32) -> Self {
        self.quarantine = most;
        self
    }

    /// See [`super::SlotStore::acquire`].
    pub(super) async fn acquire(
        &self,
        groups: &[String],
        claim: &Holder,
        seen: impl Fn(Result<Views, StoreError>),
    ) -> Result<Token, StoreError> {
        wait::acquire(self, groups, claim, seen).await
    }

    /// See [`super::SlotStore::leave`].
    pub(super) async fn leave(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<Option<Token>, StoreError> {
        for _ in 0..=DOUBTS {
            let reads = groups.iter().map(|group| TxnOp::get(self.keys.ticket(group, node), None));
            let answers = self.reads(reads.collect()).await?;
            let found = groups.iter().zip(answers.iter().filter_map(as_get));
            let places = found.filter_map(|(group, get)| {
                let place = look::place(&self.keys, group, get.kvs().first()?);
                (place.ticket.nonce == nonce).then_some((group, place.changed))
            });
            let (mut seen, mut deletes) = (Vec::new(), Vec::new());
            for (group, changed) in places {
                let key = self.keys.ticket(group, node);
                seen.push(Compare::mod_revision(key.as_str(), CompareOp::Equal, changed));
                deletes.push(TxnOp::delete(key, None));
            }
            if deletes.is_empty() {
                let held = self.tokens(groups, node, nonce).await?;
                return Ok(held.into_values().flatten().max());
            }
            match self.pool.txn(Call::Write, Txn::new().when(seen).and_then(deletes)).await {
                // Gone, renewed or admitted meanwhile, or in doubt: read back.
                Ok(_) | Err(Failure { kind: Kind::Unknown, .. }) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(StoreError::Unreachable { what: format!("the tickets of {node} never rest") })
    }

    /// See [`super::SlotStore::held`].
    pub(super) async fn held(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<Option<Token>, StoreError> {
        let tokens = self.tokens(groups, node, nonce).await?;
        let all: Option<Vec<Token>> = tokens.into_values().collect();
        Ok(all.and_then(|tokens| tokens.into_iter().max()))
    }

    /// The token of our slot in each group; `None` in those where we hold none.
    async fn tokens(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<BTreeMap<String, Option<Token>>, StoreError> {
        let reads = groups.iter().flat_map(|group| {
            [self.keys.slots(group), self.keys.holder(group, node)].map(|key| TxnOp::get(key, None))
        });
        let answers = self.reads(reads.collect()).await?;
        let gets: Vec<_> = answers.iter().filter_map(as_get).collect();
        let each = groups.iter().zip(gets.chunks_exact(2));
        each.map(|(group, gets)| {
            let (slots, revision) = semaphore(&self.keys.slots(group), gets[0])?;
            let token = gets[1].kvs().first().map_or(revision, etcd_client::KeyValue::mod_revision);
            Ok((group.clone(), slots.held_by(node, nonce).then_some(token)))
        })
        .collect()
    }

    /// See [`super::SlotStore::release`].
    pub(super) async fn release(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<(), StoreError> {
        let remove = |slots: &Slots| {
            let held = slots.holder(node).filter(|holder| holder.nonce == nonce);
            Ok(held.map(|holder| {
                (slots.without(node), Entry::own(What::Unlocked, holder, clock::wall()))
            }))
        };
        let timed = Some((Keys::settle as Key, settle));
        if let Some(seen) = self.admitted.take(&self.keys, groups, node, nonce) {
            // Often nothing has changed since. Whatever came of it, the next read tells.
            let tried = self.try_change(&seen, remove, timed).await;
            if tried.is_ok_and(|outcome| matches!(outcome, Changed::Yes)) {
                return Ok(());
            }
        }
        self.change(groups, remove, timed).await
    }

    /// See [`super::SlotStore::view`].
    pub(super) async fn view(&self, groups: &[String]) -> Result<Views, StoreError> {
        let in_order =
            GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend);
        let reads = groups.iter().flat_map(|group| {
            [
                TxnOp::get(self.keys.slots(group), None),
                TxnOp::get(self.keys.settle(group), None),
                TxnOp::get(self.keys.halt(group), None),
                TxnOp::get(self.keys.queue(group), Some(in_order.clone())),
            ]
        });
        let answers = self.reads(reads.collect()).await?;
        let gets: Vec<_> = answers.iter().filter_map(as_get).collect();
        let each = groups.iter().zip(gets.chunks_exact(4));
        each.map(|(group, gets)| {
            let (slots, _) = semaphore(&self.keys.slots(group), gets[0])?;
            let ticket = |kv| look::ticket(&self.keys, group, kv);
            let view = SlotsView {
                slots: slots.effective(!gets[2].kvs().is_empty()),
                queue: gets[3].kvs().iter().map(ticket).collect(),
                settling: !gets[1].kvs().is_empty(),
            };
            Ok((group.clone(), view))
        })
        .collect()
    }

    /// See [`super::SlotStore::groups`].
    pub(super) async fn groups(&self) -> Result<Vec<String>, StoreError> {
        let names = GetOptions::new().with_prefix().with_keys_only();
        let found = self.pool.get(&self.keys.groups(), names).await?;
        let group = |kv: &etcd_client::KeyValue| {
            self.keys.group_of(&String::from_utf8_lossy(kv.key())).map(str::to_owned)
        };
        let groups: BTreeSet<String> = found.kvs().iter().filter_map(group).collect();
        Ok(groups.into_iter().collect())
    }

    /// See [`super::SlotStore::admin`].
    pub(super) async fn admin(
        &self,
        group: &str,
        change: &Change,
    ) -> Result<SlotsView, StoreError> {
        let groups = [group.to_owned()];
        let edit = |slots: &Slots| {
            let next = change.apply(slots)?;
            Ok((next != *slots).then(|| (next, change.entry(slots, clock::wall()))))
        };
        let timed = change.halts_for().map(|secs| (Keys::halt as Key, Duration::from_secs(secs)));
        self.change(&groups, edit, timed).await?;
        self.view(&groups).await?.remove(group).ok_or_else(|| look::incomplete(group))
    }

    /// See [`super::SlotStore::history`].
    pub(super) async fn history(&self, group: &str) -> Result<Vec<Entry>, StoreError> {
        let in_order =
            GetOptions::new().with_prefix().with_sort(SortTarget::Key, SortOrder::Ascend);
        let found = self.pool.get(&self.keys.history(group), in_order).await?;
        Ok(found.kvs().iter().filter_map(ledger::entry).collect())
    }

    /// Makes `edit` to the semaphores of `groups`, in one transaction; no write when it changes
    /// none. With `timed`, that key of each changed group is put along, under a lease of that length.
    /// Races are run again, and after an unknown outcome the values are read back: every edit made
    /// here may be made twice.
    async fn change(
        &self,
        groups: &[String],
        edit: impl Fn(&Slots) -> Result<Option<Edited>, Refusal>,
        timed: Option<(Key, Duration)>,
    ) -> Result<(), StoreError> {
        let mut backoff = Backoff::conflict();
        let mut doubts = 0;
        for _ in 0..ROUNDS {
            let seen = self.seen(groups).await?;
            match self.try_change(&seen, &edit, timed).await {
                Ok(Changed::Yes | Changed::Nothing) => return Ok(()),
                Ok(Changed::Lost) => backoff.pause().await,
                Err(StoreError::Unreachable { .. }) if doubts < DOUBTS => doubts += 1,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unreachable { what: format!("{} never rest", groups.join(", ")) })
    }

    /// Makes `edit` to what was `seen`, unless it changes nothing or that has changed since.
    async fn try_change(
        &self,
        seen: &Seen,
        edit: impl Fn(&Slots) -> Result<Option<Edited>, Refusal>,
        timed: Option<(Key, Duration)>,
    ) -> Result<Changed, StoreError> {
        let mut edits = BTreeMap::new();
        for (group, (slots, _)) in &seen.groups {
            if let Some(edited) = edit(slots)? {
                edits.insert(group.clone(), edited);
            }
        }
        if edits.is_empty() {
            return Ok(Changed::Nothing);
        }
        match self.swap(seen, &edits, timed).await {
            Ok(answer) if answer.succeeded() => Ok(Changed::Yes),
            Ok(_) => Ok(Changed::Lost),
            Err(Failure { kind: Kind::LeaseGone, .. }) => {
                self.ledger.forget();
                Ok(Changed::Lost)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn seen(&self, groups: &[String]) -> Result<Seen, StoreError> {
        let reads: Vec<_> = groups
            .iter()
            .flat_map(|group| [self.keys.slots(group), self.keys.halt(group)])
            .map(|key| TxnOp::get(key, None))
            .collect();
        let answer = self.pool.txn(Call::Read, Txn::new().and_then(reads)).await?;
        let answers = answer.op_responses();
        let gets: Vec<_> = answers.iter().filter_map(as_get).collect();
        let read = groups.iter().zip(gets.chunks_exact(2)).map(|(group, gets)| {
            let (slots, revision) = semaphore(&self.keys.slots(group), gets[0])?;
            Ok((group.clone(), (slots.effective(!gets[1].kvs().is_empty()), revision)))
        });
        Ok(Seen {
            revision: answer.header().map_or(0, etcd_client::ResponseHeader::revision),
            groups: read.collect::<Result<_, StoreError>>()?,
            also: Vec::new(),
        })
    }

    /// Puts the edits where `seen` was, the holders' keys and the history along with them.
    async fn swap(
        &self,
        seen: &Seen,
        edits: &BTreeMap<String, Edited>,
        timed: Option<(Key, Duration)>,
    ) -> Result<TxnResponse, Failure> {
        let history = self.ledger.lease(&self.pool).await?;
        let (mut unchanged, mut ops) = (seen.also.clone(), Vec::new());
        for (group, (next, entry)) in edits {
            let Some((slots, revision)) = seen.groups.get(group) else { continue };
            let key = self.keys.slots(group);
            unchanged.push(Compare::mod_revision(key.as_str(), CompareOp::Equal, *revision));
            ops.push(TxnOp::put(key, encode(next)?, None));
            ops.push(ledger::put(self.keys.entry(group, seen.revision), entry, history)?);
            let gone = slots.holders.iter().filter(|h| next.holder(&h.node).is_none());
            ops.extend(gone.map(|h| TxnOp::delete(self.keys.holder(group, &h.node), None)));
            let new = next.holders.iter().filter(|h| slots.holder(&h.node).is_none());
            ops.extend(
                new.map(|h| TxnOp::put(self.keys.holder(group, &h.node), h.nonce.as_str(), None)),
            );
        }
        if let Some((key, lasts)) = timed.filter(|(_, lasts)| !lasts.is_zero()) {
            let lease = PutOptions::new().with_lease(self.pool.grant(lasts).await?);
            let keys = edits.keys().map(|group| key(&self.keys, group));
            ops.extend(keys.map(|key| TxnOp::put(key, "", Some(lease.clone()))));
        }
        self.pool.txn(Call::Write, Txn::new().when(unchanged).and_then(ops)).await
    }

    async fn reads(&self, ops: Vec<TxnOp>) -> Result<Vec<etcd_client::TxnOpResponse>, StoreError> {
        let wanted = ops.len();
        let answers = self.pool.txn(Call::Read, Txn::new().and_then(ops)).await?.op_responses();
        if answers.len() == wanted {
            Ok(answers)
        } else {
            Err(look::incomplete(&self.keys.groups()))
        }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value)
        .map_err(|error| Failure::new(Kind::Denied, "etcd", &format!("encode: {error}")))
}
