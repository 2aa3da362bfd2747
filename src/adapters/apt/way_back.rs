//! The way back from a plan: what is installed now, secured before anything is applied.
//!
//! An archive keeps only its newest version of most packages, so the earlier one must be had while
//! the plan is staged: from the archive if it still has it, else put together again from what is
//! installed (dpkg-repack(1)).

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use super::{
    AptError, Layout, apt_get, control, durable,
    installed::{self, Installed},
    plans, removals,
    repository::{self, Repository},
    resolve, stage,
};
use crate::{
    adapters::{
        command::last_lines,
        packages::{
            file_system::mount_point,
            way_back::{Earlier, How, WayBack},
        },
    },
    core::plan::{PackageChange, Plan, PlanId, Removal},
};

/// What is to be secured, and where it can be had.
#[derive(Debug)]
pub struct Survey {
    /// What dpkg has.
    have: Vec<Installed>,
    /// The earlier versions that the archive still has, with their digests.
    archived: Vec<PackageChange>,
    /// What the others weigh, about.
    repacked_bytes: u64,
}

impl Survey {
    /// Bytes that all of it will take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.archived.iter().map(|p| p.size).fold(self.repacked_bytes, u64::saturating_add)
    }
}

/// Looks where the earlier versions of a plan's packages can be had.
pub async fn survey(layout: &Layout, plan: &Plan) -> Result<Survey, AptError> {
    let have = installed::query(layout).await?;
    let replaced = plan.packages.iter().filter_map(|package| earlier(package, &have));
    let wanted: Vec<PackageChange> =
        replaced.chain(plan.removes.iter().map(Removal::reversed)).collect();
    let archived = from_archive(layout, &wanted).await?;
    let others = wanted.iter().filter(|wanted| !archived.iter().any(|p| same(p, wanted)));
    // Packing saves at least a third of all but what is packed already.
    let bytes = others.filter_map(|wanted| installed::find(&have, wanted)).map(|have| have.bytes);
    Ok(Survey { repacked_bytes: bytes.fold(0, u64::saturating_add), have, archived })
}

/// Secures the way back from a plan, durably. What cannot be had is written down, and no error.
pub async fn secure(layout: &Layout, plan: &Plan, survey: Survey) -> Result<(), AptError> {
    let Survey { have, mut archived, .. } = survey;
    let dir = layout.back(&plan.id);
    durable::fresh_folder(&dir.join("debs"))?;
    archived = fetch(layout, &plan.id, archived).await?;
    let mut packages = Vec::new();
    for package in &plan.packages {
        let how = match earlier(package, &have) {
            None => How::Remove { purge: installed::find(&have, package).is_none() },
            Some(wanted) => had(layout, &plan.id, wanted, &archived, &have).await?,
        };
        packages.push(Earlier { name: package.name.clone(), how });
    }
    let mut removed = Vec::new();
    for going in &plan.removes {
        let how = had(layout, &plan.id, going.reversed(), &archived, &have).await?;
        removed.push(Earlier { name: going.name.clone(), how });
    }
    for earlier in packages.iter().chain(&removed) {
        match &earlier.how {
            How::Repacked { package } => {
                tracing::info!(
                    "{} {} was repacked from what is installed",
                    package.name,
                    package.to
                );
            }
            How::Missing { version, why } => {
                tracing::warn!("there is no way back to {} {version}: {why}", earlier.name);
            }
            How::Archive { .. } | How::Remove { .. } => {}
        }
    }
    let broken = have.iter().filter(|p| p.is_broken()).map(Installed::sentence).collect();
    let replaced = replaced(layout, plan).await?;
    let automatic = removals::automatic(layout, &plan.removes).await?;
    let back = WayBack { packages, removed, automatic, broken, replaced };
    let into = Repository::back(layout, &plan.id, back.changes());
    repository::verify(&into).await?;
    into.sync()?;
    plans::set_way_back(layout, &plan.id, &back)
}

/// How an earlier version can be had.
async fn had(
    layout: &Layout,
    id: &PlanId,
    wanted: PackageChange,
    archived: &[PackageChange],
    have: &[Installed],
) -> Result<How, AptError> {
    match archived.iter().find(|p| same(p, &wanted)) {
        Some(archived) => Ok(How::Archive { package: archived.clone() }),
        None => repacked(layout, id, wanted, have).await,
    }
}

/// The way from the plan's version of a package to the one it replaces; its digest is not known yet.
fn earlier(package: &PackageChange, have: &[Installed]) -> Option<PackageChange> {
    let from = package.from.clone()?;
    let have = installed::find(have, package).filter(|have| have.version == from);
    Some(PackageChange {
        name: package.name.clone(),
        arch: have.map_or(&package.arch, |have| &have.arch).clone(),
        from: Some(package.to.clone()),
        to: from,
        sha256: String::new(),
        size: 0,
        origin: String::new(),
    })
}

/// Downloads what the archive offers, but for what lies in the system's cache. Answers with what it
/// got: an archive may have lost the file since its lists were made.
async fn fetch(
    layout: &Layout,
    id: &PlanId,
    archived: Vec<PackageChange>,
) -> Result<Vec<PackageChange>, AptError> {
    let dir = layout.back(id);
    let mut rest = Vec::new();
    for package in &archived {
        if !from_cache(layout, package, &repository::deb_path(&dir, package))? {
            rest.push(package.clone());
        }
    }
    match stage::download(layout, &Repository::back(layout, id, rest)).await {
        Ok(()) => return Ok(archived),
        Err(error @ AptError::Full { .. }) => return Err(error),
        Err(error) => {
            tracing::warn!(error = %error, "earlier versions are missing in the archive");
        }
    }
    let there = |package: &PackageChange| repository::deb_path(&dir, package).exists();
    Ok(archived.into_iter().filter(there).collect())
}

