//! What happened to a group's semaphore, one entry a change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::slots::Holder;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// When, by the wall clock of whoever made the change; for people only.
    pub at: Timestamp,
    /// What was done.
    pub what: What,
    /// The node it was done to; empty when it concerns the group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Host name of that node, or what changed, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Who did it: a host name, or an admin.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The plan it is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A node took a slot in its turn.
    Locked,
    /// A node gave its slot back.
    Unlocked,
    /// An admin took a slot for a node.
    LockedByHand,
    /// An admin took a slot away from a node.
    UnlockedByForce,
    /// The group was stopped.
    Halted,
    /// The group was let go on.
    Resumed,
    /// The number of slots was changed.
    MaxSet,
    /// A holder was seen to need longer than it expected to.
    Overdue,
}

impl What {
    /// Its stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Unlocked => "unlocked",
            Self::LockedByHand => "locked-by-hand",
            Self::UnlockedByForce => "unlocked-by-force",
            Self::Halted => "halted",
            Self::Resumed => "resumed",
            Self::MaxSet => "max-set",
            Self::Overdue => "overdue",
        }
    }
}

impl Entry {
    /// What `holder` does itself, at `at`.
    #[must_use]
    pub fn own(what: What, holder: &Holder, at: Timestamp) -> Self {
        Self {
            at,
            what,
            node: holder.node.clone(),
            name: holder.name.clone(),
            by: holder.name.clone(),
            reason: holder.reason.clone(),
            release: holder.release.clone(),
        }
    }
}
