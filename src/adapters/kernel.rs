//! Which kernel runs, and would the next boot run a newer one?

use std::{cmp::Ordering, fs, os::unix::fs::MetadataExt};

use crate::{
    adapters::{
        apt::{Layout, installed, installed::Installed, version},
        boot_loader, clock,
    },
    core::{fast, health::Evidence},
};

/// The running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// `uname -r`.
    pub release: String,
    /// Version of the package it came from, if it says.
    pub package_version: Option<String>,
    /// When this boot began, in seconds of the wall clock.
    pub booted: i64,
}

/// A kernel that is installed, with its file in /boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The release it will call itself.
    pub release: String,
    /// Version of its package.
    pub package_version: String,
    /// When its file was put there, in seconds of the wall clock.
    pub placed: i64,
}

/// Is a kernel installed that is newer than the running one? Containers run their host's: `No`.
pub async fn evidence(layout: &Layout) -> Evidence {
    if is_container(layout) {
        return Evidence::No;
    }
    match installed::query(layout).await {
        Ok(packages) => {
            let next = boot_loader::next_kernel(layout);
            judge(&running(), &in_boot(layout, &packages), next.as_deref())
        }
        Err(error) => Evidence::Unknown { why: format!("cannot list the kernels: {error}") },
    }
}

/// What can be said of the running kernel, given the installed ones. `next`: the release that the boot
/// loader will start, if that is known; then no other counts.
///
/// Only kernels that came *since this boot* count: one that was there before has been passed over by
/// the boot loader, or by somebody at its menu; to reboot for it could go on for ever.
#[must_use]
pub fn judge(running: &Running, installed: &[Kernel], next: Option<&str>) -> Evidence {
    if let Some(next) = installed.iter().find(|kernel| Some(kernel.release.as_str()) == next) {
        return if next.placed < running.booted { Evidence::No } else { compare(running, next) };
    }
    if installed.iter().all(|kernel| kernel.placed < running.booted) {
        return Evidence::No;
    }
    let own = flavour(&running.release);
    let same = installed.iter().filter(|kernel| own.is_some() && flavour(&kernel.release) == own);
    let Some(newest) = same.max_by(|a, b| version::compare(&a.release, &b.release)) else {
        let why =
            format!("kernels were installed, none of the running one's kind ({})", running.release);
        return Evidence::Unknown { why };
    };
    if newest.placed < running.booted {
        return Evidence::No;
    }
    compare(running, newest)
}

/// One that came since this boot, against the running one.
fn compare(running: &Running, next: &Kernel) -> Evidence {
    match version::compare(&next.release, &running.release) {
        Ordering::Greater => yes(fast::kernel_waits(&next.release, None, &running.release)),
        Ordering::Equal => rebuilt(running, next),
        Ordering::Less => Evidence::No,
    }
}

/// The same release, put there since this boot: another build of it, or the same again?
fn rebuilt(running: &Running, newest: &Kernel) -> Evidence {
    match &running.package_version {
        Some(version) if *version == newest.package_version => Evidence::No,
        Some(version) => {
            yes(fast::kernel_waits(&newest.release, Some(&newest.package_version), version))
        }
        None => Evidence::Unknown {
            why: format!(
                "kernel {} was installed anew; which build runs is not known",
                newest.release
            ),
        },
    }
}

fn yes(reason: String) -> Evidence {
    Evidence::Yes { reasons: vec![reason] }
}

