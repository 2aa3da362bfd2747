//! What rpm says is installed, and what a plan makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{program, version};
use crate::{
    adapters::packages::{Layout, PackageError},
    core::plan::{PackageChange, Plan},
};

const FORMAT: &str = "%{NAME}\\t%{ARCH}\\t%{EVR}\\t%{SIZE}\\t%{INSTALLTIME}\\n";

/// One installed package. A kernel may be there in several versions; anything else is so only after
/// an interrupted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Package, without architecture.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Epoch (unless it is 0), version and release.
    pub evr: String,
    /// Bytes on disk, as the package says.
    pub bytes: u64,
    /// When it was installed, in seconds of the wall clock.
    pub since: i64,
}

impl Installed {
    /// Is it the package of a plan, in whatever version? One may change between `noarch` and an
    /// architecture.
    #[must_use]
    pub fn is_of(&self, package: &PackageChange) -> bool {
        let any = || self.arch == "noarch" || package.arch == "noarch";
        self.name == package.name && (self.arch == package.arch || any())
    }
}

/// Everything installed.
pub async fn query(layout: &Layout) -> Result<Vec<Installed>, PackageError> {
    parse(&program::rpm(layout, "rpm").args(["-qa", "--qf", FORMAT]).output().await?)
}

/// Reads lines of [`FORMAT`].
pub(super) fn parse(text: &str) -> Result<Vec<Installed>, PackageError> {
    let package = |line: &str| {
        let mut fields = line.split('\t');
        let mut next = || fields.next().map(str::to_owned);
        Some(Installed {
            name: next()?,
            arch: next()?,
            evr: version::short(&next()?).to_owned(),
            bytes: next()?.parse().unwrap_or(0),
            since: next()?.parse().ok()?,
        })
    };
    // Keys are kept among the packages.
    let lines = text.lines().filter(|line| !line.starts_with("gpg-pubkey\t"));
    lines
        .map(|line| {
            package(line)
                .ok_or_else(|| PackageError::Output { program: "rpm", line: line.to_owned() })
        })
        .collect()
}

/// The versions of a plan's package that are there.
pub fn versions<'a>(
    installed: &'a [Installed],
    package: &'a PackageChange,
) -> impl Iterator<Item = &'a str> {
    installed.iter().filter(|have| have.is_of(package)).map(|have| have.evr.as_str())
}

/// The newest version of `name`, if there is one.
#[must_use]
pub fn newest<'a>(installed: &'a [Installed], name: &str, arch: &str) -> Option<&'a Installed> {
    let same = installed.iter().filter(|have| have.name == name);
    let fits = same.filter(|have| have.arch == arch || have.arch == "noarch" || arch == "noarch");
    fits.max_by(|a, b| version::compare(&a.evr, &b.evr))
}

/// Is a package there, and not in the version that it takes the place of?
#[must_use]
pub fn has_come(installed: &[Installed], package: &PackageChange) -> bool {
    let has = |evr: &String| versions(installed, package).any(|have| have == evr);
    has(&package.to) && !package.from.as_ref().is_some_and(has)
}

/// Is nothing there of what a plan's package was?
#[must_use]
pub fn has_gone(installed: &[Installed], package: &PackageChange) -> bool {
    versions(installed, package).all(|have| have != package.to)
}

/// `name-evr.arch`
#[must_use]
pub fn full_name(have: &Installed) -> String {
    format!("{}-{}.{}", have.name, have.evr, have.arch)
}

/// How what is there differs from what must be, one sentence each.
#[must_use]
pub fn differences(expected: &BTreeSet<String>, now: &[Installed]) -> Vec<String> {
    let now: BTreeSet<String> = now.iter().map(full_name).collect();
    let lacks = expected.difference(&now).map(|name| format!("{name} is not installed"));
    let more = now.difference(expected).map(|name| format!("{name} is installed"));
    lacks.chain(more).collect()
}

/// What ails the packages of a plan that was installed, or tried: empty when each is there at the
/// plan's version or a newer one; with `or_undone` also when all are what they were before.
#[must_use]
pub fn ails(plan: &Plan, installed: &[Installed], or_undone: bool) -> Vec<String> {
    if or_undone && plan.packages.iter().all(|package| is_undone(installed, package)) {
        return Vec::new();
    }
    let ail = |package: &PackageChange| {
        let mut there: Vec<&str> = versions(installed, package).collect();
        there.sort_by(|a, b| version::compare(a, b));
        match (there.last(), there.len()) {
            (None, _) => Some(format!("{} {} is not installed", package.name, package.to)),
            (Some(_), 2..) if package.from.is_some() => {
                Some(format!("{} is installed twice: {}", package.name, there.join(", ")))
            }
            (Some(have), _) if version::compare(have, &package.to).is_lt() => {
                Some(format!("{} is at {have}, not {}", package.name, package.to))
            }
            _ => None,
        }
    };
    plan.packages.iter().filter_map(ail).collect()
}

fn is_undone(installed: &[Installed], package: &PackageChange) -> bool {
    match &package.from {
        Some(from) => versions(installed, package).eq([from.as_str()]),
        // It may be the kernel that runs.
        None => true,
    }
}

/// The newest version of everything, by `name:arch`.
#[must_use]
pub fn by_name(installed: Vec<Installed>) -> BTreeMap<String, String> {
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    for have in installed {
        let known = newest.entry(format!("{}:{}", have.name, have.arch)).or_default();
        if version::compare(known, &have.evr).is_lt() {
            *known = have.evr;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

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
        parse(&packages.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn keys_are_no_packages_and_an_epoch_of_zero_is_none() {
        let found = parse("gpg-pubkey\t(none)\tab-cd\t0\t5\na\tnoarch\t0:1-1\t12\t5\n").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((full_name(&found[0]).as_str(), found[0].bytes), ("a-1-1.noarch", 12));
        assert!(matches!(parse("a\tnoarch\t1-1\n"), Err(PackageError::Output { .. })));
    }

    #[test]
    fn a_node_is_mended_forwards_or_by_undoing_all() {
        let plan =
            Plan::new(vec![change("a", Some("1-1"), "2-1"), change("n", None, "1-1")]).unwrap();
        for (there, or_undone, expected) in [
            (&["a 2-1", "n 1-1"][..], false, ""),
            (&["a 2.1-1", "n 1-1"], false, ""),
            (&["a 1-1"], true, ""),
            (&["a 1-1"], false, "a is at 1-1, not 2-1; n 1-1 is not installed"),
            (&["a 1-1", "a 2-1", "n 1-1"], true, "a is installed twice: 1-1, 2-1"),
        ] {
            assert_eq!(ails(&plan, &have(there), or_undone).join("; "), expected, "{there:?}");
        }
    }
}
