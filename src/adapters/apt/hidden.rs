//! Hiding versions from apt's resolver, without touching the system's own preferences.
//!
//! `apt_preferences(5)`: of two pins for one version, the one that is read first counts, and the main
//! file is read before the folder. So ours is the main file, and the system's own are behind it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{AptError, Layout, apt_get, durable, status};
use crate::adapters::command::Command;

/// Versions that apt must not see as candidates, and packages that it must leave as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    versions: BTreeSet<(String, String, String)>,
    fixed: BTreeSet<(String, String)>,
    preferred: BTreeSet<(String, String, String)>,
}

impl Hidden {
    /// Hides this version; whether it was not hidden before.
    pub fn add(&mut self, name: &str, arch: &str, version: &str) -> bool {
        self.versions.insert((name.to_owned(), arch.to_owned(), version.to_owned()))
    }

    /// Has this version replace whichever is installed, also a newer one.
    pub fn prefer(&mut self, name: &str, arch: &str, version: &str) {
        self.preferred.insert((name.to_owned(), arch.to_owned(), version.to_owned()));
    }

    /// Has an installed package stay as it is; whether that is new.
    pub fn fix(&mut self, name: &str, arch: &str) -> bool {
        self.fixed.insert((name.to_owned(), arch.to_owned()))
    }

    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.fixed.is_empty() && self.preferred.is_empty()
    }

    fn preferences(&self) -> String {
        let mut text = String::new();
        let never = self.versions.iter().map(|package| (package, -1));
        let always = self.preferred.iter().map(|package| (package, 1001));
        for ((name, arch, version), priority) in never.chain(always) {
            // apt does not know `name:all` here.
            let arch = if arch == "all" { String::new() } else { format!(":{arch}") };
            let _ = write!(
                text,
                "Package: {name}{arch}\nPin: version {version}\nPin-Priority: {priority}\n\n"
            );
        }
        text
    }
}

/// Writes the preferences that hide, beside links to the system's own.
pub async fn write(layout: &Layout, hidden: &Hidden) -> Result<(), AptError> {
    let dir = layout.hidden();
    durable::fresh_folder(&dir)?;
    let parts = dir.join("parts");
    durable::folder(&parts)?;
    durable::write(&dir.join("preferences"), &hidden.preferences())?;
    if !hidden.fixed.is_empty() {
        let is_fixed = |name: &str, arch: &str| {
            hidden.fixed.iter().any(|fixed| (fixed.0.as_str(), fixed.1.as_str()) == (name, arch))
        };
        durable::write(&status(layout), &status::holding(layout, is_fixed)?)?;
    }
    let (file, folder) = own(layout).await?;
    // Before any letter or digit, as apt reads the main file before the others.
    link(&file, &parts.join("--preferences"))?;
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
    for entry in entries.flatten() {
        link(&entry.path(), &parts.join(entry.file_name()))?;
    }
    Ok(())
}

/// `command` with what is hidden out of its sight.
#[must_use]
pub fn from(layout: &Layout, command: Command) -> Command {
    let dir = layout.hidden();
    command
        .arg("-o")
        .arg(format!("Dir::Etc::Preferences={}", dir.join("preferences").display()))
        .arg("-o")
        .arg(format!("Dir::Etc::PreferencesParts={}", dir.join("parts").display()))
}

/// The same, and with what is to stay as it is on hold.
#[must_use]
pub fn fixed(layout: &Layout, command: Command) -> Command {
    let command = from(layout, command);
    let status = status(layout);
    if !status.exists() {
        return command;
    }
    command.arg("-o").arg(format!("Dir::State::status={}", status.display()))
}

fn status(layout: &Layout) -> PathBuf {
    layout.hidden().join("status")
}

/// Where the system's own preferences are: a file and a folder.
pub(super) async fn own(layout: &Layout) -> Result<(PathBuf, PathBuf), AptError> {
    let keys = ["Dir::Etc::Preferences/f", "Dir::Etc::PreferencesParts/d"];
    Ok(apt_get::configured(layout, keys).await?.into())
}

fn link(file: &Path, place: &Path) -> Result<(), AptError> {
    if !file.exists() {
        return Ok(());
    }
    symlink(file, place).map_err(AptError::io("link", place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_hidden_by_a_pin_of_its_own() {
        let mut hidden = Hidden::default();
        assert!(hidden.is_empty());
        assert!(hidden.add("b", "i386", "1:2~rc1"));
        assert!(hidden.add("a", "all", "1"));
        assert!(!hidden.add("a", "all", "1"));
        hidden.prefer("c", "all", "3");
        let expected = "Package: a\nPin: version 1\nPin-Priority: -1\n\n\
                        Package: b:i386\nPin: version 1:2~rc1\nPin-Priority: -1\n\n\
                        Package: c\nPin: version 3\nPin-Priority: 1001\n\n";
        assert_eq!(hidden.preferences(), expected);
    }
}
