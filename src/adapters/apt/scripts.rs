//! Maintainer scripts that keep dpkg from leaving a version, set aside for as long as it takes.
//!
//! dpkg has no option for it. It reads the scripts of the version that is installed from its own
//! folder, and a version without one is left without it (deb-prerm(5), deb-postrm(5)).

use std::{fs, path::Path};

use super::{AptError, Layout, durable};
use crate::core::plan::{PackageChange, PlanId};

/// Those that run when a version is left, for another or for good.
const LEAVING: [&str; 2] = ["prerm", "postrm"];

/// Takes these packages' scripts out of dpkg's reach; they are kept beside the plan.
pub fn set_aside<'a>(
    layout: &Layout,
    id: &PlanId,
    packages: impl Iterator<Item = &'a PackageChange>,
) -> Result<(), AptError> {
    let aside = layout.plan(id).join("scripts");
    durable::folder(&aside)?;
    for file in packages.flat_map(files) {
        let path = layout.at("var/lib/dpkg/info").join(&file);
        if path.exists() {
            tracing::warn!(file, "a script of the failed version is set aside");
            shift(&path, &aside.join(&file))?;
        }
    }
    Ok(())
}

/// Gives the scripts back to packages that are still at the version they belong to.
pub fn put_back<'a>(
    layout: &Layout,
    id: &PlanId,
    packages: impl Iterator<Item = &'a PackageChange>,
) -> Result<(), AptError> {
    let aside = layout.plan(id).join("scripts");
    for file in packages.flat_map(files) {
        let (from, to) = (aside.join(&file), layout.at("var/lib/dpkg/info").join(&file));
        if from.exists() && !to.exists() {
            shift(&from, &to)?;
        }
    }
    Ok(())
}

/// A package that is there for several architectures has its own names in dpkg's folder.
fn files(package: &PackageChange) -> impl Iterator<Item = String> {
    let names = [package.name.clone(), format!("{}:{}", package.name, package.arch)];
    names.into_iter().flat_map(|name| LEAVING.map(|script| format!("{name}.{script}")))
}

fn shift(from: &Path, to: &Path) -> Result<(), AptError> {
    fs::rename(from, to)
        // Another file system.
        .or_else(|_| fs::copy(from, to).and_then(|_| fs::remove_file(from)))
        .map_err(AptError::io("move", from))
}
