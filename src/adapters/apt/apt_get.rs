//! How apt and dpkg are called: environment and options, in one place.

use std::path::{Path, PathBuf};

use super::{AptError, Layout, durable};
use crate::adapters::command::Command;

/// Seconds apt waits for dpkg's lock; a race only, the long wait is [`super::locks`]'.
const LOCK_SECS: u32 = 120;

/// A program of the packaging system, told to ask nobody anything.
#[must_use]
pub fn program(layout: &Layout, name: &str) -> Command {
    let command = Command::new(name)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBIAN_PRIORITY", "critical")
        .env("NEEDRESTART_SUSPEND", "1")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        .env("APT_LISTBUGS_FRONTEND", "none")
        .env("UCF_FORCE_CONFFOLD", "1");
    let command = match layout.apt_config() {
        Some(file) => command.env("APT_CONFIG", file),
        None => command,
    };
    if layout.with_services() {
        return command;
    }
    // systemctl then does nothing but enable and disable: ENVIRONMENT.md of systemd.
    command.env("SYSTEMD_OFFLINE", "1")
}

fn apt_program(layout: &Layout, name: &str) -> Command {
    ALWAYS.iter().fold(program(layout, name), |command, option| command.args(["-o", option]))
}

/// An apt program that sees the system's sources through our own lists, and takes no lock of the
/// system's. What it has read of them is kept for the next call, until [`forget_cache`]: to read them
/// is most of what such a call costs.
#[must_use]
pub fn with_our_lists(layout: &Layout, name: &str) -> Command {
    let mut command = apt_program(layout, name);
    if layout.sources().exists() {
        command =
            options(command, &[("Dir::Etc::SourceList", layout.sources().display().to_string())]);
    }
    options(
        command,
        &[
            ("Dir::State::Lists", layout.lists().display().to_string()),
            ("Dir::Cache::Archives", layout.no_archives().display().to_string()),
            ("Dir::Cache::pkgcache", layout.cache().display().to_string()),
            // Nobody looks on who could be asked: only a source itself may be said to be trusted.
            ("Acquire::AllowInsecureRepositories", "false".to_owned()),
            ("Acquire::AllowDowngradeToInsecureRepositories", "false".to_owned()),
            ("APT::Get::AllowUnauthenticated", "false".to_owned()),
            // What may be removed, packages.removals says.
            ("APT::Get::Remove", "true".to_owned()),
            ("APT::Get::Show-User-Simulation-Note", "false".to_owned()),
            ("APT::Get::AutomaticRemove", "false".to_owned()),
        ],
    )
}

/// An apt program that sees nothing but the stage in `plan_dir`.
#[must_use]
pub fn with_stage(layout: &Layout, plan_dir: &Path, name: &str) -> Command {
    let inside = |file: &str| plan_dir.join(file).display().to_string();
    options(
        apt_program(layout, name),
        &[
            ("Dir::Etc::SourceList", inside("sources.list")),
            ("Dir::Etc::SourceParts", inside("empty")),
            ("Dir::Etc::Preferences", inside("prefs")),
            ("Dir::Etc::PreferencesParts", inside("empty")),
            ("Dir::State::Lists", inside("lists")),
            ("Dir::Cache::Archives", inside("cache")),
            // A release the admin prefers does not exist here, and apt would refuse to run.
            ("APT::Default-Release", String::new()),
            // The way back removes what the update has brought, and the update what its plan says.
            ("APT::Get::Remove", "true".to_owned()),
            ("APT::Get::Show-User-Simulation-Note", "false".to_owned()),
            ("APT::Get::AutomaticRemove", "false".to_owned()),
            // Whether this node is in a phase was decided when the plan was made.
            ("APT::Get::Always-Include-Phased-Updates", "true".to_owned()),
        ],
    )
}

/// The options of the one call that changes the system.
#[must_use]
pub fn for_real(command: Command) -> Command {
    options(
        command,
        &[
            ("Dpkg::Use-Pty", "0".to_owned()),
            // Into the log, where `super::progress` finds it.
            ("APT::Status-Fd", "1".to_owned()),
            ("Dpkg::Options::", "--force-confdef".to_owned()),
            ("Dpkg::Options::", "--force-confold".to_owned()),
            ("DPkg::Lock::Timeout", LOCK_SECS.to_string()),
            ("DPkg::ConfigurePending", "true".to_owned()),
            ("APT::Get::Download-Only", "false".to_owned()),
            ("APT::Get::Simulate", "false".to_owned()),
        ],
    )
    .args(["-y", "-qq"])
}

/// The paths that apt's own configuration has for these (`Dir::Etc::SourceList/f`).
pub async fn configured<const N: usize>(
    layout: &Layout,
    keys: [&str; N],
) -> Result<[PathBuf; N], AptError> {
    let names: Vec<String> = (0..N).map(|at| format!("P{at}")).collect();
    let asked = names.iter().map(String::as_str).zip(keys).flat_map(|(name, key)| [name, key]);
    let shell = program(layout, "apt-config").arg("shell").args(asked).output().await?;
    let value = |name: &String| {
        let quoted = shell.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        quoted.and_then(|text| text.strip_prefix('\'')?.strip_suffix('\'')).map(PathBuf::from)
    };
    let paths: Option<Vec<PathBuf>> = names.iter().map(value).collect();
    paths
        .and_then(|paths| paths.try_into().ok())
        .ok_or_else(|| AptError::Output { program: "apt-config", line: shell.clone() })
}

/// dpkg, in the system looked after.
#[must_use]
pub fn dpkg(layout: &Layout) -> Command {
    let command = program(layout, "dpkg");
    if layout.is_running_system() {
        return command;
    }
    command.arg(format!("--root={}", layout.root().display()))
}

/// dpkg-query, in the system looked after.
#[must_use]
pub fn dpkg_query(layout: &Layout) -> Command {
    program(layout, "dpkg-query").arg(format!("--admindir={}", layout.at("var/lib/dpkg").display()))
}

/// Takes the cache of our lists away, when no call follows soon: it is as large as they are.
pub fn forget_cache(layout: &Layout) -> Result<(), AptError> {
    durable::remove(&layout.cache())
}

/// No cache files (they would be the system's, or stale), no translations; a hold is a hold.
const ALWAYS: [&str; 4] = [
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
    "Acquire::Languages=none",
    "APT::Ignore-Hold=false",
];

fn options(command: Command, options: &[(&str, String)]) -> Command {
    options
        .iter()
        .fold(command, |command, (key, value)| command.arg("-o").arg(format!("{key}={value}")))
}
