//! How a reboot is made: of the whole machine, of kernel and userspace without firmware and boot loader
//! (kexec), or of all that runs on the kernel (a soft-reboot).

use serde::{Deserialize, Serialize};

use super::{health::Evidence, stale, time::BootId, verdict::Verdict};

/// How a package's wish for a reboot ends, after its name.
const PACKAGE_ASKS: &str = " asks for a reboot";
/// How the sentence of a kernel begins.
const KERNEL_WAITS: &str = "kernel ";

/// Packages that ask for a reboot because of programs that run, and of nothing below them. What is
/// not here may be a kernel, microcode, firmware, a boot loader, or a part of the initramfs.
const USERSPACE: [&str; 18] = [
    "dbus",
    "dbus-broker",
    "dbus-daemon",
    "libc6",
    "libdbus-1-3",
    "libgnutls30",
    "libgnutls30t64",
    "libpam-systemd",
    "libpam0g",
    "libssl1.1",
    "libssl3",
    "libssl3t64",
    "libsystemd0",
    "network-manager",
    "openssl",
    "polkitd",
    "systemd",
    "systemd-sysv",
];

/// Packages that ask for a reboot because of the kernel: by name, or by how the name begins.
const KERNEL: [&str; 1] = ["linux-base"];
const KERNELS: [&str; 2] = ["linux-image-", "linux-modules-"];

/// Which short ways the admin allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fast {
    /// None: the machine is rebooted. The default.
    Never,
    /// A soft-reboot, where it is enough.
    SoftReboot,
    /// The same, and where it is not: a reboot by kexec, where that is.
    Kexec,
}

impl Fast {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Never, Self::SoftReboot, Self::Kexec];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::SoftReboot => "soft-reboot",
            Self::Kexec => "kexec",
        }
    }
}

/// How a reboot is made, and why so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The whole machine, firmware and kernel as well.
    Full {
        /// Why no less is enough.
        why: String,
    },
    /// Kernel and userspace: the running kernel starts another one.
    Kexec {
        /// The file that is started.
        kernel: String,
    },
    /// Userspace alone.
    Soft,
}

impl Way {
    /// What people should know of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Full { why } => {
                Verdict::new("reboot-full", format!("the reboot is to be a full one: {why}"))
            }
            Self::Kexec { kernel } => Verdict::new(
                "reboot-kexec",
                format!(
                    "the reboot is to be one by kexec, of {kernel}: nothing below the kernel asks for it"
                ),
            ),
            Self::Soft => Verdict::new(
                "reboot-soft",
                "the reboot is to be a soft-reboot: nothing below userspace asks for it",
            ),
        }
    }
}

/// What is known of a reboot that is wanted.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// What packages, and the root file system, ask for.
    pub packages: &'a Evidence,
    /// What services ask for that use old files.
    pub services: &'a Evidence,
    /// The reasons of the last soft-reboot of this kernel, where it has not come or did not help.
    pub tried: &'a [String],
    /// An admin asks for it.
    pub by_hand: bool,
}

/// The sentence of a package that asks for a reboot.
#[must_use]
pub fn package_asks(name: &str) -> String {
    format!("{name}{PACKAGE_ASKS}")
}

/// Whether a reason for a reboot is [`package_asks`] of some package.
#[must_use]
pub fn is_of_package(reason: &str) -> bool {
    reason.ends_with(PACKAGE_ASKS)
}

/// The way of a reboot, by what is known. `obstacle`: what of the machine is against a soft-reboot.
#[must_use]
pub fn way(known: &Known<'_>, obstacle: Option<String>) -> Way {
    match full(known).or(obstacle) {
        Some(why) => Way::Full { why },
        None => Way::Soft,
    }
}

/// What becomes of a reboot that would be a full one, where kexec is allowed. `next`: the file of the
/// kernel that would be started, or what is against it.
#[must_use]
pub fn by_kexec(way: Way, known: &Known<'_>, next: Result<String, String>) -> Way {
    if way == Way::Soft {
        return way;
    }
    let beyond = |reason: &str| !of_userspace(reason) && !of_kernel(reason);
    match unclear(known)
        .or_else(|| other(known, beyond, "the firmware may have a part in it"))
        .map_or(next, Err)
    {
        Ok(kernel) => Way::Kexec { kernel },
        Err(why) => Way::Full { why },
    }
}

