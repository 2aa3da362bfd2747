//! The mount table of this process (`proc_pid_mountinfo(5)`).

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::packages::Layout;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `8:1`; a number that stands for no device where the file system has several (btrfs).
    device: String,
    /// The folder of its file system that is mounted.
    pub root: PathBuf,
    /// Where.
    pub place: PathBuf,
    /// From where: `/dev/sda1`.
    source: PathBuf,
}

/// The mount that holds a path, with whatever is mounted on top of it taken into account.
///
/// # Errors
/// When the table cannot be read, or holds nothing of the kind.
pub fn holding(layout: &Layout, path: &Path) -> io::Result<Mount> {
    let table = fs::read_to_string(layout.at("proc/self/mountinfo"))?;
    find(&table, path)
        .ok_or_else(|| io::Error::other(format!("nothing is mounted at {}", path.display())))
}

fn find(table: &str, path: &Path) -> Option<Mount> {
    let mounts = table.lines().filter_map(Mount::parse);
    // Of several at one place the last one is seen: that is the one `max_by_key` takes.
    mounts
        .filter(|mount| path.starts_with(&mount.place))
        .max_by_key(|mount| mount.place.components().count())
}

impl Mount {
    /// `36 35 0:39 /@ / rw,relatime shared:1 - btrfs /dev/sda2 rw,subvolid=256,subvol=/@`
    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(2);
        Some(Self {
            device: front.next()?.to_owned(),
            root: unescaped(front.next()?),
            place: unescaped(front.next()?),
            source: unescaped(back.split(' ').nth(1)?),
        })
    }

    /// The path in its file system of something that it holds.
    #[must_use]
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        Some(self.root.join(path.strip_prefix(&self.place).ok()?))
    }

    /// What udev has found out of its device, by the name of the property (`ID_FS_UUID`).
    #[must_use]
    pub fn property(&self, layout: &Layout, name: &str) -> Option<String> {
        let data = layout.at("run/udev/data").join(format!("b{}", self.number(layout)?));
        let text = fs::read_to_string(data).ok()?;
        let prefix = format!("E:{name}=");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }

    /// Of the device it is mounted from.
    fn number(&self, layout: &Layout) -> Option<String> {
        if !self.device.starts_with("0:") {
            return Some(self.device.clone());
        }
        let (devices, name) = (layout.at("sys/class/block"), self.source.file_name()?);
        let read = |path: PathBuf| Some(fs::read_to_string(path).ok()?.trim().to_owned());
        read(devices.join(name).join("dev")).or_else(|| {
            let all = fs::read_dir(&devices).ok()?.filter_map(Result::ok);
            let mapped = |path: &PathBuf| read(path.join("dm/name")).is_some_and(|n| *n == *name);
            read(all.map(|entry| entry.path()).find(mapped)?.join("dev"))
        })
    }
}

/// A path of the mount table, in which blanks and the like are written `\040`.
#[must_use]
pub fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
30 22 0:39 /@ / rw,relatime shared:1 - btrfs /dev/mapper/vg-root rw,subvolid=256,subvol=/@
31 30 8:2 / /boot rw - ext4 /dev/sda2 rw
32 31 8:9 /a\\040b /boot/efi rw - vfat /dev/sdb9 rw
33 31 8:1 / /boot/efi rw - vfat /dev/sda1 rw
";

    #[test]
    fn the_mount_that_is_seen_holds_a_path() {
        let place = |path: &str| find(TABLE, Path::new(path)).unwrap();
        assert_eq!(place("/boot/vmlinuz").device, "8:2");
        assert_eq!(place("/boot/efi/x").device, "8:1");
        assert_eq!(place("/bootstrap").device, "0:39");
        let inside = place("/bootstrap").inside(Path::new("/usr/x")).unwrap();
        assert_eq!(inside, Path::new("/@/usr/x"));
        assert_eq!(find("", Path::new("/")), None);
    }

    #[test]
    fn what_udev_knows_is_found_by_the_number_of_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::rooted(dir.path(), dir.path(), &dir.path().join("apt.conf"));
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/mountinfo", TABLE);
        write("run/udev/data/b8:2", "S:x\nE:ID_FS_UUID=boot\n");
        write("run/udev/data/b253:0", "E:ID_FS_UUID=root\n");
        write("run/udev/data/b8:3", "E:ID_FS_UUID=other\n");
        write("sys/class/block/dm-0/dm/name", "vg-root\n");
        write("sys/class/block/dm-0/dev", "253:0\n");
        let uuid =
            |path: &str| holding(&layout, Path::new(path)).unwrap().property(&layout, "ID_FS_UUID");
        assert_eq!(uuid("/boot/x").as_deref(), Some("boot"));
        assert_eq!(uuid("/x").as_deref(), Some("root"));
        assert_eq!(uuid("/boot/efi/x"), None);
        write("proc/self/mountinfo", &TABLE.replace("/dev/mapper/vg-root", "/dev/sda3"));
        write("sys/class/block/sda3/dev", "8:3\n");
        assert_eq!(uuid("/x").as_deref(), Some("other"));
    }
}
