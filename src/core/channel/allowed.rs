//! The packages that a release lets a node have.

use std::collections::BTreeMap;

use super::{
    archive::Archive,
    release::{Package, Release},
};
use crate::core::choice::Distribution;

/// What a node may install by the channel that it follows; of no other package is anything installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// What says so: `release 2026.9.0 of stable`; why nothing may be installed, where there is none.
    words: String,
    /// By `name:arch`; `None`: nothing at all.
    packages: Option<BTreeMap<String, Package>>,
    back: bool,
    /// Archives that the packages are in, beside the node's own.
    pub archives: Vec<Archive>,
}

impl Allowed {
    /// What a release has for a system. One that has nothing for it allows nothing. `back`: whether
    /// newer versions are to be replaced by those of the release.
    #[must_use]
    pub fn by(
        channel: &str,
        release: &Release,
        system: &(Distribution, String),
        back: bool,
    ) -> Self {
        let (distribution, arch) = system;
        let version = &release.version;
        let Some(set) = release.set(distribution, arch) else {
            let Distribution { id, codename, .. } = distribution;
            return Self::nothing(format!(
                "release {version} of {channel} has nothing for {id} {codename} ({arch})"
            ));
        };
        let packages = set.packages.iter().map(|package| (package.key(), package.clone()));
        Self {
            words: format!("release {version} of {channel}"),
            packages: Some(packages.collect()),
            back,
            archives: set.archives.clone(),
        }
    }

    /// Nothing, for this reason.
    #[must_use]
    pub fn nothing(why: String) -> Self {
        Self { words: why, packages: None, back: false, archives: Vec::new() }
    }

    /// Why nothing may be installed; `None` when there is something that may.
    #[must_use]
    pub fn why_nothing(&self) -> Option<&str> {
        self.packages.is_none().then_some(self.words.as_str())
    }

    /// The packages whose newer versions are to be replaced, if any are.
    pub fn leads_back_to(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().flatten().map(|(_, package)| package).filter(|_| self.back)
    }

    /// Whether newer versions are to be replaced.
    #[must_use]
    pub const fn leads_back(&self) -> bool {
        self.back
    }

    /// Why `version` of `package` (`name:arch`) may not be installed; `None` when it may.
    #[must_use]
    pub fn objection(&self, package: &str, version: &str) -> Option<String> {
        let Some(packages) = &self.packages else { return Some(self.words.clone()) };
        match packages.get(package) {
            None => Some(format!("{} does not have it", self.words)),
            Some(known) if known.version != version => {
                Some(format!("{} has {}", self.words, known.version))
            }
            Some(_) => None,
        }
    }

    /// Why a file of a version that may be installed may not be.
    #[must_use]
    pub fn file_objection(&self, package: &str, sha256: Option<&str>) -> Option<String> {
        let known = self.packages.as_ref()?.get(package)?;
        let same = sha256.is_some_and(|sha256| sha256.eq_ignore_ascii_case(&known.sha256));
        (!same).then(|| format!("the archive's file of it is not the one that {} has", self.words))
    }

    /// What is installed in another version than the release has, as `name:arch`, with that version.
    #[must_use]
    pub fn lacks<'a>(
        &'a self,
        installed: &'a BTreeMap<String, String>,
    ) -> Vec<(&'a str, &'a Package)> {
        let packages = self.packages.iter().flatten();
        let other = |(key, package): &(&String, &Package)| {
            installed.get(*key).is_some_and(|version| *version != package.version)
        };
        packages.filter(other).map(|(key, package)| (key.as_str(), package)).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use semver::Version;

    use super::*;
    use crate::core::channel::release::Set;

    fn system(codename: &str) -> (Distribution, String) {
        let (id, codename) = ("debian".to_owned(), codename.to_owned());
        (Distribution { id, codename, ..Distribution::default() }, "amd64".to_owned())
    }

    fn allowed(codename: &str) -> Allowed {
        let package = Package {
            name: "openssl".to_owned(),
            arch: "amd64".to_owned(),
            version: "3.0.14".to_owned(),
            sha256: "0f".repeat(32),
            size: 12,
            file: None,
        };
        let set = Set {
            distribution: "debian".to_owned(),
            codename: "bookworm".to_owned(),
            arch: "amd64".to_owned(),
            archives: Vec::new(),
            packages: vec![package],
        };
        let release = Release::new(Version::new(2026, 9, 0), Timestamp::UNIX_EPOCH, vec![set]);
        Allowed::by("stable", &release, &system(codename), false)
    }

    #[test]
    fn only_what_the_release_has_may_be_installed_in_just_that_version() {
        let allowed = allowed("bookworm");
        let said = |package: &str, version: &str| allowed.objection(package, version);
        assert_eq!(said("openssl:amd64", "3.0.14"), None);
        assert_eq!(
            said("openssl:amd64", "3.0.15").unwrap(),
            "release 2026.9.0 of stable has 3.0.14"
        );
        assert_eq!(
            said("openssl:i386", "3.0.14").unwrap(),
            "release 2026.9.0 of stable does not have it"
        );
    }

    #[test]
    fn the_file_counts_too() {
        let allowed = allowed("bookworm");
        let said = |sha256: Option<&str>| allowed.file_objection("openssl:amd64", sha256);
        assert_eq!(said(Some(&"0F".repeat(32))), None);
        assert!(said(Some(&"00".repeat(32))).is_some());
        assert!(said(None).is_some());
    }

    #[test]
    fn a_release_without_anything_for_the_system_allows_nothing() {
        let allowed = allowed("trixie");
        let why = "release 2026.9.0 of stable has nothing for debian trixie (amd64)";
        assert_eq!(allowed.why_nothing(), Some(why));
        assert_eq!(allowed.objection("openssl:amd64", "3.0.14").as_deref(), Some(why));
    }

    #[test]
    fn what_is_installed_in_another_version_is_lacking_and_what_is_not_installed_is_not() {
        let have =
            |version: &str| BTreeMap::from([("openssl:amd64".to_owned(), version.to_owned())]);
        let allowed = allowed("bookworm");
        assert!(allowed.lacks(&have("3.0.14")).is_empty());
        assert!(allowed.lacks(&BTreeMap::new()).is_empty());
        let old = have("3.0.13");
        assert_eq!(allowed.lacks(&old)[0].0, "openssl:amd64");
    }
}
