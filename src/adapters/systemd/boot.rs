//! The boot we are in.

use std::{fs, io, path::Path};

use super::{Systemd, SystemdError, failed};
use crate::core::{fast, time::BootId};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const CONTAINER: &str = "/run/systemd/container";

const STAT: &str = "/proc/stat";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The boot id cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {BOOT_ID}")]
pub struct BootIdError(#[source] io::Error);

/// Which boot this is cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel's part.
    #[error(transparent)]
    Kernel(#[from] BootIdError),
    /// How often userspace has started anew.
    #[error(transparent)]
    SoftReboots(#[from] SystemdError),
}

impl Systemd {
    /// The boot we are in: another one after a soft-reboot, too, though the kernel's id stays.
    pub async fn this_boot(&self) -> Result<BootId, BootError> {
        let kernel = boot_id()?;
        Ok(fast::boot(&kernel, self.soft_reboots().await?.unwrap_or_default()))
    }

    /// How many soft-reboots have followed the boot of the kernel; `None` where systemd does not count
    /// them (before 256).
    pub async fn soft_reboots(&self) -> Result<Option<u64>, SystemdError> {
        let call = || failed("reading SoftRebootsCount");
        let look = self.object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").await;
        let look = look.map_err(call())?;
        let mut all = look.get_all(MANAGER).await.map_err(call())?;
        let count = all.remove("SoftRebootsCount").map(u32::try_from).transpose();
        Ok(count.map_err(call())?.map(u64::from))
    }
}

/// When the kernel was started, in seconds since the epoch.
pub fn kernel_started() -> io::Result<i64> {
    let text = fs::read_to_string(STAT)?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no btime");
    line.and_then(|number| number.trim().parse().ok()).ok_or_else(missing)
}

/// The kernel's id of this boot: a UUID with dashes. A container manager gives its containers one
/// of their own.
pub fn boot_id() -> Result<String, BootIdError> {
    Ok(fs::read_to_string(BOOT_ID).map_err(BootIdError)?.trim().to_owned())
}

/// The kind of container this system runs in (`systemd-nspawn`, `lxc`, `docker`, …), as its PID 1
/// found out; `None` on a machine of its own.
#[must_use]
pub fn container() -> Option<String> {
    container_at(Path::new(CONTAINER))
}

fn container_at(path: &Path) -> Option<String> {
    let kind = fs::read_to_string(path).ok()?;
    Some(kind.trim().to_owned()).filter(|kind| !kind.is_empty())
}

/// Whether `text` is a boot id, also of a boot with soft-reboots.
#[must_use]
pub fn is_boot_id(text: &str) -> bool {
    let dash = |i| matches!(i, 8 | 13 | 18 | 23);
    let fits = |(i, b): (usize, u8)| if dash(i) { b == b'-' } else { b.is_ascii_hexdigit() };
    let (text, count) = text.split_once('+').unwrap_or((text, "1"));
    let counted = count.bytes().all(|b| b.is_ascii_digit()) && !count.starts_with('0');
    counted
        && (1..=10).contains(&count.len())
        && text.len() == 36
        && text.bytes().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_of_this_boot_is_one() {
        let id = boot_id().unwrap();
        assert!(is_boot_id(&id), "{id}");
        assert!(is_boot_id(&format!("{id}+12")));
        for bad in ["+", "+0", "+01", "+a", "+1+1", "+12345678901"] {
            assert!(!is_boot_id(&format!("{id}{bad}")), "{bad}");
        }
        assert!(kernel_started().unwrap() > 0);
        assert!(
            !is_boot_id(&id.replace('-', ""))
                && !is_boot_id("")
                && !is_boot_id(&id.replace('-', "a"))
        );
    }

    #[test]
    fn a_container_names_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container");
        assert_eq!(container_at(&path), None);
        fs::write(&path, "systemd-nspawn\n").unwrap();
        assert_eq!(container_at(&path).as_deref(), Some("systemd-nspawn"));
    }
}
