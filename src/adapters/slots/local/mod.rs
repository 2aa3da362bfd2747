//! The semaphores of one machine, for strategy `reboot`: a file, and a queue in this process.
//!
//! It keeps the same contract as etcd, so that nothing else has to know which one it talks to. The
//! file is tiny and its changes are rare, so they are made in place, without awaiting: what is
//! dropped is dropped before or after a change, never in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::file::Content;
use self::queue::{Alive, Queue};
use super::{NodeRecord, StoreError, Token, dated};
use crate::adapters::clock;
use crate::core::change::Change;
use crate::core::history::{Entry, What};
use crate::core::slots::{Holder, Refusal, Slots, SlotsView, Views};

mod file;
mod queue;

/// A waiter looks at the file this often: other processes (an admin's) may have changed it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The semaphores of one machine.
#[derive(Clone, Debug)]
pub struct LocalStore {
    path: PathBuf,
    room: Arc<Room>,
}

/// What only this process knows. Clones of the store share it.
#[derive(Debug)]
struct Room {
    queue: Mutex<Queue>,
    /// Counts changes, to wake waiters.
    changes: watch::Sender<u64>,
}

/// One acquire's stay in the queue; its end wakes the others.
struct Stay<'a> {
    store: &'a LocalStore,
    alive: Alive,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        // First leave, then wake the others.
        self.alive = Alive::default();
        self.store.wake();
    }
}

