//! Other programs on this machine that update it by themselves.

use std::path::Path;

use super::{command::CommandError, migrate::unattended};
use crate::core::doctor::Neighbours;

/// Looks for them.
///
/// # Errors
/// When apt's configuration cannot be read.
pub async fn look() -> Result<Neighbours, CommandError> {
    let there = |path: &str| Path::new(path).exists();
    let mut found = Neighbours {
        cron_apt: there("/usr/sbin/cron-apt"),
        package_kit: there("/usr/libexec/pk-offline-update")
            || there("/usr/lib/packagekit/pk-offline-update"),
        ..Neighbours::default()
    };
    let installed = unattended::installed(Path::new("/"));
    if installed.program {
        found.unattended_upgrades = unattended::read(None).await?.does(installed);
    }
    Ok(found)
}