/// Copies a package from the system's cache, if that has exactly the archive's.
fn from_cache(layout: &Layout, package: &PackageChange, place: &Path) -> Result<bool, AptError> {
    // As apt writes it.
    let version = package.to.replace(':', "%3a");
    let file = format!("{}_{version}_{}.deb", package.name, package.arch);
    let cached = layout.at("var/cache/apt/archives").join(file);
    let is_it = |path: &Path| {
        durable::digest(path).is_ok_and(|(sha256, size)| {
            (sha256.as_str(), size) == (package.sha256.as_str(), package.size)
        })
    };
    if !is_it(&cached) {
        return Ok(false);
    }
    fs::copy(&cached, place)
        .and_then(|_| fs::set_permissions(place, fs::Permissions::from_mode(0o644)))
        .map_err(AptError::io("copy", &cached))?;
    Ok(is_it(place))
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
    let of_plan = |name: &String| {
        plan.packages.iter().any(|p| p.name == *name && p.from.is_some())
            || plan.removes.iter().any(|going| going.name == *name)
    };
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

fn same(a: &PackageChange, b: &PackageChange) -> bool {
    (&a.name, &a.arch, &a.to) == (&b.name, &b.arch, &b.to)
}

/// Those of the earlier versions that the archive still has, with their digests.
async fn from_archive(
    layout: &Layout,
    wanted: &[PackageChange],
) -> Result<Vec<PackageChange>, AptError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let exact = wanted.iter().map(resolve::exact_name);
    let show = apt_get::with_our_lists(layout, "apt-cache").args(["-q", "show"]).args(exact);
    // A version it knows nothing of makes it fail; what it prints of the others counts.
    let shown = show.finish().await?.stdout;
    Ok(wanted.iter().filter_map(|wanted| archived(wanted, &shown)).collect())
}

/// What the archive says of a package.
fn archived(wanted: &PackageChange, shown: &str) -> Option<PackageChange> {
    let stanza = control::archived((&wanted.name, &wanted.arch, &wanted.to), shown)?;
    Some(PackageChange {
        sha256: control::field(stanza, "SHA256")?.to_ascii_lowercase(),
        size: control::field(stanza, "Size")?.parse().ok()?,
        origin: "archive".to_owned(),
        ..wanted.clone()
    })
}

/// Puts a package together from what is installed. Packed quickly: it is not kept for long.
async fn repacked(
    layout: &Layout,
    id: &PlanId,
    wanted: PackageChange,
    have: &[Installed],
) -> Result<How, AptError> {
    let missing = |why: String| Ok(How::Missing { version: wanted.to.clone(), why });
    let Some(have) = installed::find(have, &wanted).filter(|have| have.version == wanted.to) else {
        return missing("it is not what is installed".to_owned());
    };
    let dir = layout.back(id);
    let incoming = dir.join("download");
    durable::fresh_folder(&incoming)?;
    let repack = apt_get::program(layout, "dpkg-repack")
        .arg(format!("--root={}", layout.root().display()))
        .args(["--deb-option=-Zgzip", "--deb-option=-z1"])
        .arg(format!("{}:{}", have.name, have.arch))
        .current_dir(&incoming);
    let done = match repack.finish().await {
        Ok(done) => done,
        Err(error) => {
            return missing(format!("the archive does not have it any more, and {error}"));
        }
    };
    if done.said().contains("No space left on device") {
        return Err(AptError::Full { mount: mount_point(&incoming) });
    }
    let place = repository::deb_path(&dir, &wanted);
    // Its exit status is no proof: of a package that is not wholly installed it makes nothing.
    if !done.status.success() || stage::take(&stage::files_in(&incoming)?, &wanted, &place).is_err()
    {
        let said = last_lines(done.said(), 2);
        return missing(format!("dpkg-repack makes no package of it: {said}"));
    }
    durable::remove(&incoming)?;
    let (sha256, size) = durable::digest(&place).map_err(AptError::io("read", &place))?;
    let origin = "repacked".to_owned();
    Ok(How::Repacked { package: PackageChange { sha256, size, origin, ..wanted } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_alone_knows_of_is_not_in_the_archive() {
        let shown = "\
Package: a
Status: install ok installed
Architecture: amd64
Version: 1

Package: a
Architecture: i386
Version: 1
Size: 7
SHA256: AB

Package: a
Architecture: amd64
Version: 2
Size: 8
SHA256: cd
";
        let wanted = |arch: &str, version: &str| PackageChange {
            name: "a".into(),
            arch: arch.into(),
            from: Some("3".into()),
            to: version.into(),
            sha256: String::new(),
            size: 0,
            origin: String::new(),
        };
        assert_eq!(archived(&wanted("amd64", "1"), shown), None);
        assert_eq!(archived(&wanted("amd64", "3"), shown), None);
        let found = archived(&wanted("i386", "1"), shown).unwrap();
        assert_eq!((found.sha256.as_str(), found.size), ("ab", 7));
        let other = shown.replace("SHA256: AB", "SHA256: EF");
        assert_eq!(archived(&wanted("i386", "1"), &format!("{shown}\n{other}")), None);
        assert!(archived(&wanted("i386", "1"), &format!("{shown}\n{shown}")).is_some());
    }
}
