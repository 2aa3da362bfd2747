//! What a transaction does, to a plan or back from it, and what must be there afterwards.

use std::{collections::BTreeSet, path::PathBuf};

use super::installed::{self, Installed, full_name};
use crate::{
    adapters::packages::{
        Layout,
        plans::Way,
        way_back::{How, WayBack},
    },
    core::plan::{PackageChange, Plan},
};

/// One way of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// There or back.
    pub way: Way,
    /// Where the files are of what comes.
    pub dir: PathBuf,
    /// What comes: at its `to`, in place of its `from`.
    pub comes: Vec<PackageChange>,
    /// What goes: at its `to`.
    pub goes: Vec<PackageChange>,
}

impl Course {
    /// To a plan.
    #[must_use]
    pub fn there(layout: &Layout, plan: &Plan) -> Self {
        let (dir, comes) = (layout.plan(&plan.id), plan.packages.clone());
        Self { way: Way::There, dir, comes, goes: Vec::new() }
    }

    /// Back from it, as far as there is a way. `running`: the release of the running kernel, which a
    /// machine cannot do without until it has booted another.
    #[must_use]
    pub fn back(layout: &Layout, plan: &Plan, back: &WayBack, running: &str) -> Self {
        let goes = plan.packages.iter().zip(&back.packages);
        let goes = goes.filter(|(package, earlier)| {
            matches!(earlier.how, How::Remove { .. }) && !is_kernel(package, running)
        });
        Self {
            way: Way::Back,
            dir: layout.back(&plan.id),
            comes: back.changes(),
            goes: goes.map(|(package, _)| package.clone()).collect(),
        }
    }

    /// The file of a package that comes.
    #[must_use]
    pub fn file(&self, package: &PackageChange) -> PathBuf {
        self.dir.join("rpms").join(format!("{}.{}.rpm", package.name, package.arch))
    }

    /// What of it is still to be done.
    #[must_use]
    pub fn rest(&self, now: &[Installed]) -> Self {
        let coming = self.comes.iter().filter(|package| !installed::has_come(now, package));
        let going = self.goes.iter().filter(|package| !installed::has_gone(now, package));
        Self {
            comes: coming.cloned().collect(),
            goes: going.cloned().collect(),
            dir: self.dir.clone(),
            way: self.way,
        }
    }

    /// Nothing comes or goes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.comes.is_empty() && self.goes.is_empty()
    }

    /// `name-evr.arch` of everything, as it must be afterwards: nothing else has changed.
    #[must_use]
    pub fn expected(&self, before: &[Installed]) -> BTreeSet<String> {
        let stays = |have: &&Installed| {
            let replaced = |p: &PackageChange| p.from.is_some() && have.is_of(p);
            let removed = |p: &PackageChange| have.evr == p.to && have.is_of(p);
            !self.comes.iter().any(replaced) && !self.goes.iter().any(removed)
        };
        let stay = before.iter().filter(stays).map(full_name);
        stay.chain(self.comes.iter().map(name)).collect()
    }
}

/// Is it a part of the kernel that calls itself `release` (`6.9.4-200.fc40.x86_64`, with `+debug` and the
/// like behind it)?
#[must_use]
pub fn is_kernel(package: &PackageChange, release: &str) -> bool {
    let release = release.split('+').next().unwrap_or(release);
    let version = package.to.split_once(':').map_or(package.to.as_str(), |(_, version)| version);
    package.name.starts_with("kernel") && format!("{version}.{}", package.arch) == release
}

