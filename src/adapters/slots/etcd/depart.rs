//! The end of a claim that polled.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, ResponseHeader, Txn, TxnOp};

use super::client::Call;
use super::keys::Keys;
use super::look::{as_get, semaphore};
use super::wait::Backoff;
use super::{Changed, DOUBTS, EtcdStore, ROUNDS, Seen, encode, look};
use crate::adapters::clock;
use crate::adapters::slots::StoreError;
use crate::core::history::{Entry, What};
use crate::core::slots::Slots;

/// Pollers (group and node) with an admission under way of which nothing is known yet. Without a
/// ticket, whose end would void it, it could still land after its claimant has departed.
pub(super) type InDoubt = Mutex<BTreeSet<(String, String)>>;

impl EtcdStore {
    /// See [`crate::adapters::slots::SlotStore::depart`]. First the ticket, so that no poll under way
    /// can use it once the slot is given back.
    pub(in crate::adapters::slots) async fn depart(
        &self,
        group: &str,
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<bool, StoreError> {
        self.fence(group, node).await?;
        let give_back = |slots: &Slots| {
            let entry = |holder| Entry::own(What::Unlocked, holder, clock::wall());
            Ok(slots.holder(node).map(|holder| (slots.without(node), entry(holder))))
        };
        let (mut backoff, mut doubts, mut held) = (Backoff::conflict(), 0, false);
        for _ in 0..ROUNDS {
            let Some(seen) = self.holding(group, node, nonce).await? else { return Ok(held) };
            held = true;
            match self.try_change(&seen, give_back, Some((Keys::settle, settle))).await {
                Ok(Changed::Yes) => return Ok(true),
                Ok(Changed::Nothing | Changed::Lost) => backoff.pause().await,
                Err(StoreError::Unreachable { .. }) if doubts < DOUBTS => doubts += 1,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unreachable { what: format!("{group} never rests") })
    }

    /// The semaphore in which this claim holds a slot, if it does. Its ticket, if it has one, is
    /// taken out.
    async fn holding(
        &self,
        group: &str,
        node: &str,
        nonce: &str,
    ) -> Result<Option<Seen>, StoreError> {
        let keys = [self.keys.slots(group), self.keys.ticket(group, node)];
        for _ in 0..=DOUBTS {
            let reads = keys.each_ref().map(|key| TxnOp::get(key.as_str(), None));
            let answer = self.pool.txn(Call::Read, Txn::new().and_then(reads)).await?;
            let answers = answer.op_responses();
            let gets: Vec<_> = answers.iter().filter_map(as_get).collect();
            let [slots, ticket] = gets.as_slice() else { return Err(look::incomplete(group)) };
            let ticket = ticket.kvs().first().map(|kv| look::ticket(&self.keys, group, kv));
            if ticket.is_some_and(|ticket| ticket.nonce == nonce) {
                self.leave(&[group.to_owned()], node, nonce).await?;
                continue;
            }
            let read = semaphore(&self.keys.slots(group), slots)?;
            let held = read.0.held_by(node, nonce);
            let revision = answer.header().map_or(0, ResponseHeader::revision);
            let groups = [(group.to_owned(), read)].into();
            return Ok(held.then_some(Seen { revision, groups, also: Vec::new() }));
        }
        Err(StoreError::Unreachable { what: format!("the ticket of {node} never rests") })
    }
}

impl EtcdStore {
    pub(super) fn doubt(&self, group: &str, node: &str, doubtful: bool) {
        let mut in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
        let poller = (group.to_owned(), node.to_owned());
        if doubtful {
            in_doubt.insert(poller);
        } else {
            in_doubt.remove(&poller);
        }
    }

    /// Voids an admission in doubt that has not landed yet: the semaphore is put again as it is, and
    /// so is no longer at the revision that the admission is guarded by.
    pub(super) async fn fence(&self, group: &str, node: &str) -> Result<(), StoreError> {
        let poller = (group.to_owned(), node.to_owned());
        if !self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner).contains(&poller) {
            return Ok(());
        }
        let key = self.keys.slots(group);
        let (slots, revision) = semaphore(&key, &self.pool.get(&key, GetOptions::new()).await?)?;
        let unchanged = Compare::mod_revision(key.as_str(), CompareOp::Equal, revision);
        let put = TxnOp::put(key, encode(&slots)?, None);
        // If it has changed meanwhile, that does as well.
        self.pool.txn(Call::Write, Txn::new().when([unchanged]).and_then([put])).await?;
        self.doubt(group, node, false);
        Ok(())
    }
}
