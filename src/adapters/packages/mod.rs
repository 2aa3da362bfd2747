//! Packages, whatever manages them: what an update needs of a package manager, and what it leaves on
//! our own disk. There are two: [`apt`](super::apt) and [`dnf`](super::dnf).

use std::{collections::BTreeMap, fmt, fs, future::ready, path::Path, time::Duration};

use futures_util::future::BoxFuture;

use super::{apt::Apt, command::Command, dnf::Dnf};
use crate::{
    config::settings::{NewDependencies, Packages, Removals, Snapshot},
    core::{
        canary::Ripe,
        channel::allowed::Allowed,
        choice::{Distribution, KeptBack, Rules},
        health::Evidence,
        plan::{PackageChange, Plan, PlanId},
    },
};

pub mod durable;
pub mod error;
pub mod file_system;
pub mod layout;
pub mod locks;
pub mod log;
pub mod plans;
pub mod progress;
pub mod snapshot;
pub mod stage;
pub mod way_back;

pub use error::PackageError;
pub use layout::Layout;
use plans::{Outcome, Way};

/// What a package manager answers, some time.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, PackageError>>;

/// What packages are chosen by.
#[derive(Clone, Debug)]
pub struct Wish {
    /// `[packages]`
    pub packages: Packages,
    /// The canary group that is followed, and what its nodes allow.
    pub canary: Option<(String, Ripe)>,
    /// What the release channel allows, where one is followed.
    pub release: Option<Allowed>,
}

impl Wish {
    /// The rules it makes on a system.
    ///
    /// # Errors
    /// When it is not known which archives are those of this distribution.
    pub fn rules(&self, layout: &Layout) -> Result<Rules, PackageError> {
        let packages = &self.packages;
        let rules = Rules::of(&packages.origins, distribution(layout));
        let mut rules =
            rules.map_err(|said| PackageError::Said { doing: "choosing packages", said })?;
        rules.allow.clone_from(&packages.allow);
        rules.deny.clone_from(&packages.deny);
        rules.new_dependencies = packages.new_dependencies == NewDependencies::Allow;
        rules.removals = packages.removals == Removals::Allow;
        rules.canary.clone_from(&self.canary);
        rules.release.clone_from(&self.release);
        Ok(rules)
    }
}

/// This machine's distribution and architecture, as a release names them.
pub async fn this_system() -> Result<(Distribution, String), PackageError> {
    let arch = Command::new("dpkg").arg("--print-architecture").output().await?;
    let layout = Layout::system(Path::new("/nonexistent"));
    Ok((distribution(&layout), arch.trim().to_owned()))
}

/// What runs there, by the places of os-release(5).
fn distribution(layout: &Layout) -> Distribution {
    let read = |path| fs::read_to_string(layout.at(path)).ok();
    let text = read("etc/os-release").or_else(|| read("usr/lib/os-release"));
    Distribution::parse(&text.unwrap_or_default())
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What to install; `None` when there is nothing.
    pub plan: Option<Plan>,
    /// What has a newer version and is left as it is.
    pub kept_back: Vec<KeptBack>,
}

/// What is new in a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The entries of its changelog above the installed version.
    pub text: String,
    /// The most urgent of them, where entries have an urgency.
    pub urgency: Option<String>,
}

/// A package manager, and the system it looks after. The protocol around it (which plan is staged,
/// how often a transaction is begun, what its result is) is not its own.
pub trait PackageManager: fmt::Debug + Send + Sync {
    /// What should this node install? Refreshes private lists; nothing of the system's is changed.
    fn check<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Resolved>;

    /// Are the stage of a plan and the way back from it as they were made?
    fn is_good<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, bool>;

    /// Fills the stage of a plan with exactly its packages, verified, and secures the way back from
    /// it ([`plans::set_way_back`]). Both are durable then.
    fn fill<'a>(&'a self, plan: &'a Plan) -> Answer<'a, ()>;

    /// Shows that the stage alone, without network, gives exactly the plan on the system as it is.
    fn prove<'a>(&'a self, plan: &'a Plan) -> Answer<'a, ()>;

    /// Removes all that a stage consists of; the plan's documents stay.
    fn clear(&self, id: &PlanId) -> Result<(), PackageError>;