/// `name-evr.arch`
#[must_use]
pub fn name(package: &PackageChange) -> String {
    format!("{}-{}.{}", package.name, package.to, package.arch)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::adapters::packages::way_back::Earlier;

    fn change(name: &str, from: Option<&str>, to: &str) -> PackageChange {
        PackageChange {
            name: name.into(),
            arch: "noarch".into(),
            from: from.map(str::to_owned),
            to: to.into(),
            sha256: "0".repeat(64),
            size: 1,
            origin: String::new(),
        }
    }

    fn have(packages: &[&str]) -> Vec<Installed> {
        let line = |package: &&str| {
            let (name, evr) = package.split_once(' ').unwrap();
            format!("{name}\tnoarch\t{evr}\t1\t7\n")
        };
        installed::parse(&packages.iter().map(line).collect::<String>()).unwrap()
    }

    fn courses() -> (Course, Course) {
        let plan = vec![change("a", Some("1-1"), "2-1"), change("kernel", None, "3-1")];
        let plan = Plan::new(plan).unwrap();
        let earlier = |name: &str, how| Earlier { name: name.to_owned(), how };
        let back = WayBack {
            packages: vec![
                earlier("a", How::Archive { package: change("a", Some("2-1"), "1-1") }),
                earlier("kernel", How::Remove { purge: true }),
            ],
            ..WayBack::default()
        };
        let layout = Layout::system(Path::new("/nonexistent"));
        (Course::there(&layout, &plan), Course::back(&layout, &plan, &back, "2-1.noarch"))
    }

    #[test]
    fn there_and_back_change_what_the_plan_names_and_nothing_else() {
        let (there, back) = courses();
        let before = have(&["a 1-1", "b 1-1", "kernel 1-1", "kernel 2-1"]);
        let after = have(&["a 2-1", "b 1-1", "kernel 1-1", "kernel 2-1", "kernel 3-1"]);
        let cut = have(&["a 1-1", "a 2-1", "b 1-1", "kernel 1-1", "kernel 2-1", "kernel 3-1"]);
        for start in [&before, &cut, &after] {
            assert!(installed::differences(&there.expected(start), &after).is_empty());
            assert!(installed::differences(&back.expected(start), &before).is_empty());
        }
        assert_eq!(
            installed::differences(&there.expected(&before), &cut),
            ["a-1-1.noarch is installed"]
        );
        let without = have(&["a 2-1", "kernel 1-1", "kernel 2-1", "kernel 3-1"]);
        assert_eq!(
            installed::differences(&there.expected(&before), &without),
            ["b-1-1.noarch is not installed"]
        );
    }

    #[test]
    fn the_running_kernel_stays_with_all_its_parts() {
        for (name, to, running, expected) in [
            ("kernel-core", "6.9.4-200.fc40", "6.9.4-200.fc40.noarch", true),
            ("kernel-modules", "6.9.4-200.fc40", "6.9.4-200.fc40.noarch+debug", true),
            ("kernel-core", "6.9.5-200.fc40", "6.9.4-200.fc40.noarch", false),
            ("web", "6.9.4-200.fc40", "6.9.4-200.fc40.noarch", false),
        ] {
            assert_eq!(is_kernel(&change(name, None, to), running), expected, "{name} {to}");
        }
    }

    #[test]
    fn what_is_there_twice_is_on_neither_end_of_the_way() {
        let (there, back) = courses();
        let names = |course: Course| {
            let names = course.comes.iter().chain(&course.goes).map(name);
            names.collect::<Vec<_>>().join(" ")
        };
        for (now, to_come, to_go_back) in [
            (&["a 1-1"][..], "a-2-1.noarch kernel-3-1.noarch", ""),
            (&["a 1-1", "kernel 3-1"], "a-2-1.noarch", "kernel-3-1.noarch"),
            (&["a 2-1", "kernel 3-1"], "", "a-1-1.noarch kernel-3-1.noarch"),
            (&["a 1-1", "a 2-1"], "a-2-1.noarch kernel-3-1.noarch", "a-1-1.noarch"),
        ] {
            let now = have(now);
            assert_eq!(names(there.rest(&now)), to_come, "{now:?}");
            assert_eq!(names(back.rest(&now)), to_go_back, "{now:?}");
        }
        assert!(there.rest(&have(&["a 2-1", "kernel 3-1"])).is_empty());
    }
}
