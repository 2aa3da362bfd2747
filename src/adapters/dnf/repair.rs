//! rpm after an interruption: finishing what it had begun.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{
    course::{self, Course},
    installed::{self, Installed},
    program,
};
use crate::{
    adapters::packages::{Layout, PackageError, log::Log},
    core::plan::PackageChange,
};

/// Finishes what a transaction that was cut off has begun: a package that is there beside the version
/// it replaces is installed once more, and rpm erases the other one. `resumed`: so is whatever is
/// there already, since nobody can tell which of its scripts have run, and of which version each of
/// its files is. Answers whether there was anything to do.
pub async fn repair(
    layout: &Layout,
    course: &Course,
    have: &[Installed],
    resumed: bool,
    log: &Log,
) -> Result<bool, PackageError> {
    let is_due = |package: &&PackageChange| {
        let there = installed::versions(have, package).any(|version| version == package.to);
        there && (resumed || !installed::has_come(have, package))
    };
    let due: Vec<&PackageChange> = course.comes.iter().filter(is_due).collect();
    for package in &due {
        tracing::warn!("finishing {}, which was cut off", course::name(package));
        let mode = if package.from.is_some() { "-U" } else { "-i" };
        let rpm = program::rpm(layout, "rpm").args([mode, "--replacepkgs", "--oldpackage"]);
        // What it needs comes with the rest.
        let rpm = rpm.args(["--nodeps", "-v"]).arg(course.file(package));
        let status = rpm.run_apart(&log.file).await?;
        if !status.success() {
            let said = format!("rpm could not install {} again", course::name(package));
            return Err(PackageError::Said { doing: "finishing what was cut off", said });
        }
    }
    Ok(!due.is_empty())
}

/// Removes what rpm was writing when it was cut off: the files of these packages under the names they
/// have until they are whole, `FILE;69679a3d`. Where the clock gives the same number again, rpm would
/// stumble over them.
pub async fn sweep(layout: &Layout, packages: &[PathBuf]) -> Result<(), PackageError> {
    let packages: Vec<&PathBuf> = packages.iter().filter(|path| path.exists()).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let files = program::rpm(layout, "rpm").arg("-qpl").args(packages).output().await?;
    let mut folders: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for file in files.lines().map(Path::new) {
        if let (Some(folder), Some(name)) = (file.parent(), file.file_name()) {
            folders.entry(folder).or_default().extend(name.to_str());
        }
    }
    for (folder, names) in folders {
        let folder = layout.at(&folder.to_string_lossy());
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let unfinished = name.to_str().and_then(unfinished).is_some_and(|n| names.contains(n));
            if unfinished && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::remove_file(entry.path()).map_err(PackageError::io("remove", entry.path()))?;
            }
        }
    }
    Ok(())
}

/// The name that a file was to have.
fn unfinished(name: &str) -> Option<&str> {
    let (name, mark) = name.rsplit_once(';')?;
    let is_mark = mark.len() == 8 && mark.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_mark.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_rpm_has_marked_is_unfinished() {
        assert_eq!(unfinished("51.data;6b0903d8"), Some("51.data"));
        for other in ["51.data", "51.data;6b0903", "51.data;6B0903D8", "51.data;6b0903d8.bak"] {
            assert_eq!(unfinished(other), None, "{other}");
        }
    }
}
