//! The boot we are in.

use std::{fs, io, path::Path};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const CONTAINER: &str = "/run/systemd/container";

/// The boot id cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {BOOT_ID}")]
pub struct BootIdError(#[source] io::Error);

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

/// Whether `text` is a boot id.
#[must_use]
pub fn is_boot_id(text: &str) -> bool {
    let dash = |i| matches!(i, 8 | 13 | 18 | 23);
    let fits = |(i, b): (usize, u8)| if dash(i) { b == b'-' } else { b.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_of_this_boot_is_one() {
        let id = boot_id().unwrap();
        assert!(is_boot_id(&id), "{id}");
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
