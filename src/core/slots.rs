//! The reboot semaphore as a plain value: who may be down, and why nobody else may.
//!
//! Stores (etcd, a local file) keep this value and change it only with these functions, inside a
//! compare-and-swap on the revision they read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Format of the stored value; a store refuses a newer one rather than truncate it.
pub const SCHEMA: u32 = 1;

/// The value under `<prefix>/groups/<group>/slots`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slots {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How many nodes may be down at once; at least 1.
    pub max: u32,
    /// Who holds a slot now, sorted by node.
    pub holders: Vec<Holder>,
    /// While present, nobody is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
}

/// One holder of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// Node id: the application-specific machine id, 32 hex digits.
    pub node: String,
    /// Host name, for people.
    pub name: String,
    /// Tells two machines with one (cloned) node id apart; empty when an admin locked.
    pub nonce: String,
    /// The holder's own wall clock when it took the slot; for people only, never compared.
    pub since: Timestamp,
    /// Why it wants to be down.
    pub reason: String,
    /// The plan it applies, if any (its id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Boot id it took the slot in.
    pub boot_id: String,
}

/// The group is stopped: nobody is admitted until an admin resumes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Halt {
    /// What went wrong, in words.
    pub reason: String,
    /// Host name of the node, or the admin, that halted.
    pub by: String,
    /// Wall clock of whoever halted; for people only.
    pub since: Timestamp,
    /// The plan that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// One waiter, in queue order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// Node id.
    pub node: String,
    /// Host name, for people.
    pub name: String,
    /// As in [`Holder::nonce`].
    pub nonce: String,
    /// Why it waits.
    pub reason: String,
    /// The plan it wants to apply, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// What one look at a group shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotsView {
    /// The semaphore.
    pub slots: Slots,
    /// Waiters, first in line first.
    pub queue: Vec<Ticket>,
    /// The group settles after an unlock: nobody is admitted yet.
    pub settling: bool,
}

/// Why a slot was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// All slots are taken.
    #[error("all {max} slot(s) are taken")]
    Full {
        /// The semaphore's max.
        max: u32,
    },
    /// The group is halted.
    #[error("the group is halted by {}: {}", .0.by, .0.reason)]
    Halted(Halt),
    /// Another machine holds a slot under this node id.
    #[error(
        "node id {node} already holds a slot as another installation ({name}): two machines share one machine-id"
    )]
    DuplicateNode {
        /// The shared node id.
        node: String,
        /// Host name of the holder.
        name: String,
    },
    /// `max` would be less than 1.
    #[error("max must be at least 1")]
    BadMax,
}

impl Default for Slots {
    fn default() -> Self {
        Self { schema: SCHEMA, max: 1, holders: Vec::new(), halt: None }
    }
}

impl Slots {
    /// Slots free now: never negative, also when `max` was lowered below the number of holders.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.max.saturating_sub(u32::try_from(self.holders.len()).unwrap_or(u32::MAX))
    }

    /// The holder entry of `node`.
    #[must_use]
    pub fn holder(&self, node: &str) -> Option<&Holder> {
        self.holders.iter().find(|h| h.node == node)
    }

    /// The value with `claim` admitted. Idempotent: a claim that already holds (same node, same
    /// nonce) leaves the value as it is, also when the group has been halted since.
    ///
    /// # Errors
    /// [`Refusal`] when it may not be admitted.
    pub fn admit(&self, claim: &Holder) -> Result<Self, Refusal> {
        if let Some(held) = self.holder(&claim.node) {
            if held.nonce == claim.nonce {
                return Ok(self.clone());
            }
            return Err(Refusal::DuplicateNode {
                node: held.node.clone(),
                name: held.name.clone(),
            });
        }
        if let Some(halt) = &self.halt {
            return Err(Refusal::Halted(halt.clone()));
        }
        if self.available() == 0 {
            return Err(Refusal::Full { max: self.max });
        }
        let mut next = self.clone();
        next.holders.push(claim.clone());
        next.holders.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(next)
    }

    /// The value without `node`; the same value when it holds nothing.
    #[must_use]
    pub fn without(&self, node: &str) -> Self {
        let mut next = self.clone();
        next.holders.retain(|h| h.node != node);
        next
    }

    /// The value with another `max`. Present holders stay even when there are more of them.
    ///
    /// # Errors
    /// When `max` is 0.
    pub fn with_max(&self, max: u32) -> Result<Self, Refusal> {
        if max == 0 {
            return Err(Refusal::BadMax);
        }
        Ok(Self { max, ..self.clone() })
    }

    /// The value halted. The first halt wins: its reason is the one to look into.
    #[must_use]
    pub fn halted(&self, halt: Halt) -> Self {
        let mut next = self.clone();
        next.halt.get_or_insert(halt);
        next
    }

    /// The value without its halt.
    #[must_use]
    pub fn resumed(&self) -> Self {
        Self { halt: None, ..self.clone() }
    }
}
