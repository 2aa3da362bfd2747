//! Subvolumes inside the root's: a snapshot has an empty folder in their place.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::error::SnapshotError;

/// The inode of every subvolume's own root (btrfs(5)).
const SUBVOLUME: u64 = 256;
/// The inode of a folder that stands for a subvolume in a snapshot; nothing can be written there.
const STAND_IN: u64 = 2;

/// Whose contents would be missing after the way back: the subvolumes inside the one at `root` that
/// are not empty, by their paths from there.
pub(super) fn full(
    root: &Path,
    is_mounted: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, SnapshotError> {
    let mut full = Vec::new();
    for inner in below(root, |inner| inner.is_subvolume)? {
        if !is_mounted(&inner) && !is_empty(&inner)? {
            full.push(Path::new("/").join(inner.strip_prefix(root).unwrap_or(&inner)));
        }
    }
    Ok(full)
}

/// Makes folders of those that stand for subvolumes in the snapshot at `copy`, with owner and mode
/// of what they stand for in `original`.
pub(super) fn fill_in(copy: &Path, original: &Path) -> Result<(), SnapshotError> {
    for place in below(copy, |inner| inner.is_stand_in)? {
        let like = original.join(place.strip_prefix(copy).unwrap_or(&place));
        let make = || {
            fs::remove_dir(&place)?;
            fs::create_dir(&place)?;
            match fs::symlink_metadata(&like) {
                Ok(like) => {
                    chown(&place, Some(like.uid()), Some(like.gid()))?;
                    fs::set_permissions(&place, fs::Permissions::from_mode(like.mode() & 0o7777))
                }
                // It is gone by now; nobody misses it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        };
        make().map_err(SnapshotError::io("create", &place))?;
    }
    Ok(())
}

/// Removes the subvolumes inside the one at `root` that are empty; those that are not stay, and keep
/// it from being removed.
pub(super) fn clear(root: &Path) -> Result<(), SnapshotError> {
    for inner in below(root, |inner| inner.is_subvolume)? {
        let _ = fs::remove_dir(inner);
    }
    Ok(())
}

struct Inner {
    /// Another subvolume, or another file system mounted there.
    is_subvolume: bool,
    is_stand_in: bool,
}

/// The folders in the tree of one subvolume that are `wanted`, without entering another subvolume.
fn below(root: &Path, wanted: impl Fn(&Inner) -> bool) -> Result<Vec<PathBuf>, SnapshotError> {
    let examine =
        |path: &Path| fs::symlink_metadata(path).map_err(SnapshotError::io("examine", path));
    let own = examine(root)?.dev();
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            // The system lives on meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(SnapshotError::io("read", &folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(SnapshotError::io("read", &folder))?;
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let inner = Inner {
                is_subvolume: meta.dev() != own && meta.ino() == SUBVOLUME,
                is_stand_in: meta.ino() == STAND_IN,
            };
            if wanted(&inner) {
                found.push(path);
            } else if meta.dev() == own && meta.ino() != STAND_IN {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_empty(folder: &Path) -> Result<bool, SnapshotError> {
    let mut entries = fs::read_dir(folder).map_err(SnapshotError::io("read", folder))?;
    Ok(entries.next().is_none())
}
