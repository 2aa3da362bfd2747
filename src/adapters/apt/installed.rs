//! What dpkg says is installed, and what a plan still lacks.

use std::collections::BTreeMap;

use super::{AptError, Layout, apt_get, removals, simulation, version::compare};
use crate::core::plan::{PackageChange, Plan, Removal};

const FORMAT: &str = "${Package}\t${Architecture}\t${Version}\t${db:Status-Status}\t\
                      ${db:Status-Eflag}\t${Installed-Size}\n";

/// One package dpkg knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Package, without architecture.
    pub name: String,
    /// Debian architecture.
    pub arch: String,
    /// Version, installed or half installed.
    pub version: String,
    /// dpkg's word: `installed`, `half-configured`, `config-files`, …
    pub status: String,
    /// dpkg wants it unpacked again.
    pub reinstall: bool,
    /// Bytes on disk, as the package says.
    pub bytes: u64,
}

impl Installed {
    /// Unpacked and configured, nothing left to do.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status == "installed" && !self.reinstall
    }

    /// Does apt mean it by `name` or `name:arch`?
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        simulation::calls(name, &self.name, &self.arch)
    }

    /// Nothing of it is there but configuration files.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.status.as_str(), "not-installed" | "config-files")
    }

    /// Neither complete nor gone.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.is_complete() && !self.is_gone()
    }

    /// `alpha 1.1 is half-configured`
    #[must_use]
    pub fn sentence(&self) -> String {
        let state = if self.reinstall { "damaged" } else { &self.status };
        format!("{} {} is {state}", self.name, self.version)
    }
}

/// All packages dpkg knows of.
pub async fn query(layout: &Layout) -> Result<Vec<Installed>, AptError> {
    parse(&apt_get::dpkg_query(layout).args(["-W", "-f", FORMAT]).output().await?)
}

/// The version of each complete package, by `name:arch`; an error when one is broken.
pub async fn versions(layout: &Layout) -> Result<BTreeMap<String, String>, AptError> {
    let installed = query(layout).await?;
    if let Some(broken) = installed.iter().find(|package| package.is_broken()) {
        return Err(AptError::Said { doing: "listing what is installed", said: broken.sentence() });
    }
    let complete = installed.into_iter().filter(Installed::is_complete);
    Ok(complete.map(|p| (format!("{}:{}", p.name, p.arch), p.version)).collect())
}

/// `name:arch` of the packages the admin holds.
pub async fn held(layout: &Layout) -> Result<Vec<String>, AptError> {
    let format = "${Package}:${Architecture}\t${db:Status-Want}\n";
    let text = apt_get::dpkg_query(layout).args(["-W", "-f", format]).output().await?;
    let held = text.lines().filter_map(|line| line.strip_suffix("\thold"));
    Ok(held.map(str::to_owned).collect())
}

/// `name:arch` of the packages that say of themselves that the system cannot do without them.
pub async fn essential(layout: &Layout) -> Result<Vec<String>, AptError> {
    let format = "${Package}:${Architecture}\t${Essential}\t${Protected}\n";
    let text = apt_get::dpkg_query(layout).args(["-W", "-f", format]).output().await?;
    let essential = text.lines().filter_map(|line| {
        let (name, says) = line.split_once('\t')?;
        says.split('\t').any(|word| word == "yes").then(|| name.to_owned())
    });
    Ok(essential.collect())
}

/// The installed package that apt calls `name` or `name:arch`. Without an architecture the first is
/// meant: dpkg lists its own first.
#[must_use]
pub fn named<'a>(installed: &'a [Installed], name: &str) -> Option<&'a Installed> {
    installed.iter().find(|p| p.is_called(name) && p.status != "config-files")
}

/// Reads lines of [`FORMAT`].
pub fn parse(text: &str) -> Result<Vec<Installed>, AptError> {
    text.lines()
        .map(|line| {
            package(line)
                .ok_or_else(|| AptError::Output { program: "dpkg-query", line: line.to_owned() })
        })
        .collect()
}

fn package(line: &str) -> Option<Installed> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().map(str::to_owned);
    Some(Installed {
        name: next()?,
        arch: next()?,
        version: next()?,
        status: next()?,
        reinstall: next()? != "ok",
        bytes: next()?.parse::<u64>().unwrap_or(0).saturating_mul(1024),
    })
}

/// What dpkg has of a package of a plan.
#[must_use]
pub fn find<'a>(installed: &'a [Installed], wanted: &PackageChange) -> Option<&'a Installed> {
    let same_name = || installed.iter().filter(|p| p.name == wanted.name);
    same_name().find(|p| p.arch == wanted.arch).or_else(|| {
        // A package may change between `all` and an architecture.
        same_name().find(|p| p.arch == "all" || wanted.arch == "all")
    })
}

/// Is this package of a plan installed and configured, at exactly its version?
#[must_use]
pub fn is_done(installed: &[Installed], wanted: &PackageChange) -> bool {
    find(installed, wanted).is_some_and(|have| have.is_complete() && have.version == wanted.to)
}

/// Is this package of a plan there at its version, in whatever state?
#[must_use]
pub fn is_at(installed: &[Installed], wanted: &PackageChange) -> bool {
    find(installed, wanted).is_some_and(|have| !have.is_gone() && have.version == wanted.to)
}

