//! Staging: downloads a plan, verifies every byte, and proves that it can be applied offline.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{
    AptError, Layout, apt_get, durable, repository, repository::Repository, resolve,
    simulation::Simulation, sources, space, way_back,
};
use crate::{
    adapters::{node, packages::file_system::mount_point},
    core::plan::{PackageChange, Plan, Removal},
};

/// Are the stage of a plan and the way back from it as they were made?
pub async fn is_good(layout: &Layout, plan: &Plan) -> bool {
    repository::verify(&Repository::stage(layout, plan)).await.is_ok()
        && way_back::is_secured(layout, plan).await
}

/// Fills the stage of a plan, and secures the way back from it.
pub async fn fill(layout: &Layout, plan: &Plan) -> Result<(), AptError> {
    let earlier = way_back::survey(layout, plan).await?;
    space::check(layout, plan, earlier.bytes()).await?;
    let stage = Repository::stage(layout, plan);
    download(layout, &stage).await?;
    repository::verify(&stage).await?;
    prove(layout, plan).await?;
    stage.sync()?;
    way_back::secure(layout, plan, earlier).await
}

/// Makes apt show that the stage alone, without network, gives exactly the plan.
pub async fn prove(layout: &Layout, plan: &Plan) -> Result<(), AptError> {
    let stage = &Repository::stage(layout, plan);
    repository::build(layout, stage).await?;
    let simulation = repository::simulate(layout, stage).await?;
    match difference(stage.packages(), stage.removes(), &simulation) {
        None => Ok(()),
        Some(why) => Err(AptError::Differs { id: stage.id().clone(), why }),
    }
}

/// Downloads each archive of a repository, at its exact version, by the private lists.
///
/// apt takes a file of the right size in the folder for the right one: the folder is fresh. Where
/// some cannot be had, the others are taken all the same.
pub(super) async fn download(layout: &Layout, into: &Repository) -> Result<(), AptError> {
    let dir = into.dir();
    durable::folder(&dir.join("debs"))?;
    if into.packages().is_empty() {
        return Ok(());
    }
    let incoming = dir.join("download");
    durable::fresh_folder(&incoming)?;
    give_to_sandbox(&incoming)?;
    let exact = into.packages().iter().map(resolve::exact_name);
    let download = apt_get::with_our_lists(layout, "apt-get")
        .args(["-qq", "download"])
        .args(exact)
        .current_dir(&incoming);
    let done = download.finish().await?;
    let files = files_in(&incoming)?;
    let take = |package| take(&files, package, &repository::deb_path(dir, package));
    let taken: Vec<_> = into.packages().iter().map(take).collect();
    if !done.status.success() {
        return Err(failed(&incoming, done.said()));
    }
    taken.into_iter().collect::<Result<(), _>>()?;
    durable::remove(&incoming)
}

fn failed(incoming: &Path, stderr: &str) -> AptError {
    if stderr.contains("No space left on device") || stderr.contains("enough free space") {
        return AptError::Full { mount: mount_point(incoming) };
    }
    let mut said = sources::complaint(stderr);
    if said.contains("could not be authenticated") {
        said.push_str("; their source is not signed: sign it, or say [trusted=yes] of it");
    }
    AptError::Said { doing: "downloading", said }
}

/// apt downloads as this user, who must be able to write there; without it, apt downloads as root.
fn give_to_sandbox(folder: &Path) -> Result<(), AptError> {
    chown(folder, node::user_id("_apt"), None).map_err(AptError::io("chown", folder))
}

pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, AptError> {
    let entries = fs::read_dir(folder).map_err(AptError::io("read", folder))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// Moves one package's archive to its place, as root's. Which file it is, apt's name tells; what is
/// in it, its digest will.
pub(super) fn take(
    files: &[PathBuf],
    package: &PackageChange,
    place: &Path,
) -> Result<(), AptError> {
    let start = format!("{}_", package.name);
    let end = format!("_{}.deb", package.arch);
    let is_it = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && name.ends_with(&end)
    };
    let Some(file) = files.iter().find(is_it) else {
        let said = format!("apt-get did not leave {}", resolve::exact_name(package));
        return Err(AptError::Said { doing: "downloading", said });
    };
    chown(file, Some(0), Some(0))
        .and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(file, place))
        .map_err(AptError::io("move", file))
}

/// How a simulation differs from a set of changes and removals; `None` when it is exactly that.
#[must_use]
pub fn difference(
    wanted: &[PackageChange],
    removes: &[Removal],
    simulation: &Simulation,
) -> Option<String> {
    let downgrades = repository::goes_back(wanted);
    let wanted = wanted.iter().map(resolve::exact_name).collect();
    let goes: Vec<(&str, &str)> =
        removes.iter().map(|going| (going.name.as_str(), going.arch.as_str())).collect();
    simulation.difference(&wanted, &goes, downgrades)
}
