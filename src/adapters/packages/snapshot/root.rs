//! The root that a snapshot is of: a btrfs subvolume, a thin logical volume, or a file system of ZFS.

use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Layout, PackageError,
        plans::{self, Way},
    },
    clone,
    dataset::Dataset,
    error::SnapshotError,
    subvolume::{self, Subvolume},
    thin,
    volume::Volume,
};
use crate::{config::settings::Snapshot as Choice, core::plan::PlanId};

/// What is the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Root {
    /// A subvolume of btrfs.
    Btrfs(Subvolume),
    /// A thin volume of LVM.
    LvmThin(Volume),
    /// A file system of ZFS.
    Zfs(Dataset),
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
            Self::Zfs(_) => Choice::Zfs,
        }
    }

    /// The same one, by its number and by the name the next boot looks for?
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Btrfs(a), Self::Btrfs(b)) => (&a.name, a.id) == (&b.name, b.id),
            (Self::LvmThin(a), Self::LvmThin(b)) => a == b,
            // Its name may have been changed since, by us.
            (Self::Zfs(a), Self::Zfs(b)) => a.guid == b.guid,
            (Self::Btrfs(_) | Self::LvmThin(_) | Self::Zfs(_), _) => false,
        }
    }
}

/// The plan whose way back waits for the next boot: this machine still runs on the root that was gone
/// back from.
///
/// # Errors
/// When the mount table, LVM or ZFS cannot be read.
pub async fn left_behind(layout: &Layout) -> Result<Option<String>, SnapshotError> {
    if let Some(left) = subvolume::left_behind(layout)? {
        return Ok(Some(left));
    }
    match thin::left_behind(layout).await? {
        None => clone::left_behind(layout).await,
        left => Ok(left),
    }
}

/// The plans that have a snapshot and whose way back was begun.
pub(super) fn gone_back(layout: &Layout) -> Result<Vec<(PlanId, Root)>, SnapshotError> {
    let entries = match fs::read_dir(layout.plans()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(SnapshotError::io("read", layout.plans()))?,
    };
    let unreadable = |error: PackageError| SnapshotError::Plan(error.to_string());
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| PlanId::parse(name).ok()) else { continue };
        let arranged = plans::snapshot(layout, &id).map_err(unreadable)?;
        let Some(Arranged { root, taken: true }) = arranged else { continue };
        if plans::attempts(layout, &id, Way::Back).map_err(unreadable)? > 0 {
            found.push((id, root));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> [Root; 3] {
        let btrfs = r#"{"name": "@", "id": 256, "source": "/dev/vda1"}"#;
        let thin = r#"{"group": "vg", "volume": "root", "uuid": "abc", "thin": 1}"#;
        let zfs = r#"{"dataset": "rpool/ROOT/debian", "guid": 7}"#;
        [btrfs, thin, zfs].map(|text| serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_is_written_down_tells_the_kinds_apart() {
        let roots = roots();
        let choices = roots.each_ref().map(Root::choice);
        assert_eq!(choices, [Choice::Btrfs, Choice::LvmThin, Choice::Zfs]);
        for (i, a) in roots.iter().enumerate() {
            let text = serde_json::to_string(a).unwrap();
            assert_eq!(serde_json::from_str::<Root>(&text).unwrap(), *a);
            for (j, b) in roots.iter().enumerate() {
                assert_eq!(a.is(b), i == j);
            }
        }
    }

    #[test]
    fn only_plans_that_were_gone_back_from_and_had_a_snapshot_count() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::system(dir.path());
        assert_eq!(gone_back(&layout).unwrap(), []);
        let [_, root, _] = roots();
        let plan = |letters: &str, taken, attempts| {
            let id = PlanId::parse(&letters.repeat(32)).unwrap();
            fs::create_dir_all(layout.plan(&id)).unwrap();
            let arranged = Arranged { root: root.clone(), taken };
            plans::set_snapshot(&layout, &id, &arranged).unwrap();
            plans::count_attempts(&layout, &id, Way::Back, attempts).unwrap();
            id
        };
        plan("aa", true, 0);
        plan("bb", false, 1);
        let gone = plan("cc", true, 1);
        assert_eq!(gone_back(&layout).unwrap(), [(gone.clone(), root.clone())]);
        fs::write(layout.plan(&gone).join("snapshot.json"), "{").unwrap();
        assert!(gone_back(&layout).is_err(), "unknown is not no");
    }
}
