//! Which kernel the boot loader will start next, read from its own files. Nothing of it is run, and
//! what is not understood is not guessed.

use std::{fs, path::Path};

use self::systemd_boot::Said;
use crate::adapters::packages::Layout;

mod grub;
mod systemd_boot;

/// Where loaders and systems leave each other notes (Boot Loader Interface).
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Where the partition of the firmware, or that of the loader, may be mounted.
const PARTITIONS: [&str; 3] = ["efi", "boot", "boot/efi"];

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
    // Where there are entries of the Boot Loader Specification, another loader may be in use.
    if PARTITIONS.iter().any(|place| layout.at(place).join("loader").exists()) {
        return None;
    }
    let read = |path: &str| fs::read_to_string(layout.at(path));
    let menu = read("boot/grub/grub.cfg").ok()?;
    // There need not be one.
    let variables = read("boot/grub/grubenv").unwrap_or_default();
    let path = grub::kernel(&menu, &variables)?;
    path.rsplit('/').next()?.strip_prefix("vmlinuz-").map(str::to_owned)
}

fn of_systemd_boot(layout: &Layout) -> Option<String> {
    let mut places = PARTITIONS
        .iter()
        .map(|place| layout.at(place))
        .filter(|p| p.join("loader/entries").exists());
    let place = places.next()?;
    // In two places, or with whole images among them, the order is not in these files.
    let images = fs::read_dir(place.join("EFI/Linux")).is_ok_and(|mut all| all.next().is_some());
    if images || places.next().is_some() {
        return None;
    }
    let said = Said {
        config: fs::read_to_string(place.join("loader/loader.conf")).unwrap_or_default(),
        once: variable(layout, "LoaderEntryOneShot"),
        default: variable(layout, "LoaderEntryDefault"),
        last: variable(layout, "LoaderEntryLastBooted"),
    };
    systemd_boot::kernel(&entries(&place.join("loader/entries"))?, &said)
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
    use super::*;

    #[test]
    fn the_loader_that_has_started_this_boot_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::rooted(dir.path(), dir.path(), &dir.path().join("apt.conf"));
        let write = |path: &str, content: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let set = |name: &str, text: &str| {
            let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
            let bytes: Vec<u8> = [6, 0, 0, 0].into_iter().chain(units).collect();
            write(&format!("sys/firmware/efi/efivars/{name}-{VENDOR}"), &bytes);
        };
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
