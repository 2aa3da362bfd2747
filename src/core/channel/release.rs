//! A release: what a node of each system should run.

use std::collections::BTreeSet;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    archive::{self, Archive},
    document::{self, DocumentError, Others},
};
use crate::core::choice::Distribution;

/// Format of a [`Release`].
pub const SCHEMA: u32 = 1;

/// The most packages that one set may have: more than any distribution has.
const MOST: usize = 200_000;

/// How urgent a release is, for people and for `explain`; it does not make a node hurry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Whenever.
    Low,
    /// As usual.
    #[default]
    Medium,
    /// It mends something that is attacked, or will be.
    High,
    /// It mends something that is being attacked.
    Critical,
}

impl Urgency {
    /// The word that people see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One version of what a fleet runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its version; a later release has a greater one (<https://semver.org>, 11).
    pub version: Version,
    /// When it was made; for people.
    pub created: Timestamp,
    /// What it is about, or where to read that.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// How urgent it is.
    #[serde(default)]
    pub urgency: Urgency,
    /// What each system gets. A node whose system is not here gets nothing.
    pub sets: Vec<Set>,
    #[serde(flatten)]
    others: Others,
}

/// The packages of one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The distribution, as os-release(5) has it in `ID`: `debian`.
    pub distribution: String,
    /// Its release, `VERSION_CODENAME`: `bookworm`.
    pub codename: String,
    /// The machine's architecture, as dpkg has it: `amd64`.
    pub arch: String,
    /// Archives that the packages are in, where the node's own do not have them (any more).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<Archive>,
    /// Every package that may be installed, with the one version that may. A node takes of them
    /// those that it has, and those that they need.
    pub packages: Vec<Package>,
}

/// One version of one package, to the byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name, without architecture.
    pub name: String,
    /// Architecture of the package: `amd64`, `all`.
    pub arch: String,
    /// Version.
    pub version: String,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// The file among the channel's own, where the distribution's archives need not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Package {
    /// `name:arch`
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.name, self.arch)
    }
}

impl Release {
    /// A new one.
    #[must_use]
    pub fn new(version: Version, created: Timestamp, sets: Vec<Set>) -> Self {
        Self {
            schema: SCHEMA,
            version,
            created,
            notes: String::new(),
            urgency: Urgency::default(),
            sets,
            others: Others::new(),
        }
    }

    /// Reads the document of release `version`.
    ///
    /// # Errors
    /// When it is not one, or one of another version, or has what is not known here.
    pub fn parse(text: &[u8], version: &Version) -> Result<Self, DocumentError> {
        let release: Self = document::read(text)?;
        document::schema(release.schema, SCHEMA)?;
        document::known("the release", &release.others)?;
        if release.version != *version {
            let text = format!("it says that it is {}, not {version}", release.version);
            return Err(DocumentError::Value(text));
        }
        release.check()?;
        Ok(release)
    }

    fn check(&self) -> Result<(), DocumentError> {
        let mut systems = BTreeSet::new();
        for set in &self.sets {
            set.check().map_err(DocumentError::Value)?;
            if !systems.insert((&set.distribution, &set.codename, &set.arch)) {
                let text = format!("it has two sets for {}", set.system());
                return Err(DocumentError::Value(text));
            }
        }
        Ok(())
    }

    /// The set for a system.
    #[must_use]
    pub fn set(&self, distribution: &Distribution, arch: &str) -> Option<&Set> {
        self.sets.iter().find(|set| {
            set.distribution == distribution.id
                && set.codename == distribution.codename
                && set.arch == arch
        })
    }
}

impl Set {
    /// `debian bookworm (amd64)`
    #[must_use]
    pub fn system(&self) -> String {
        format!("{} {} ({})", self.distribution, self.codename, self.arch)
    }

    fn check(&self) -> Result<(), String> {
        if self.packages.len() > MOST {
            return Err(format!("the set for {} has more than {MOST} packages", self.system()));
        }
        if self.archives.len() > archive::MOST {
            return Err(format!("{} has more archives than {}", self.system(), archive::MOST));
        }
        self.archives.iter().try_for_each(Archive::check)?;
        let mut seen = BTreeSet::new();
        for package in &self.packages {
            package.check()?;
            if !seen.insert(package.key()) {
                return Err(format!("{} is there twice for {}", package.key(), self.system()));
            }
        }
        Ok(())
    }
}

