//! What an admin, or a node about another one, can change in a group's semaphore.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    history::{Entry, What},
    slots::{Halt, Holder, Refusal, Slots},
};

/// A change, with who makes it and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What.
    pub op: AdminOp,
    /// Who: a host name, or an admin on a host.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminOp {
    /// The number of slots.
    SetMax(u32),
    /// Take a slot for a node, by hand.
    Lock(Holder),
    /// Take the slot away from a node, whoever holds it.
    Unlock(String),
    /// Stop the group.
    Halt {
        /// The halt.
        halt: Halt,
        /// It ends by itself after so many seconds, by the store's clock.
        for_secs: Option<u64>,
    },
    /// Let the group go on.
    Resume,
    /// This holder needs longer than it expected to.
    MarkOverdue {
        /// Node id.
        node: String,
        /// As in [`Holder::nonce`].
        nonce: String,
    },
}

impl Change {
    /// The semaphore with this change made.
    ///
    /// # Errors
    /// When the semaphore's rules forbid it.
    pub fn apply(&self, slots: &Slots) -> Result<Slots, Refusal> {
        match &self.op {
            AdminOp::SetMax(max) => slots.with_max(*max),
            AdminOp::Lock(holder) => slots.admit(holder, 0),
            AdminOp::Unlock(node) => Ok(slots.without(node)),
            AdminOp::Halt { halt, .. } => Ok(slots.halted(halt.clone())),
            AdminOp::Resume => Ok(slots.resumed()),
            AdminOp::MarkOverdue { node, nonce } => Ok(slots.with_overdue(node, nonce)),
        }
    }

    /// How long a halt made by this change lasts by itself, in seconds.
    #[must_use]
    pub fn halts_for(&self) -> Option<u64> {
        match &self.op {
            AdminOp::Halt { for_secs, .. } => *for_secs,
            AdminOp::SetMax(_)
            | AdminOp::Lock(_)
            | AdminOp::Unlock(_)
            | AdminOp::Resume
            | AdminOp::MarkOverdue { .. } => None,
        }
    }

    /// The entry for the group's history; `before` is the semaphore that is changed.
    #[must_use]
    pub fn entry(&self, before: &Slots, at: Timestamp) -> Entry {
        let held = |node: &str| before.holder(node).map(|h| h.name.clone()).unwrap_or_default();
        let (what, node, name) = match &self.op {
            AdminOp::SetMax(max) => {
                (What::MaxSet, String::new(), format!("{} -> {max}", before.max))
            }
            AdminOp::Lock(holder) => (What::LockedByHand, holder.node.clone(), holder.name.clone()),
            AdminOp::Unlock(node) => (What::UnlockedByForce, node.clone(), held(node)),
            AdminOp::Halt { .. } => (What::Halted, String::new(), String::new()),
            AdminOp::Resume => (What::Resumed, String::new(), String::new()),
            AdminOp::MarkOverdue { node, .. } => (What::Overdue, node.clone(), held(node)),
        };
        let release = match &self.op {
            AdminOp::Halt { halt, .. } => halt.release.clone(),
            AdminOp::Lock(holder) => holder.release.clone(),
            AdminOp::SetMax(_)
            | AdminOp::Unlock(_)
            | AdminOp::Resume
            | AdminOp::MarkOverdue { .. } => None,
        };
        let (by, reason) = (self.by.clone(), self.reason.clone());
        Entry { at, what, node, name, by, reason, release }
    }
}
