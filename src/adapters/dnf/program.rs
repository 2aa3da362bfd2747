//! How dnf and rpm are called.

use crate::adapters::{
    command::{Command, Finished, last_lines},
    packages::{Layout, PackageError, durable},
};

/// dnf, on the system looked after, with its own cache and the repositories as they are.
pub fn dnf(layout: &Layout) -> Command {
    let dnf = on(layout, "dnf").arg("-y");
    if layout.is_running_system() {
        return dnf;
    }
    dnf.arg(format!("--installroot={}", layout.root().display()))
}

/// dnf with metadata of our own, and its log there, too.
pub fn with_our_metadata(layout: &Layout) -> Result<Command, PackageError> {
    let log = layout.metadata().join("log");
    durable::folder(&log)?;
    Ok(dnf(layout)
        .arg(format!("--setopt=cachedir={}", layout.metadata().display()))
        .arg(format!("--setopt=logdir={}", log.display()))
        // A repository that does not answer might have had the update that matters.
        .arg("--setopt=*.skip_if_unavailable=False"))
}

/// For a download: the metadata is good as it is.
pub const AS_IT_IS: &str = "--setopt=*.metadata_expire=-1";

/// dnf with no repository but the files it is given. It does not wait for another one, and removes
/// nothing by itself: neither what nobody needs any more, nor the oldest kernel.
pub fn offline(layout: &Layout) -> Command {
    dnf(layout).args([
        "--disablerepo=*",
        "--noautoremove",
        "--setopt=installonly_limit=0",
        "--setopt=exit_on_lock=True",
    ])
}

/// dnf's exit status when another one is at work.
pub const LOCKED: i32 = 200;

/// rpm, or a program of its family, on the system looked after.
pub fn rpm(layout: &Layout, name: &str) -> Command {
    let rpm = on(layout, name);
    if layout.is_running_system() { rpm } else { rpm.arg("--root").arg(layout.root()) }
}

/// rpm's configuration is the system's own, also from outside of it.
fn on(layout: &Layout, name: &str) -> Command {
    let mut command = Command::new(name);
    if !layout.with_services() {
        // systemctl then does nothing but enable and disable: ENVIRONMENT.md of systemd.
        command = command.env("SYSTEMD_OFFLINE", "1");
    }
    let config = layout.at("usr/lib/rpm");
    if layout.is_running_system() || !config.exists() {
        return command;
    }
    command.env("RPM_CONFIGDIR", config)
}

/// What it said, short: its errors, else its last words.
pub fn complaint(done: &Finished) -> String {
    let errors: Vec<&str> =
        done.stderr.lines().filter_map(|line| line.strip_prefix("Error: ")).collect();
    match errors[..] {
        [] => last_lines(done.said(), 3),
        _ => errors.join("; "),
    }
}

/// Only the dnf whose words we know: dnf 5 prints others.
pub async fn known(layout: &Layout) -> Result<(), PackageError> {
    let version = on(layout, "dnf").arg("--version").output().await?;
    let version = version.lines().next().unwrap_or_default();
    if version.starts_with("4.") {
        return Ok(());
    }
    let said = format!("dnf 4 is known here, and this is {version:?}");
    Err(PackageError::Said { doing: "asking dnf", said })
}
