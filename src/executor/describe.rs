//! `Describe` and `Changelogs`: what there is to know of a staged plan, for people. Nothing is decided
//! by it.

use crate::{
    adapters::packages::{
        self, Layout, PackageError, plans,
        way_back::{Earlier, How},
    },
    core::plan::PlanId,
    dbus::executor::{Back, Changelog, PackageDetails, PlanDetails},
};

/// What the staging of a plan has found out.
pub async fn describe(layout: &Layout, id: &PlanId) -> Result<PlanDetails, PackageError> {
    let plan = plans::load(layout, id)?;
    let manager = packages::of(layout)?;
    let back = plans::way_back(layout, id)?.filter(|back| back.is_of(&plan));
    // It has one entry for each package, in the plan's order.
    let earlier = |place: usize| back.as_ref().and_then(|back| back.packages.get(place));
    let mut packages = Vec::new();
    for (place, package) in plan.packages.iter().enumerate() {
        let needed_by = match package.from {
            None => manager.needed_by(id, &package.name).await?,
            Some(_) => Vec::new(),
        };
        packages.push(PackageDetails {
            name: package.name.clone(),
            arch: package.arch.clone(),
            why: package.why().word().to_owned(),
            needed_by,
            asks_for_reboot: package.asks_for_reboot(),
            way_back: earlier(place).map(way_back),
        });
    }
    let without_way_back = back.map(|back| back.missing()).unwrap_or_default();
    Ok(PlanDetails { id: id.clone(), packages, without_way_back })
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
) -> Result<Vec<Changelog>, PackageError> {
    let plan = plans::load(layout, id)?;
    let manager = packages::of(layout)?;
    let mut found = Vec::new();
    for package in plan.packages.iter().filter(|p| name.is_empty() || p.name == name) {
        let news = manager.news(id, package).await?;
        let (text, urgency) = news.map(|news| (news.text, news.urgency)).unzip();
        found.push(Changelog {
            name: package.name.clone(),
            arch: package.arch.clone(),
            urgency: urgency.flatten(),
            text,
        });
    }
    Ok(found)
}
