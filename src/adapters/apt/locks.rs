//! Waiting for other package managers.
//!
//! `daily_lock` is what apt-daily's own timers take around all they do; we hold it while we work.
//! dpkg's locks are taken by apt itself: of those we only wait until they are free.

use std::{fs::File, time::Duration};

use rustix::fs::{FlockOperation, fcntl_lock, flock};

use super::{AptError, Layout};
use crate::adapters::{
    clock,
    packages::locks::{is_free, open, who_holds},
};

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