/// Why nothing less than a full reboot is enough.
fn full(known: &Known<'_>) -> Option<String> {
    let beyond = |reason: &str| !of_userspace(reason);
    let why = unclear(known).or_else(|| other(known, beyond, "userspace alone may not be enough"));
    why.or_else(|| {
        (known.tried == reasons(known))
            .then(|| "a soft-reboot was asked for because of the same, and did not help".to_owned())
    })
}

/// What keeps from judging by reasons at all.
fn unclear(known: &Known<'_>) -> Option<String> {
    if known.by_hand {
        return Some("an admin asks for it".to_owned());
    }
    if let Evidence::Unknown { why } = known.packages {
        return Some(format!("what asks for it is not known: {why}"));
    }
    reasons(known).is_empty().then(|| "nothing is known that asks for it".to_owned())
}

/// The first reason that lies beyond a short way.
fn other(known: &Known<'_>, beyond: impl Fn(&str) -> bool, why: &str) -> Option<String> {
    let reasons = reasons(known);
    let reason = reasons.iter().find(|reason| beyond(reason))?;
    Some(format!("{why}: {reason}"))
}

/// All that asks for the reboot.
#[must_use]
pub fn reasons(known: &Known<'_>) -> Vec<String> {
    let of = |evidence: &Evidence| match evidence {
        Evidence::Yes { reasons } => reasons.clone(),
        Evidence::No | Evidence::Unknown { .. } => Vec::new(),
    };
    [of(known.packages), of(known.services)].concat()
}

/// The sentence of a kernel that the next boot starts. `version`: where it is the running release, of
/// another package.
#[must_use]
pub fn kernel_waits(next: &str, version: Option<&str>, running: &str) -> String {
    match version {
        None => format!("{KERNEL_WAITS}{next} is installed, {running} runs"),
        Some(version) => format!("{KERNEL_WAITS}{next} is installed as {version}, {running} runs"),
    }
}

fn of_kernel(reason: &str) -> bool {
    let name = reason.strip_suffix(PACKAGE_ASKS);
    name.is_some_and(|name| {
        KERNEL.contains(&name) || KERNELS.iter().any(|start| name.starts_with(start))
    }) || (reason.starts_with(KERNEL_WAITS) && reason.ends_with(" runs"))
}

fn of_userspace(reason: &str) -> bool {
    reason.strip_suffix(PACKAGE_ASKS).is_some_and(|name| USERSPACE.contains(&name))
        || stale::is_reason(reason)
}

