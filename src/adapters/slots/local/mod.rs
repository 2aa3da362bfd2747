//! Semaphores on this machine, and a queue in this process: in a file for strategy `reboot`, in an
//! embedded database for a hub.
//!
//! It keeps the same contract as etcd, so that nothing else has to know which one it talks to. The
//! file is tiny and its changes are rare, so they are made in place, without awaiting: what is
//! dropped is dropped before or after a change, never in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::database::Database;
use self::file::Content;
use self::queue::{Alive, Queue};
use self::shelf::Shelf;
use super::poll::Polled;
use super::{NodeRecord, StoreError, Token, dated};
use crate::adapters::clock;
use crate::core::change::Change;
use crate::core::history::{Entry, What};
use crate::core::slots::{Holder, Refusal, Slots, SlotsView, Ticket, Views};

mod database;
mod file;
mod queue;
mod shelf;

/// A waiter looks at the file this often: other processes (an admin's) may have changed it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The semaphores of one machine.
#[derive(Clone, Debug)]
pub struct LocalStore {
    shelf: Shelf,
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
        Self::on(Shelf::File(path.into()), Queue::default())
    }

    /// A store in the embedded database `path`, made if need be, which no other process may open
    /// meanwhile. Those who polled before a restart keep their places, if they ask again within
    /// `ttl`.
    ///
    /// # Errors
    /// `Unusable` when the database cannot be opened, or holds what cannot be understood.
    pub fn database(path: &Path, ttl: Duration) -> Result<Self, StoreError> {
        let database = Database::open(path)?;
        let (mut queue, until) = (Queue::default(), Instant::now() + ttl);
        for (group, ticket) in &database.content().pollers {
            queue.join_until(group, ticket.clone(), until)?;
        }
        Ok(Self::on(Shelf::Database(database), queue))
    }

    fn on(shelf: Shelf, queue: Queue) -> Self {
        let room = Room { queue: Mutex::new(queue), changes: watch::Sender::new(0) };
        Self { shelf, room: Arc::new(room) }
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
        self.attempt(&mut queue, groups, claim, since)
    }

    /// Takes a slot of every group for a claim that is in the queue, if it is its turn.
    fn attempt(
        &self,
        queue: &mut Queue,
        groups: &[String],
        claim: &Holder,
        since: Instant,
    ) -> Result<Option<Token>, StoreError> {
        let turn = queue.is_head(groups, claim)
            && groups.iter().all(|group| queue.settling(group).is_none());
        let mut pollers = queue.pollers();
        let token = self.shelf.change(|content| {
            let token = admit(content, groups, claim, turn.then_some(since))?;
            if token.is_some() {
                pollers
                    .retain(|(group, ticket)| ticket.node != claim.node || !groups.contains(group));
            }
            content.pollers = pollers;
            Ok(token)
        })?;
        if token.is_some() {
            queue.admitted(groups, claim);
        }
        Ok(token)
    }

    /// See [`super::SlotStore::poll`].
    pub(super) fn poll(
        &self,
        group: &str,
        claim: &Holder,
        ttl: Duration,
    ) -> Result<Polled, StoreError> {
        let now = Instant::now();
        let groups = [group.to_owned()];
        let mut queue = self.queue();
        queue.join_until(group, Ticket::of(claim), now + ttl)?;
        if let Some(token) = self.attempt(&mut queue, &groups, claim, now)? {
            return Ok(Polled::Granted(token));
        }
        let slots = effective(&self.shelf.read()?.slots(group));
        let settling = queue.settling(group).is_some();
        let tickets = queue.tickets(group);
        let ahead = tickets.iter().take_while(|t| t.node != claim.node).count() as u64;
        let queue = tickets.into_iter().filter(|t| t.node == claim.node).collect();
        Ok(Polled::Waiting { ahead, view: SlotsView { slots, queue, settling } })
    }

    /// See [`super::SlotStore::depart`].
    pub(super) fn depart(
        &self,
        group: &str,
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<bool, StoreError> {
        let groups = [group.to_owned()];
        let held = self.held(&groups, node, nonce)?.is_some();
        if self.queue().leave_group(group, node, nonce) {
            let pollers = self.queue().pollers();
            self.shelf.change(|content| {
                content.pollers = pollers;
                Ok(())
            })?;
            self.wake();
        }
        self.release(&groups, node, nonce, settle).map(|()| held)
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
        let content = self.shelf.read()?;
        Ok(groups.iter().filter_map(|group| content.token(group, node, nonce)).max())
    }

    /// See [`super::SlotStore::held`].
    pub(super) fn held(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Result<Option<Token>, StoreError> {
        let content = self.shelf.read()?;
        Ok(held(&content, groups, node, nonce))
    }

    /// See [`super::SlotStore::release`].
    pub(super) fn release(
        &self,
        groups: &[String],
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<(), StoreError> {
        let left = self.shelf.change(|content| Ok(give_back(content, groups, node, nonce)))?;
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
        let content = self.shelf.read()?;
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
        let content = self.shelf.read()?;
        let mut all: BTreeSet<String> = content.groups.keys().cloned().collect();
        all.extend(self.queue().groups().cloned());
        Ok(all.into_iter().collect())
    }

    /// See [`super::SlotStore::admin`].
    pub(super) fn admin(&self, group: &str, change: &Change) -> Result<SlotsView, StoreError> {
        self.shelf.change(|content| {
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
        let content = self.shelf.read()?;
        Ok(content.groups.get(group).map(|group| group.history.clone()).unwrap_or_default())
    }

    /// See [`super::SlotStore::publish`].
    pub(super) fn publish(&self, node: &str, record: &NodeRecord) -> Result<(), StoreError> {
        self.shelf.change(|content| {
            content.nodes.insert(node.to_owned(), record.clone());
            Ok(())
        })
    }

    /// See [`super::SlotStore::nodes`].
    pub(super) fn nodes(&self) -> Result<BTreeMap<String, NodeRecord>, StoreError> {
        Ok(self.shelf.read()?.nodes.clone())
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

/// Admits a claim to every one of `groups`, if its `turn` has come (then: since when it waited).
fn admit(
    content: &mut Content,
    groups: &[String],
    claim: &Holder,
    turn: Option<Instant>,
) -> Result<Option<Token>, StoreError> {
    let (node, nonce) = (&claim.node, &claim.nonce);
    if let Some(token) = held(content, groups, node, nonce) {
        return Ok(Some(token));
    }
    // Who holds a part while it waits could block others for ever.
    give_back(content, groups, node, nonce);
    let mut next = BTreeMap::new();
    for group in groups {
        match (effective(&content.slots(group)).admit(claim, 0), turn) {
            (Err(refusal @ Refusal::DuplicateNode { .. }), _) => return Err(refusal.into()),
            (Ok(slots), Some(since)) => {
                let entry = Entry::own(What::Locked, claim, clock::wall());
                next.insert(group.clone(), (dated(slots, claim, since.elapsed()), entry));
            }
            (Ok(_) | Err(_), _) => return Ok(None),
        }
    }
    content.set(next);
    Ok(held(content, groups, node, nonce))
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
