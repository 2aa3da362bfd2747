//! The way back from a plan: what is installed now, secured before anything is applied.
//!
//! An archive keeps only its newest version of most packages, so the earlier one must be had while
//! the plan is staged: from the archive if it still has it, else put together again from what is
//! installed (dpkg-repack(1)).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    AptError, Layout, apt_get, control, durable,
    installed::{self, Installed},
    plans,
    repository::{self, Repository},
    stage, uris,
};
use crate::{
    adapters::command::last_lines,
    config::settings::WithoutWayBack,
    core::plan::{PackageChange, Plan, PlanId},
};

/// What leads back from a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// One for each package of the plan, in its order.
    pub packages: Vec<Earlier>,
    /// What was broken before the plan, one sentence a package.
    #[serde(default)]
    pub broken: Vec<String>,
    /// Packages whose files the plan's versions of others may take over: the earlier version, unpacked
    /// while such a one is there, goes without them (dpkg's rule for `Replaces`).
    #[serde(default)]
    pub replaced: Vec<String>,
}

/// What was there in place of a package of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Binary package name, without architecture.
    pub name: String,
    /// How to get it back.
    #[serde(flatten)]
    pub how: How,
}

/// How to get back what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum How {
    /// There was nothing: the new package is removed.
    Remove {
        /// With its configuration files: dpkg had known nothing of it.
        purge: bool,
    },
    /// By the archive's own package.
    Archive {
        /// The way from the plan's version to the earlier one.
        package: PackageChange,
    },
    /// By a package made of what was installed: its configuration files are those of that moment.
    Repacked {
        /// The way from the plan's version to the earlier one.
        package: PackageChange,
    },
    /// There is no way.
    Missing {
        /// The version that cannot be had.
        version: String,
        /// Why not.
        why: String,
    },
}

impl WayBack {
    /// The packages there is an archive of.
    #[must_use]
    pub fn changes(&self) -> Vec<PackageChange> {
        let change = |earlier: &Earlier| match &earlier.how {
            How::Archive { package } | How::Repacked { package } => Some(package.clone()),
            How::Remove { .. } | How::Missing { .. } => None,
        };
        self.packages.iter().filter_map(change).collect()
    }

    /// Does it lead back from this plan, to the versions it has replaced?
    #[must_use]
    pub fn is_of(&self, plan: &Plan) -> bool {
        let same = |(package, earlier): (&PackageChange, &Earlier)| {
            let version = match &earlier.how {
                How::Remove { .. } => None,
                How::Archive { package } | How::Repacked { package } => Some(&package.to),
                How::Missing { version, .. } => Some(version),
            };
            earlier.name == package.name && version == package.from.as_ref()
        };
        self.packages.len() == plan.packages.len()
            && plan.packages.iter().zip(&self.packages).all(same)
    }

    /// `web 1.0: dpkg-repack is not installed`, for each package there is no way back from.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let missing = |earlier: &Earlier| match &earlier.how {
            How::Missing { version, why } => Some(format!("{} {version}: {why}", earlier.name)),
            How::Remove { .. } | How::Archive { .. } | How::Repacked { .. } => None,
        };
        self.packages.iter().filter_map(missing).collect()
    }
}

/// Secures the way back from a plan, durably. What cannot be had is written down, and no error.
pub async fn secure(layout: &Layout, plan: &Plan) -> Result<(), AptError> {
    durable::fresh_folder(&layout.back(&plan.id))?;
    let have = installed::query(layout).await?;
    let archived = from_archive(layout, plan).await?;
    let into = Repository::back(layout, &plan.id, archived.clone());
    stage::download(layout, &into).await?;
    let mut packages = Vec::new();
    for package in &plan.packages {
        let how = match (&package.from, archived.iter().find(|p| same(p, package))) {
            (None, _) => How::Remove { purge: installed::find(&have, package).is_none() },
            (Some(_), Some(archived)) => How::Archive { package: archived.clone() },
            (Some(version), None) => repacked(layout, plan, package, version, &have).await?,
        };
        packages.push(Earlier { name: package.name.clone(), how });
    }
    let broken = have.iter().filter(|p| p.is_broken()).map(Installed::sentence).collect();
    let replaced = replaced(layout, plan).await?;
    let back = WayBack { packages, broken, replaced };
    let into = Repository::back(layout, &plan.id, back.changes());
    repository::verify(&into).await?;
    into.sync()?;
    plans::set_way_back(layout, &plan.id, &back)
}

/// The packages of a plan with an earlier version that another of its packages replaces files of.
async fn replaced(layout: &Layout, plan: &Plan) -> Result<Vec<String>, AptError> {
    let stage = Repository::stage(layout, plan);
    let mut replaced = BTreeSet::new();
    for package in &plan.packages {
        let deb = repository::deb_path(stage.dir(), package);
        let field = apt_get::program(layout, "dpkg-deb").arg("-f").arg(deb).arg("Replaces");
        let field = field.output().await?;
        let names = control::names(&field).filter(|name| *name != package.name);
        replaced.extend(names.map(str::to_owned));
    }
    let of_plan = |name: &String| plan.packages.iter().any(|p| p.name == *name && p.from.is_some());
    Ok(replaced.into_iter().filter(of_plan).collect())
}

