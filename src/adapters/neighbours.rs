//! Other programs on this machine that update it by themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{command::CommandError, migrate::unattended, systemd::files::starts};
use crate::core::doctor::{CronApt, Neighbours, PackageKit, Unattended};

/// Looks for them, below `root`. `apt_config`: what apt reads before anything else, if not the
/// system's.
///
/// # Errors
/// When apt's configuration cannot be read.
pub async fn look(root: &Path, apt_config: Option<&Path>) -> Result<Neighbours, CommandError> {
    let snapd = root.join("usr/lib/snapd/snapd").exists() && starts(root, "snapd.service");
    Ok(Neighbours {
        unattended_upgrades: unattended_upgrades(root, apt_config).await?,
        switched_over: unattended::is_switched_over(root),
        cron_apt: cron_apt(root),
        package_kit: package_kit(root),
        snaps: snapd && has_snaps(root),
    })
}

async fn unattended_upgrades(
    root: &Path,
    apt_config: Option<&Path>,
) -> Result<Unattended, CommandError> {
    let installed = unattended::installed(root);
    if !installed.program {
        return Ok(Unattended::Nothing);
    }
    Ok(unattended::read(apt_config).await?.does(installed))
}

fn cron_apt(root: &Path) -> CronApt {
    if !root.join("usr/sbin/cron-apt").exists() {
        return CronApt::Nothing;
    }
    let actions = fs::read_dir(root.join("etc/cron-apt/action.d")).into_iter().flatten();
    let text = |entry: fs::DirEntry| fs::read_to_string(entry.path()).ok();
    let texts: Vec<String> = actions.filter_map(|entry| text(entry.ok()?)).collect();
    CronApt::of(&texts.join("\n"))
}

/// It is to install at the next boot when both the system is led into its update and its own word is
/// there (systemd.offline-updates(7)).
fn package_kit(root: &Path) -> PackageKit {
    let there = |path: &str| fs::symlink_metadata(root.join(path)).is_ok();
    let programs = ["usr/libexec/pk-offline-update", "usr/lib/packagekit/pk-offline-update"];
    if !programs.into_iter().any(there) || !starts(root, "packagekit-offline-update.service") {
        return PackageKit::Nothing;
    }
    let led = there("system-update") || there("etc/system-update");
    let asked = led && there("var/lib/PackageKit/offline-update-action");
    if asked { PackageKit::Waits } else { PackageKit::Idle }
}

/// Any but those that snapd itself needs.
fn has_snaps(root: &Path) -> bool {
    let files = fs::read_dir(root.join("var/lib/snapd/snaps")).into_iter().flatten();
    let mut names = files.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
    let own = |name: &Path| {
        let name = name.to_string_lossy();
        ["snapd_", "core", "bare_"].iter().any(|start| name.starts_with(start))
    };
    names.any(|name| name.extension().is_some_and(|end| end == "snap") && !own(&name))
}
