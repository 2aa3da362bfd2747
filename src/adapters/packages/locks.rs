//! The locks of package managers: are they free, and who has them?

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::PackageError;

/// Opens a lock's file, or makes it.
pub fn open(path: &Path) -> Result<File, PackageError> {
    let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
    open.map_err(PackageError::io("open", path))
}

/// Takes a lock of a package manager (fcntl(2)) for a moment; it goes with the file.
pub fn is_free(path: &Path) -> Result<bool, PackageError> {
    Ok(fcntl_lock(open(path)?, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// `dpkg (pid 812) holds /var/lib/dpkg/lock`
#[must_use]
pub fn who_holds(path: &Path) -> String {
    let inode = fs::metadata(path).map_or(0, |meta| meta.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let who = match holder(&locks, inode) {
        Some(pid) => match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(comm) => format!("{} (pid {pid})", comm.trim()),
            Err(_) => format!("pid {pid}"),
        },
        None => "another package manager".to_owned(),
    };
    format!("{who} holds {}", path.display())
}

/// The process that holds a write lock on a file, from `/proc/locks`.
///
/// Only the inode is compared: stacked file systems show another device here than `stat` does.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "WRITE", pid, file, ..] = words[..] else { return None };
        let found: u64 = file.rsplit(':').next()?.parse().ok()?;
        (found == inode).then(|| pid.parse().ok()).flatten().filter(|pid| *pid > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = include_str!("../../../tests/fixtures/apt/debian-12/proc-locks.txt");

    #[test]
    fn the_holder_is_found_by_its_file() {
        assert_eq!(holder(LOCKS, 10_258_359), Some(11_070));
        assert_eq!(holder(LOCKS, 1_041_468), Some(10_755));
    }

    #[test]
    fn waiters_readers_and_nameless_holders_are_nobody() {
        assert_eq!(holder(LOCKS, 1), None);
        // An open-file-description lock has no process (-1).
        assert_eq!(holder(LOCKS, 1_041_473), None);
        assert_eq!(holder("1: -> POSIX ADVISORY WRITE 7 00:2b:5 0 EOF\n", 5), None);
    }
}
