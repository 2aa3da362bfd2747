//! What keeps the semaphores over a restart.

use std::path::PathBuf;
use std::sync::Arc;

use super::database::Database;
use super::file::{self, Content};
use crate::adapters::slots::StoreError;

/// Where the semaphores are kept. Clones are the same.
#[derive(Clone, Debug)]
pub(super) enum Shelf {
    /// A file, which other processes may change, too.
    File(PathBuf),
    /// A database of this process alone.
    Database(Database),
}

impl Shelf {
    /// What it holds now.
    pub(super) fn read(&self) -> Result<Arc<Content>, StoreError> {
        match self {
            Self::File(path) => file::read(path).map(Arc::new),
            Self::Database(database) => Ok(database.content()),
        }
    }

    /// Changes it as `edit` says; no write when nothing changes. Durable when it returns.
    pub(super) fn change<T>(
        &self,
        edit: impl FnOnce(&mut Content) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self {
            Self::File(path) => file::change(path, edit),
            Self::Database(database) => database.change(edit),
        }
    }
}
