//! What a client remembers of a channel: the newest root, and the last metadata it believed.
//!
//! To forget it is to believe what is older, so it changes as a whole or not at all: a copy is
//! worked on, and takes the old one's place when everything was found to be good.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;

use super::error::{ChannelError, Reason};
use crate::adapters::state_file;

/// The documents in it.
const ROOT: &str = "root.json";
const TIMESTAMP: &str = "timestamp.json";

/// A channel's memory.
#[derive(Debug)]
pub(super) struct Store {
    current: PathBuf,
    /// What `tough` works on, for as long as the channel is open.
    work: PathBuf,
    next: PathBuf,
}

impl Store {
    /// The one in this folder, which is made if need be.
    pub(super) fn at(folder: &Path) -> Self {
        let [current, work, next] = ["current", "work", "next"].map(|name| folder.join(name));
        Self { current, work, next }
    }

    /// A copy to work on. What cannot be read is not treated as though it were not there.
    pub(super) fn begin(&self) -> Result<PathBuf, ChannelError> {
        let copied = self.copy(&self.work).map_err(|error| unusable(&self.current, &error));
        copied.map(|()| self.work.clone())
    }

    fn copy(&self, to: &Path) -> io::Result<()> {
        empty(to)?;
        if self.current.exists() { copy(&self.current, to) } else { Ok(()) }
    }

    /// Puts what was worked out into the old one's place, durably.
    pub(super) fn commit(&self) -> Result<(), ChannelError> {
        self.exchange().map_err(|error| unusable(&self.next, &error))
    }

    fn exchange(&self) -> io::Result<()> {
        empty(&self.next)?;
        copy(&self.work, &self.next)?;
        for entry in fs::read_dir(&self.next)? {
            fs::File::open(entry?.path())?.sync_all()?;
        }
        fs::File::open(&self.next)?.sync_all()?;
        if self.current.exists() {
            renameat_with(CWD, &self.next, CWD, &self.current, RenameFlags::EXCHANGE)?;
        } else {
            fs::rename(&self.next, &self.current)?;
        }
        state_file::sync_dir(&self.current)
    }

    /// The newest root that was believed.
    pub(super) fn root(&self) -> Result<Option<Vec<u8>>, ChannelError> {
        let path = self.current.join(ROOT);
        match fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Refuses another timestamp under a number that was seen.
    pub(super) fn same_number_same_document(&self) -> Result<(), ChannelError> {
        let signed = |folder: &Path| -> Option<Value> {
            let text = fs::read(folder.join(TIMESTAMP)).ok()?;
            serde_json::from_slice::<Value>(&text).ok()?.get("signed").cloned()
        };
        let (Some(old), Some(new)) = (signed(&self.current), signed(&self.work)) else {
            return Ok(());
        };
        if old.get("version") == new.get("version") && old != new {
            let said = format!("timestamp {}", new["version"]);
            return Err(ChannelError::new("timestamp", Reason::Equivocation, said));
        }
        Ok(())
    }
}

/// An empty folder, whatever was there.
fn empty(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
}

/// Copies documents; one that is torn is no document.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let text = fs::read(entry.path())?;
        serde_json::from_slice::<Value>(&text).map_err(|error| {
            io::Error::other(format!("{} is damaged: {error}", entry.path().display()))
        })?;
        fs::write(to.join(entry.file_name()), text)?;
    }
    Ok(())
}

fn unusable(path: &Path, error: &io::Error) -> ChannelError {
    let said = format!("{}: {error}", path.display());
    ChannelError::new("what was seen before", Reason::Store, said)
}
