//! The way back from a plan: the packages installed now, secured before anything is applied.
//!
//! rpm packages cannot be put together again from what is installed: what no repository has any more
//! there is no way back to.

use super::{
    course::{self, Course},
    offers, stage,
};
use crate::{
    adapters::packages::{
        Layout, PackageError, durable, plans,
        way_back::{Earlier, How, WayBack},
    },
    core::plan::{PackageChange, Plan},
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

/// Secures the way back from a plan, durably. What cannot be had is written down, and no error.
pub async fn secure(
    layout: &Layout,
    plan: &Plan,
    offered: Vec<PackageChange>,
) -> Result<(), PackageError> {
    let mut course = Course {
        way: plans::Way::Back,
        dir: layout.back(&plan.id),
        comes: offered,
        goes: Vec::new(),
    };
    durable::fresh_folder(&course.dir)?;
    let missing: Vec<(PackageChange, String)> = {
        let missing = stage::download(layout, &course).await?;
        missing.into_iter().map(|(package, why)| (package.clone(), why)).collect()
    };
    course.comes.retain(|package| !missing.iter().any(|(other, _)| other == package));
    // A package that no key vouches for is not gone back to either.
    stage::verify(layout, &plan.id, &course).await?;
    stage::sync(&course)?;
    let how = |package: &PackageChange| {
        let Some(version) = package.from.clone() else { return How::Remove { purge: false } };
        let same =
            |other: &&PackageChange| (&other.name, &other.arch) == (&package.name, &package.arch);
        if let Some(earlier) = course.comes.iter().find(same) {
            return How::Archive { package: earlier.clone() };
        }
        let tried = missing.iter().find(|(other, _)| same(&other));
        let why = tried.map_or("no repository has it any more", |(_, why)| why);
        tracing::warn!("there is no way back to {} {version}: {why}", package.name);
        How::Missing { version, why: why.to_owned() }
    };
    let earlier =
        |package: &PackageChange| Earlier { name: package.name.clone(), how: how(package) };
    let packages = plan.packages.iter().map(earlier).collect();
    plans::set_way_back(layout, &plan.id, &WayBack { packages, ..WayBack::default() })
}
