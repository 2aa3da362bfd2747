//! Where paths lie, and how much room there is.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::statvfs;

use super::PackageError;

/// Bytes that must be free where a path lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    path: PathBuf,
    bytes: u64,
}

impl Need {
    /// With a tenth to spare.
    #[must_use]
    pub fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes: bytes.saturating_add(bytes / 10) }
    }
}

/// The file system a path lies on, by the place it is mounted at.
#[must_use]
pub fn mount_point(path: &Path) -> PathBuf {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let path = existing(path);
    let own = device(path);
    let inside = path.ancestors().take_while(|above| device(above) == own);
    inside.last().unwrap_or(path).to_owned()
}

/// The path, or what exists above it.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}

/// A file system that is too small.
#[derive(Debug)]
pub struct Lack {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Bytes needed, the margin included.
    pub need: u64,
    /// Bytes free.
    pub free: u64,
}

/// The first file system that has not what is needed on it.
pub fn lack(needs: Vec<Need>) -> Result<Option<Lack>, PackageError> {
    for Need { path, bytes: need } in per_file_system(needs) {
        let free = free_bytes(&path)?;
        if free < need {
            return Ok(Some(Lack { mount: mount_point(&path), need, free }));
        }
    }
    Ok(None)
}

fn free_bytes(path: &Path) -> Result<u64, PackageError> {
    let path = existing(path);
    let stat = statvfs(path).map_err(|error| PackageError::io("examine", path)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Needs on one file system add up.
fn per_file_system(needs: Vec<Need>) -> Vec<Need> {
    let mut sums: Vec<(u64, Need)> = Vec::new();
    for need in needs {
        let device = fs::metadata(existing(&need.path)).map_or(0, |meta| meta.dev());
        match sums.iter_mut().find(|(other, _)| *other == device) {
            Some((_, sum)) => sum.bytes = sum.bytes.saturating_add(need.bytes),
            None => sums.push((device, need)),
        }
    }
    sums.into_iter().map(|(_, need)| need).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_of_one_file_system_are_added_up() {
        let dir = tempfile::tempdir().unwrap();
        let need = |path: &str, bytes| Need { path: dir.path().join(path), bytes };
        let sums = per_file_system(vec![need("not/there/yet", 5), need("x", 7)]);
        assert_eq!(sums.iter().map(|n| n.bytes).collect::<Vec<_>>(), [12]);
    }

    #[test]
    fn the_mount_point_is_where_the_device_changes() {
        assert_eq!(mount_point(Path::new("/proc/self/nothing")), Path::new("/proc"));
        assert_eq!(mount_point(Path::new("/")), Path::new("/"));
    }
}
