//! Looks through `/proc` for processes that still use files which were deleted or replaced.
//!
//! Nothing found there is executed, opened or followed any further than to look at its inode: a
//! user can name files and arrange mounts so that more would be dangerous, or never come back.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, makedev, statx};

use crate::{
    adapters::{
        state_file::StateFileError,
        systemd::{Systemd, SystemdError, boot::BootIdError},
    },
    core::stale::{Facts, Mode, Process, Report, Rules, Scan, judge},
};

mod cgroup;
mod maps;
pub mod restarted;
mod script;

/// What uses old files cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The processes.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Their units.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// What was restarted already.
    #[error(transparent)]
    Restarted(#[from] StateFileError),
    /// In which boot.
    #[error(transparent)]
    BootId(#[from] BootIdError),
}

/// The processes cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ScanError {
    path: PathBuf,
    source: io::Error,
}

/// What uses old files, what is to become of it by `rules`, and what systemd says of the services.
/// `restarted`: what was restarted already.
pub async fn look(
    systemd: &Systemd,
    rules: &Rules,
    restarted: &[String],
) -> Result<(Report, BTreeMap<String, Facts>), LookError> {
    if rules.mode == Mode::Off {
        return Ok((Report::default(), BTreeMap::new()));
    }
    // It may take a moment on a machine with many processes.
    let scan = tokio::task::spawn_blocking(|| scan(Path::new("/proc"))).await;
    let scan = scan.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let facts = systemd.facts(&services(&scan)).await?;
    Ok((judge(&scan, &facts, rules, restarted), facts))
}

fn services(scan: &Scan) -> Vec<String> {
    let units = scan.stale.iter().filter_map(|process| process.unit.clone());
    let mut names: Vec<String> = units.filter(|unit| unit.ends_with(".service")).collect();
    names.sort();
    names.dedup();
    names
}

