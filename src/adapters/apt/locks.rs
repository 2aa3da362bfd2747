//! Waiting for other package managers.
//!
//! `daily_lock` is what apt-daily's own timers take around all they do; we hold it while we work.
//! dpkg's locks are taken by apt itself: of those we only wait until they are free.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, fcntl_lock, flock};

use super::{AptError, Layout};
use crate::adapters::clock;

const PAUSE: Duration = Duration::from_millis(250);

/// Another package manager was at work for too long.
#[derive(Debug)]
pub struct Held {
    /// Who, and by which lock: `unattended-upgr (pid 812) holds /var/lib/dpkg/lock-frontend`.
    pub text: String,
}

/// Held while we work; released when dropped.
#[derive(Debug)]
pub struct DailyLock(#[allow(dead_code)] File);

/// Takes the daily lock, and waits until dpkg's locks are free; for `limit` in all.
pub async fn take(layout: &Layout, limit: Duration) -> Result<Result<DailyLock, Held>, AptError> {
    let deadline = clock::since_boot() + limit;
    let daily = open(&layout.at("var/lib/apt/daily_lock"))?;
    let dpkg = ["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"].map(|path| layout.at(path));
    loop {
        let busy = if flock(&daily, FlockOperation::NonBlockingLockExclusive).is_err() {
            Some(layout.at("var/lib/apt/daily_lock"))
        } else {
            let mut busy = None;
            for path in &dpkg {
                if !is_free(path)? {
                    busy = Some(path.clone());
                }
            }
            busy
        };
        let Some(path) = busy else { return Ok(Ok(DailyLock(daily))) };
        if clock::since_boot() >= deadline {
            return Ok(Err(Held { text: who_holds(&path) }));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// dpkg's own lock for those who call it, held until dropped. A dpkg is told with the environment
/// variable `DPKG_FRONTEND_LOCKED` that its caller has it.
#[derive(Debug)]
pub struct FrontendLock(#[allow(dead_code)] File);

/// Takes the lock of dpkg's callers; `None` when others keep it for longer than `limit`.
pub async fn frontend(layout: &Layout, limit: Duration) -> Result<Option<FrontendLock>, AptError> {
    let deadline = clock::since_boot() + limit;
    let file = open(&layout.at("var/lib/dpkg/lock-frontend"))?;
    while fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if clock::since_boot() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Some(FrontendLock(file)))
}

fn open(path: &Path) -> Result<File, AptError> {
    let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
    open.map_err(AptError::io("open", path))
}

/// Takes dpkg's lock for a moment; the lock goes with the file.
fn is_free(path: &Path) -> Result<bool, AptError> {
    Ok(fcntl_lock(open(path)?, FlockOperation::NonBlockingLockExclusive).is_ok())
}

fn who_holds(path: &Path) -> String {
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
#[must_use]
pub fn holder(locks: &str, inode: u64) -> Option<u32> {
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
