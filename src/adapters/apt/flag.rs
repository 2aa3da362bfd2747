//! Debian's flag file: has a package asked for a reboot?

use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt, path::Path};

use super::Layout;
use crate::core::{fast, health::Evidence};

/// `/run/reboot-required`, and who asks in it.
#[must_use]
pub fn evidence(layout: &Layout) -> Evidence {
    flag(&layout.at("run"))
}

/// `/run/reboot-required`, and the packages that ask for it (a name may be there several times).
fn flag(run: &Path) -> Evidence {
    match run.join("reboot-required").try_exists() {
        Ok(false) => return Evidence::No,
        Ok(true) => {}
        Err(error) => return unknown(&run.join("reboot-required"), &error),
    }
    let packages = match fs::read_to_string(run.join("reboot-required.pkgs")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return unknown(&run.join("reboot-required.pkgs"), &error),
    };
    Evidence::Yes { reasons: requested(&packages) }
}

/// The flag as it lies there: what is written later, even with the same words, is another one. `None`
/// where there is none, or where it cannot be read.
#[must_use]
pub fn fingerprint(layout: &Layout) -> Option<String> {
    fingerprint_in(&layout.at("run"))
}

fn fingerprint_in(run: &Path) -> Option<String> {
    let (flag, packages) = (run.join("reboot-required"), run.join("reboot-required.pkgs"));
    let (of_flag, of_packages) = (fs::metadata(flag).ok()?, fs::metadata(&packages).ok()?);
    let changed = |m: &fs::Metadata| format!("{}.{:09}", m.ctime(), m.ctime_nsec());
    let text = fs::read_to_string(packages).ok()?;
    Some(format!("{} {}\n{text}", changed(&of_flag), changed(&of_packages)))
}

fn unknown(path: &Path, error: &io::Error) -> Evidence {
    Evidence::Unknown { why: format!("cannot read {}: {error}", path.display()) }
}

fn requested(packages: &str) -> Vec<String> {
    let names: BTreeSet<&str> =
        packages.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return vec!["/run/reboot-required is there".to_owned()];
    }
    names.into_iter().map(fast::package_asks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(reasons: &[&str]) -> Evidence {
        Evidence::Yes { reasons: reasons.iter().map(|r| (*r).to_owned()).collect() }
    }

    #[test]
    fn packages_that_ask_are_named_once_in_order() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(flag(dir.path()), Evidence::No);
        fs::write(dir.path().join("reboot-required"), "*** System restart required ***\n").unwrap();
        assert_eq!(flag(dir.path()), yes(&["/run/reboot-required is there"]));
        let packages = "linux-image-6.1.0-56-amd64\ndbus\n\nlinux-image-6.1.0-56-amd64\n";
        fs::write(dir.path().join("reboot-required.pkgs"), packages).unwrap();
        let expected = ["dbus asks for a reboot", "linux-image-6.1.0-56-amd64 asks for a reboot"];
        assert_eq!(flag(dir.path()), yes(&expected));
    }

    #[test]
    fn a_flag_that_is_written_again_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(fingerprint_in(dir.path()), None);
        write("reboot-required", "");
        assert_eq!(fingerprint_in(dir.path()), None);
        write("reboot-required.pkgs", "dbus\n");
        let first = fingerprint_in(dir.path());
        assert!(first.is_some() && first == fingerprint_in(dir.path()));
        write("reboot-required.pkgs", "dbus\ndbus\n");
        assert_ne!(fingerprint_in(dir.path()), first);
    }

    #[test]
    fn a_flag_that_cannot_be_read_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("reboot-required"), "").unwrap();
        fs::create_dir(dir.path().join("reboot-required.pkgs")).unwrap();
        assert!(matches!(flag(dir.path()), Evidence::Unknown { .. }));
    }
}
