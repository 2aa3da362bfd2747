//! What the next boot of the machine reads: kernels, their initramfs, the boot loader's files.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Directories below `/boot` that are looked into, at most this deep.
const DEPTH: u32 = 5;

/// One such file below `boot` that was changed after `since` (seconds since the epoch), if there is one.
///
/// # Errors
/// When not everything there can be seen.
pub fn changed_since(boot: &Path, since: i64) -> io::Result<Option<String>> {
    look(boot, since, DEPTH, starts_something)
}

/// The same, of files that only firmware and boot loader make use of.
///
/// # Errors
/// When not everything there can be seen.
pub fn loader_changed_since(boot: &Path, since: i64) -> io::Result<Option<String>> {
    look(boot, since, DEPTH, is_of_the_loader)
}

fn look(
    directory: &Path,
    since: i64,
    depth: u32,
    counts: fn(&str) -> bool,
) -> io::Result<Option<String>> {
    if !directory.try_exists()? {
        return Ok(None);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        let found = if about.is_dir() && depth > 0 {
            look(&entry.path(), since, depth - 1, counts)?
        } else {
            let name = entry.file_name();
            // A package's files have its own dates: when they came here is the time of the change.
            let newer = about.ctime() >= since && counts(&name.to_string_lossy());
            newer.then(|| entry.path().display().to_string())
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Not what each boot writes anew: GRUB's environment, systemd-boot's random seed.
fn starts_something(name: &str) -> bool {
    let starts = ["vmlinu", "initrd", "initramfs", "linux"];
    let ends = [".efi", ".EFI", ".img", ".cfg", ".conf", ".mod"];
    starts.iter().any(|start| name.starts_with(start)) || ends.iter().any(|end| name.ends_with(end))
}

/// The loader itself, or a capsule for the firmware; not its menu, nor what the menu starts.
fn is_of_the_loader(name: &str) -> bool {
    let starts = ["vmlinu", "initrd", "initramfs", "linux"];
    let ends = [".efi", ".img", ".mod", ".cap"];
    let name = name.to_ascii_lowercase();
    ends.iter().any(|end| name.ends_with(end))
        && !starts.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_kernel_or_loader_is_seen_and_what_each_boot_writes_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let boot = dir.path().join("boot");
        assert_eq!(changed_since(&boot, 0).unwrap(), None);
        fs::create_dir_all(boot.join("grub")).unwrap();
        fs::write(boot.join("grub/grubenv"), "").unwrap();
        assert_eq!(changed_since(&boot, 0).unwrap(), None);
        for name in
            ["vmlinuz-6.1.0-56-amd64", "initrd.img-6.1", "grub/grub.cfg", "EFI/x/grubx64.efi"]
        {
            let path = boot.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            let ctime = fs::metadata(&path).unwrap().ctime();
            let seen = changed_since(&boot, ctime).unwrap();
            assert_eq!(seen.as_deref(), path.to_str());
            assert_eq!(changed_since(&boot, ctime + 1).unwrap(), None);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_new_menu_or_kernel_is_nothing_of_the_loader() {
        for (name, expected) in [
            ("vmlinuz-6.1.0-56-amd64", false),
            ("initrd.img", false),
            ("initramfs-6.9.img", false),
            ("grub.cfg", false),
            ("token-6.1.conf", false),
            ("core.img", true),
            ("normal.mod", true),
            ("BOOTX64.EFI", true),
            ("fwupd-0123.cap", true),
        ] {
            assert_eq!(is_of_the_loader(name), expected, "{name}");
        }
    }
}
