//! `RebootEvidence`: has anything asked for a reboot, or is a newer kernel or microcode installed than
//! runs?

use std::{collections::BTreeSet, fs, io, path::Path};

use crate::{
    adapters::{apt::Layout, kernel, microcode},
    core::health::Evidence,
};

/// Looks at Debian's flag file, and compares running kernel and microcode with the installed ones.
pub async fn reboot_evidence(layout: &Layout) -> Evidence {
    let flag = flag(&layout.at("run"));
    let kernel = kernel::evidence(layout).await;
    combine([flag, kernel, microcode::evidence(layout)])
}

/// One good reason is enough; without one, all must have been able to look.
pub fn combine(answers: impl IntoIterator<Item = Evidence>) -> Evidence {
    let (mut found, mut unknown) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Evidence::Yes { reasons } => found.extend(reasons),
            Evidence::No => {}
            Evidence::Unknown { why } => unknown = unknown.or(Some(why)),
        }
    }
    match (found.is_empty(), unknown) {
        (false, _) => Evidence::Yes { reasons: found },
        (true, Some(why)) => Evidence::Unknown { why },
        (true, None) => Evidence::No,
    }
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

    #[test]
    fn a_reason_outweighs_what_is_unknown_and_unknown_outweighs_no() {
        let unknown = || Evidence::Unknown { why: "x".into() };
        assert_eq!(combine([unknown(), yes(&["a"])]), yes(&["a"]));
        assert_eq!(combine([yes(&["a"]), yes(&["b"])]), yes(&["a", "b"]));
        assert_eq!(combine([Evidence::No, unknown()]), unknown());
        assert_eq!(combine([Evidence::No, Evidence::No]), Evidence::No);
    }
}