/// Looks at all processes but ourselves. `proc`: where `/proc` is.
///
/// # Errors
/// When `proc` cannot be listed, or our own entry in it cannot be read.
pub fn scan(proc: &Path) -> Result<Scan, ScanError> {
    let failed = |path: PathBuf| move |source| ScanError { path, source };
    let own = proc.join("self");
    let mut look = Look {
        root: identity(&own.join("root")).map_err(failed(own.join("root")))?,
        mounts: fs::read_link(own.join("ns/mnt")).map_err(failed(own.join("ns/mnt")))?,
        users: fs::read_link(own.join("ns/user")).map_err(failed(own.join("ns/user")))?,
        met: Vec::new(),
        same: HashMap::new(),
        text: vec![0; 64 * 1024],
    };
    let ourselves = std::process::id();
    let mut scan = Scan::default();
    for entry in fs::read_dir(proc).map_err(failed(proc.to_owned()))? {
        let entry = entry.map_err(failed(proc.to_owned()))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if pid == ourselves {
            continue;
        }
        let folder = entry.path();
        match look.at(&folder) {
            Ok(Found::Nothing) => {}
            Ok(Found::Current) => scan.seen += 1,
            Ok(Found::Elsewhere) => scan.elsewhere += 1,
            Ok(Found::Stale(file)) => {
                scan.seen += 1;
                scan.stale.push(process(pid, &folder, file));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => scan.hidden += 1,
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    scan.stale.sort_by_key(|process| process.pid);
    Ok(scan)
}

fn process(pid: u32, folder: &Path, file: String) -> Process {
    let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
    Process { pid, name: name.trim_end().to_owned(), unit: cgroup::unit(folder), file }
}

enum Found {
    /// A kernel thread, or one that has ended.
    Nothing,
    /// It has another root.
    Elsewhere,
    /// It uses what is installed.
    Current,
    /// It uses a file that is not.
    Stale(String),
}

/// What is remembered from process to process.
struct Look {
    /// Our own root.
    root: (u64, u64),
    /// Our own namespace of mounts.
    mounts: PathBuf,
    /// Our own namespace of users.
    users: PathBuf,
    /// Namespaces of mounts that were met.
    met: Vec<PathBuf>,
    /// By namespace and mapped inode: its path, and whether that leads to it.
    same: HashMap<(usize, u64, u64), (String, bool)>,
    /// Room for the text of `maps`.
    text: Vec<u8>,
}

impl Look {
    fn at(&mut self, folder: &Path) -> io::Result<Found> {
        let program = match fs::read_link(folder.join("exe")) {
            Ok(program) => program,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        if identity(&folder.join("root"))? != self.root {
            return Ok(Found::Elsewhere);
        }
        let name = program.to_string_lossy();
        if let Some(deleted) = maps::deleted(&name).filter(|path| !path.starts_with("/memfd:")) {
            return Ok(Found::Stale(deleted.to_owned()));
        }
        if let Some(file) = self.mapped(folder)? {
            return Ok(Found::Stale(file));
        }
        Ok(script::changed(folder, &program).map_or(Found::Current, Found::Stale))
    }

    /// A mapped file that is not the one of its path any more.
    fn mapped(&mut self, folder: &Path) -> io::Result<Option<String>> {
        let mut room = std::mem::take(&mut self.text);
        let length = read(&folder.join("maps"), &mut room)?;
        // A path that is no text leads nowhere then: what the kernel says of it still counts.
        let content = String::from_utf8_lossy(&room[..length]);
        let mut mounts = None;
        let mut last = None;
        let found = maps::code(&content).find_map(|mapping| match mapping {
            maps::Code::Deleted(path) => Some(path.to_owned()),
            // A library is often there several times in a row.
            maps::Code::There(mapped) if last == Some(mapped) => None,
            maps::Code::There(mapped) => {
                last = Some(mapped);
                let mounts = *mounts.get_or_insert_with(|| self.mounts(folder));
                let same = mounts.is_none_or(|mounts| self.is_same(folder, mounts, mapped));
                (!same).then(|| mapped.path.to_owned())
            }
        });
        drop(content);
        self.text = room;
        Ok(found)
    }

    /// The process's namespace of mounts, if its paths can be looked up safely: in a namespace of
    /// users that is not ours, anybody can mount what never answers.
    fn mounts(&mut self, folder: &Path) -> Option<usize> {
        let mounts = fs::read_link(folder.join("ns/mnt")).ok()?;
        // Ours belongs to our namespace of users.
        if mounts != self.mounts && fs::read_link(folder.join("ns/user")).ok()? != self.users {
            return None;
        }
        let known = self.met.iter().position(|met| *met == mounts);
        Some(known.unwrap_or_else(|| {
            self.met.push(mounts);
            self.met.len() - 1
        }))
    }

    /// Whether the path still leads to the file. One that cannot be looked up is taken for the same,
    /// and so is one on a file system without a device (btrfs, overlays): what `stat` says of those
    /// and what the kernel writes into `maps` are different numbers.
    fn is_same(&mut self, folder: &Path, mounts: usize, mapped: maps::Mapped<'_>) -> bool {
        if mapped.major == 0 {
            return true;
        }
        let device = makedev(mapped.major, mapped.minor);
        let key = (mounts, device, mapped.inode);
        if let Some((_, same)) = self.same.get(&key).filter(|(path, _)| path == mapped.path) {
            return *same;
        }
        let path = folder.join("root").join(mapped.path.trim_start_matches('/'));
        let same = identity(&path).map_or(true, |file| file == (device, mapped.inode));
        self.same.insert(key, (mapped.path.to_owned(), same));
        same
    }
}

/// Reads a file of the kernel's, whose size nobody knows before, into `room`, which grows as needed.
fn read(path: &Path, room: &mut Vec<u8>) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        match file.read(&mut room[length..])? {
            0 => return Ok(length),
            more => length += more,
        }
        if length == room.len() {
            room.resize(2 * length, 0);
        }
    }
}

/// Device and inode of what a path leads to, as the kernel knows them now: no server is asked.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = look_up(path, StatxFlags::INO)?;
    Ok((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

fn look_up(path: &Path, what: StatxFlags) -> io::Result<Statx> {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    Ok(statx(CWD, path, flags, what)?)
}
