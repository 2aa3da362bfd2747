//! A stage as apt sees it: a flat repository with an index, pins and a source of its own.
//!
//! Everything but the .debs is derived from the plan and the .debs, and written anew before each
//! use: what the debs' digests vouch for is all there is to trust.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    AptError, Layout, apt_get, control, durable, installed, removals,
    simulation::{self, Simulation},
    version,
};
use crate::{
    adapters::command::Command,
    core::plan::{PackageChange, Plan, PlanId, Removal, hex},
};

/// A flat repository: of what a plan brings, or of what leads back from it.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The plan it is of.
    id: PlanId,
    dir: PathBuf,
    packages: Vec<PackageChange>,
    removes: Vec<Removal>,
}

impl Repository {
    /// The stage of a plan.
    #[must_use]
    pub fn stage(layout: &Layout, plan: &Plan) -> Self {
        Self {
            id: plan.id.clone(),
            dir: layout.plan(&plan.id),
            packages: plan.packages.clone(),
            removes: plan.removes.clone(),
        }
    }

    /// What leads back from a plan: these packages, in their earlier versions.
    #[must_use]
    pub fn back(layout: &Layout, id: &PlanId, packages: Vec<PackageChange>) -> Self {
        Self { id: id.clone(), dir: layout.back(id), packages, removes: Vec::new() }
    }

    /// The plan it is of.
    #[must_use]
    pub fn id(&self) -> &PlanId {
        &self.id
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it holds.
    #[must_use]
    pub fn packages(&self) -> &[PackageChange] {
        &self.packages
    }

    /// What goes for it.
    #[must_use]
    pub fn removes(&self) -> &[Removal] {
        &self.removes
    }

    /// Syncs every archive, and the folders they are in.
    pub fn sync(&self) -> Result<(), AptError> {
        for package in &self.packages {
            durable::sync(&deb_path(&self.dir, package))?;
        }
        durable::sync(&self.dir.join("debs"))?;
        durable::sync(&self.dir)
    }
}

/// The origin our pins speak of. Without a `Release` file that names one, no pin would match.
const ORIGIN: &str = "lockkeeper";

/// Where a package's archive lies in the stage; without the version, whose `:` and `%` apt would
/// read in its own way.
#[must_use]
pub fn deb_path(plan_dir: &Path, package: &PackageChange) -> PathBuf {
    plan_dir.join("debs").join(deb_name(package))
}

fn deb_name(package: &PackageChange) -> String {
    format!("{}_{}.deb", package.name, package.arch)
}

/// Compares every archive with what it should be: size and SHA-256.
pub async fn verify(repository: &Repository) -> Result<(), AptError> {
    let it = repository.clone();
    // Hashing a large stage takes seconds; the bus must be answered meanwhile.
    let all = move || it.packages.iter().try_for_each(|p| verify_deb(&it.dir, &it.id, p));
    tokio::task::spawn_blocking(all).await.unwrap_or_else(|panic| {
        Err(AptError::Said { doing: "hashing the stage", said: panic.to_string() })
    })
}

fn verify_deb(dir: &Path, id: &PlanId, package: &PackageChange) -> Result<(), AptError> {
    let path = deb_path(dir, package);
    let damaged = |why| AptError::Damaged { id: id.clone(), why };
    let (sha256, size) = durable::digest(&path)
        .map_err(|error| damaged(format!("{} cannot be read: {error}", deb_name(package))))?;
    if (&sha256, size) == (&package.sha256, package.size) {
        return Ok(());
    }
    Err(damaged(format!("{} does not have the digest of {}", deb_name(package), package.to)))
}

/// Writes index, pins and source of a repository whose archives have been verified, and lets apt
/// read them.
pub async fn build(layout: &Layout, repository: &Repository) -> Result<(), AptError> {
    let Repository { id, dir, packages, .. } = repository;
    let mut index = String::new();
    for package in packages {
        let path = deb_path(dir, package);
        let control = apt_get::program(layout, "dpkg-deb").arg("-f").arg(&path).output().await?;
        index.push_str(&stanza(id, package, &control)?);
    }
    durable::write(&dir.join("Packages"), &index)?;
    durable::write(&dir.join("Release"), &release(&index))?;
    durable::write(&dir.join("prefs"), &preferences(packages))?;
    durable::write(&dir.join("sources.list"), &source(dir))?;
    for folder in ["empty", "lists", "cache"] {
        durable::fresh_folder(&dir.join(folder))?;
    }
    durable::sync(dir)?;
    let update =
        apt_get::with_stage(layout, dir, "apt-get").args(["-qq", "--error-on=any", "update"]);
    let done = update.finish().await?;
    if done.status.success() {
        return Ok(());
    }
    let said = super::sources::complaint(done.said());
    Err(AptError::Said { doing: "reading the stage's index", said })
}

/// The index of a stage, as it was written last; empty where there is none.
pub fn index(layout: &Layout, id: &PlanId) -> Result<String, AptError> {
    let path = layout.plan(id).join("Packages");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(AptError::io("read", path)),
    }
}