/// `cloud-amd64` of `6.1.0-56-cloud-amd64`: what tells kernels for one machine apart from others.
fn flavour(release: &str) -> Option<&str> {
    let (version, mut rest) = release.split_once('-')?;
    if !version.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // The ABI number, or rc1.
    while let Some((word, more)) = rest.split_once('-') {
        let digits = word.strip_prefix("rc").unwrap_or(word);
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        rest = more;
    }
    (!rest.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
}

/// The release in `linux-image-RELEASE`, `linux-image-unsigned-RELEASE`,
/// `linux-image-RELEASE-unsigned`; meta packages have none.
fn release_of(package: &str) -> Option<&str> {
    let rest = package.strip_prefix("linux-image-")?;
    let rest = rest.strip_prefix("unsigned-").unwrap_or(rest);
    let rest = rest.strip_suffix("-unsigned").unwrap_or(rest);
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some(rest)
}

/// The package version in `uname -v` (Debian: `… Debian 6.1.192-2 (2026-11-16)`) or in
/// `/proc/version_signature` (Ubuntu: `Ubuntu 6.8.0-51.52-generic 6.8.12`).
fn package_version(uname_version: &str, signature: &str, release: &str) -> Option<String> {
    if let Some(rest) = signature.strip_prefix("Ubuntu ") {
        let word = rest.split(' ').next()?;
        let flavour = flavour(release)?;
        return word.strip_suffix(flavour)?.strip_suffix('-').map(str::to_owned);
    }
    let (_, rest) = uname_version.split_once(" Debian ")?;
    rest.split(' ').next().map(str::to_owned)
}

fn running() -> Running {
    let uname = rustix::system::uname();
    let text = |word: &std::ffi::CStr| word.to_string_lossy().into_owned();
    let release = text(uname.release());
    let signature = fs::read_to_string("/proc/version_signature").unwrap_or_default();
    let package_version = package_version(&text(uname.version()), &signature, &release);
    let up = i64::try_from(clock::since_boot().as_secs()).unwrap_or(0);
    Running { release, package_version, booted: clock::wall().as_second() - up }
}

/// Installed kernels that have their file in /boot.
fn in_boot(layout: &Layout, packages: &[Installed]) -> Vec<Kernel> {
    let kernel = |package: &Installed| {
        let release = release_of(&package.name).filter(|_| package.is_complete())?;
        let file = fs::metadata(layout.at("boot").join(format!("vmlinuz-{release}"))).ok()?;
        Some(Kernel {
            release: release.to_owned(),
            package_version: package.version.clone(),
            placed: file.ctime(),
        })
    };
    packages.iter().filter_map(kernel).collect()
}

/// `uname -r`.
#[must_use]
pub fn running_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Is this the package of the kernel of that release, or of its modules?
#[must_use]
pub fn is_part_of(package: &str, release: &str) -> bool {
    let parts = ["linux-image-", "linux-image-unsigned-", "linux-modules-", "linux-modules-extra-"];
    parts.iter().any(|part| package.strip_prefix(part) == Some(release))
}

/// Whether this system is a container: kernel and microcode are its host's.
#[must_use]
pub fn is_container(layout: &Layout) -> bool {
    ["run/systemd/container", "run/host/container-manager", "run/.containerenv", ".dockerenv"]
        .iter()
        .any(|path| layout.at(path).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real system of one release says of itself.
    struct Captured {
        running: Running,
        packages: Vec<Installed>,
    }

    const BOOTED: i64 = 1000;

    /// `uname`: `uname -r`, `uname -v`, and `/proc/version_signature`, a line each.
    fn captured(uname: &str, packages: &str) -> Captured {
        let mut lines = uname.lines();
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let (release, version, signature) = (next(), next(), next());
        let package_version = package_version(&version, &signature, &release);
        Captured {
            running: Running { release, package_version, booted: BOOTED },
            packages: installed::parse(packages).unwrap(),
        }
    }

    macro_rules! release {
        ($name:literal) => {
            captured(
                include_str!(concat!("../../tests/fixtures/kernel/", $name, "/uname.txt")),
                include_str!(concat!("../../tests/fixtures/kernel/", $name, "/packages.txt")),
            )
        };
    }

    /// All kernels of the packages, put in /boot at `placed`.
    fn kernels(captured: &Captured, placed: i64) -> Vec<Kernel> {
        let kernel = |p: &Installed| {
            let release =
                release_of(&p.name).filter(|r| p.is_complete() && !r.ends_with("-dbg"))?;
            let package_version = p.version.clone();
            Some(Kernel { release: release.to_owned(), package_version, placed })
        };
        captured.packages.iter().filter_map(kernel).collect()
    }

    fn reasons(evidence: Evidence) -> Vec<String> {
        match evidence {
            Evidence::Yes { reasons } => reasons,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_release_names_its_running_package_version() {
        for (captured, expected) in [
            (release!("debian-12"), "6.1.187-1"),
            (release!("debian-13"), "6.12.117-1"),
            (release!("ubuntu-24.04"), "6.8.0-49.49"),
        ] {
            assert_eq!(captured.running.package_version.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_newer_kernel_of_the_running_flavour_is_a_reason_on_each_release() {
        for (captured, expected) in [
            (release!("debian-12"), "6.1.0-56-cloud-amd64"),
            (release!("ubuntu-24.04"), "6.8.0-51-generic"),
        ] {
            let found = judge(&captured.running, &kernels(&captured, BOOTED + 1), None);
            let running = &captured.running.release;
            let expected = format!("kernel {expected} is installed, {running} runs");
            assert_eq!(reasons(found), [expected]);
        }
    }

    #[test]
    fn the_newest_kernel_running_is_no_reason() {
        let captured = release!("debian-13");
        assert_eq!(judge(&captured.running, &kernels(&captured, BOOTED + 1), None), Evidence::No);
    }

    #[test]
    fn the_same_release_in_another_build_is_a_reason() {
        let mut captured = release!("debian-13");
        captured.running.package_version = Some("6.12.116-1".into());
        let found = judge(&captured.running, &kernels(&captured, BOOTED + 1), None);
        let expected = "kernel 6.12.117+deb13-amd64 is installed as 6.12.117-1, 6.12.116-1 runs";
        assert_eq!(reasons(found), [expected]);
        captured.running.package_version = None;
        let found = judge(&captured.running, &kernels(&captured, BOOTED + 1), None);
        assert!(matches!(found, Evidence::Unknown { .. }), "{found:?}");
    }

    #[test]
    fn a_kernel_the_boot_loader_has_passed_over_is_no_reason_for_another_reboot() {
        let captured = release!("debian-12");
        assert_eq!(judge(&captured.running, &kernels(&captured, BOOTED - 1), None), Evidence::No);
    }

    #[test]
    fn only_the_kernel_that_the_boot_loader_will_start_counts_where_that_is_known() {
        let captured = release!("debian-12");
        let at = |placed, next| judge(&captured.running, &kernels(&captured, placed), Some(next));
        let (running, newer, other) =
            (captured.running.release.as_str(), "6.1.0-56-cloud-amd64", "6.1.0-58-amd64");
        for next in [newer, other] {
            let expected = format!("kernel {next} is installed, {running} runs");
            assert_eq!(reasons(at(BOOTED + 1, next)), [expected]);
            assert_eq!(at(BOOTED - 1, next), Evidence::No);
        }
        assert_eq!(at(BOOTED + 1, running), Evidence::No, "the newer one would not be started");
        // One that no package has brought says nothing of the others.
        let expected = format!("kernel {newer} is installed, {running} runs");
        assert_eq!(reasons(at(BOOTED + 1, "6.1.0-custom")), [expected]);
    }

    #[test]
    fn new_kernels_of_another_kind_leave_it_unknown_and_none_at_all_does_not() {
        let mut captured = release!("debian-12");
        captured.running.release = "6.18.44-custom".into();
        let found = judge(&captured.running, &kernels(&captured, BOOTED + 1), None);
        assert!(matches!(found, Evidence::Unknown { .. }), "{found:?}");
        assert_eq!(judge(&captured.running, &[], None), Evidence::No);
    }

    #[test]
    fn flavours_are_what_follows_version_and_abi() {
        for (release, expected) in [
            ("6.1.0-56-cloud-amd64", Some("cloud-amd64")),
            ("6.1.0-18-rt-amd64", Some("rt-amd64")),
            ("6.12.117+deb13-amd64", Some("amd64")),
            ("6.12.9+bpo-amd64", Some("amd64")),
            ("6.10-rc3-amd64", Some("amd64")),
            ("5.15.0-1050-aws", Some("aws")),
            ("6.12.25+rpt-rpi-v8", Some("rpi-v8")),
            ("6.1.0-56", None),
            ("6.18.44", None),
            ("generic", None),
        ] {
            assert_eq!(flavour(release), expected, "{release}");
        }
    }

    #[test]
    fn only_packages_that_carry_a_kernel_have_a_release() {
        for (package, expected) in [
            ("linux-image-6.1.0-56-amd64", Some("6.1.0-56-amd64")),
            ("linux-image-6.1.0-56-amd64-unsigned", Some("6.1.0-56-amd64")),
            ("linux-image-unsigned-6.8.0-51-generic", Some("6.8.0-51-generic")),
            ("linux-image-amd64", None),
            ("linux-image-generic-hwe-24.04", None),
            ("linux-headers-6.1.0-56-amd64", None),
        ] {
            assert_eq!(release_of(package), expected, "{package}");
        }
    }
}
