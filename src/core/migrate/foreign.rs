//! The semaphores of locksmith and airlock, as they lie in their etcd.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::slots::{MEMBERS_GROUP, is_group_name};

/// Whose lock is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Flatcar's reboot manager: etcd v2.
    Locksmith,
    /// The `FleetLock` server in front of Zincati: etcd v3.
    Airlock,
}

/// One of their holders, with the node id it has here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Their id.
    pub id: String,
    /// Ours.
    pub node: String,
}

/// One of their semaphores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semaphore {
    /// How many may be down at once; at least 1.
    pub max: u32,
    /// Who holds a slot; at most `max`.
    pub held: Vec<Held>,
}

/// What was found, by the group's name here; or why it is not understood.
pub type Found = BTreeMap<String, Result<Semaphore, String>>;

/// The group of a locksmith or a lockkeeper that names none.
const DEFAULT: &str = "default";
/// A longer text is no id of a node.
const LONGEST_ID: usize = 256;

#[derive(Deserialize)]
struct Locksmith {
    semaphore: i64,
    max: i64,
    holders: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Airlock {
    total_slots: u64,
    holders: Option<Vec<String>>,
}

impl Source {
    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Locksmith => "locksmith",
            Self::Airlock => "airlock",
        }
    }

    /// All its keys begin so.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Locksmith => "/coreos.com/updateengine/rebootlock/",
            Self::Airlock => "com.coreos.airlock/",
        }
    }

    /// Makes out the semaphores among `values`, by key. `node` answers the id that one of their ids
    /// has here, if it is an id of a machine that can be told.
    #[must_use]
    pub fn read(
        self,
        values: &BTreeMap<String, String>,
        node: impl Fn(&str) -> Option<String>,
    ) -> Found {
        let mut found = Found::new();
        for (key, value) in values {
            let (group, semaphore) = match self.group(key) {
                Some(group) => (group, named(group).and_then(|()| self.semaphore(value, &node))),
                None => (key.as_str(), Err("not a key of a semaphore".to_owned())),
            };
            let semaphore = semaphore.map_err(|why| format!("{key}: {why}"));
            if found.insert(group.to_owned(), semaphore).is_some() {
                let why = format!("two semaphores would become the group {group:?}");
                found.insert(group.to_owned(), Err(why));
            }
        }
        found
    }

    fn group(self, key: &str) -> Option<&str> {
        let rest = key.strip_prefix(self.prefix())?;
        let group = match self {
            Self::Locksmith if rest == "semaphore" => return Some(DEFAULT),
            Self::Locksmith => rest.strip_prefix("groups/")?.strip_suffix("/semaphore")?,
            Self::Airlock => rest.strip_prefix("groups/")?.strip_suffix("/v1/semaphore")?,
        };
        (!group.is_empty() && !group.contains('/')).then_some(group)
    }

    fn semaphore(
        self,
        value: &str,
        node: impl Fn(&str) -> Option<String>,
    ) -> Result<Semaphore, String> {
        let (max, free, ids) = self.parse(value).map_err(|error| {
            format!("not a semaphore of {}'s ({error}): {}", self.word(), shown(value))
        })?;
        let max = u32::try_from(max).ok().filter(|max| *max > 0);
        let max = max.ok_or_else(|| format!("its max is no number of slots: {}", shown(value)))?;
        if ids.len() > max as usize {
            return Err(format!("{} hold a slot, and its max is {max}", ids.len()));
        }
        if free.is_some_and(|free| usize::try_from(free) != Ok(max as usize - ids.len())) {
            return Err(format!("its numbers do not add up: {}", shown(value)));
        }
        Ok(Semaphore { max, held: held(ids, node)? })
    }

    /// Max, free slots if it says so, and the holders' ids.
    fn parse(self, value: &str) -> Result<(i64, Option<i64>, Vec<String>), serde_json::Error> {
        match self {
            Self::Locksmith => serde_json::from_str(value).map(|their: Locksmith| {
                (their.max, Some(their.semaphore), their.holders.unwrap_or_default())
            }),
            Self::Airlock => serde_json::from_str(value).map(|their: Airlock| {
                let max = i64::try_from(their.total_slots).unwrap_or(i64::MAX);
                (max, None, their.holders.unwrap_or_default())
            }),
        }
    }
}

/// Their holders with the ids they have here: each once, and none under a name that is none.
fn held(ids: Vec<String>, node: impl Fn(&str) -> Option<String>) -> Result<Vec<Held>, String> {
    let mut nodes = BTreeSet::new();
    ids.into_iter()
        .map(|id| {
            if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!("a holder's id cannot be that of a node: {}", shown(&id)));
            }
            let node = node(&id).unwrap_or_else(|| id.clone());
            if !nodes.insert(node.clone()) {
                return Err(format!("{id} holds two slots"));
            }
            Ok(Held { id, node })
        })
        .collect()
}

/// Whether a group may be called so here.
fn named(group: &str) -> Result<(), String> {
    if group == MEMBERS_GROUP {
        return Err(format!("{group} is a group of lockkeeper's own"));
    }
    let good = "letters, digits, \".\" and \"-\" only";
    let why = || format!("{} cannot be the name of a group here ({good})", shown(group));
    if is_group_name(group) { Ok(()) } else { Err(why()) }
}

/// A text from outside: quoted, and not too long.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(LONGEST_ID).collect::<String>())
}
