//! `Describe` and `Changelogs`: what there is to know of a staged plan, for people. Nothing is decided
//! by it.

use crate::{
    adapters::apt::{
        AptError, Layout, changelog, plans, repository,
        way_back::{Earlier, How},
    },
    core::plan::{PackageChange, PlanId},
    dbus::executor::{Back, Changelog, PackageDetails, PlanDetails},
};

/// What the staging of a plan has found out.
pub fn describe(layout: &Layout, id: &PlanId) -> Result<PlanDetails, AptError> {
    let plan = plans::load(layout, id)?;
    let back = plans::way_back(layout, id)?.filter(|back| back.is_of(&plan));
    let index = repository::index(layout, id)?;
    // It has one entry for each package, in the plan's order.
    let earlier = |place: usize| back.as_ref().and_then(|back| back.packages.get(place));
    let details = |(place, package): (usize, &PackageChange)| PackageDetails {
        name: package.name.clone(),
        arch: package.arch.clone(),
        why: package.why().word().to_owned(),
        needed_by: if package.from.is_none() {
            repository::needed_by(&index, &package.name)
        } else {
            Vec::new()
        },
        asks_for_reboot: package.asks_for_reboot(),
        way_back: earlier(place).map(way_back),
    };
    Ok(PlanDetails {
        id: id.clone(),
        packages: plan.packages.iter().enumerate().map(details).collect(),
        without_way_back: back.map(|back| back.missing()).unwrap_or_default(),
    })
}

fn way_back(earlier: &Earlier) -> Back {
    match &earlier.how {
        How::Remove { .. } => Back::Remove,
        How::Archive { .. } => Back::Archive,
        How::Repacked { .. } => Back::Repacked,
        How::Missing { why, .. } => Back::Missing { why: why.clone() },
    }
}

/// What is new in the packages of a plan that are called `name`; in all of them without a name.
pub async fn changelogs(
    layout: &Layout,
    id: &PlanId,
    name: &str,
) -> Result<Vec<Changelog>, AptError> {
    let plan = plans::load(layout, id)?;
    let mut found = Vec::new();
    for package in plan.packages.iter().filter(|p| name.is_empty() || p.name == name) {
        let text = changelog::of(layout, id, package).await?;
        found.push(Changelog {
            name: package.name.clone(),
            arch: package.arch.clone(),
            urgency: text.as_deref().and_then(changelog::urgency),
            text,
        });
    }
    Ok(found)
}
