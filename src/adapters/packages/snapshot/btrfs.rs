//! Taking a snapshot of a btrfs root, and going back to it.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};

use super::{
    super::{Layout, PackageError, plans},
    error::{SnapshotError, Unfit},
    nested,
    subvolume::{Subvolume, mounted},
    top::{Top, delete, exchange, number, snapshot},
};
use crate::{core::plan::PlanId, observe::logging::chain};

/// Takes a snapshot of the root before a plan, durably. Those of other plans are removed, but not one
/// that may be needed yet.
pub(super) async fn take(
    layout: &Layout,
    id: &PlanId,
    root: &Subvolume,
) -> Result<(), PackageError> {
    let top = Top::mount(layout, root)?;
    prune(layout, &top, id).await?;
    let before = top.before(id);
    folder(&top.folder())?;
    folder(before.parent().unwrap_or(&before))?;
    snapshot(&top.named(root), &before, true).await?;
    Ok(top.sync()?)
}

/// Has the next boot start a copy of the snapshot. Whether that is durable is the answer's own answer;
/// an error: nothing has changed.
pub(super) async fn go_back(
    layout: &Layout,
    id: &PlanId,
    root: &Subvolume,
) -> Result<Result<(), SnapshotError>, SnapshotError> {
    // Where it cannot be synced, which of the two the next boot starts is not known.
    Ok(take_over(layout, id, root).await?.sync())
}

/// Gives a copy of the snapshot the root's name, unless it has it already.
async fn take_over(layout: &Layout, id: &PlanId, root: &Subvolume) -> Result<Top, SnapshotError> {
    let top = Top::mount(layout, &mounted(layout)?)?;
    let (named, aside) = (top.named(root), top.aside(id));
    if number(&named).await? != root.id {
        let done = aside.exists() && number(&aside).await? == root.id;
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
