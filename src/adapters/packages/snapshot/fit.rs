//! Would going back to a snapshot of this root do what it should? What cannot be told is a no.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    super::Layout,
    clone, dataset,
    error::{SnapshotError, Unfit},
    lvm, nested,
    root::Root,
    subvolume::{self, mounted, starts_by_name},
    thin, volume, zfs,
};
use crate::{adapters::mounts::unescaped, config::settings::Snapshot as Choice};

/// What packages consist of, and what is known of them: all of it has to go back together.
const PARTS: [&str; 4] = ["etc", "usr", "var/lib/dpkg", "var/lib/apt"];
/// Kernels, and what starts them.
const BOOT: &str = "boot";
/// File systems of which one fills a volume: two of them are never the same device.
const PLAIN: [&str; 4] = ["ext2", "ext3", "ext4", "xfs"];
/// Where a package may put something, and nobody need have it.
const MORE_PARTS: [&str; 1] = ["opt"];
/// The agent's own state.
const AGENT: &str = "var/lib/lockkeeper";
/// The hub's, where there is one: who has a slot of a store it keeps itself.
const HUB: &str = "var/lib/lockkeeper-hub";
/// Where etcd keeps its data, unless it is told otherwise.
const ETCD: &str = "var/lib/etcd";

/// Which root a snapshot would be of, if going back to it would do what it should.
///
/// # Errors
/// What is against it, and what to do about that.
pub async fn check(layout: &Layout, choice: Choice) -> Result<Root, SnapshotError> {
    match choice {
        Choice::Off => Err(Unfit::NotAskedFor.into()),
        Choice::Btrfs => {
            let layout = layout.clone();
            // It walks over all folders of the root; the bus must be answered meanwhile.
            let all = move || subvolume_fits(&layout);
            tokio::task::spawn_blocking(all).await.unwrap_or_else(|panic| {
                Err(SnapshotError::io("examine", "/")(io::Error::other(panic.to_string())))
            })
        }
        Choice::LvmThin => volume_fits(layout).await,
        Choice::Zfs => dataset_fits(layout).await,
    }
}

fn subvolume_fits(layout: &Layout) -> Result<Root, SnapshotError> {
    let root = mounted(layout)?;
    if root.left_by().is_some() {
        return Err(Unfit::LeftBehind.into());
    }
    starts_by_name(&cmdline(layout)?, &root.name)?;
    let own = device(layout.root())?.ok_or(Unfit::NotMounted)?;
    if device(&layout.at(BOOT))? != Some(own) {
        return Err(Unfit::Outside(shown(BOOT)).into());
    }
    divided(layout, own)?;
    for swap in swap_files(layout)? {
        if device(&swap)? == Some(own) {
            return Err(Unfit::SwapInside(swap).into());
        }
    }
    let places = subvolume::places()?;
    match nested::full(layout.root(), |path| places.contains(path))? {
        full if full.is_empty() => Ok(Root::Btrfs(root)),
        full => Err(Unfit::Nested(full).into()),
    }
}

async fn volume_fits(layout: &Layout) -> Result<Root, SnapshotError> {
    let kind = subvolume::kind(layout)?;
    if !PLAIN.contains(&&*kind) {
        return Err(Unfit::NotPlain(kind).into());
    }
    boot_apart(layout)?;
    is_left(thin::left_behind(layout).await?)?;
    let (major, minor) = thin::device(layout)?;
    Ok(Root::LvmThin(volume::find(&lvm::volumes().await?, major, minor)?))
}

async fn dataset_fits(layout: &Layout) -> Result<Root, SnapshotError> {
    let kind = subvolume::kind(layout)?;
    if kind != "zfs" {
        return Err(Unfit::NotZfs(kind).into());
    }
    boot_apart(layout)?;
    is_left(clone::left_behind(layout).await?)?;
    let (name, pool) = clone::mounted(layout).await?;
    let bootable = zfs::bootable().await?;
    dataset::asks_the_pool(&cmdline(layout)?, dataset::pool_of(&name), &bootable)?;
    Ok(Root::Zfs(dataset::find(&pool, &name)?))
}

/// The kernel's.
fn cmdline(layout: &Layout) -> Result<String, SnapshotError> {
    let path = layout.at("proc/cmdline");
    fs::read_to_string(&path).map_err(SnapshotError::io("read", &path))
}

fn is_left(plan: Option<String>) -> Result<(), Unfit> {
    let Some(plan) = plan else { return Ok(()) };
    tracing::debug!(plan, "this root was gone back from");
    Err(Unfit::LeftBehind)
}

/// Is `/boot` a file system of its own, and all else where it belongs?
fn boot_apart(layout: &Layout) -> Result<(), SnapshotError> {
    let own = device(layout.root())?.ok_or(Unfit::NotMounted)?;
    if device(&layout.at(BOOT))?.is_none_or(|device| device == own) {
        return Err(Unfit::BootInside.into());
    }
    divided(layout, own)
}

/// Does everything that has to go back lie on the root, and nothing that must survive?
fn divided(layout: &Layout, own: u64) -> Result<(), SnapshotError> {
    for part in PARTS {
        if device(&layout.at(part))? != Some(own) {
            return Err(Unfit::Outside(shown(part)).into());
        }
    }
    for part in MORE_PARTS {
        if device(&layout.at(part))?.is_some_and(|device| device != own) {
            return Err(Unfit::Outside(shown(part)).into());
        }
    }
    for state in [layout.state().to_owned(), layout.at(AGENT)] {
        if device(&state)?.is_none_or(|device| device == own) {
            return Err(Unfit::StateInside(state).into());
        }
    }
    if device(&layout.at(HUB))? == Some(own) {
        return Err(Unfit::StateInside(layout.at(HUB)).into());
    }
    if device(&layout.at(ETCD))? == Some(own) {
        return Err(Unfit::EtcdInside(shown(ETCD)).into());
    }
    Ok(())
}

fn shown(part: &str) -> PathBuf {
    Path::new("/").join(part)
}

/// The device of a subvolume: each has its own. `None` where there is nothing.
fn device(path: &Path) -> Result<Option<u64>, SnapshotError> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.dev())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SnapshotError::io("examine", path)(error)),
    }
}

/// Files that are swapped to (`proc_swaps(5)`).
fn swap_files(layout: &Layout) -> Result<BTreeSet<PathBuf>, SnapshotError> {
    let path = layout.at("proc/swaps");
    match fs::read_to_string(&path) {
        Ok(table) => Ok(parse_swaps(&table)),
        // A kernel without swap.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(SnapshotError::io("read", &path)(error)),
    }
}

fn parse_swaps(table: &str) -> BTreeSet<PathBuf> {
    let file = |line: &str| {
        let mut words = line.split_whitespace();
        let path = words.next()?;
        (words.next() == Some("file")).then(|| unescaped(path))
    };
    table.lines().skip(1).filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_files_are_told_from_partitions() {
        let table = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                     /dev/sda3                               partition\t1\t0\t-2\n\
                     /swap\\040file                          file\t\t1\t0\t-3\n";
        assert_eq!(parse_swaps(table), BTreeSet::from(["/swap file".into()]));
    }
}