/// What the node lacks of a plan, one sentence a package; empty = fully installed.
#[must_use]
pub fn lacks(plan: &Plan, installed: &[Installed]) -> Vec<String> {
    let lack = |wanted: &PackageChange| match find(installed, wanted) {
        Some(have) if have.is_broken() => Some(have.sentence()),
        Some(have) if have.version == wanted.to && have.is_complete() => None,
        Some(have) if have.is_complete() => {
            Some(format!("{} is at {}, not {}", wanted.name, have.version, wanted.to))
        }
        _ => Some(format!("{} {} is not installed", wanted.name, wanted.to)),
    };
    let stays = |going: &Removal| {
        let have = removals::there(installed, going)?;
        Some(format!("{} {} is still installed", have.name, have.version))
    };
    plan.packages.iter().filter_map(lack).chain(plan.removes.iter().filter_map(stays)).collect()
}

/// What ails the packages of a plan that was installed, or tried: empty when each is complete at the
/// plan's version or a newer one (an admin may have mended it forwards); with `or_undone` also when
/// all are complete at what they were before.
#[must_use]
pub fn ails(plan: &Plan, installed: &[Installed], or_undone: bool) -> Vec<String> {
    let complete = |wanted: &PackageChange| find(installed, wanted).filter(|p| p.is_complete());
    let undone = plan.packages.iter().all(|wanted| match &wanted.from {
        Some(from) => complete(wanted).is_some_and(|have| have.version == *from),
        None => find(installed, wanted).is_none_or(|have| !have.is_broken()),
    }) && plan.removes.iter().all(|going| {
        removals::there(installed, going)
            .is_some_and(|have| have.is_complete() && have.version == going.version)
    });
    let newer = |wanted: &PackageChange| {
        complete(wanted).is_some_and(|have| compare(&have.version, &wanted.to).is_ge())
    };
    if or_undone && undone {
        return Vec::new();
    }
    let rest = plan.packages.iter().filter(|wanted| !newer(wanted)).cloned().collect();
    let mut ails = Plan::new(rest).map_or_else(Vec::new, |rest| lacks(&rest, installed));
    // What was removed may have been installed again since.
    let half = plan.removes.iter().filter_map(|going| removals::there(installed, going));
    ails.extend(half.filter(|have| have.is_broken()).map(Installed::sentence));
    ails
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str = include_str!("../../../tests/fixtures/apt/debian-12/dpkg-query.txt");

    fn change(name: &str, arch: &str, to: &str) -> PackageChange {
        PackageChange {
            name: name.into(),
            arch: arch.into(),
            from: None,
            to: to.into(),
            sha256: "0".repeat(64),
            size: 1,
            origin: String::new(),
        }
    }

    #[test]
    fn a_node_is_mended_forwards_or_by_undoing_all() {
        let from =
            |name: &str| PackageChange { from: Some("1".into()), ..change(name, "all", "2") };
        let plan = Plan::new(vec![from("a"), from("b")]).unwrap();
        let ails = |a: &str, b: &str| {
            let text = format!("a\tall\t{a}\tinstalled\tok\t1\nb\tall\t{b}\tinstalled\tok\t1\n");
            super::ails(&plan, &parse(&text).unwrap(), true)
        };
        assert!(ails("2", "2").is_empty());
        assert!(ails("2", "2.1").is_empty());
        assert!(ails("1", "1").is_empty());
        assert_eq!(ails("1", "2"), ["a is at 1, not 2"]);
        let broken = parse("a\tall\t2\thalf-configured\tok\t1\nb\tall\t2\tinstalled\tok\t1\n");
        assert_eq!(super::ails(&plan, &broken.unwrap(), true).len(), 1);
        let before = parse("a\tall\t1\tinstalled\tok\t1\nb\tall\t1\tinstalled\tok\t1\n").unwrap();
        assert_eq!(super::ails(&plan, &before, false).len(), 2);
    }

    #[test]
    fn states_of_a_broken_system_are_told_apart() {
        let found = parse(BOOKWORM).unwrap();
        let broken: Vec<_> =
            found.iter().filter(|p| p.is_broken()).map(Installed::sentence).collect();
        assert_eq!(
            broken,
            [
                "lab-bad 1.1 is half-configured",
                "lab-dep 1.1 is unpacked",
                "lab-many 1.0 is damaged"
            ]
        );
    }

    #[test]
    fn a_plan_lacks_what_is_missing_older_or_not_configured() {
        let found = parse(BOOKWORM).unwrap();
        let plan = Plan::new(vec![
            change("lab-hello", "all", "1.1"),
            change("lab-old", "amd64", "2:1.1"),
            change("lab-bad", "all", "1.1"),
            change("lab-gone", "all", "1.1"),
            change("lab-none", "all", "1.1"),
        ]);
        assert_eq!(
            lacks(&plan.unwrap(), &found),
            [
                "lab-bad 1.1 is half-configured",
                "lab-gone 1.1 is not installed",
                "lab-none 1.1 is not installed",
                "lab-old is at 2:1.0, not 2:1.1",
            ]
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error() {
        assert!(matches!(parse("lab-hello\tall\t1.0\n"), Err(AptError::Output { .. })));
    }
}
