//! Debian's flag file: has a package asked for a reboot?

use std::{collections::BTreeSet, fs, io, path::Path};

use super::Layout;
use crate::core::health::Evidence;

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

fn unknown(path: &Path, error: &io::Error) -> Evidence {
    Evidence::Unknown { why: format!("cannot read {}: {error}", path.display()) }
}

fn requested(packages: &str) -> Vec<String> {
    let names: BTreeSet<&str> =
        packages.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return vec!["/run/reboot-required is there".to_owned()];
    }
    names.into_iter().map(|name| format!("{name} asks for a reboot")).collect()
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
    fn a_flag_that_cannot_be_read_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("reboot-required"), "").unwrap();
        fs::create_dir(dir.path().join("reboot-required.pkgs")).unwrap();
        assert!(matches!(flag(dir.path()), Evidence::Unknown { .. }));
    }
}
