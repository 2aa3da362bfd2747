//! What the boot loader will start next, read from its own files. Nothing of it is run, and what is not
//! understood is not guessed.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use self::systemd_boot::Said;
use crate::adapters::{mounts, packages::Layout, scripts::trusted_file};

mod grub;
mod grub_entry;
mod systemd_boot;

/// Where loaders and systems leave each other notes (Boot Loader Interface).
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Where the partition of the firmware, or that of the loader, may be mounted.
const PARTITIONS: [&str; 3] = ["efi", "boot", "boot/efi"];
/// The firmware's own notes.
const FIRMWARE: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What the boot loader would start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initrd's file.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub options: String,
}

/// All that the boot loader would start next, of files that are root's alone. An error says in words why
/// that cannot be told.
pub fn next_start(layout: &Layout) -> Result<Start, String> {
    match variable(layout, "LoaderInfo") {
        Some(loader) if loader.starts_with("systemd-boot") => start_of_systemd_boot(layout),
        Some(loader) if !loader.starts_with("GRUB") => Err(format!("{loader} is not known")),
        _ => start_of_grub(layout),
    }
}

fn start_of_grub(layout: &Layout) -> Result<Start, String> {
    if layout.at("boot/grub/custom.cfg").exists() {
        return Err("/boot/grub/custom.cfg is there, and not read".to_owned());
    }
    let (menu, variables) = grub_files(layout).ok_or("GRUB's menu cannot be read")?;
    let grub_entry::Start { kernel, initrd, options, file_system } =
        grub::start(&menu, &variables)?;
    let on = ("ID_FS_UUID", &*file_system);
    let file = |named: &str| locate(layout, Path::new("/boot"), on, named);
    Ok(Start { kernel: file(&kernel)?, initrd: file(&initrd)?, options })
}

fn start_of_systemd_boot(layout: &Layout) -> Result<Start, String> {
    let partition = variable(layout, "LoaderDevicePartUUID");
    let partition = partition.ok_or("systemd-boot does not say which partition is its own")?;
    let files = place_of_systemd_boot(layout)
        .and_then(|place| Some((place, systemd_boot_files(layout, place)?)));
    let (place, (entries, said)) = files.ok_or("systemd-boot's entries cannot be read")?;
    let systemd_boot::Start { kernel, initrd, options } = systemd_boot::start(&entries, &said)?;
    let (partition, place) = (partition.to_lowercase(), Path::new("/").join(place));
    let on = ("ID_PART_ENTRY_UUID", &*partition);
    let file = |named: &str| locate(layout, &place, on, named);
    Ok(Start { kernel: file(&kernel)?, initrd: file(&initrd)?, options })
}

/// The file below `folder` that a boot loader finds as `named` on the file system that `on` tells: a
/// property that udev knows, and its value.
fn locate(
    layout: &Layout,
    folder: &Path,
    on: (&str, &str),
    named: &str,
) -> Result<PathBuf, String> {
    let other = || format!("{named} is not known to lie in {}", folder.display());
    let mount = |path: &Path| {
        let found = mounts::holding(layout, path);
        found.map_err(|error| format!("the mount table cannot be read: {error}"))
    };
    let held = mount(folder)?;
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let rest = held.inside(folder).and_then(|inside| {
        Path::new(named).strip_prefix(inside).ok().filter(|rest| rest.components().all(plain))
    });
    let path = folder.join(rest.ok_or_else(other)?);
    if held.property(layout, on.0).as_deref() != Some(on.1) || mount(&path)? != held {
        return Err(other());
    }
    trusted_file(layout.root(), &path)
}

/// What the firmware is to do with the next boot itself, if there is something.
#[must_use]
pub fn asked_of_firmware(layout: &Layout) -> Option<String> {
    let read = |name: &str| {
        let folder = layout.at("sys/firmware/efi/efivars");
        fs::read(folder.join(format!("{name}-{FIRMWARE}"))).ok()
    };
    if read("BootNext").is_some() {
        return Some("the firmware has a choice for one boot (BootNext)".to_owned());
    }
    // Four bytes of attributes come first.
    let wishes = read("OsIndications")?;
    let any = wishes.get(4..).is_none_or(|bits| bits.iter().any(|bits| *bits != 0));
    any.then(|| "the firmware is asked for something in the next boot (OsIndications)".to_owned())
}

/// The release of the kernel that the next boot will start, where that can be told: systemd-boot with
/// plain entries, or GRUB with the menu that `grub-mkconfig` writes.
#[must_use]
pub fn next_kernel(layout: &Layout) -> Option<String> {
    match variable(layout, "LoaderInfo") {
        Some(loader) if loader.starts_with("systemd-boot") => of_systemd_boot(layout),
        Some(loader) if !loader.starts_with("GRUB") => None,
        _ => of_grub(layout),
    }
}

fn of_grub(layout: &Layout) -> Option<String> {
    let (menu, variables) = grub_files(layout)?;
    let path = grub::kernel(&menu, &variables)?;
    path.rsplit('/').next()?.strip_prefix("vmlinuz-").map(str::to_owned)
}

