//! What `apt-get --simulate` says it would do.

use std::collections::BTreeSet;

use super::{AptError, version};

/// One `Inst` line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Install {
    /// Package, without architecture.
    pub name: String,
    /// Debian architecture.
    pub arch: String,
    /// Version it replaces.
    pub from: Option<String>,
    /// Version it brings.
    pub to: String,
    /// Where that comes from (`Debian-Security:12/stable-security`).
    pub origin: String,
}

impl Install {
    /// It would replace a newer version.
    #[must_use]
    pub fn is_downgrade(&self) -> bool {
        self.from.as_ref().is_some_and(|from| version::compare(from, &self.to).is_gt())
    }
}

/// All of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Packages it would unpack, in apt's order.
    pub installs: Vec<Install>,
    /// Names of packages it would remove.
    pub removes: Vec<String>,
    /// Packages (`name` or `name:arch`) that have a newer version and are left as they are.
    pub kept: Vec<String>,
    /// Those of which this machine's turn has not come.
    pub deferred: Vec<String>,
}

impl Simulation {
    /// How it differs from what is wanted: packages to be installed, as `name:arch=version`, and those
    /// that go, by name and architecture. `None` when it is exactly that. `downgrades`: whether older
    /// versions are what is wanted.
    #[must_use]
    pub fn difference(
        &self,
        wanted: &BTreeSet<String>,
        goes: &[(&str, &str)],
        downgrades: bool,
    ) -> Option<String> {
        let found: BTreeSet<String> =
            self.installs.iter().map(|p| format!("{}:{}={}", p.name, p.arch, p.to)).collect();
        let older = self.installs.iter().filter(|p| !downgrades && p.is_downgrade());
        let stays =
            |(name, arch): &&(&str, &str)| !self.removes.iter().any(|gone| calls(gone, name, arch));
        let unwanted = |gone: &&String| !goes.iter().any(|(name, arch)| calls(gone, name, arch));
        let list = |what: &str, names: Vec<&str>| {
            (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
        };
        let parts = [
            list("without", wanted.difference(&found).map(String::as_str).collect()),
            list("with", found.difference(wanted).map(String::as_str).collect()),
            list("downgrading", older.map(|p| p.name.as_str()).collect()),
            list("keeping", goes.iter().filter(stays).map(|(name, _)| *name).collect()),
            list("removing", self.removes.iter().filter(unwanted).map(String::as_str).collect()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Does apt mean this package by `written`: `name`, or `name:arch` of a foreign architecture?
#[must_use]
pub fn calls(written: &str, name: &str, arch: &str) -> bool {
    match written.split_once(':') {
        Some(written) => written == (name, arch),
        None => written == name,
    }
}

/// What apt says before each list of names, of which two matter here.
const KEPT: &str = "The following packages have been kept back:";
const DEFERRED: &str = "The following upgrades have been deferred due to phasing:";

/// Reads the output of `apt-get --simulate`: its `Inst` and `Remv` lines, and the lists of what is
/// left out.
pub fn parse(text: &str) -> Result<Simulation, AptError> {
    let mut found = Simulation::default();
    let mut title = "";
    for line in text.lines() {
        if let Some(names) = line.strip_prefix("  ") {
            let names = names.split_whitespace().map(str::to_owned);
            match title {
                KEPT => found.kept.extend(names),
                DEFERRED => found.deferred.extend(names),
                _ => {}
            }
            continue;
        }
        title = line;
        if let Some(rest) = line.strip_prefix("Inst ") {
            let install = install(rest)
                .ok_or_else(|| AptError::Output { program: "apt-get", line: line.to_owned() })?;
            found.installs.push(install);
        } else if let Some(rest) = line.strip_prefix("Remv ") {
            found.removes.push(rest.split(' ').next().unwrap_or(rest).to_owned());
        }
    }
    Ok(found)
}

/// `NAME[:ARCH] [OLD] (NEW ORIGIN, ORIGIN [ARCH]) [what is still broken then]`
fn install(rest: &str) -> Option<Install> {
    let (full_name, rest) = rest.split_once(' ')?;
    let name = full_name.split_once(':').map_or(full_name, |(name, _)| name);
    let (from, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").map(|(old, rest)| (Some(old.to_owned()), rest))?,
        None => (None, rest),
    };
    let (inside, _) = rest.strip_prefix('(')?.split_once(')')?;
    let (inside, arch) = inside.strip_suffix(']')?.rsplit_once('[')?;
    let (to, origin) = inside.split_once(' ')?;
    Some(Install {
        name: name.to_owned(),
        arch: arch.to_owned(),
        from,
        to: to.to_owned(),
        origin: origin.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Install {
        parse(line).unwrap().installs.remove(0)
    }

    #[test]
    fn an_upgrade_has_an_old_version_and_a_new_package_has_none() {
        let found = one("Inst base-files [12.4] (12.4+deb12u12 Debian:12.12/oldstable [amd64])");
        assert_eq!(found.from.as_deref(), Some("12.4"));
        assert_eq!((found.to.as_str(), found.arch.as_str()), ("12.4+deb12u12", "amd64"));
        assert_eq!(found.origin, "Debian:12.12/oldstable");
        assert_eq!(one("Inst delta (0.1 Lab:stable [all])").from, None);
    }

    #[test]
    fn a_foreign_architecture_is_not_part_of_the_name() {
        let found = one("Inst libc6:i386 [2.36-9] (2.36-9+deb12u13 Debian:12/x [i386]) []");
        assert_eq!((found.name.as_str(), found.arch.as_str()), ("libc6", "i386"));
    }

    #[test]
    fn several_origins_stay_together_and_none_is_empty() {
        let found = one("Inst a [1:1~rc1] (1:1 Debian:12/stable, Debian-Security:12/x [all]) [b ]");
        assert_eq!(found.origin, "Debian:12/stable, Debian-Security:12/x");
        assert_eq!(one("Inst a (1  [all])").origin, "");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error_not_a_package_less() {
        for line in ["Inst a", "Inst a [1]", "Inst a [1] (2 x)", "Inst a (2"] {
            assert!(matches!(parse(line), Err(AptError::Output { .. })), "{line}");
        }
    }

    #[test]
    fn what_is_left_out_is_told_apart_from_what_is_not() {
        let text = "\
The following upgrades have been deferred due to phasing:
  d1
The following packages have been kept back:
  a libc6:i386
  b
The following packages will be upgraded:
  c
1 upgraded, 0 newly installed, 0 to remove and 4 not upgraded.
Inst c [1] (2 Lab:stable [all])
";
        let found = parse(text).unwrap();
        assert_eq!(found.kept, ["a", "libc6:i386", "b"]);
        assert_eq!(found.deferred, ["d1"]);
        assert_eq!(found.installs.len(), 1);
    }

    #[test]
    fn a_difference_names_what_is_missing_what_is_more_and_what_goes_or_stays() {
        let text = "Inst a [1] (2 Lab:stable [all])\nInst b [2] (1 Lab:stable [all])\n\
                    Remv old [1]\nRemv lib:i386 [1]\n";
        let found = parse(text).unwrap();
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let exactly = wanted(&["a:all=2", "b:all=1"]);
        let goes = [("old", "amd64"), ("lib", "i386")];
        assert_eq!(found.difference(&exactly, &goes, true), None);
        assert_eq!(found.difference(&exactly, &goes, false).unwrap(), "downgrading b");
        let other = wanted(&["a:all=2", "c:all=1"]);
        assert_eq!(
            found.difference(&other, &[("old", "all"), ("lib", "amd64")], true).unwrap(),
            "without c:all=1; with b:all=1; keeping lib; removing lib:i386"
        );
    }

    #[test]
    fn removals_are_seen() {
        let found = parse("Remv lab-old [1.0] [lab-new ]\nConf x (1 y [all])\n").unwrap();
        assert_eq!(found.removes, ["lab-old"]);
        assert!(found.installs.is_empty());
    }
}
