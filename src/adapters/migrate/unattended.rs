//! unattended-upgrades' configuration, as apt sees it, what of it can start, and how it is put out of
//! work.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    adapters::{
        command::{Command, CommandError},
        state_file,
        systemd::files::starts,
    },
    core::{
        doctor::Unattended,
        migrate::unattended::{Installed, Options},
    },
};

/// Says that unattended-upgrades is not to run any more. The package removes it with itself, so that
/// the machine is not left without any updates.
pub const SWITCH: &str = "etc/apt/apt.conf.d/99lockkeeper";

const SWITCHED: &str = "\
// Made by `rebootctl migrate unattended-upgrades --switch-over`: lockkeeper updates this machine.
// Remove this file to have unattended-upgrades back.
APT::Periodic::Unattended-Upgrade \"0\";
Unattended-Upgrade::InstallOnShutdown \"false\";
";

/// unattended-upgrades could not be put out of work. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A file cannot be written or removed.
    #[error("cannot write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// apt cannot be asked.
    #[error(transparent)]
    Apt(#[from] CommandError),
    /// apt reads something else after our file.
    #[error("{} is overruled by what apt reads after it{}: take that out, and run this again", path.display(), named(.by))]
    Overruled {
        /// Our file.
        path: PathBuf,
        /// Files that may have done it.
        by: Vec<PathBuf>,
    },
}

/// All options of apt. `apt_config`: what apt reads before anything else, if not the system's.
///
/// # Errors
/// When apt-config cannot be run.
pub async fn read(apt_config: Option<&Path>) -> Result<Options, CommandError> {
    let dump = Command::new("apt-config").args(["dump", "--format", "%F=%V%n"]);
    let dump = match apt_config {
        Some(file) => dump.env("APT_CONFIG", file),
        None => dump,
    };
    Ok(Options::parse(&dump.output().await?))
}

/// What of unattended-upgrades there is below `root`.
#[must_use]
pub fn installed(root: &Path) -> Installed {
    Installed {
        program: root.join("usr/bin/unattended-upgrade").exists(),
        timer: starts(root, "apt-daily-upgrade.timer") && starts(root, "apt-daily-upgrade.service"),
        service: starts(root, "unattended-upgrades.service"),
    }
}

/// Puts unattended-upgrades out of work, below `root`, and sees that apt sees it so; answers with the
/// file that does it.
///
/// # Errors
/// When that is not possible; see [`SwitchError`].
pub async fn switch_over(root: &Path, apt_config: Option<&Path>) -> Result<PathBuf, SwitchError> {
    let path = root.join(SWITCH);
    let failed = |source| SwitchError::File { path: path.clone(), source };
    put(&path, SWITCHED).map_err(failed)?;
    let everything = Installed { program: true, timer: true, service: true };
    let seen = read(apt_config).await;
    if seen.as_ref().is_ok_and(|options| options.does(everything) == Unattended::Nothing) {
        return Ok(path);
    }
    fs::remove_file(&path).map_err(failed)?;
    seen?;
    let by = read_later(root, &path);
    Err(SwitchError::Overruled { path, by })
}

/// Whether it was put out of work by us.
#[must_use]
pub fn is_switched_over(root: &Path) -> bool {
    root.join(SWITCH).exists()
}

/// Writes a file for everybody to read, durably, whatever the umask.
///
/// # Errors
/// When the file system says no.
pub fn put(path: &Path, text: &str) -> io::Result<()> {
    state_file::replace(path, text.as_bytes(), 0o644)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Files that apt reads after `ours` and that speak of unattended-upgrades.
fn read_later(root: &Path, ours: &Path) -> Vec<PathBuf> {
    let parts = ours.parent().and_then(|parts| fs::read_dir(parts).ok()).into_iter().flatten();
    let mut parts: Vec<PathBuf> = parts.filter_map(|entry| Some(entry.ok()?.path())).collect();
    parts.sort();
    let later = parts.into_iter().filter(|path| path.file_name() > ours.file_name());
    let speaks = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default().to_ascii_lowercase();
        text.contains("unattended-upgrade")
    };
    later.chain([root.join("etc/apt/apt.conf")]).filter(speaks).collect()
}

fn named(files: &[PathBuf]) -> String {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) }
}
