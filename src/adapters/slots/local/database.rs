//! The semaphores of a fleet in an embedded database: one durable transaction a change, of only what
//! changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;

use super::file::{Content, Group};
use crate::adapters::slots::{NodeRecord, StoreError, parse};

/// Groups by name, as JSON.
const GROUPS: TableDefinition<&str, &[u8]> = TableDefinition::new("groups");
/// Nodes by id, as JSON.
const NODES: TableDefinition<&str, &[u8]> = TableDefinition::new("nodes");
/// The rest: [`Content`] without groups and nodes, as JSON.
const REST: TableDefinition<(), &[u8]> = TableDefinition::new("rest");

/// An open database, and what it holds. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Database(Arc<Open>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    redb: redb::Database,
    /// Replaced once a change is durable.
    content: Mutex<Arc<Content>>,
}

impl Database {
    /// Opens the database `path`, or makes it. No other process may have it open.
    ///
    /// # Errors
    /// `Unusable` when it cannot be opened or understood.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error: redb::Error| StoreError::Unusable {
            what: format!("cannot open {}: {error}", path.display()),
        };
        let redb = redb::Database::create(path).map_err(|error| unusable(error.into()))?;
        let stored = stored(&redb).map_err(unusable)?;
        let content = stored.into_content(&path.display().to_string())?;
        Ok(Self(Arc::new(Open {
            path: path.to_owned(),
            redb,
            content: Mutex::new(Arc::new(content)),
        })))
    }

    /// What it holds now.
    pub(super) fn content(&self) -> Arc<Content> {
        Arc::clone(&self.0.content.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`super::shelf::Shelf::change`].
    ///
    /// # Errors
    /// What `edit` says, and `Unreachable` when it cannot be written; then nothing is changed.
    pub(super) fn change<T>(
        &self,
        edit: impl FnOnce(&mut Content) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut current = self.0.content.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Content::clone(&current);
        let answer = edit(&mut next)?;
        if next != **current {
            self.write(&current, &next).map_err(|error| StoreError::Unreachable {
                what: format!("cannot write {}: {error}", self.0.path.display()),
            })?;
            *current = Arc::new(next);
        }
        Ok(answer)
    }

    fn write(&self, before: &Content, after: &Content) -> Result<(), redb::Error> {
        let transaction = self.0.redb.begin_write()?;
        {
            let mut groups = transaction.open_table(GROUPS)?;
            for (name, group) in &after.groups {
                if before.groups.get(name) != Some(group) {
                    groups.insert(name.as_str(), encode(group).as_slice())?;
                }
            }
            let mut nodes = transaction.open_table(NODES)?;
            for (node, record) in &after.nodes {
                if before.nodes.get(node) != Some(record) {
                    nodes.insert(node.as_str(), encode(record).as_slice())?;
                }
            }
            let rest = Content { groups: [].into(), nodes: [].into(), ..after.clone() };
            transaction.open_table(REST)?.insert((), encode(&rest).as_slice())?;
        }
        // Durable when it returns: that is redb's way unless it is asked for less.
        transaction.commit()?;
        Ok(())
    }
}

/// Everything in the database, as stored.
#[derive(Default)]
struct Stored {
    groups: Vec<(String, Vec<u8>)>,
    nodes: Vec<(String, Vec<u8>)>,
    rest: Option<Vec<u8>>,
}

fn stored(redb: &redb::Database) -> Result<Stored, redb::Error> {
    // Tables are made by the first change, with whatever it writes.
    let begin = redb.begin_read()?;
    let rows = |definition| -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table: redb::ReadOnlyTable<&str, &[u8]> = match begin.open_table(definition) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(rows)
    };
    let rest = match begin.open_table(REST) {
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        table => table?.get(())?.map(|value| value.value().to_vec()),
    };
    Ok(Stored { groups: rows(GROUPS)?, nodes: rows(NODES)?, rest })
}

impl Stored {
    fn into_content(self, place: &str) -> Result<Content, StoreError> {
        let mut content = match &self.rest {
            Some(rest) => parse(rest, place)?,
            None => Content::default(),
        };
        let bad = |error: serde_json::Error| StoreError::Unusable {
            what: format!("{place}: not values of lockkeeper's ({error})"),
        };
        for (name, value) in self.groups {
            content.groups.insert(name, serde_json::from_slice::<Group>(&value).map_err(bad)?);
        }
        for (node, value) in self.nodes {
            content.nodes.insert(node, serde_json::from_slice::<NodeRecord>(&value).map_err(bad)?);
        }
        Ok(content)
    }
}

/// These values are plain structures with text keys: they always have a JSON form.
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_there_when_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots.redb");
        let database = Database::open(&path).unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        database.change(|_| Ok(())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before, "no write");
        database
            .change(|content| {
                content.last_token = 7;
                content.groups.entry("g".to_owned()).or_default().slots.max = 3;
                Ok(())
            })
            .unwrap();
        let kept = database.content();
        drop(database);
        assert_eq!(Database::open(&path).unwrap().content(), kept);
        assert_eq!((kept.last_token, kept.groups["g"].slots.max), (7, 3));
    }

    #[test]
    fn a_refused_change_changes_nothing_and_a_second_process_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots.redb");
        let database = Database::open(&path).unwrap();
        let refused = database.change(|content| -> Result<(), _> {
            content.last_token = 7;
            Err(StoreError::Unusable { what: "no".to_owned() })
        });
        assert!(refused.is_err());
        assert_eq!(database.content().last_token, 0);
        let error = Database::open(&path).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("cannot open {}", path.display())),
            "{error}"
        );
    }

    #[test]
    fn values_of_a_newer_schema_and_files_of_another_kind_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots.redb");
        let redb = redb::Database::create(&path).unwrap();
        let write = redb.begin_write().unwrap();
        write.open_table(REST).unwrap().insert((), &br#"{"schema":9}"#[..]).unwrap();
        write.commit().unwrap();
        drop(redb);
        let error = Database::open(&path).unwrap_err();
        assert!(error.to_string().contains("written by a newer lockkeeper"), "{error}");
        std::fs::write(&path, "not a database").unwrap();
        assert!(matches!(Database::open(&path), Err(StoreError::Unusable { .. })));
    }
}
