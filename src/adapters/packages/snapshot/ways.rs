//! Taking a snapshot, and going back to it.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};

use super::{
    super::{
        Layout, PackageError,
        plans::{self, Outcome},
    },
    check,
    error::{SnapshotError, Unfit},
    nested,
    root::{Arranged, mounted},
    top::{Top, delete, exchange, number, snapshot},
};
use crate::{
    config::settings::Snapshot as Choice,
    core::plan::{Plan, PlanId},
    observe::logging::chain,
};

/// Arranges for a staged plan to begin with a snapshot, if that is configured, and to be gone back
/// from by it. A plan that changes the boot loader does not: a part of that lies outside of every
/// file system. `has_room`: is there enough for a plan beside all that it replaces?
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
    match (choice, plan.boot_loader()) {
        (Choice::Off, _) => return Ok(()),
        (Choice::Btrfs, Some(name)) => {
            tracing::info!(plan = id.short(), "no snapshot: {name} is a part of the boot loader");
            return Ok(());
        }
        (Choice::Btrfs, None) => {}
    }
    let root = check(layout).await?;
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
    let root = check(layout).await?;
    if (&root.name, root.id) != (&arranged.root.name, arranged.root.id) {
        return Err(SnapshotError::from(Unfit::Changed).into());
    }
    let top = Top::mount(layout, &root)?;
    prune(layout, &top, id).await?;
    let before = top.before(id);
    folder(&top.folder())?;
    folder(before.parent().unwrap_or(&before))?;
    snapshot(&top.named(&root), &before, true).await?;
    top.sync()?;
    plans::set_snapshot(layout, id, &Arranged { root, taken: true })?;
    tracing::info!(plan = id.short(), "took a snapshot of the root");
    Ok(())
}

/// Goes back to the snapshot that was taken before a plan: the next boot starts a copy of it. `None`
/// when there is none, or it cannot be gone back to: then nothing has changed.
pub async fn go_back(layout: &Layout, id: &PlanId) -> Result<Option<Outcome>, PackageError> {
    let Some(arranged) = plans::snapshot(layout, id)?.filter(|arranged| arranged.taken) else {
        return Ok(None);
    };
    let top = match take_over(layout, id, &arranged).await {
        Ok(top) => top,
        Err(error) => {
            tracing::warn!("no way back by snapshot, so by packages: {}", chain(&error));
            return Ok(None);
        }
    };
    Ok(Some(match top.sync() {
        Ok(()) => Outcome::Complete,
        // Which of the two the next boot starts is not known.
        Err(error) => Outcome::Failed { reason: chain(&error) },
    }))
}

/// Gives a copy of the snapshot the root's name, unless it has it already.
async fn take_over(
    layout: &Layout,
    id: &PlanId,
    arranged: &Arranged,
) -> Result<Top, SnapshotError> {
    let top = Top::mount(layout, &mounted(layout)?)?;
    let (named, aside) = (top.named(&arranged.root), top.aside(id));
    if number(&named).await? != arranged.root.id {
        let done = aside.exists() && number(&aside).await? == arranged.root.id;
        return if done { Ok(top) } else { Err(Unfit::Changed.into()) };
    }
    // One that was cut off may have left its copy.
    delete(&aside).await?;
    snapshot(&top.before(id), &aside, false).await?;
    nested::fill_in(&aside, &named)?;
    top.sync()?;
    exchange(&named, &aside)?;
    Ok(top)
}

/// Removes what there is of all plans but those on trial. What cannot be removed stays; the journal
/// says why.
async fn prune(layout: &Layout, top: &Top, keep: &PlanId) -> Result<(), PackageError> {
    let entries = match fs::read_dir(top.folder()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(SnapshotError::io("read", top.folder()))?,
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| PlanId::parse(name).ok()) else { continue };
        if id != *keep && plans::is_needed(layout, &id) {
            continue;
        }
        if let Err(error) = remove(top, &id, &entry.path()).await {
            tracing::warn!("a snapshot stays in {}: {}", name.display(), chain(&error));
            if id == *keep {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

async fn remove(top: &Top, id: &PlanId, folder: &Path) -> Result<(), SnapshotError> {
    for path in [top.aside(id), top.before(id)] {
        if path.exists() {
            nested::clear(&path)?;
            delete(&path).await?;
        }
    }
    fs::remove_dir(folder).map_err(SnapshotError::io("remove", folder))
}

/// A folder that only root enters.
fn folder(path: &Path) -> Result<(), SnapshotError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(SnapshotError::io("create", path))
}