impl LocalStore {
    /// A store in the file `path`, made when first needed. The queue and the settle time are this
    /// process's own: stores that shall share them must be clones.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let room = Room { queue: Mutex::default(), changes: watch::Sender::new(0) };
        Self { path: path.into(), room: Arc::new(room) }
    }

    /// See [`super::SlotStore::acquire`].
    pub(super) async fn acquire(
        &self,
        groups: &[String],
        claim: &Holder,
        seen: impl Fn(Result<Views, StoreError>),
    ) -> Result<Token, StoreError> {
        let since = Instant::now();
        let stay = Stay { store: self, alive: Alive::default() };
        let mut changes = self.room.changes.subscribe();
        let mut told = None;
        loop {
            changes.mark_unchanged();
            match self.enter(groups, claim, &stay.alive, since) {
                Ok(Some(token)) => return Ok(token),
                Ok(None) => {
                    let views = self.view(groups)?;
                    if told.as_ref() != Some(&views) {
                        seen(Ok(views.clone()));
                        told = Some(views);
                    }
                }
                Err(error @ StoreError::Unreachable { .. }) => {
                    told = None;
                    seen(Err(error));
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(self.pause(groups)) => {}
            }
        }
    }

    /// Takes a slot of every group if it is our turn. Slots we hold already are ours at once.
    fn enter(
        &self,
        groups: &[String],
        claim: &Holder,
        alive: &Alive,
        since: Instant,
    ) -> Result<Option<Token>, StoreError> {
        let mut queue = self.queue();
        queue.join(groups, claim, alive)?;
        let turn = queue.is_head(groups, claim)
            && groups.iter().all(|group| queue.settling(group).is_none());
        let token = file::change(&self.path, |content| {
            let (node, nonce) = (&claim.node, &claim.nonce);
            if let Some(token) = held(content, groups, node, nonce) {
                return Ok(Some(token));
            }
            // Who holds a part while it waits could block others for ever.
            give_back(content, groups, node, nonce);
            let mut next = BTreeMap::new();
            for group in groups {
                match effective(&content.slots(group)).admit(claim, 0) {
                    Err(refusal @ Refusal::DuplicateNode { .. }) => return Err(refusal.into()),
                    Ok(slots) if turn => {
                        let entry = Entry::own(What::Locked, claim, clock::wall());
                        next.insert(group.clone(), (dated(slots, claim, since.elapsed()), entry));
                    }
                    Ok(_) | Err(_) => return Ok(None),
                }
            }
            content.set(next);
            Ok(held(content, groups, node, nonce))
        })?;
        if token.is_some() {
            queue.leave(&claim.node, &claim.nonce);
        }
        Ok(token)
    }

    /// How long to wait when nothing happens.
    fn pause(&self, groups: &[String]) -> Duration {
        let queue = self.queue();
        let settles = groups.iter().filter_map(|group| queue.settling(group));
        settles.fold(LOOK_AGAIN, Duration::min)
    }

    /// See [`super::SlotStore::leave`].
    pub(super) fn leave(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<Option<Token>, StoreError> {
        self.queue().leave(node, nonce);
        self.wake();
        let content = file::read(&self.path)?;
        Ok(groups.iter().filter_map(|group| content.token(group, node, nonce)).max())
    }

    /// See [`super::SlotStore::held`].
    pub(super) fn held(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<Option<Token>, StoreError> {
        Ok(held(&file::read(&self.path)?, groups, node, nonce))
    }

    /// See [`super::SlotStore::release`].
    pub(super) fn release(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<(), StoreError> {
        let left = file::change(&self.path, |content| Ok(give_back(content, groups, node, nonce)))?;
        if !settle.is_zero() {
            let until = Instant::now() + settle;
            for group in &left {
                self.queue().settle(group, until);
            }
        }
        if !left.is_empty() {
            self.wake();
        }
        Ok(())
    }

    /// See [`super::SlotStore::view`].
    pub(super) fn view(&self, groups: &[String]) -> Result<Views, StoreError> {
        let content = file::read(&self.path)?;
        let mut queue = self.queue();
        let mut view = |group: &String| SlotsView {
            slots: effective(&content.slots(group)),
            queue: queue.tickets(group),
            settling: queue.settling(group).is_some(),
        };
        Ok(groups.iter().map(|group| (group.clone(), view(group))).collect())
    }

    /// See [`super::SlotStore::groups`].
    pub(super) fn groups(&self) -> Result<Vec<String>, StoreError> {
        let known = file::read(&self.path)?.groups.into_keys();
        let all: BTreeSet<String> = known.chain(self.queue().groups().cloned()).collect();
        Ok(all.into_iter().collect())
    }

    /// See [`super::SlotStore::admin`].
    pub(super) fn admin(&self, group: &str, change: &Change) -> Result<SlotsView, StoreError> {
        file::change(&self.path, |content| {
            let slots = effective(&content.slots(group));
            let next = change.apply(&slots)?;
            if next != slots {
                let entry = change.entry(&slots, clock::wall());
                content.set([(group.to_owned(), (next, entry))].into());
            }
            Ok(())
        })?;
        self.wake();
        let views = self.view(&[group.to_owned()])?;
        Ok(views.into_values().next().unwrap_or_default())
    }

    /// See [`super::SlotStore::history`].
    pub(super) fn history(&self, group: &str) -> Result<Vec<Entry>, StoreError> {
        let group = file::read(&self.path)?.groups.remove(group);
        Ok(group.map(|group| group.history).unwrap_or_default())
    }

    /// See [`super::SlotStore::publish`].
    pub(super) fn publish(&self, node: &str, record: &NodeRecord) -> Result<(), StoreError> {
        file::change(&self.path, |content| {
            content.nodes.insert(node.to_owned(), record.clone());
            Ok(())
        })
    }

    /// See [`super::SlotStore::nodes`].
    pub(super) fn nodes(&self) -> Result<BTreeMap<String, NodeRecord>, StoreError> {
        Ok(file::read(&self.path)?.nodes)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.room.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.room.changes.send_modify(|changes| *changes += 1);
    }
}

/// The token of a claim that holds a slot in every one of `groups`.
fn held(content: &Content, groups: &[String], node: &str, nonce: &str) -> Option<Token> {
    let tokens: Option<Vec<Token>> =
        groups.iter().map(|group| content.token(group, node, nonce)).collect();
    tokens?.into_iter().max()
}

/// Takes a claim out of `groups`; answers those it held a slot in.
fn give_back(content: &mut Content, groups: &[String], node: &str, nonce: &str) -> Vec<String> {
    let mut next = BTreeMap::new();
    for group in groups {
        let slots = content.slots(group);
        if let Some(holder) = slots.holder(node).filter(|holder| holder.nonce == nonce) {
            let entry = Entry::own(What::Unlocked, holder, clock::wall());
            next.insert(group.clone(), (slots.without(node), entry));
        }
    }
    let left = next.keys().cloned().collect();
    content.set(next);
    left
}

/// A semaphore as it counts now. The machine's own wall clock times its halts: no other is concerned.
fn effective(slots: &Slots) -> Slots {
    let expires = slots.halt.as_ref().and_then(|halt| halt.expires);
    slots.effective(expires.is_none_or(|at| clock::wall() < at))
}