/// GRUB's menu, and its variables.
fn grub_files(layout: &Layout) -> Option<(String, String)> {
    // Where there are entries of the Boot Loader Specification, another loader may be in use.
    if PARTITIONS.iter().any(|place| layout.at(place).join("loader").exists()) {
        return None;
    }
    let read = |path: &str| fs::read_to_string(layout.at(path));
    let menu = read("boot/grub/grub.cfg").ok()?;
    // There need not be one.
    let variables = read("boot/grub/grubenv").unwrap_or_default();
    Some((menu, variables))
}

fn of_systemd_boot(layout: &Layout) -> Option<String> {
    let (entries, said) = systemd_boot_files(layout, place_of_systemd_boot(layout)?)?;
    systemd_boot::kernel(&entries, &said)
}

/// Where its partition is mounted. In two places, or with whole images among its entries, the order is not
/// in the files that are read here.
fn place_of_systemd_boot(layout: &Layout) -> Option<&'static str> {
    let has_entries = |place: &&str| layout.at(place).join("loader/entries").exists();
    let mut places = PARTITIONS.into_iter().filter(has_entries);
    let place = places.next().filter(|_| places.next().is_none())?;
    let mut images = fs::read_dir(layout.at(place).join("EFI/Linux")).into_iter().flatten();
    images.next().is_none().then_some(place)
}

/// Names and texts of its entries, and what else it goes by.
fn systemd_boot_files(layout: &Layout, place: &str) -> Option<(Vec<(String, String)>, Said)> {
    let folder = layout.at(place);
    let said = Said {
        config: fs::read_to_string(folder.join("loader/loader.conf")).unwrap_or_default(),
        once: variable(layout, "LoaderEntryOneShot"),
        default: variable(layout, "LoaderEntryDefault"),
        last: variable(layout, "LoaderEntryLastBooted"),
    };
    Some((entries(&folder.join("loader/entries"))?, said))
}

/// Names and texts of all entries; `None` when one cannot be read.
fn entries(folder: &Path) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        // The specification has it so, in lower case.
        if entry.path().extension().is_some_and(|ending| ending == "conf") {
            all.push((name, fs::read_to_string(entry.path()).ok()?));
        }
    }
    Some(all)
}

