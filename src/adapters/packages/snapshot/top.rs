//! The top level of the root's file system, mounted for a moment.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with, syncfs},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{
    super::Layout,
    error::SnapshotError,
    subvolume::{FOLDER, Subvolume},
};
use crate::{adapters::command::Command, core::plan::PlanId};

/// Where it is mounted: in /run, where nothing is ever removed with all that is below it.
const PLACE: &str = "run/lockkeeper-executor/top";

/// The top level, where only root sees it, until this is dropped.
#[derive(Debug)]
pub(super) struct Top {
    place: PathBuf,
}

impl Top {
    pub(super) fn mount(layout: &Layout, root: &Subvolume) -> Result<Self, SnapshotError> {
        let place = layout.at(PLACE);
        let make = fs::DirBuilder::new().recursive(true).mode(0o700).create(&place);
        make.map_err(SnapshotError::io("create", &place))?;
        // One that was cut off may have left its mount.
        while is_mount(&place)? {
            unmount(&place, UnmountFlags::DETACH)
                .map_err(|error| SnapshotError::io("unmount", &place)(error.into()))?;
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let options = CString::from(c"subvolid=5");
        mount(&root.source, &place, "btrfs", flags, options.as_c_str())
            .map_err(|error| SnapshotError::io("mount", &root.source)(error.into()))?;
        Ok(Self { place })
    }

    /// Whatever has the root's name.
    pub(super) fn named(&self, root: &Subvolume) -> PathBuf {
        self.place.join(&root.name)
    }

    /// The folder of all snapshots.
    pub(super) fn folder(&self) -> PathBuf {
        self.place.join(FOLDER)
    }

    /// The root as it was before a plan: the snapshot, which nobody can write to.
    pub(super) fn before(&self, id: &PlanId) -> PathBuf {
        self.folder().join(id.as_str()).join("before")
    }

    /// The copy of it that takes over the root's name; afterwards the root that was gone back from.
    pub(super) fn aside(&self, id: &PlanId) -> PathBuf {
        self.folder().join(id.as_str()).join("aside")
    }

    /// Everything done so far outlives a power cut.
    pub(super) fn sync(&self) -> Result<(), SnapshotError> {
        File::open(&self.place)
            .and_then(|top| Ok(syncfs(top)?))
            .map_err(SnapshotError::io("sync", &self.place))
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.place, UnmountFlags::DETACH) {
            tracing::warn!(%error, "{} stays mounted", self.place.display());
        }
        let _ = fs::remove_dir(&self.place);
    }
}

/// Is something mounted there? (There is nothing to see of bind mounts, which we do not make.)
fn is_mount(place: &Path) -> Result<bool, SnapshotError> {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    let differs = || io::Result::Ok(device(place)? != device(&place.join(".."))?);
    differs().map_err(SnapshotError::io("examine", place))
}

/// Makes a snapshot of a subvolume.
pub(super) async fn snapshot(of: &Path, at: &Path, read_only: bool) -> Result<(), SnapshotError> {
    let flags: &[&str] = if read_only { &["-r"] } else { &[] };
    let made = Command::new("btrfs").args(["subvolume", "snapshot"]).args(flags).arg(of).arg(at);
    Ok(made.output().await.map(|_| ())?)
}

/// Removes a subvolume with all that is in it; it need not exist.
pub(super) async fn delete(path: &Path) -> Result<(), SnapshotError> {
    if !path.exists() {
        return Ok(());
    }
    Ok(Command::new("btrfs").args(["subvolume", "delete"]).arg(path).output().await.map(|_| ())?)
}

/// The number of a subvolume.
pub(super) async fn number(path: &Path) -> Result<u64, SnapshotError> {
    let said =
        Command::new("btrfs").args(["inspect-internal", "rootid"]).arg(path).output().await?;
    said.trim().parse().map_err(|_| SnapshotError::Output(said.trim().to_owned()))
}

/// Exchanges the names of two subvolumes, in one step (rename(2), `RENAME_EXCHANGE`).
pub(super) fn exchange(a: &Path, b: &Path) -> Result<(), SnapshotError> {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)
        .map_err(|error| SnapshotError::io("rename", a)(error.into()))
}