/// Is the way back from a staged plan as it was secured, and still the way to what is installed?
pub async fn is_secured(layout: &Layout, plan: &Plan) -> bool {
    let Ok(Some(back)) = plans::way_back(layout, &plan.id) else { return false };
    if !back.is_of(plan) {
        return false;
    }
    repository::verify(&Repository::back(layout, &plan.id, back.changes())).await.is_ok()
}

/// Refuses a plan with a package that there is no way back from, when such plans are not wanted.
pub fn judge(layout: &Layout, id: &PlanId, policy: WithoutWayBack) -> Result<(), AptError> {
    let missing = match (policy, plans::way_back(layout, id)?) {
        (WithoutWayBack::Allow, _) | (_, None) => return Ok(()),
        (WithoutWayBack::Refuse, Some(back)) => back.missing(),
    };
    if missing.is_empty() {
        return Ok(());
    }
    Err(AptError::NoWayBack { packages: missing.join("; ") })
}

fn same(a: &PackageChange, b: &PackageChange) -> bool {
    a.name == b.name
}

/// The earlier versions that the archive still has, with their digests.
async fn from_archive(layout: &Layout, plan: &Plan) -> Result<Vec<PackageChange>, AptError> {
    let earlier = |package: &&PackageChange| package.from.is_some();
    let wanted: Vec<&PackageChange> = plan.packages.iter().filter(earlier).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names = wanted.iter().map(|package| format!("{}:{}", package.name, package.arch));
    let madison = apt_get::with_our_lists(layout, "apt-cache").arg("madison").args(names);
    // A name it knows nothing of makes it fail; what it prints of the others counts.
    let found = madison.finish().await?.stdout;
    let known: Vec<&PackageChange> =
        wanted.into_iter().filter(|package| offers(&found, package)).collect();
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let exact = known.iter().map(|p| earlier_name(p));
    let files = uris::look_up(layout, exact).await?;
    let changes = known.iter().filter_map(|package| change(package, &files));
    Ok(changes.collect())
}

/// Has `apt-cache madison` a line `name | version | source` of the earlier version?
fn offers(madison: &str, package: &PackageChange) -> bool {
    madison.lines().any(|line| {
        let mut fields = line.split('|').map(str::trim);
        let name = fields.next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or(name);
        name == package.name && fields.next() == package.from.as_deref()
    })
}

fn earlier_name(package: &PackageChange) -> String {
    let from = package.from.as_deref().unwrap_or_default();
    format!("{}:{}={from}", package.name, package.arch)
}

/// The way from the plan's version to the earlier one, by what the archive says of that.
fn change(package: &PackageChange, files: &[uris::Uri]) -> Option<PackageChange> {
    let from = package.from.as_ref()?;
    let file = files.iter().find(|file| file.name == package.name && file.version == *from)?;
    Some(PackageChange {
        name: package.name.clone(),
        arch: file.arch.clone(),
        from: Some(package.to.clone()),
        to: from.clone(),
        sha256: file.sha256.clone()?,
        size: file.size,
        origin: "archive".to_owned(),
    })
}

async fn repacked(
    layout: &Layout,
    plan: &Plan,
    package: &PackageChange,
    version: &str,
    have: &[Installed],
) -> Result<How, AptError> {
    let missing = |why: String| How::Missing { version: version.to_owned(), why };
    let Some(have) = installed::find(have, package).filter(|have| have.version == version) else {
        return Ok(missing("it is not what is installed".to_owned()));
    };
    let dir = layout.back(&plan.id);
    let incoming = dir.join("download");
    durable::fresh_folder(&incoming)?;
    let repack = apt_get::program(layout, "dpkg-repack")
        .arg(format!("--root={}", layout.root().display()))
        .arg(format!("{}:{}", have.name, have.arch))
        .current_dir(&incoming);
    let done = match repack.finish().await {
        Ok(done) if done.status.success() => done,
        Ok(done) => {
            return Ok(missing(format!("dpkg-repack: {}", last_lines(done.said(), 2))));
        }
        Err(error) => {
            return Ok(missing(format!("the archive does not have it any more, and {error}")));
        }
    };
    tracing::debug!(package = package.name, said = done.said(), "repacked");
    let mut earlier = PackageChange {
        arch: have.arch.clone(),
        from: Some(package.to.clone()),
        to: version.to_owned(),
        origin: "repacked".to_owned(),
        ..package.clone()
    };
    let place = repository::deb_path(&dir, &earlier);
    // Its exit status is no proof: of a package that is not wholly installed it makes nothing.
    if stage::take(&stage::files_in(&incoming)?, &earlier, &place).is_err() {
        let said = last_lines(done.said(), 2);
        return Ok(missing(format!("dpkg-repack makes no package of it: {said}")));
    }
    durable::remove(&incoming)?;
    let digest = durable::digest(&place).map_err(AptError::io("read", &place))?;
    (earlier.sha256, earlier.size) = digest;
    Ok(How::Repacked { package: earlier })
}