/// A variable of the firmware: four bytes, then text in UTF-16 that ends with a zero.
fn variable(layout: &Layout, name: &str) -> Option<String> {
    let folder = layout.at("sys/firmware/efi/efivars");
    let bytes = fs::read(folder.join(format!("{name}-{VENDOR}"))).ok()?;
    let units = bytes.get(4..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let text = String::from_utf16(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A system in a folder.
    struct System(tempfile::TempDir);

    impl System {
        fn new() -> (Self, Layout) {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::rooted(dir.path(), dir.path(), &dir.path().join("apt.conf"));
            (Self(dir), layout)
        }

        fn write(&self, path: &str, content: &[u8]) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }

        fn set(&self, name: &str, text: &str) {
            let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
            let bytes: Vec<u8> = [6, 0, 0, 0].into_iter().chain(units).collect();
            self.write(&format!("sys/firmware/efi/efivars/{name}-{VENDOR}"), &bytes);
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }
    }

    const MENU: &str = "set default=\"0\"\nmenuentry 'Debian' {\n\
                        \tsearch --fs-uuid --set=root ab-cd\n\
                        \tlinux /@/boot/vmlinuz-6.1 root=x ro\n\tinitrd /@/boot/initrd.img-6.1\n}\n";
    const TABLE: &str = "30 1 0:39 /@ / rw - btrfs /dev/sda2 rw\n";

    #[test]
    fn grubs_files_are_found_where_their_file_system_is_mounted() {
        let (system, layout) = System::new();
        let why = || next_start(&layout).unwrap_err();
        assert!(why().contains("cannot be read"));
        system.write("boot/grub/grub.cfg", MENU.as_bytes());
        assert!(why().contains("mount table"));
        system.write("proc/self/mountinfo", TABLE.as_bytes());
        system.write("sys/class/block/sda2/dev", b"8:2\n");
        assert!(why().ends_with("is not known to lie in /boot"));
        system.write("run/udev/data/b8:2", b"E:ID_FS_UUID=ab-cd\n");
        assert!(why().contains("cannot be looked at"));
        for file in ["boot/vmlinuz-6.1", "boot/initrd.img-6.1"] {
            system.write(file, b"");
        }
        let start = Start {
            kernel: system.path("boot/vmlinuz-6.1"),
            initrd: system.path("boot/initrd.img-6.1"),
            options: "BOOT_IMAGE=/@/boot/vmlinuz-6.1 root=x ro".to_owned(),
        };
        assert_eq!(next_start(&layout), Ok(start.clone()));
        // Another file system is mounted there; it is another subvolume; it is another disk.
        let over = format!("{TABLE}31 30 8:1 / /boot rw - ext4 /dev/sda1 rw\n");
        for (path, content) in [
            ("proc/self/mountinfo", &*over),
            ("proc/self/mountinfo", &TABLE.replace("/@ /", "/.lockkeeper/x/aside /")),
            ("run/udev/data/b8:2", "E:ID_FS_UUID=ef-01\n"),
        ] {
            let before = fs::read(system.path(path)).unwrap();
            system.write(path, content.as_bytes());
            assert!(why().ends_with("is not known to lie in /boot"), "{content}");
            system.write(path, &before);
        }
        system.write("boot/grub/grub.cfg", MENU.replace("/boot/vm", "/boot/../boot/vm").as_bytes());
        assert!(why().ends_with("is not known to lie in /boot"));
        system.write("boot/grub/grub.cfg", MENU.as_bytes());
        assert_eq!(next_start(&layout), Ok(start));
        let writable = fs::Permissions::from_mode(0o666);
        fs::set_permissions(system.path("boot/initrd.img-6.1"), writable).unwrap();
        assert!(why().contains("can be written by others"));
        system.write("boot/grub/custom.cfg", b"");
        assert!(why().contains("custom.cfg"));
    }

    #[test]
    fn systemd_boots_files_are_found_on_its_own_partition() {
        let (system, layout) = System::new();
        let why = || next_start(&layout).unwrap_err();
        system.set("LoaderInfo", "systemd-boot 257.9-1");
        assert!(why().contains("which partition"));
        system.set("LoaderDevicePartUUID", "AB-CD");
        assert!(why().contains("cannot be read"));
        let entry = "linux /token/6.1/linux\ninitrd /token/6.1/initrd\noptions root=x ro\n";
        system.write("efi/loader/entries/token-6.1.conf", entry.as_bytes());
        let table =
            "30 1 8:2 / / rw - ext4 /dev/sda2 rw\n31 30 8:1 / /efi rw - vfat /dev/sda1 rw\n";
        system.write("proc/self/mountinfo", table.as_bytes());
        for file in ["efi/token/6.1/linux", "efi/token/6.1/initrd"] {
            system.write(file, b"");
        }
        assert!(why().ends_with("is not known to lie in /efi"));
        system.write("run/udev/data/b8:1", b"E:ID_PART_ENTRY_UUID=ab-cd\n");
        let start = Start {
            kernel: system.path("efi/token/6.1/linux"),
            initrd: system.path("efi/token/6.1/initrd"),
            options: "root=x ro".to_owned(),
        };
        assert_eq!(next_start(&layout), Ok(start));
        system.set("LoaderInfo", "rEFInd");
        assert_eq!(why(), "rEFInd is not known");
    }

    #[test]
    fn what_the_firmware_is_asked_for_is_seen() {
        let (system, layout) = System::new();
        let path = |name: &str| format!("sys/firmware/efi/efivars/{name}-{FIRMWARE}");
        assert_eq!(asked_of_firmware(&layout), None);
        system.write(&path("OsIndications"), &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(asked_of_firmware(&layout), None);
        system.write(&path("OsIndications"), &[7, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        assert!(asked_of_firmware(&layout).unwrap().contains("OsIndications"));
        system.write(&path("BootNext"), &[7, 0, 0, 0, 1, 0]);
        assert!(asked_of_firmware(&layout).unwrap().contains("BootNext"));
    }

    #[test]
    fn the_loader_that_has_started_this_boot_is_asked() {
        let (system, layout) = System::new();
        let write = |path: &str, content: &[u8]| system.write(path, content);
        let set = |name: &str, text: &str| system.set(name, text);
        assert_eq!(next_kernel(&layout), None);
        let menu =
            "set default=\"0\"\nmenuentry 'Debian' {\n\tlinux /vmlinuz-6.1.0-1-amd64 ro\n}\n";
        write("boot/grub/grub.cfg", menu.as_bytes());
        assert_eq!(next_kernel(&layout).as_deref(), Some("6.1.0-1-amd64"));
        let entry = |release| format!("version {release}\nlinux /token/{release}/linux\n");
        write("boot/efi/loader/entries/token-6.1.0-2.conf", entry("6.1.0-2").as_bytes());
        write("boot/efi/loader/entries/token-6.1.0-3.conf", entry("6.1.0-3").as_bytes());
        assert_eq!(next_kernel(&layout), None, "which of the two loaders is not known");
        set("LoaderInfo", "systemd-boot 252.39-1~deb12u1");
        assert_eq!(next_kernel(&layout).as_deref(), Some("6.1.0-3"));
        set("LoaderEntryOneShot", "token-6.1.0-2.conf");
        assert_eq!(next_kernel(&layout).as_deref(), Some("6.1.0-2"));
        write("boot/efi/EFI/Linux/image.efi", b"");
        assert_eq!(next_kernel(&layout), None);
        set("LoaderInfo", "rEFInd");
        assert_eq!(next_kernel(&layout), None);
    }
}
