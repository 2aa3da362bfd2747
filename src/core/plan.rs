//! The plan: an exact set of package versions, and its identity.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Identity of a plan: the SHA-256 of its canonical set, 64 lower-case hex digits.
///
/// With the distribution's own archives there is no release version; two nodes run the same release
/// exactly when their plans have the same digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanId(String);

/// The text is not 64 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a plan id (64 lower-case hex digits)")]
pub struct BadPlanId(String);

impl PlanId {
    /// The identity of a set of changes and removals; the order they are listed in does not matter.
    #[must_use]
    pub fn of(packages: &[PackageChange], removes: &[Removal]) -> Self {
        let changes =
            packages.iter().map(|p| format!("{}:{}={} {}\n", p.name, p.arch, p.to, p.sha256));
        let removes = removes.iter().map(|p| format!("{}:{}-{}\n", p.name, p.arch, p.version));
        let mut lines: Vec<String> = changes.chain(removes).collect();
        lines.sort();
        let mut hash = Sha256::new();
        for line in &lines {
            hash.update(line.as_bytes());
        }
        Self(hex(&hash.finalize()))
    }

    /// Takes text from outside.
    ///
    /// # Errors
    /// When it is not 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, BadPlanId> {
        let ok = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if ok { Ok(Self(text.to_owned())) } else { Err(BadPlanId(text.to_owned())) }
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PlanId {
    type Error = BadPlanId;
    fn try_from(text: String) -> Result<Self, BadPlanId> {
        Self::parse(&text)
    }
}

impl From<PlanId> for String {
    fn from(id: PlanId) -> Self {
        id.0
    }
}

/// One package of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PackageChange {
    /// Binary package name, without architecture.
    pub name: String,
    /// Debian architecture (`amd64`, `all`, …).
    pub arch: String,
    /// Version installed now; `None` for a new dependency.
    pub from: Option<String>,
    /// Version the plan installs.
    pub to: String,
    /// SHA-256 of the .deb as the signed index gives it, lower-case hex.
    pub sha256: String,
    /// Size of the .deb in bytes.
    pub size: u64,
    /// Where it comes from, as apt names it (`Debian-Security:12/stable-security`).
    pub origin: String,
}

/// A package that a plan removes, with everything but its configuration files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Removal {
    /// Binary package name, without architecture.
    pub name: String,
    /// Debian architecture.
    pub arch: String,
    /// Version installed now.
    pub version: String,
}

impl Removal {
    /// The change that brings it back; its digest is not known yet.
    #[must_use]
    pub fn reversed(&self) -> PackageChange {
        PackageChange {
            name: self.name.clone(),
            arch: self.arch.clone(),
            from: None,
            to: self.version.clone(),
            sha256: String::new(),
            size: 0,
            origin: String::new(),
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Why a package is in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A security archive has it.
    Security,
    /// There is a newer version.
    Update,
    /// Another package of the plan needs it, and it was not installed.
    Needed,
}

impl Why {
    /// The word people see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Update => "update",
            Self::Needed => "needed",
        }
    }
}

impl PackageChange {
    /// Why it is in the plan. Debian's and Ubuntu's security archives say so in their names.
    #[must_use]
    pub fn why(&self) -> Why {
        if self.from.is_none() {
            Why::Needed
        } else if self.origin.to_ascii_lowercase().contains("security") {
            Why::Security
        } else {
            Why::Update
        }
    }

    /// Whether what it replaces is in use until a reboot: a kernel, microcode, or a part of what
    /// every process is made of. A forecast for people; after the update evidence decides.
    #[must_use]
    pub fn asks_for_reboot(&self) -> bool {
        in_use_until_reboot(&self.name)
    }
}

/// Whether what a package of this name replaces is in use until a reboot, as Debian or Fedora name it.
#[must_use]
pub fn in_use_until_reboot(name: &str) -> bool {
    let every_process =
        ["libc6", "glibc", "systemd", "dbus", "dbus-broker", "dbus-daemon"].contains(&name);
    every_process || is_of_the_machine(name)
}

/// Whether a package of this name is a kernel, or microcode: in a container they are its host's.
#[must_use]
pub fn is_of_the_machine(name: &str) -> bool {
    let kernel = name.strip_prefix("linux-image-");
    kernel.is_some_and(|rest| rest.contains(|c: char| c.is_ascii_digit()))
        || name.ends_with("-microcode")
        || ["kernel", "kernel-core", "kernel-rt", "linux-firmware", "microcode_ctl"].contains(&name)
}

/// What a node should install.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// Digest of all the rest.
    pub id: PlanId,
    /// Every package that changes, sorted by name.
    pub packages: Vec<PackageChange>,
    /// Every package that goes, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removes: Vec<Removal>,
}

impl Plan {
    /// Makes the plan of a non-empty set; `None` for an empty one.
    #[must_use]
    pub fn new(mut packages: Vec<PackageChange>) -> Option<Self> {
        if packages.is_empty() {
            return None;
        }
        packages.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
        Some(Self { id: PlanId::of(&packages, &[]), packages, removes: Vec::new() })
    }

    /// The plan that removes these as well.
    #[must_use]
    pub fn removing(self, mut removes: Vec<Removal>) -> Self {
        removes.sort();
        Self { id: PlanId::of(&self.packages, &removes), removes, ..self }
    }

    /// The packages that make a reboot likely.
    #[must_use]
    pub fn reboot_expected(&self) -> Vec<&str> {
        let asking = self.packages.iter().filter(|package| package.asks_for_reboot());
        asking.map(|package| package.name.as_str()).collect()
    }

    /// The first package that is a part of a boot loader: it writes to places outside of the system's
    /// root, such as the boot sector or the firmware's own partition.
    #[must_use]
    pub fn boot_loader(&self) -> Option<&str> {
        const LOADERS: [&str; 12] = [
            "grub",
            "shim",
            "systemd-boot",
            "refind",
            "syslinux",
            "extlinux",
            "lilo",
            "elilo",
            "u-boot",
            "flash-kernel",
            "raspi-firmware",
            "s390-tools",
        ];
        let names = self.packages.iter().map(|package| package.name.as_str());
        names.into_iter().find(|name| LOADERS.iter().any(|loader| name.starts_with(loader)))
    }

    /// The first package that is a kernel, or microcode: what is made of it lies in `/boot`.
    #[must_use]
    pub fn kernel(&self) -> Option<&str> {
        let mut names = self.packages.iter().map(|package| package.name.as_str());
        names.find(|name| is_of_the_machine(name))
    }

    /// Bytes to download.
    #[must_use]
    pub fn download_bytes(&self) -> u64 {
        self.packages.iter().map(|p| p.size).sum()
    }
}

/// Lower-case hex of bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}
