//! The lock's keys as they were at one revision.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::core::slots::{Holder, Slots};

use super::{Change, Intent};

/// One group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub slots: Slots,
    pub tickets: BTreeMap<String, Seat>,
    /// The holders' own keys.
    pub holders: BTreeMap<String, HolderKey>,
    pub settling: bool,
    /// The time of a halt that ends by itself is not over.
    pub halt_lasts: bool,
}

/// A ticket's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub create: i64,
    pub lease: i64,
}

/// A key beside the semaphore that says when its holder was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderKey {
    pub nonce: String,
    /// Revision of its last change.
    pub revision: i64,
    pub lease: i64,
}

/// All groups, and what everybody is about to do.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub groups: BTreeMap<String, Group>,
    pub intents: BTreeMap<String, Intent>,
}

/// What one revision wrote.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Groups whose semaphore was put.
    pub slots: BTreeSet<String>,
    /// Of those, the ones whose semaphore hangs on a lease.
    pub leased: BTreeSet<String>,
    /// Groups that began to settle, and under which lease.
    pub settle: BTreeMap<String, i64>,
    /// Groups whose history got an entry.
    pub history: BTreeSet<String>,
    /// Entries of a history that were written over.
    pub overwritten: Vec<String>,
}

impl Group {
    /// The semaphore as it counts.
    pub fn effective(&self) -> Slots {
        self.slots.effective(self.halt_lasts)
    }

    /// Who is first in line.
    pub fn head(&self) -> Option<&str> {
        let first = self.tickets.iter().min_by_key(|(_, seat)| seat.create);
        first.map(|(node, _)| node.as_str())
    }

    /// Entries that were not there `before`: another nonce is another entry.
    pub fn new_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Holder> {
        self.slots.holders.iter().filter(|h| !before.slots.held_by(&h.node, &h.nonce))
    }
}

impl Fleet {
    /// Makes the changes of one revision.
    ///
    /// # Errors
    /// When a value cannot be read.
    pub fn apply(
        &mut self,
        prefix: &str,
        revision: i64,
        changes: &[Change],
    ) -> Result<Written, String> {
        let mut written = Written::default();
        for change in changes {
            let Some(path) = change.key.strip_prefix(prefix).and_then(|k| k.strip_prefix('/'))
            else {
                continue;
            };
            if let Some(who) = path.strip_prefix("intents/") {
                let intent = change.value.as_deref().map(parse).transpose()?;
                self.intents.insert(who.to_owned(), intent.unwrap_or(Intent::Rest));
            } else if let Some((name, key)) =
                path.strip_prefix("groups/").and_then(|p| p.split_once('/'))
            {
                let group = self.groups.entry(name.to_owned()).or_default();
                group.apply(name, key, revision, change, &mut written)?;
            }
        }
        Ok(written)
    }
}

impl Group {
    fn apply(
        &mut self,
        name: &str,
        key: &str,
        revision: i64,
        change: &Change,
        written: &mut Written,
    ) -> Result<(), String> {
        let (value, lease) = (change.value.as_deref(), change.lease);
        if key == "slots" {
            self.slots = value.map(parse).transpose()?.unwrap_or_default();
            written.slots.insert(name.to_owned());
            if lease != 0 {
                written.leased.insert(name.to_owned());
            }
        } else if key == "settle" {
            self.settling = value.is_some();
            if self.settling {
                written.settle.insert(name.to_owned(), lease);
            }
        } else if key == "halt" {
            self.halt_lasts = value.is_some();
        } else if key.starts_with("history/") && value.is_some() {
            written.history.insert(name.to_owned());
            if change.create != revision {
                written.overwritten.push(change.key.clone());
            }
        } else if let Some(node) = key.strip_prefix("queue/") {
            let seat = Seat { create: change.create, lease };
            set(&mut self.tickets, node, value.map(|_| seat));
        } else if let Some(node) = key.strip_prefix("holder/") {
            let nonce = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let key = value.map(|v| HolderKey { nonce: nonce(v), revision, lease });
            set(&mut self.holders, node, key);
        }
        Ok(())
    }
}

fn set<T>(map: &mut BTreeMap<String, T>, key: &str, value: Option<T>) {
    match value {
        Some(value) => map.insert(key.to_owned(), value),
        None => map.remove(key),
    };
}

fn parse<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value)
        .map_err(|e| format!("unreadable ({e}): {}", String::from_utf8_lossy(value)))
}
