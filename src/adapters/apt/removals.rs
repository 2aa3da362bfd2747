//! Packages that go for an update.

use super::{
    AptError, Layout, apt_get,
    installed::{self, Installed},
};
use crate::{
    adapters::kernel,
    core::{
        choice::Rules,
        plan::Removal,
        removal::{self, Removable},
    },
};

/// The installed packages that apt calls by these names, as a plan has them.
pub async fn of(layout: &Layout, names: &[String]) -> Result<Vec<Removal>, AptError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let installed = installed::query(layout).await?;
    names.iter().map(|name| one(&installed, name)).collect()
}

fn one(installed: &[Installed], name: &str) -> Result<Removal, AptError> {
    let have = installed::named(installed, name).ok_or_else(|| AptError::Output {
        program: "apt-get",
        line: format!("Remv {name}, which dpkg does not have"),
    })?;
    Ok(Removal { name: have.name.clone(), arch: have.arch.clone(), version: have.version.clone() })
}

/// Those that must stay, each with the reason.
pub(super) async fn refused(
    layout: &Layout,
    rules: &Rules,
    names: &[String],
) -> Result<Vec<(Removal, &'static str)>, AptError> {
    let mut refused = Vec::new();
    if names.is_empty() {
        return Ok(refused);
    }
    let held = installed::held(layout).await?;
    let essential = installed::essential(layout).await?;
    let running = kernel::running_release();
    for package in of(layout, names).await? {
        let full = format!("{}:{}", package.name, package.arch);
        let removable = Removable {
            name: package.name.clone(),
            essential: essential.contains(&full),
            held: held.contains(&full),
            runs: kernel::is_part_of(&package.name, &running),
        };
        refused.extend(removal::objection(rules, &removable).map(|why| (package, why)));
    }
    Ok(refused)
}

/// What dpkg has of a package that goes, unless it has gone.
#[must_use]
pub fn there<'a>(installed: &'a [Installed], going: &Removal) -> Option<&'a Installed> {
    let is_it = |have: &&Installed| (&have.name, &have.arch) == (&going.name, &going.arch);
    installed.iter().find(is_it).filter(|have| !have.is_gone())
}

/// How apt is told to remove those that are still there.
pub(super) fn arguments(installed: &[Installed], removes: &[Removal]) -> Vec<String> {
    let still = removes.iter().filter(|going| there(installed, going).is_some());
    still.map(|going| format!("{}:{}-", going.name, going.arch)).collect()
}

/// `name:arch` of those that were installed for others only (apt-mark(8)).
pub(super) async fn automatic(
    layout: &Layout,
    removes: &[Removal],
) -> Result<Vec<String>, AptError> {
    if removes.is_empty() {
        return Ok(Vec::new());
    }
    let shown = apt_get::with_our_lists(layout, "apt-mark").arg("showauto").output().await?;
    // apt leaves out the machine's own architecture, and says `all` of nothing.
    let is_shown = |going: &&Removal| {
        let full = format!("{}:{}", going.name, going.arch);
        shown.lines().any(|line| line == going.name || line == full)
    };
    let automatic = removes.iter().filter(is_shown);
    Ok(automatic.map(|going| format!("{}:{}", going.name, going.arch)).collect())
}
