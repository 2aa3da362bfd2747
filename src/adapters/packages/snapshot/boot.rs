//! What `/boot` has in it, where it is a file system that no snapshot covers.

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

use sha2::{Digest as _, Sha256};

use super::error::SnapshotError;
use crate::{adapters::packages::durable, core::plan::hex};

/// GRUB itself writes it, at each boot.
const OF_THE_LOADER: &str = "grubenv";

/// One word for all files of a folder, by their names and their content.
pub(super) fn digest(folder: &Path) -> Result<String, SnapshotError> {
    let (mut entries, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).map_err(SnapshotError::io("examine", &path))?;
        let content = if meta.is_dir() {
            let inside = fs::read_dir(&path).map_err(SnapshotError::io("read", &path))?;
            for entry in inside {
                open.push(entry.map_err(SnapshotError::io("read", &path))?.path());
            }
            continue;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(SnapshotError::io("read", &path))?;
            hex(target.as_os_str().as_bytes())
        } else if path.ends_with(OF_THE_LOADER) {
            continue;
        } else if meta.is_file() {
            durable::digest(&path).map_err(SnapshotError::io("read", &path))?.0
        } else {
            String::new()
        };
        entries.push((path, content));
    }
    entries.sort();
    let mut all = Sha256::new();
    for (path, content) in entries {
        all.update(path.as_os_str().as_bytes());
        all.update([0]);
        all.update(content.as_bytes());
        all.update([0]);
    }
    Ok(hex(&all.finalize()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_change_but_the_boot_loaders_own_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("grub")).unwrap();
        fs::write(at("vmlinuz-1"), "kernel").unwrap();
        fs::write(at("grub/grubenv"), "").unwrap();
        let mut seen = vec![digest(dir.path()).unwrap()];
        fs::write(at("grub/grubenv"), "saved_entry=1").unwrap();
        assert_eq!(digest(dir.path()).unwrap(), seen[0]);
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(at("initrd.img-1"), "initrd").unwrap(),
            &|| fs::write(at("initrd.img-1"), "driver").unwrap(),
            &|| fs::rename(at("initrd.img-1"), at("initrd.img-2")).unwrap(),
            &|| symlink("vmlinuz-1", at("vmlinuz")).unwrap(),
            &|| fs::remove_file(at("vmlinuz-1")).unwrap(),
        ];
        for change in changes {
            change();
            let now = digest(dir.path()).unwrap();
            assert!(!seen.contains(&now));
            seen.push(now);
        }
        assert!(digest(&at("nowhere")).is_err());
    }
}