    /// Arranges for a staged plan to begin with a snapshot, if that is configured ([`snapshot`]). A
    /// manager that takes none refuses that.
    fn arrange<'a>(&'a self, _id: &'a PlanId, choice: Snapshot) -> Answer<'a, ()> {
        let answer = match choice {
            Snapshot::Off => Ok(()),
            Snapshot::Btrfs | Snapshot::LvmThin | Snapshot::Zfs => Err(PackageError::NoSnapshots),
        };
        Box::pin(ready(answer))
    }

    /// What in a staged plan needs a package, or recommends it.
    fn needed_by<'a>(&'a self, id: &'a PlanId, name: &'a str) -> Answer<'a, Vec<String>>;

    /// What is new in a package of a plan; `None` when nobody has its changelog.
    fn news<'a>(&'a self, id: &'a PlanId, package: &'a PackageChange) -> Answer<'a, Option<News>>;

    /// One attempt of a transaction, offline. `lock_limit`: how long other package managers are waited
    /// for. What an interrupted one has left is finished first.
    fn attempt<'a>(
        &'a self,
        id: &'a PlanId,
        way: Way,
        lock_limit: Duration,
    ) -> BoxFuture<'a, Outcome>;

    /// What ails the packages of a plan that was installed, or tried, one sentence each. `or_undone`:
    /// one that was undone as a whole is well, too.
    fn ails<'a>(&'a self, plan: &'a Plan, or_undone: bool) -> Answer<'a, Vec<String>>;

    /// The version of everything installed, by `name:arch`; an error when a package is broken.
    fn installed(&self) -> Answer<'_, BTreeMap<String, String>>;

    /// Is a version newer than another?
    fn is_newer(&self, version: &str, than: &str) -> bool;

    /// Does what is installed wait for a reboot?
    fn reboot_evidence(&self) -> BoxFuture<'_, Evidence>;
}

/// Where rpm may keep its database, in each of its formats (`%_dbpath`, `%_db_backend`).
const RPM_DATABASES: [&str; 6] = [
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
];

/// The package manager of a system, by what it keeps its packages in.
///
/// # Errors
/// When there is none that is known, or nobody can tell which.
pub fn of(layout: &Layout) -> Result<Box<dyn PackageManager + '_>, PackageError> {
    let dpkg = layout.at("var/lib/dpkg/status").exists();
    let rpm = RPM_DATABASES.iter().any(|path| layout.at(path).exists());
    match (dpkg, rpm) {
        (true, false) => Ok(Box::new(Apt::new(layout))),
        (false, true) => Ok(Box::new(Dnf::new(layout))),
        (false, false) => Err(PackageError::NoManager("neither dpkg's status nor an rpm database")),
        // Either can be installed beside the other, to look into the other's packages.
        (true, true) if distribution(layout).is_like("debian") => Ok(Box::new(Apt::new(layout))),
        (true, true) if distribution(layout).is_like("fedora") => Ok(Box::new(Dnf::new(layout))),
        (true, true) => Err(PackageError::NoManager("dpkg's status beside an rpm database")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let layout = Layout::rooted(dir.path(), dir.path(), dir.path());
        match of(&layout) {
            Ok(manager) => {
                let text = format!("{manager:?}");
                text.split_whitespace().next().unwrap().to_owned()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_package_manager_is_the_one_with_a_record_of_its_packages() {
        let dpkg = ("var/lib/dpkg/status", "");
        let rpm = ("var/lib/rpm/rpmdb.sqlite", "");
        let debian = ("etc/os-release", "ID=raspbian\nID_LIKE=debian\n");
        assert_eq!(found(&[dpkg]), "Apt");
        assert_eq!(found(&[rpm]), "Dnf");
        assert_eq!(found(&[dpkg, rpm, debian]), "Apt");
        assert_eq!(found(&[dpkg, rpm, ("etc/os-release", "ID=fedora\n")]), "Dnf");
        for (files, words) in [
            (&[][..], "neither dpkg's status nor an rpm database"),
            (&[dpkg, rpm][..], "dpkg's status beside an rpm database"),
        ] {
            assert!(found(files).ends_with(words), "{}", found(files));
        }
    }
}
