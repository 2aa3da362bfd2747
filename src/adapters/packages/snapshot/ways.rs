//! When a snapshot is taken, and when it is gone back to.

use super::{
    super::{
        Layout, PackageError,
        plans::{self, Outcome},
    },
    btrfs, check, clone,
    error::{SnapshotError, Unfit},
    root::{Arranged, Root},
    thin,
};
use crate::{
    config::settings::Snapshot as Choice,
    core::plan::{Plan, PlanId},
    observe::logging::chain,
};

/// Arranges for a staged plan to begin with a snapshot, if that is configured, and to be gone back
/// from by it. A plan that changes what lies outside of the root does not: a part of the boot loader,
/// or a kernel where `/boot` is a file system of its own. `has_room`: is there enough for a plan
/// beside all that it replaces?
///
/// # Errors
/// When going back to a snapshot of this root would not do what it should, or there is too little
/// room for one.
pub async fn arrange(
    layout: &Layout,
    id: &PlanId,
    choice: Choice,
    has_room: impl AsyncFnOnce(&Plan) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    if plans::is_under_way(layout, id)? {
        return Ok(());
    }
    plans::forget_snapshot(layout, id)?;
    let plan = plans::load(layout, id)?;
    let outside = match choice {
        Choice::Off => return Ok(()),
        Choice::Btrfs => plan.boot_loader(),
        Choice::LvmThin | Choice::Zfs => plan.boot_loader().or_else(|| plan.kernel()),
    };
    if let Some(name) = outside {
        let plan = id.short();
        tracing::info!(plan, "no snapshot: a part of {name} lies outside of the root");
        return Ok(());
    }
    let root = check(layout, choice).await?;
    has_room(&plan).await?;
    plans::set_snapshot(layout, id, &Arranged { root, taken: false })
}

/// Takes the snapshot that staging has arranged, durably; nothing to do when there is none to take.
/// Snapshots of other plans are removed, but not one that may be needed yet.
///
/// # Errors
/// When it cannot be taken: then the plan must not be begun.
pub async fn take(layout: &Layout, id: &PlanId) -> Result<(), PackageError> {
    let Some(arranged) = plans::snapshot(layout, id)?.filter(|arranged| !arranged.taken) else {
        return Ok(());
    };
    let root = check(layout, arranged.root.choice()).await?;
    if !root.is(&arranged.root) {
        return Err(SnapshotError::from(Unfit::Changed).into());
    }
    let root = match root {
        Root::Btrfs(root) => {
            btrfs::take(layout, id, &root).await?;
            Root::Btrfs(root)
        }
        Root::LvmThin(root) => Root::LvmThin(thin::take(layout, id, root).await?),
        Root::Zfs(root) => Root::Zfs(clone::take(layout, id, root).await?),
    };
    plans::set_snapshot(layout, id, &Arranged { root, taken: true })?;
    tracing::info!(plan = id.short(), "took a snapshot of the root");
    Ok(())
}

/// Goes back to the snapshot that was taken before a plan: the next boot starts it. `None` when there
/// is none, or it cannot be gone back to: then nothing has changed.
pub async fn go_back(layout: &Layout, id: &PlanId) -> Result<Option<Outcome>, PackageError> {
    let Some(arranged) = plans::snapshot(layout, id)?.filter(|arranged| arranged.taken) else {
        return Ok(None);
    };
    let gone = match &arranged.root {
        Root::Btrfs(root) => btrfs::go_back(layout, id, root).await,
        Root::LvmThin(root) => thin::go_back(layout, id, root).await,
        Root::Zfs(root) => clone::go_back(layout, id, root).await,
    };
    Ok(match gone {
        Ok(Ok(())) => Some(Outcome::Complete),
        Ok(Err(error)) => Some(Outcome::Failed { reason: chain(&error) }),
        Err(error) => {
            tracing::warn!("no way back by snapshot, so by packages: {}", chain(&error));
            None
        }
    })
}

/// A plan that is being confirmed needs its snapshot no more. On btrfs it stays until the next one, for
/// people to look into; in a pool it would take the more room the longer it is there.
pub async fn free(layout: &Layout, id: &PlanId) {
    if plans::is_under_way(layout, id).unwrap_or(true) {
        return;
    }
    let Ok(Some(Arranged { root, taken: true })) = plans::snapshot(layout, id) else { return };
    let (freed, before) = match &root {
        Root::Btrfs(_) => return,
        Root::LvmThin(root) => (thin::free(id, root).await, root.before(id)),
        Root::Zfs(root) => (clone::free(id, root).await, root.before(id)),
    };
    if let Err(error) = freed {
        tracing::warn!("the snapshot {before} stays: {}", chain(&error));
    }
}
