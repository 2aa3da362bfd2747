//! How a reboot is made: of the whole machine, or of all that runs on its kernel (a soft-reboot).

use serde::{Deserialize, Serialize};

use super::{health::Evidence, stale, time::BootId, verdict::Verdict};

/// How a package's wish for a reboot ends, after its name.
const PACKAGE_ASKS: &str = " asks for a reboot";

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

/// Which short ways the admin allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fast {
    /// None: the machine is rebooted. The default.
    Never,
    /// A soft-reboot, where it is enough.
    SoftReboot,
}

impl Fast {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Never, Self::SoftReboot];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::SoftReboot => "soft-reboot",
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

/// Why nothing less than a full reboot is enough.
fn full(known: &Known<'_>) -> Option<String> {
    if known.by_hand {
        return Some("an admin asks for it".to_owned());
    }
    if let Evidence::Unknown { why } = known.packages {
        return Some(format!("what asks for it is not known: {why}"));
    }
    let reasons = reasons(known);
    if reasons.is_empty() {
        return Some("nothing is known that asks for it".to_owned());
    }
    if let Some(reason) = reasons.iter().find(|reason| !of_userspace(reason)) {
        return Some(format!("userspace alone may not be enough: {reason}"));
    }
    (known.tried == reasons)
        .then(|| "a soft-reboot was asked for because of the same, and did not help".to_owned())
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
            Way::Soft => panic!("soft"),
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

    #[test]
    fn a_soft_reboot_is_another_boot_of_the_same_kernel() {
        assert_eq!(boot("a", 0), BootId("a".to_owned()));
        assert_eq!(boot("a", 2), BootId("a+2".to_owned()));
        assert!(boot("a", 2).same_kernel(&boot("a", 0)));
        assert!(!boot("a", 2).same_kernel(&boot("b", 2)));
        assert!(!boot("a", 0).same_kernel(&boot("ab", 0)));
    }
}
