//! dpkg after an interruption: seeing it, and finishing what it had begun.

use std::{fs, fs::File, os::unix::fs::MetadataExt};

use super::{
    AptError, Layout, apt_get,
    installed::{self, Installed},
    repository::{self, Repository},
};

/// Has dpkg something unfinished? Its journal and the *output* of its audit tell; the exit code of
/// `dpkg --audit` and `apt-get check` is 0 either way.
pub async fn is_needed(layout: &Layout) -> Result<bool, AptError> {
    if journal_is_dirty(layout)? {
        return Ok(true);
    }
    let audit = apt_get::dpkg(layout).arg("--audit").finish().await?;
    Ok(!audit.stdout.trim().is_empty() || !audit.status.success())
}

/// Finishes what dpkg had begun, as far as it goes, keeping the admin's configuration files.
///
/// It may fail: a half-unpacked package needs its archive again, which the transaction brings.
pub async fn configure(layout: &Layout, log: &File) -> Result<(), AptError> {
    let options = ["--force-confdef", "--force-confold", "--configure", "-a"];
    let status = apt_get::dpkg(layout).args(options).run_apart(log).await?;
    if !status.success() {
        tracing::warn!(%status, "dpkg --configure -a did not finish everything");
    }
    Ok(())
}

/// Unpacks once more what dpkg was cut off in after it had noted the new version: apt sees that version
/// installed, and would leave it damaged.
pub async fn unpack_damaged(
    layout: &Layout,
    repository: &Repository,
    log: &File,
) -> Result<(), AptError> {
    merge_journal(layout).await?;
    let have = installed::query(layout).await?;
    let damaged = repository.packages().iter().filter(|wanted| {
        installed::find(&have, wanted).is_some_and(|p| p.reinstall && p.version == wanted.to)
    });
    let archives: Vec<_> =
        damaged.map(|wanted| repository::deb_path(repository.dir(), wanted)).collect();
    if archives.is_empty() {
        return Ok(());
    }
    let options = ["--force-confdef", "--force-confold", "--unpack"];
    let status = apt_get::dpkg(layout).args(options).args(archives).run_apart(log).await?;
    if !status.success() {
        tracing::warn!(%status, "dpkg could not unpack again what it was cut off in");
    }
    Ok(())
}

/// Lets dpkg merge its journal into its status, and does nothing else. As long as there is one apt
/// does nothing at all.
pub async fn merge_journal(layout: &Layout) -> Result<(), AptError> {
    if journal_is_dirty(layout)? {
        // It opens its database for writing, and finds nothing to select.
        apt_get::dpkg(layout).arg("--set-selections").output().await?;
    }
    Ok(())
}

/// Updates that dpkg has written down and not yet merged into its status.
pub fn journal_is_dirty(layout: &Layout) -> Result<bool, AptError> {
    let path = layout.at("var/lib/dpkg/updates");
    let entries = fs::read_dir(&path).map_err(AptError::io("read", &path))?;
    let is_update = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    Ok(entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_update)))
}

/// A mark that changes whenever dpkg has touched a package, and the broken packages of the moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    status_file: Option<(u64, i64, i64)>,
    /// dpkg has been interrupted.
    pub journal: bool,
    /// One sentence a package, see [`installed::Installed::sentence`].
    pub broken: Vec<String>,
}

/// Takes a [`Snapshot`].
pub async fn snapshot(layout: &Layout) -> Result<Snapshot, AptError> {
    let meta = fs::metadata(layout.at("var/lib/dpkg/status")).ok();
    let packages = installed::query(layout).await?;
    Ok(Snapshot {
        // dpkg writes a new file and renames it over the old one.
        status_file: meta.map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec())),
        journal: journal_is_dirty(layout)?,
        broken: packages.iter().filter(|p| p.is_broken()).map(Installed::sentence).collect(),
    })
}

#[cfg(test)]
impl Snapshot {
    /// A made-up one.
    pub(super) fn of(mark: (u64, i64, i64), journal: bool, broken: Vec<String>) -> Self {
        Self { status_file: Some(mark), journal, broken }
    }
}
