//! Which subvolume the root is, and by what name the next boot finds it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    super::Layout,
    error::{SnapshotError, Unfit},
};
use crate::{adapters::mounts::unescaped, core::plan::PlanId};

/// Where snapshots lie in the top level of the file system, and roots that were gone back from.
pub(super) const FOLDER: &str = ".lockkeeper";
/// The mount table of this process (`proc_pid_mountinfo(5)`).
const MOUNTS: &str = "/proc/self/mountinfo";

/// The subvolume that is the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subvolume {
    /// Its path from the top level of its file system, without a slash at the front (`@`).
    pub name: String,
    /// Its number, which stays when its name changes.
    pub id: u64,
    /// The device it is mounted from.
    pub source: PathBuf,
}

/// The root as it is mounted now.
pub(super) fn mounted(layout: &Layout) -> Result<Subvolume, SnapshotError> {
    let table = fs::read_to_string(MOUNTS).map_err(SnapshotError::io("read", MOUNTS))?;
    Ok(find(&table, layout.root())?)
}

/// [`super::left_behind`], for btrfs.
pub(super) fn left_behind(layout: &Layout) -> Result<Option<String>, SnapshotError> {
    match mounted(layout) {
        Ok(root) => Ok(root.left_by()),
        Err(SnapshotError::Unfit(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kind of the root's file system.
pub(super) fn kind(layout: &Layout) -> Result<String, SnapshotError> {
    let table = fs::read_to_string(MOUNTS).map_err(SnapshotError::io("read", MOUNTS))?;
    Ok(entry(&table, layout.root())?.kind.to_owned())
}

/// Where the root comes from: a device, or the name that its file system has there.
pub(super) fn source(layout: &Layout) -> Result<PathBuf, SnapshotError> {
    let table = fs::read_to_string(MOUNTS).map_err(SnapshotError::io("read", MOUNTS))?;
    Ok(entry(&table, layout.root())?.source)
}

/// Where something is mounted.
pub(super) fn places() -> Result<BTreeSet<PathBuf>, SnapshotError> {
    let table = fs::read_to_string(MOUNTS).map_err(SnapshotError::io("read", MOUNTS))?;
    Ok(table.lines().filter_map(Entry::parse).map(|entry| entry.place).collect())
}

impl Subvolume {
    /// The plan, short, that was gone back from, if this is the root that it was on.
    pub(super) fn left_by(&self) -> Option<String> {
        let rest = Path::new(&self.name).strip_prefix(FOLDER).ok()?;
        let plan = rest.iter().next().unwrap_or_default().to_string_lossy().into_owned();
        Some(PlanId::parse(&plan).map_or(plan, |id| id.short().to_owned()))
    }
}

/// The last mount at a place is the one that is seen.
fn entry<'a>(table: &'a str, place: &Path) -> Result<Entry<'a>, Unfit> {
    let mut entries = table.lines().filter_map(Entry::parse);
    entries.rfind(|entry| entry.place == place).ok_or(Unfit::NotMounted)
}

/// The root in a mount table.
fn find(table: &str, place: &Path) -> Result<Subvolume, Unfit> {
    let entry = entry(table, place)?;
    if entry.kind != "btrfs" {
        return Err(Unfit::NotBtrfs(entry.kind.to_owned()));
    }
    let name = entry.root.strip_prefix("/").ok().and_then(Path::to_str).ok_or(Unfit::NotMounted)?;
    if name.is_empty() {
        return Err(Unfit::TopLevel);
    }
    let id = entry.options.split(',').find_map(|option| option.strip_prefix("subvolid="));
    let id = id.and_then(|id| id.parse().ok()).ok_or(Unfit::NotMounted)?;
    Ok(Subvolume { name: name.to_owned(), id, source: entry.source })
}

/// One line of the mount table.
struct Entry<'a> {
    root: PathBuf,
    place: PathBuf,
    kind: &'a str,
    source: PathBuf,
    options: &'a str,
}

impl<'a> Entry<'a> {
    /// `36 35 0:39 /@ / rw,relatime shared:1 - btrfs /dev/sda2 rw,subvolid=256,subvol=/@`
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        Some(Self {
            root: unescaped(front.next()?),
            place: unescaped(front.next()?),
            kind: back.next()?,
            source: unescaped(back.next()?),
            options: back.next()?,
        })
    }
}