/// The id of a boot, of which `soft_reboots` have started userspace anew.
#[must_use]
pub fn boot(kernel: &str, soft_reboots: u64) -> BootId {
    BootId(if soft_reboots == 0 { kernel.to_owned() } else { format!("{kernel}+{soft_reboots}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(reasons: &[&str]) -> Evidence {
        Evidence::Yes { reasons: reasons.iter().map(|r| (*r).to_owned()).collect() }
    }

    fn decided(packages: &Evidence, services: &Evidence, tried: &[&str], by_hand: bool) -> Way {
        let tried: Vec<String> = tried.iter().map(|r| (*r).to_owned()).collect();
        way(&Known { packages, services, tried: &tried, by_hand }, None)
    }

    fn why(way: Way) -> String {
        match way {
            Way::Full { why } => why,
            short => panic!("{short:?}"),
        }
    }

    const STALE: &str = "dbus.service still uses files that were replaced";
    const DBUS: &str = "dbus asks for a reboot";

    #[test]
    fn a_soft_reboot_is_enough_only_where_every_reason_is_userspaces() {
        let no = Evidence::No;
        assert_eq!(decided(&yes(&[DBUS, "libc6 asks for a reboot"]), &no, &[], false), Way::Soft);
        assert_eq!(decided(&no, &yes(&[STALE]), &[], false), Way::Soft);
        assert_eq!(decided(&yes(&[DBUS]), &yes(&[STALE]), &[], false), Way::Soft);
        for other in [
            "linux-image-6.1.0-56-amd64 asks for a reboot",
            "linux-base asks for a reboot",
            "intel-microcode asks for a reboot",
            "amd64-microcode asks for a reboot",
            "initramfs-tools asks for a reboot",
            "grub-efi-amd64-signed asks for a reboot",
            "libc6-unheard-of asks for a reboot",
            "/run/reboot-required is there",
            "glibc 2.39-1 was installed since this boot",
            "the root from before plan 0123456789ab waits for the next boot",
            "x still uses files that were replaced asks for a reboot",
        ] {
            let said = why(decided(&yes(&[DBUS, other]), &yes(&[STALE]), &[], false));
            assert!(said.ends_with(other), "{said}");
        }
    }

    #[test]
    fn what_is_not_known_or_asked_by_hand_or_was_in_vain_gets_a_full_reboot() {
        let no = Evidence::No;
        let unknown = Evidence::Unknown { why: "x".into() };
        assert!(why(decided(&unknown, &yes(&[STALE]), &[], false)).ends_with(": x"));
        assert!(why(decided(&no, &no, &[], false)).starts_with("nothing"));
        assert!(why(decided(&no, &unknown, &[], false)).starts_with("nothing"));
        assert!(why(decided(&no, &yes(&[STALE]), &[], true)).starts_with("an admin"));
        assert!(why(decided(&no, &yes(&[STALE]), &[STALE], false)).ends_with("did not help"));
        assert_eq!(decided(&no, &yes(&[STALE]), &[DBUS], false), Way::Soft);
        let known = Known { packages: &no, services: &yes(&[STALE]), tried: &[], by_hand: false };
        assert_eq!(why(way(&known, Some("too old".into()))), "too old");
    }

    const NEXT: Result<&str, &str> = Ok("/boot/vmlinuz-6.1.0-56-amd64");

    #[test]
    fn kexec_is_enough_where_every_reason_is_the_kernels_or_userspaces() {
        let decided = |reasons: &[&str], by_hand, next: Result<&str, &str>| {
            let (packages, services) = (yes(reasons), Evidence::No);
            let known = Known { packages: &packages, services: &services, tried: &[], by_hand };
            let next = next.map(str::to_owned).map_err(str::to_owned);
            by_kexec(way(&known, None), &known, next)
        };
        let (kernel, build) = (
            kernel_waits("6.1.0-56-amd64", None, "6.1.0-54-amd64"),
            kernel_waits("6.1.0-56-amd64", Some("6.1.2-1"), "6.1.1-1"),
        );
        for reasons in [
            vec!["linux-image-6.1.0-56-amd64 asks for a reboot", DBUS],
            vec!["linux-base asks for a reboot"],
            vec![&*kernel, "linux-modules-6.8.0-51-generic asks for a reboot"],
            vec![&*build],
        ] {
            let way = decided(&reasons, false, NEXT);
            assert!(matches!(&way, Way::Kexec { kernel } if kernel == NEXT.unwrap()), "{way:?}");
            assert_eq!(way.verdict().code, "reboot-kexec");
            assert_eq!(why(decided(&reasons, false, Err("no initrd"))), "no initrd");
            assert!(why(decided(&reasons, true, NEXT)).starts_with("an admin"));
        }
        for reason in [
            "intel-microcode asks for a reboot",
            "microcode 0x2c is installed, 0x2a runs",
            "grub-efi-amd64-signed asks for a reboot",
            "linux-firmware asks for a reboot",
            "/run/reboot-required is there",
            "kernel-core 6.9-1 was installed since this boot",
        ] {
            let said = why(decided(&[&kernel, reason], false, NEXT));
            assert_eq!(said, format!("the firmware may have a part in it: {reason}"));
        }
        // What is enough without a kernel stays so; what did not help gets one.
        assert_eq!(decided(&[DBUS], false, NEXT), Way::Soft);
        let (packages, no, tried) = (yes(&[DBUS]), Evidence::No, [DBUS.to_owned()]);
        let known = Known { packages: &packages, services: &no, tried: &tried, by_hand: false };
        let way = by_kexec(way(&known, None), &known, Ok("k".to_owned()));
        assert_eq!(way, Way::Kexec { kernel: "k".to_owned() });
    }

    #[test]
    fn a_soft_reboot_is_another_boot_of_the_same_kernel() {
        assert_eq!(boot("a", 0), BootId("a".to_owned()));
        assert_eq!(boot("a", 2), BootId("a+2".to_owned()));
        assert!(boot("a", 2).same_kernel(&boot("a", 0)));
        assert!(!boot("a", 2).same_kernel(&boot("b", 2)));
        assert!(!boot("a", 0).same_kernel(&boot("ab", 0)));
    }
}
