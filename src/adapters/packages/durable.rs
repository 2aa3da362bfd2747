//! Files and folders of a stage, synced; and durable removal.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use super::PackageError;
use crate::core::plan::hex;

/// Writes a file and syncs it; readable by everybody (apt's sandbox reads it as `_apt`).
pub fn write(path: &Path, text: &str) -> Result<(), PackageError> {
    let write = || {
        let mut file = File::create(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(PackageError::io("write", path))
}

/// Syncs a file or a folder.
pub fn sync(path: &Path) -> Result<(), PackageError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(PackageError::io("sync", path))
}

/// Makes a folder (and those above it) that others may enter.
pub fn folder(path: &Path) -> Result<(), PackageError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(PackageError::io("create", path))
}

/// An empty folder in place of whatever was there.
pub fn fresh_folder(path: &Path) -> Result<(), PackageError> {
    remove(path)?;
    folder(path)
}

/// Removes a file or a folder with all it holds; it need not exist.
pub fn remove(path: &Path) -> Result<(), PackageError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PackageError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// SHA-256 (lower-case hex) and size of a file.
pub fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hex(&hash.finalize()), size));
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, vec![b'a'; 100_000]).unwrap();
        let (sha256, size) = digest(&path).unwrap();
        assert_eq!(size, 100_000);
        // from sha256sum(1)
        assert_eq!(sha256, "6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee");
    }

    #[test]
    fn removing_takes_files_folders_and_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a");
        folder(&inner.join("b")).unwrap();
        write(&inner.join("b/c"), "text").unwrap();
        remove(&inner).unwrap();
        remove(&inner).unwrap();
        assert!(!inner.exists());
    }
}