/// Who in an index needs or recommends a package, or what it provides.
#[must_use]
pub fn needed_by(index: &str, name: &str) -> Vec<String> {
    let is_it = |stanza: &&str| control::field(stanza, "Package") == Some(name);
    let own = control::stanzas(index).find(is_it);
    let provided = own.and_then(|stanza| control::field(stanza, "Provides")).unwrap_or_default();
    let known: Vec<&str> = std::iter::once(name).chain(control::names(provided)).collect();
    let needs = |stanza: &&str| {
        ["Pre-Depends", "Depends", "Recommends"].iter().any(|field| {
            let relation = control::field(stanza, field).unwrap_or_default();
            control::names(relation).any(|needed| known.contains(&needed))
        })
    };
    let others = control::stanzas(index).filter(|stanza| !is_it(stanza)).filter(needs);
    let names: BTreeSet<&str> =
        others.filter_map(|stanza| control::field(stanza, "Package")).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Is any of these to replace a newer version? Only a release of a channel says so.
#[must_use]
pub fn goes_back(packages: &[PackageChange]) -> bool {
    packages.iter().any(|package| {
        let from = package.from.as_ref();
        from.is_some_and(|from| version::compare(from, &package.to).is_gt())
    })
}

/// The call of apt that installs a repository: exactly it, and removes what is to go.
pub async fn upgrade(layout: &Layout, repository: &Repository) -> Result<Command, AptError> {
    let mut apt_get = apt_get::with_stage(layout, &repository.dir, "apt-get");
    if goes_back(&repository.packages) {
        apt_get = apt_get.arg("--allow-downgrades");
    }
    if repository.removes.is_empty() {
        return Ok(apt_get.args(["upgrade", "--with-new-pkgs"]));
    }
    let removes = removals::arguments(&installed::query(layout).await?, &repository.removes);
    Ok(apt_get.arg("dist-upgrade").args(removes))
}

/// What apt would do with the repository now, without network.
pub async fn simulate(layout: &Layout, repository: &Repository) -> Result<Simulation, AptError> {
    let done = upgrade(layout, repository).await?.arg("-s").finish().await?;
    if done.status.success() {
        return simulation::parse(&done.stdout);
    }
    let said = super::sources::complaint(done.said());
    Err(AptError::Said { doing: "simulating the upgrade", said })
}

/// Removes all that a stage consists of; the plan's documents stay.
pub fn clear(layout: &Layout, id: &PlanId) -> Result<(), AptError> {
    super::plans::withdraw(layout, id)?;
    let dir = layout.plan(id);
    let parts = [
        "back",
        "back.json",
        "snapshot.json",
        "debs",
        "download",
        "Packages",
        "Release",
        "prefs",
        "sources.list",
        "empty",
        "lists",
        "cache",
    ];
    parts.iter().try_for_each(|part| durable::remove(&dir.join(part)))
}

/// A package's entry in `Packages`: its control data, and the plan's word for file, size and digest.
fn stanza(id: &PlanId, package: &PackageChange, control: &str) -> Result<String, AptError> {
    let expected = (package.name.as_str(), package.arch.as_str(), package.to.as_str());
    if control::identity(control) != Some(expected) {
        let why = format!("{} is another package than the plan says", deb_name(package));
        return Err(AptError::Damaged { id: id.clone(), why });
    }
    Ok(format!(
        "{}\nFilename: debs/{}\nSize: {}\nSHA256: {}\n\n",
        control.trim_end(),
        deb_name(package),
        package.size,
        package.sha256
    ))
}

fn release(index: &str) -> String {
    let digest = hex(&Sha256::digest(index.as_bytes()));
    format!(
        "Origin: {ORIGIN}\nLabel: {ORIGIN}\nSuite: stage\nDate: Thu, 01 Jan 1970 00:00:00 UTC\n\
         SHA256:\n {digest} {} Packages\n",
        index.len()
    )
}

/// Nothing is a candidate but the plan's packages in the plan's versions.
fn preferences(packages: &[PackageChange]) -> String {
    let mut text = format!("Package: *\nPin: release o={ORIGIN}\nPin-Priority: -1\n");
    for package in packages {
        // apt does not know `name:all` here.
        let arch = Some(&package.arch).filter(|arch| *arch != "all");
        let arch = arch.map(|arch| format!(":{arch}")).unwrap_or_default();
        let _ = write!(
            text,
            "\nPackage: {}{arch}\nPin: version {}\nPin-Priority: 1001\n",
            package.name, package.to
        );
    }
    text
}

/// Trusted: what it may hold is decided by the digests in its index, which we write.
fn source(dir: &Path) -> String {
    format!("deb [trusted=yes] file:{}/ ./\n", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let change = |name: &str, arch: &str, to: &str| PackageChange {
            name: name.into(),
            arch: arch.into(),
            from: None,
            to: to.into(),
            sha256: "0".repeat(64),
            size: 7,
            origin: String::new(),
        };
        Plan::new(vec![change("a", "all", "1"), change("b", "i386", "2:1")]).unwrap()
    }

    #[test]
    fn pins_name_each_package_at_its_version_and_refuse_the_rest() {
        assert_eq!(
            preferences(&plan().packages),
            "Package: *\nPin: release o=lockkeeper\nPin-Priority: -1\n\
             \nPackage: a\nPin: version 1\nPin-Priority: 1001\n\
             \nPackage: b:i386\nPin: version 2:1\nPin-Priority: 1001\n"
        );
    }

    #[test]
    fn who_needs_a_package_is_named_once_also_through_what_it_provides() {
        let index = "Package: web\nDepends: libc6 (>= 2), libfoo2 | libfoo1\n\n\
                     Package: web\nDepends: libfoo2\n\n\
                     Package: db\nRecommends: foo-engine\n\n\
                     Package: other\nSuggests: libfoo2\n\n\
                     Package: libfoo2\nProvides: foo-engine (= 2)\nDepends: libfoo2\n";
        assert_eq!(needed_by(index, "libfoo2"), ["db", "web"]);
        assert_eq!(needed_by("", "libfoo2"), Vec::<String>::new());
    }

    #[test]
    fn an_index_entry_carries_the_plans_digest_and_refuses_another_package() {
        let plan = plan();
        let control = "Package: a\nArchitecture: all\nVersion: 1\nDescription: x\n y\n";
        let entry = stanza(&plan.id, &plan.packages[0], control).unwrap();
        let expected = format!("Filename: debs/a_all.deb\nSize: 7\nSHA256: {}\n\n", "0".repeat(64));
        assert!(entry.starts_with(control.trim_end()) && entry.ends_with(&expected), "{entry}");
        let other = control.replace("Version: 1", "Version: 3");
        let error = stanza(&plan.id, &plan.packages[0], &other).unwrap_err();
        assert!(matches!(error, AptError::Damaged { .. }), "{error:?}");
    }
}