/// Will the next boot start whatever has this name, kernel and all? The boot loader has told the
/// kernel where it was loaded from, and which root it gets.
pub(super) fn starts_by_name(cmdline: &str, name: &str) -> Result<(), Unfit> {
    let values = |key: &'static str| {
        cmdline.split_whitespace().filter_map(move |word| word.strip_prefix(key))
    };
    let flags: Vec<&str> = values("rootflags=").flat_map(|flags| flags.split(',')).collect();
    let named = flags.iter().filter_map(|flag| flag.strip_prefix("subvol="));
    let by_name = named.map(|path| path.trim_matches('/')).next_back() == Some(name);
    if !by_name || flags.iter().any(|flag| flag.starts_with("subvolid=")) {
        return Err(Unfit::NotByName(name.to_owned()));
    }
    let boot = PathBuf::from(format!("/{name}/boot"));
    // GRUB may put the device in front: (hd0,gpt2)/@/boot/vmlinuz
    let path = |image: &str| PathBuf::from(&image[image.find('/').unwrap_or(image.len())..]);
    if values("BOOT_IMAGE=").any(|image| path(image).starts_with(&boot)) {
        return Ok(());
    }
    Err(Unfit::KernelOutside(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 0:20 /lower / rw - ext4 /dev/sda1 rw
30 22 0:39 /@ / rw,relatime shared:1 - btrfs /dev/sda2 rw,space_cache=v2,subvolid=256,subvol=/@
31 30 0:40 / /data rw shared:2 - btrfs /dev/sdb rw,subvolid=5,subvol=/
32 30 0:41 /a\\040b /x\\134y rw - btrfs /dev/sdb rw,subvolid=300,subvol=/a\\040b
33 30 0:5 / /dev rw - devtmpfs udev rw
";

    #[test]
    fn the_root_is_the_mount_that_is_seen_there() {
        let root = Subvolume { name: "@".into(), id: 256, source: "/dev/sda2".into() };
        assert_eq!(find(TABLE, Path::new("/")), Ok(root));
        let root = Subvolume { name: "a b".into(), id: 300, source: "/dev/sdb".into() };
        assert_eq!(find(TABLE, Path::new("/x\\y")), Ok(root));
        assert_eq!(find(TABLE, Path::new("/data")), Err(Unfit::TopLevel));
        assert_eq!(find(TABLE, Path::new("/dev")), Err(Unfit::NotBtrfs("devtmpfs".into())));
        assert_eq!(find(TABLE, Path::new("/nowhere")), Err(Unfit::NotMounted));
    }

    #[test]
    fn a_root_that_was_gone_back_from_is_known_by_where_it_lies() {
        let id = "ab".repeat(32);
        let left = TABLE.replace("/@ /", &format!("/.lockkeeper/{id}/aside /"));
        let left = find(&left, Path::new("/")).unwrap().left_by();
        assert_eq!(left.as_deref(), Some("abababababab"));
        assert_eq!(find(TABLE, Path::new("/")).unwrap().left_by(), None);
    }

    #[test]
    fn only_a_boot_that_goes_by_the_name_all_the_way_can_be_gone_back_to() {
        let by_name = || Unfit::NotByName("@".to_owned());
        let outside = || Unfit::KernelOutside("@".to_owned());
        for (cmdline, expected) in [
            ("BOOT_IMAGE=/@/boot/vmlinuz-6.1 root=UUID=1 ro rootflags=subvol=@ quiet", Ok(())),
            ("BOOT_IMAGE=(hd0,gpt2)/@/boot/vmlinuz root=x rootflags=noatime,subvol=/@", Ok(())),
            ("BOOT_IMAGE=/@/boot/vmlinuz root=UUID=1 ro", Err(by_name())),
            ("BOOT_IMAGE=/@/boot/vmlinuz rootflags=subvol=@rootfs", Err(by_name())),
            ("BOOT_IMAGE=/@/boot/vmlinuz rootflags=subvol=@,subvolid=256", Err(by_name())),
            ("BOOT_IMAGE=/@/boot/vmlinuz rootflags=subvol=@ rootflags=subvol=b", Err(by_name())),
            ("BOOT_IMAGE=/vmlinuz-6.1 rootflags=subvol=@", Err(outside())),
            ("BOOT_IMAGE=/@/bootstrap/vmlinuz rootflags=subvol=@", Err(outside())),
            ("BOOT_IMAGE=none rootflags=subvol=@", Err(outside())),
            ("rootflags=subvol=@", Err(outside())),
        ] {
            assert_eq!(starts_by_name(cmdline, "@"), expected, "{cmdline}");
        }
    }
}
