//! The semaphores of one machine as a file: read whole, replaced whole, changed under a lock.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::adapters::slots::{NodeRecord, StoreError, Token, parse};
use crate::adapters::state_file;
use crate::core::history::Entry;
use crate::core::slots::{SCHEMA, Slots, Ticket};

/// Entries of a group's history that are kept, the youngest.
const KEPT: usize = 500;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    /// As [`Slots::schema`].
    pub(super) schema: u32,
    /// By name.
    pub(super) groups: BTreeMap<String, Group>,
    /// The token given last.
    pub(super) last_token: Token,
    /// What nodes told about themselves.
    pub(super) nodes: BTreeMap<String, NodeRecord>,
    /// Those who poll, each with the group it waits for, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pollers: Vec<(String, Ticket)>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) slots: Slots,
    /// The tokens of those who hold a slot.
    pub(super) tokens: BTreeMap<String, Token>,
    /// What happened, the oldest first.
    pub(super) history: Vec<Entry>,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            groups: BTreeMap::new(),
            last_token: 0,
            nodes: BTreeMap::new(),
            pollers: Vec::new(),
        }
    }
}

impl Content {
    /// The semaphore of a group.
    pub(super) fn slots(&self, group: &str) -> Slots {
        self.groups.get(group).map(|group| group.slots.clone()).unwrap_or_default()
    }

    /// The token of the slot that this claim holds in a group.
    pub(super) fn token(&self, group: &str, node: &str, nonce: &str) -> Option<Token> {
        let group = self.groups.get(group).filter(|group| group.slots.held_by(node, nonce))?;
        Some(group.tokens.get(node).copied().unwrap_or(self.last_token))
    }

    /// Takes over changed semaphores and what their histories say: who is new in any gets the next
    /// token, the same in all.
    pub(super) fn set(&mut self, changes: BTreeMap<String, (Slots, Entry)>) {
        let token = self.last_token + 1;
        for (name, (slots, entry)) in changes {
            let group = self.groups.entry(name).or_default();
            group.tokens.retain(|node, _| slots.holder(node).is_some());
            for holder in &slots.holders {
                if group.slots.holder(&holder.node).is_none() {
                    self.last_token = token;
                    group.tokens.insert(holder.node.clone(), token);
                }
            }
            group.slots = slots;
            group.history.push(entry);
            let old = group.history.len().saturating_sub(KEPT);
            group.history.drain(..old);
        }
    }
}

/// Reads the file; one that is not there yet has no groups.
///
/// # Errors
/// `Unusable` when it cannot be read or understood.
pub(super) fn read(path: &Path) -> Result<Content, StoreError> {
    match fs::read(path) {
        Ok(bytes) => parse(&bytes, &path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::default()),
        Err(error) => {
            Err(StoreError::Unusable { what: format!("cannot read {}: {error}", path.display()) })
        }
    }
}

/// Changes the file as `edit` says, alone among all processes; no write when nothing changes.
///
/// # Errors
/// What `edit` says, `Unusable` when the file cannot be understood, `Unreachable` when it cannot be
/// written (a full disk may have room later).
pub(super) fn change<T>(
    path: &Path,
    edit: impl FnOnce(&mut Content) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let failed = |error: io::Error| StoreError::Unreachable {
        what: format!("cannot write {}: {error}", path.display()),
    };
    let _alone = lock(path).map_err(failed)?;
    let before = read(path)?;
    let mut content = before.clone();
    let answer = edit(&mut content)?;
    if content != before {
        let text = serde_json::to_vec(&content).map_err(|error| failed(error.into()))?;
        state_file::replace(path, &text, 0o644).map_err(failed)?;
    }
    Ok(answer)
}

/// A lock on a file beside it, since the file itself is replaced. Opening for reading is enough, so
/// that it does not matter which user made it.
fn lock(path: &Path) -> io::Result<File> {
    let beside = suffixed(path, ".lock");
    let file = match File::open(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(&beside)
        }
        found => found,
    }?;
    file.lock()?;
    Ok(file)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_changes_nothing_does_not_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots.json");
        change(&path, |_| Ok(())).unwrap();
        assert!(!path.exists());
        change(&path, |c| {
            c.last_token = 3;
            Ok(())
        })
        .unwrap();
        assert_eq!(read(&path).unwrap().last_token, 3);
    }

    #[test]
    fn a_file_of_a_newer_schema_or_of_another_kind_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots.json");
        for text in [r#"{"schema":9}"#, "", "not json"] {
            fs::write(&path, text).unwrap();
            let error = change(&path, |c| {
                c.last_token = 3;
                Ok(())
            });
            assert!(matches!(error, Err(StoreError::Unusable { .. })), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/slots.json");
        let error = change(&path, |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot write {}", path.display())));
    }
}
