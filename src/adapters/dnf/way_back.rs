//! The way back from a plan: the packages installed now, secured before anything is applied.
//!
//! rpm packages cannot be put together again from what is installed: what neither a repository nor the
//! system's cache has any more there is no way back to.

use std::{fs, path::PathBuf};

use super::{
    course::{self, Course},
    offers, program, stage,
};
use crate::{
    adapters::packages::{
        Layout, PackageError, durable, plans,
        way_back::{Earlier, How, WayBack},
    },
    core::plan::{PackageChange, Plan},
    observe::logging::chain,
};

/// The earlier versions of a plan's packages that the repositories still have.
pub async fn survey(layout: &Layout, plan: &Plan) -> Result<Vec<PackageChange>, PackageError> {
    let earlier: Vec<PackageChange> = plan.packages.iter().filter_map(earlier).collect();
    let offers = offers::named(layout, earlier.iter().map(course::name)).await?;
    let found = |wanted: PackageChange| {
        let same = |offer: &&offers::Offer| {
            (&offer.name, &offer.arch, &offer.evr) == (&wanted.name, &wanted.arch, &wanted.to)
        };
        let offer = offers.iter().filter(same).find(|offer| offer.sha256.is_some())?;
        let (sha256, origin) = (offer.sha256.clone()?, offer.repository.clone());
        Some(PackageChange { sha256, origin, size: offer.size, ..wanted })
    };
    Ok(earlier.into_iter().filter_map(found).collect())
}

/// The way from the plan's version of a package to the one it replaces; its digest is not known yet.
fn earlier(package: &PackageChange) -> Option<PackageChange> {
    Some(PackageChange {
        from: Some(package.to.clone()),
        to: package.from.clone()?,
        sha256: String::new(),
        size: 0,
        ..package.clone()
    })
}

/// Secures the way back from a plan, durably: from the repositories, else from the system's own cache.
/// What cannot be had, or has no good signature, is written down, and no error.
pub async fn secure(
    layout: &Layout,
    plan: &Plan,
    offered: Vec<PackageChange>,
) -> Result<(), PackageError> {
    let course = |comes| Course {
        way: plans::Way::Back,
        dir: layout.back(&plan.id),
        comes,
        goes: Vec::new(),
    };
    let offered = course(offered);
    durable::fresh_folder(&offered.dir)?;
    let lost = stage::download(layout, &offered).await?;
    let mut packages = Vec::new();
    for package in &plan.packages {
        let how = match earlier(package) {
            None => How::Remove { purge: false },
            Some(wanted) => {
                let is_it = |other: &PackageChange| course::name(other) == course::name(&wanted);
                let lost = lost.iter().find(|(other, _)| is_it(other)).map(|(_, why)| why.as_str());
                let offer = offered.comes.iter().find(|o| is_it(o)).filter(|_| lost.is_none());
                let found = match offer {
                    Some(offer) => Some(offer.clone()),
                    None => from_cache(layout, &offered, wanted).await?,
                };
                how(layout, package, found.map(|found| course(vec![found])), lost).await
            }
        };
        packages.push(Earlier { name: package.name.clone(), how });
    }
    let back = WayBack { packages, ..WayBack::default() };
    stage::sync(&course(back.changes()))?;
    plans::set_way_back(layout, &plan.id, &back)
}

/// `found`: what was had; its digest is known to be good. `lost`: why a repository did not give it.
async fn how(
    layout: &Layout,
    package: &PackageChange,
    found: Option<Course>,
    lost: Option<&str>,
) -> How {
    let why = match found {
        None => lost.unwrap_or("no repository has it any more").to_owned(),
        Some(course) => match stage::check_signatures(layout, &course).await {
            Ok(None) => match course.comes.into_iter().next() {
                Some(package) => return How::Archive { package },
                None => String::new(),
            },
            Ok(Some(why)) => why,
            Err(error) => chain(&error),
        },
    };
    let version = package.from.clone().unwrap_or_default();
    tracing::warn!("there is no way back to {} {version}: {why}", package.name);
    How::Missing { version, why }
}

/// Copies a package from dnf's cache to its place, if that has the very one that is installed: rpm keeps
/// the digest of the header it was installed from, and that has the digests of all else.
async fn from_cache(
    layout: &Layout,
    course: &Course,
    wanted: PackageChange,
) -> Result<Option<PackageChange>, PackageError> {
    let Some(cached) = cached(layout, &wanted) else { return Ok(None) };
    let header = ["--qf", "%{SHA256HEADER}\\n"];
    let rpm = || program::rpm(layout, "rpm").arg("-q").args(header);
    let installed = rpm().arg(course::name(&wanted)).finish().await?;
    let offered = rpm().arg("-p").arg(&cached).finish().await?;
    let known = installed.status.success() && installed.stdout.trim().len() == 64;
    if !known || installed.stdout != offered.stdout {
        return Ok(None);
    }
    let place = course.file(&wanted);
    fs::copy(&cached, &place).map_err(PackageError::io("copy", &cached))?;
    let (sha256, size) = durable::digest(&place).map_err(PackageError::io("read", &place))?;
    Ok(Some(PackageChange { sha256, size, origin: "cache".to_owned(), ..wanted }))
}

/// Its file in the cache that dnf keeps when it is told to (`keepcache`).
fn cached(layout: &Layout, wanted: &PackageChange) -> Option<PathBuf> {
    let version = wanted.to.split_once(':').map_or(wanted.to.as_str(), |(_, version)| version);
    let name = format!("{}-{version}.{}.rpm", wanted.name, wanted.arch);
    let repositories = fs::read_dir(layout.at("var/cache/dnf")).ok()?.flatten();
    let mut files = repositories.map(|folder| folder.path().join("packages").join(&name));
    files.find(|file| file.is_file())
}
