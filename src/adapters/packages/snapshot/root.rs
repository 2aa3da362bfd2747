//! The root that a snapshot is of: a btrfs subvolume, or a thin logical volume.

use serde::{Deserialize, Serialize};

use super::{
    super::Layout, error::SnapshotError, subvolume, subvolume::Subvolume, thin, volume::Volume,
};
use crate::config::settings::Snapshot as Choice;

/// What is the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Root {
    /// A subvolume of btrfs.
    Btrfs(Subvolume),
    /// A thin volume of LVM.
    LvmThin(Volume),
}

/// What staging has arranged: the plan's transaction begins with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arranged {
    /// Of this root.
    pub root: Root,
    /// It has been taken.
    pub taken: bool,
}

impl Root {
    /// The setting that asks for snapshots of such a root.
    pub(super) fn choice(&self) -> Choice {
        match self {
            Self::Btrfs(_) => Choice::Btrfs,
            Self::LvmThin(_) => Choice::LvmThin,
        }
    }

    /// The same one, by its number and by the name the next boot looks for?
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Btrfs(a), Self::Btrfs(b)) => (&a.name, a.id) == (&b.name, b.id),
            (Self::LvmThin(a), Self::LvmThin(b)) => a == b,
            (Self::Btrfs(_), Self::LvmThin(_)) | (Self::LvmThin(_), Self::Btrfs(_)) => false,
        }
    }
}

/// The plan whose way back waits for the next boot: this machine still runs on the root that was gone
/// back from.
///
/// # Errors
/// When the mount table, or LVM, cannot be read.
pub async fn left_behind(layout: &Layout) -> Result<Option<String>, SnapshotError> {
    match subvolume::left_behind(layout)? {
        None => thin::left_behind(layout).await,
        left => Ok(left),
    }
}