impl Package {
    /// deb-version(7) and Debian Policy 5.6.1 say what a name and a version may be made of.
    fn check(&self) -> Result<(), String> {
        let word = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.len() <= 200
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let digest = self.sha256.len() == 64
            && self.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let file = self.file.as_ref().is_none_or(|file| plain(file));
        let parts = [
            (word(&self.name, "+-."), "name", &self.name),
            (word(&self.arch, "-"), "architecture", &self.arch),
            (word(&self.version, ".+-~:"), "version", &self.version),
            (digest, "SHA-256", &self.sha256),
            (file, "file", self.file.as_ref().unwrap_or(&self.name)),
        ];
        match parts.into_iter().find(|(fits, ..)| !fits) {
            None => Ok(()),
            Some((_, what, text)) => Err(format!("{text:?} is no {what} of a package")),
        }
    }
}

/// A name of characters that mean nothing to a file system, a server or an address.
#[must_use]
pub fn plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 240
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-~".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Package {
        Package {
            name: "openssl".to_owned(),
            arch: "amd64".to_owned(),
            version: "3.0.14-1~deb12u2".to_owned(),
            sha256: "0f".repeat(32),
            size: 12,
            file: None,
        }
    }

    fn release(packages: Vec<Package>) -> Release {
        let set = Set {
            distribution: "debian".to_owned(),
            codename: "bookworm".to_owned(),
            arch: "amd64".to_owned(),
            archives: Vec::new(),
            packages,
        };
        Release::new(Version::new(2026, 9, 0), Timestamp::UNIX_EPOCH, vec![set])
    }

    fn parse(text: &str) -> Result<Release, String> {
        let version = Version::new(2026, 9, 0);
        Release::parse(text.as_bytes(), &version).map_err(|error| error.to_string())
    }

    fn refused(change: impl FnOnce(&mut Release)) -> String {
        let mut release = release(vec![package()]);
        change(&mut release);
        parse(&serde_json::to_string(&release).unwrap()).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let release = release(vec![package()]);
        assert_eq!(parse(&serde_json::to_string(&release).unwrap()).unwrap(), release);
    }

    #[test]
    fn a_field_that_may_be_a_condition_is_refused_and_a_remark_is_not() {
        let text = serde_json::to_string(&release(vec![package()])).unwrap();
        let with = |field: &str| text.replacen('{', &format!("{{\"{field}\": true, "), 1);
        assert_eq!(
            parse(&with("only_on_mondays")).unwrap_err(),
            "the release has \"only_on_mondays\", which this version of lockkeeper does not know"
        );
        parse(&with("x-ticket")).unwrap();
        let twice = with("notes").replacen("true", "\"a\", \"notes\": \"b\"", 1);
        assert!(parse(&twice).unwrap_err().contains("duplicate field `notes`"));
    }

    #[test]
    fn a_release_is_what_it_was_asked_for_and_each_thing_is_there_once() {
        assert_eq!(
            refused(|r| r.version = Version::new(2026, 8, 0)),
            "it says that it is 2026.8.0, not 2026.9.0"
        );
        assert_eq!(
            refused(|r| r.schema = 2),
            "it has format 2, and this version of lockkeeper knows format 1"
        );
        assert_eq!(
            refused(|r| r.sets.push(r.sets[0].clone())),
            "it has two sets for debian bookworm (amd64)"
        );
        assert_eq!(
            refused(|r| r.sets[0].packages.push(package())),
            "openssl:amd64 is there twice for debian bookworm (amd64)"
        );
    }

    #[test]
    fn what_goes_into_a_path_or_a_line_is_plain() {
        type Change = fn(&mut Package);
        let cases: [(Change, &str); 8] = [
            (|p| p.name = "../x".into(), "name"),
            (|p| p.name = String::new(), "name"),
            (|p| p.arch = "all ".into(), "architecture"),
            (|p| p.version = "1\nPin: x".into(), "version"),
            (|p| p.sha256 = "0F".repeat(32), "SHA-256"),
            (|p| p.file = Some("../../etc/x".into()), "file"),
            (|p| p.file = Some("/etc/x".into()), "file"),
            (|p| p.file = Some("a%2f".into()), "file"),
        ];
        for (change, what) in cases {
            let text = refused(|r| change(&mut r.sets[0].packages[0]));
            assert!(text.ends_with(&format!("is no {what} of a package")), "{text}");
        }
    }

    #[test]
    fn a_system_gets_its_own_set_or_none() {
        let debian = |codename: &str| Distribution {
            id: "debian".to_owned(),
            codename: codename.to_owned(),
            ..Distribution::default()
        };
        let release = release(vec![]);
        assert!(release.set(&debian("bookworm"), "amd64").is_some());
        assert!(release.set(&debian("trixie"), "amd64").is_none());
        assert!(release.set(&debian("bookworm"), "arm64").is_none());
    }
}
