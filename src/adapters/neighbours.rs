//! Other programs on this machine that update it by themselves.

use std::path::Path;

use super::{command::CommandError, migrate::unattended};
use crate::core::doctor::{Neighbours, Unattended};

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
    if there("/usr/bin/unattended-upgrade") {
        let options = unattended::read(None).await?;
        found.unattended_upgrades = match (options.is_on(), options.reboots()) {
            (false, _) => Unattended::Nothing,
            (true, false) => Unattended::Installs,
            (true, true) => Unattended::Reboots,
        };
    }
    Ok(found)
}
