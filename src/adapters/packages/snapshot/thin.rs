//! Taking a snapshot of a thin volume, and going back to it.

use std::{fs, os::unix::fs::MetadataExt};

use super::{
    super::{Layout, PackageError, plans},
    boot,
    error::{SnapshotError, Unfit},
    lvm::{self, Shown},
    root::{Root, gone_back},
    volume::{Volume, snapshot_name, taken_for},
};
use crate::{core::plan::PlanId, observe::logging::chain};

/// Takes a snapshot of the root before a plan, and remembers what `/boot` has in it. Those of other
/// plans are removed, but not one that may be needed yet.
pub(super) async fn take(
    layout: &Layout,
    id: &PlanId,
    root: Volume,
) -> Result<Volume, PackageError> {
    prune(layout, &root, id).await?;
    let boot = boot::digest(&layout.at("boot"))?;
    lvm::snapshot(&root.path(), &snapshot_name(id)).await?;
    let volumes = lvm::volumes().await?;
    root.snapshot(&volumes, id).ok_or(SnapshotError::from(Unfit::Gone))?;
    Ok(Volume { boot: Some(boot), ..root })
}

/// Has the next boot start the snapshot. An error: nothing has changed. What LVM has been told to do
/// is durable; what it said when it was told so is not believed, but what it shows afterwards.
pub(super) async fn go_back(
    layout: &Layout,
    id: &PlanId,
    root: &Volume,
) -> Result<Result<(), SnapshotError>, SnapshotError> {
    let volumes = lvm::volumes().await?;
    if is_gone_back(root, &volumes, id) {
        return Ok(Ok(()));
    }
    root.snapshot(&volumes, id).ok_or(Unfit::Gone)?;
    if root.boot.as_ref() != Some(&boot::digest(&layout.at("boot"))?) {
        return Err(Unfit::BootChanged.into());
    }
    let told = lvm::merge(&root.before(id)).await;
    match lvm::volumes().await {
        Ok(volumes) if is_gone_back(root, &volumes, id) => Ok(Ok(())),
        Ok(_) => Err(told.err().unwrap_or_else(|| Unfit::Gone.into())),
        Err(unknown) => Ok(Err(unknown)),
    }
}

/// Does the next boot start the snapshot, or has one done so?
fn is_gone_back(root: &Volume, volumes: &[Shown], id: &PlanId) -> bool {
    match root.snapshot(volumes, id) {
        Some(snapshot) => snapshot.is_merging(),
        None => volumes.iter().any(|v| v.uuid == root.uuid && v.thin() != Some(root.thin)),
    }
}

/// [`super::left_behind`], for LVM, which is asked only where a plan was gone back from.
pub(super) async fn left_behind(layout: &Layout) -> Result<Option<String>, SnapshotError> {
    let thin = |(id, root)| match root {
        Root::LvmThin(root) => Some((id, root)),
        Root::Btrfs(_) | Root::Zfs(_) => None,
    };
    let back: Vec<(PlanId, Volume)> = gone_back(layout)?.into_iter().filter_map(thin).collect();
    if back.is_empty() {
        return Ok(None);
    }
    let (major, minor) = device(layout)?;
    let running = lvm::running(major, minor).await?;
    let volumes = lvm::volumes().await?;
    let left = |(id, root): &&(PlanId, Volume)| {
        Some(root.thin) == running && is_gone_back(root, &volumes, id)
    };
    Ok(back.iter().find(left).map(|(id, _)| id.short().to_owned()))
}

/// The numbers of the root's device.
pub(super) fn device(layout: &Layout) -> Result<(u32, u32), SnapshotError> {
    let path = layout.root();
    let device = fs::metadata(path).map_err(SnapshotError::io("examine", path))?.dev();
    Ok((rustix::fs::major(device), rustix::fs::minor(device)))
}

/// Removes the snapshots of all plans but those on trial. What cannot be removed stays; the journal
/// says why.
async fn prune(layout: &Layout, root: &Volume, keep: &PlanId) -> Result<(), SnapshotError> {
    for shown in &lvm::volumes().await? {
        let Some(id) = taken_for(shown).filter(|id| root.snapshot_is(shown, id)) else { continue };
        if id != *keep && plans::is_needed(layout, &id) {
            continue;
        }
        if let Err(error) = lvm::remove(&root.before(&id)).await {
            tracing::warn!("the snapshot {} stays: {}", root.before(&id), chain(&error));
            if id == *keep {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Removes the snapshot from before a plan that is confirmed: it takes room in the pool, and more with
/// each change of the root. One that is merging stays.
pub(super) async fn free(id: &PlanId, root: &Volume) -> Result<(), SnapshotError> {
    match root.snapshot(&lvm::volumes().await?, id) {
        Some(snapshot) if !snapshot.is_merging() => lvm::remove(&root.before(id)).await,
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            lvm::tests::{before, merged, merging, taken},
            volume,
        },
        *,
    };

    #[test]
    fn a_root_is_gone_back_from_when_lvm_merges_its_snapshot_or_has_done_so() {
        let id = PlanId::parse(&"ab".repeat(32)).unwrap();
        let root = volume::find(&before(), 253, 4).unwrap();
        for (volumes, expected) in
            [(before(), false), (taken(), false), (merging(), true), (merged(), true)]
        {
            assert_eq!(is_gone_back(&root, &volumes, &id), expected);
        }
        let another = Volume { uuid: "another".to_owned(), ..root };
        assert!(!is_gone_back(&another, &merged(), &id));
    }
}
