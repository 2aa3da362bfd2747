//! The semaphore of one machine, for strategy `reboot`: a file, and a queue in this process.
//!
//! It keeps the same contract as etcd, so that nothing else has to know which one it talks to. The
//! file is tiny and its changes are rare, so they are made in place, without awaiting: what is
//! dropped is dropped before or after a change, never in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::queue::{Alive, Queue};
use super::{AdminOp, NodeRecord, StoreError, Token, dated};
use crate::core::slots::{Holder, Refusal, Slots, SlotsView};

mod file;
mod queue;

/// A waiter looks at the file this often: other processes (an admin's) may have changed it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The semaphore of one machine.
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
        claim: &Holder,
        seen: impl Fn(Result<SlotsView, StoreError>),
    ) -> Result<Token, StoreError> {
        let since = Instant::now();
        let stay = Stay { store: self, alive: Alive::default() };
        let mut changes = self.room.changes.subscribe();
        let mut told = None;
        loop {
            changes.mark_unchanged();
            match self.enter(claim, &stay.alive, since) {
                Ok(Some(token)) => return Ok(token),
                Ok(None) => {
                    let view = self.view()?;
                    if told.as_ref() != Some(&view) {
                        seen(Ok(view.clone()));
                        told = Some(view);
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
                () = sleep(self.pause()) => {}
            }
        }
    }

    /// Takes a slot if it is our turn. A slot we hold already is ours at once.
    fn enter(
        &self,
        claim: &Holder,
        alive: &Alive,
        since: Instant,
    ) -> Result<Option<Token>, StoreError> {
        let mut queue = self.queue();
        queue.join(claim, alive)?;
        let turn = queue.is_head(claim) && !queue.settling();
        let token = file::change(&self.path, |content| {
            match content.slots.admit(claim) {
                Err(refusal @ Refusal::DuplicateNode { .. }) => return Err(refusal.into()),
                Ok(next) if turn => content.set_slots(dated(next, claim, since.elapsed())),
                Ok(_) | Err(_) => {}
            }
            let held = content.slots.held_by(&claim.node, &claim.nonce);
            Ok(content.tokens.get(&claim.node).copied().filter(|_| held))
        })?;
        if token.is_some() {
            queue.leave(&claim.node, &claim.nonce);
        }
        Ok(token)
    }

    /// How long to wait when nothing happens.
    fn pause(&self) -> Duration {
        match self.queue().settle_until {
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => LOOK_AGAIN,
                settle => LOOK_AGAIN.min(settle),
            },
            None => LOOK_AGAIN,
        }
    }

    /// See [`super::SlotStore::leave`].
    pub(super) fn leave(&self, node: &str, nonce: &str) -> Result<Option<Token>, StoreError> {
        self.queue().leave(node, nonce);
        self.wake();
        self.held(node, nonce)
    }

    /// See [`super::SlotStore::held`].
    pub(super) fn held(&self, node: &str, nonce: &str) -> Result<Option<Token>, StoreError> {
        let content = file::read(&self.path)?;
        let token = content.tokens.get(node).copied().unwrap_or(content.last_token);
        Ok(content.slots.held_by(node, nonce).then_some(token))
    }

    /// See [`super::SlotStore::release`].
    pub(super) fn release(
        &self,
        node: &str,
        nonce: &str,
        settle: Duration,
    ) -> Result<(), StoreError> {
        if !self.edit(|slots| {
            Ok(if slots.held_by(node, nonce) { slots.without(node) } else { slots.clone() })
        })? {
            return Ok(());
        }
        if !settle.is_zero() {
            self.queue().settle_until = Some(Instant::now() + settle);
        }
        self.wake();
        Ok(())
    }

    /// See [`super::SlotStore::view`].
    pub(super) fn view(&self) -> Result<SlotsView, StoreError> {
        let slots = file::read(&self.path)?.slots;
        let mut queue = self.queue();
        Ok(SlotsView { slots, queue: queue.tickets(), settling: queue.settling() })
    }

    /// See [`super::SlotStore::admin`].
    pub(super) fn admin(&self, op: &AdminOp) -> Result<SlotsView, StoreError> {
        self.edit(|slots| op.apply(slots))?;
        self.wake();
        self.view()
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

    /// Whether anything changed.
    fn edit(&self, edit: impl Fn(&Slots) -> Result<Slots, Refusal>) -> Result<bool, StoreError> {
        file::change(&self.path, |content| {
            let next = edit(&content.slots)?;
            let changed = next != content.slots;
            content.set_slots(next);
            Ok(changed)
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.room.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.room.changes.send_modify(|changes| *changes += 1);
    }
}
