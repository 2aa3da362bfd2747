//! unattended-upgrades' configuration, as apt sees it, and how it is put out of work.

use std::path::{Path, PathBuf};

use crate::{
    adapters::{
        command::{Command, CommandError},
        state_file,
    },
    core::migrate::unattended::Options,
};

/// Says that unattended-upgrades is not to run any more. The package removes it with itself, so that
/// the machine is not left without any updates.
pub const SWITCH: &str = "etc/apt/apt.conf.d/99lockkeeper";

const SWITCHED: &str = "\
// Made by `rebootctl migrate unattended-upgrades --switch-over`: lockkeeper updates this machine.
// Remove this file to have unattended-upgrades back.
APT::Periodic::Unattended-Upgrade \"0\";
";

/// All options of apt. `apt_config`: what apt reads before anything else, if not the system's.
///
/// # Errors
/// When apt-config cannot be run.
pub async fn read(apt_config: Option<&Path>) -> Result<Options, CommandError> {
    let dump = Command::new("apt-config").arg("dump");
    let dump = match apt_config {
        Some(file) => dump.env("APT_CONFIG", file),
        None => dump,
    };
    Ok(Options::parse(&dump.output().await?))
}

/// Puts unattended-upgrades out of work, below `root`; answers with the file that does it.
///
/// # Errors
/// When the file cannot be written.
pub fn switch_over(root: &Path) -> std::io::Result<PathBuf> {
    let file = root.join(SWITCH);
    state_file::replace(&file, SWITCHED.as_bytes(), 0o644)?;
    Ok(file)
}
