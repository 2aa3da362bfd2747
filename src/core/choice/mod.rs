//! Which versions of which packages may be installed here?
//!
//! apt resolves; these rules say what of its answer is not wanted, and why. What they refuse is
//! hidden from apt, and it resolves anew.

use serde::{Deserialize, Serialize};

use super::{canary::Ripe, channel::allowed::Allowed, record::any_matches};

mod origin;

pub use origin::{Distribution, Origins, Pattern, Release};

/// All that packages are chosen by.
#[derive(Clone, Debug)]
pub struct Rules {
    patterns: Option<Vec<Pattern>>,
    distribution: Distribution,
    /// Only these packages (globs); none means every package.
    pub allow: Vec<String>,
    /// Never these (globs).
    pub deny: Vec<String>,
    /// Packages that are not installed may be installed with those that need them.
    pub new_dependencies: bool,
    /// Installed packages may be removed for an update ([`super::removal`]).
    pub removals: bool,
    /// The canary group that is followed, and what its nodes allow.
    pub canary: Option<(String, Ripe)>,
    /// What the release channel allows, where one is followed.
    pub release: Option<Allowed>,
}

/// The word for what a release channel does not allow.
pub const RELEASE: &str = "release";

/// A version that apt would install.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Package, without architecture.
    pub name: &'a str,
    /// Debian architecture.
    pub arch: &'a str,
    /// The version that would be installed.
    pub version: &'a str,
    /// It is not installed in any version.
    pub is_new: bool,
    /// The archives that have it.
    pub releases: &'a [Release],
}

/// Why a package is not updated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Objection {
    /// Stable word; docs/packages.md lists them all.
    pub code: String,
    /// The sentence.
    pub text: String,
}

impl Objection {
    /// A word and a sentence.
    #[must_use]
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self { code: code.to_owned(), text: text.into() }
    }
}

/// A package that has a newer version and is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeptBack {
    /// Package, without architecture.
    pub name: String,
    /// Debian architecture.
    pub arch: String,
    /// Version installed now; `None` for one that would have come along.
    pub installed: Option<String>,
    /// The version it is not updated to.
    pub version: String,
    /// Why.
    #[serde(flatten)]
    pub why: Objection,
}

impl Rules {
    /// Rules with these archives, and nothing else that restricts.
    ///
    /// # Errors
    /// When it is not known which archives are those of this distribution.
    pub fn of(origins: &Origins, distribution: Distribution) -> Result<Self, String> {
        Ok(Self {
            patterns: origins.patterns(&distribution)?,
            distribution,
            allow: Vec::new(),
            deny: Vec::new(),
            new_dependencies: true,
            removals: false,
            canary: None,
            release: None,
        })
    }

    /// Whether the archives of a version must be known.
    #[must_use]
    pub fn ask_for_origins(&self) -> bool {
        self.patterns.is_some()
    }

    /// Why a version may not be installed; `None` when it may.
    #[must_use]
    pub fn objection(&self, candidate: Candidate<'_>) -> Option<Objection> {
        let named = |globs: &[String]| any_matches(globs, candidate.name);
        if named(&self.deny) {
            return Some(Objection::new("denied", "packages.deny names it"));
        }
        if !candidate.is_new && !self.allow.is_empty() && !named(&self.allow) {
            return Some(Objection::new("not-allowed", "packages.allow does not name it"));
        }
        if candidate.is_new && !self.new_dependencies {
            let text = "it is not installed yet, and packages.new_dependencies is \"refuse\"";
            return Some(Objection::new("new", text));
        }
        let package = format!("{}:{}", candidate.name, candidate.arch);
        let by_release = || {
            let text = self.release.as_ref()?.objection(&package, candidate.version)?;
            Some(Objection::new(RELEASE, text))
        };
        let by_canary = || {
            let (group, ripe) = self.canary.as_ref()?;
            let text = ripe.objection(group, &package, candidate.version)?;
            Some(Objection::new("canary", text))
        };
        self.origin_objection(candidate.releases).or_else(by_release).or_else(by_canary)
    }

    /// Why the file of a version that nothing stands against may not be installed.
    #[must_use]
    pub fn digest_objection(&self, package: &str, sha256: Option<&str>) -> Option<Objection> {
        let text = self.release.as_ref()?.file_objection(package, sha256)?;
        Some(Objection::new(RELEASE, text))
    }

    fn wants(&self, release: &Release) -> bool {
        let meant = |pattern: &Pattern| pattern.matches(release, &self.distribution);
        self.patterns.as_ref().is_none_or(|patterns| patterns.iter().any(meant))
    }

    /// Whether a version is also in an archive that is not wanted: then the file counts, too.
    #[must_use]
    pub fn is_disputed(&self, releases: &[Release]) -> bool {
        releases.iter().any(|release| !self.wants(release))
    }

    /// Why the file that apt would take of a version may not be installed, by the archives that have
    /// the version; `None` when it may. To apt it is one version, whatever is in the files.
    #[must_use]
    pub fn file_objection(&self, releases: &[Release], uri: &str) -> Option<Objection> {
        let reach = releases.iter().filter_map(|release| release.reach(uri)).max();
        let owner = |release: &&Release| reach.is_some() && release.reach(uri) == reach;
        if releases.iter().filter(owner).any(|release| self.wants(release)) {
            return None;
        }
        let text = format!(
            "apt would take it from {uri}, in no archive of packages.origins; \
             one of them has the version, too: name its source before the others"
        );
        Some(Objection::new("origin", text))
    }

    fn origin_objection(&self, releases: &[Release]) -> Option<Objection> {
        self.patterns.as_ref()?;
        if releases.iter().any(|release| self.wants(release)) {
            return None;
        }
        let text = match releases {
            [] => "it is not known which archive it comes from".to_owned(),
            releases => {
                let named: Vec<String> = releases.iter().map(Release::to_string).collect();
                format!("it comes from {}, which packages.origins leaves out", named.join("; "))
            }
        };
        Some(Objection::new("origin", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Distribution {
        Distribution::parse("NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n")
    }

    fn ubuntu() -> Distribution {
        Distribution::parse("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME='noble'\n")
    }

    fn release(origin: &str, suite: &str, codename: &str, label: &str) -> Release {
        Release {
            origin: origin.into(),
            label: label.into(),
            suite: suite.into(),
            codename: codename.into(),
            component: "main".into(),
            site: "deb.example.com".into(),
            base: format!("http://deb.example.com/{}", label.to_lowercase()),
        }
    }

    #[test]
    fn a_version_in_two_archives_is_taken_from_the_wanted_one_only() {
        let debian = Rules::of(&Origins::Distribution, debian()).unwrap();
        let mut inside = release("Vendor", "x", "bookworm", "Vendor");
        inside.base = "http://deb.example.com/debian/vendor/".into();
        let both = [release("Debian", "stable", "bookworm", "Debian"), inside];
        assert!(debian.is_disputed(&both) && !debian.is_disputed(&both[..1]));
        let may = |rules: &Rules, uri| rules.file_objection(&both, uri).is_none();
        assert!(may(&debian, "http://deb.example.com/debian/pool/a.deb"));
        for uri in [
            "http://deb.example.com/debian/vendor/pool/a.deb",
            "http://deb.example.com/debian-more/a.deb",
            "http://other.example.com/a.deb",
            "",
        ] {
            assert!(!may(&debian, uri), "{uri}");
        }
        assert!(!Rules::of(&Origins::All, Distribution::default()).unwrap().is_disputed(&both));
    }

    fn allowed(origins: &Origins, distribution: Distribution, releases: &[Release]) -> bool {
        let candidate = Candidate { name: "a", arch: "all", version: "1", is_new: false, releases };
        Rules::of(origins, distribution).unwrap().objection(candidate).is_none()
    }

    #[test]
    fn the_distributions_own_archives_and_the_security_ones_are_known() {
        let debian_rows = [
            (release("Debian", "oldstable", "bookworm", "Debian"), true, false),
            (release("Debian", "oldstable-updates", "bookworm-updates", "Debian"), true, false),
            (
                release("Debian", "oldstable-security", "bookworm-security", "Debian-Security"),
                true,
                true,
            ),
            (
                release("Debian Backports", "x", "bookworm-backports", "Debian Backports"),
                false,
                false,
            ),
            (release("Debian", "stable", "trixie", "Debian"), false, false),
            (release("Docker", "bookworm", "bookworm", "Docker CE"), false, false),
        ];
        let ubuntu_rows = [
            (release("Ubuntu", "noble", "noble", "Ubuntu"), true, false),
            (release("Ubuntu", "noble-updates", "noble", "Ubuntu"), true, false),
            (release("Ubuntu", "noble-security", "noble", "Ubuntu"), true, true),
            (release("UbuntuESM", "noble-infra-security", "noble", "UbuntuESM"), true, true),
            (release("UbuntuESMApps", "noble-apps-security", "noble", "x"), true, true),
            (release("Ubuntu", "noble-proposed", "noble", "Ubuntu"), false, false),
            (release("Ubuntu", "noble-backports", "noble", "Ubuntu"), false, false),
        ];
        for (distribution, rows) in [(debian(), &debian_rows[..]), (ubuntu(), &ubuntu_rows[..])] {
            for (release, own, security) in rows {
                let is = |origins: &Origins| {
                    allowed(origins, distribution.clone(), std::slice::from_ref(release))
                };
                assert_eq!(is(&Origins::Distribution), *own, "{release:?}");
                assert_eq!(is(&Origins::Security), *security, "{release:?}");
                assert!(is(&Origins::All), "{release:?}");
            }
        }
    }

    #[test]
    fn a_distribution_is_like_itself_and_those_it_is_made_from() {
        let rocky = Distribution::parse("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n");
        for (id, expected) in [("rocky", true), ("fedora", true), ("debian", false), ("", false)] {
            assert_eq!(rocky.is_like(id), expected, "{id}");
        }
        assert!(debian().is_like("debian") && ubuntu().is_like("debian"));
    }

    #[test]
    fn one_good_archive_is_enough_and_no_archive_is_not() {
        let security = release("Debian", "x", "bookworm-security", "Debian-Security");
        let other = release("Docker", "x", "y", "z");
        assert!(allowed(&Origins::Security, debian(), &[other.clone(), security]));
        assert!(!allowed(&Origins::Security, debian(), &[other]));
        assert!(!allowed(&Origins::Distribution, debian(), &[]));
        assert!(allowed(&Origins::All, debian(), &[]));
    }

    #[test]
    fn an_unknown_distribution_needs_patterns() {
        let mint = Distribution::parse("ID=linuxmint\nVERSION_CODENAME=wilma\n");
        for origins in [Origins::Distribution, Origins::Security] {
            let error = Rules::of(&origins, mint.clone()).unwrap_err();
            assert!(error.contains("\"linuxmint\"") && error.contains("packages.origins"));
        }
        let patterns = Origins::Patterns(vec!["o=linuxmint,n=${codename}".into()]);
        assert!(allowed(&patterns, mint, &[release("linuxmint", "x", "wilma", "y")]));
    }

    #[test]
    fn every_part_of_a_pattern_must_match_and_a_star_is_anything() {
        let docker = release("Docker", "bookworm", "", "Docker CE");
        for (text, expected) in [
            ("o=Docker", true),
            ("origin=Docker, suite=${codename}", true),
            ("o=Docker,a=${distro_codename},l=Docker*", true),
            ("o=Docker,site=*.example.com", true),
            ("o=Docker\\,n=bookworm", false),
            ("o=Docker,c=test", false),
            ("o=docker", false),
            ("o=${distro_id}", false),
            ("n=*", true),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.matches(&docker, &debian()), expected, "{text}");
        }
        let inc = release("Docker, Inc.", "bookworm", "", "");
        let pattern = Pattern::parse("o=Docker\\, *,a=${codename}").unwrap();
        assert!(pattern.matches(&inc, &debian()) && !pattern.matches(&docker, &debian()));
        for (text, words) in [
            ("Docker", "has no \"=\""),
            ("", "has no \"=\""),
            ("o=Docker,", "has no \"=\""),
            ("x=Docker", "is none of"),
            ("o=", "has no value"),
            ("o=${release}", "${release} is neither"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_denied_before_anything_else_and_what_is_new_need_not_be_allowed() {
        let rules = Rules {
            allow: vec!["lib*".into(), "a".into()],
            deny: vec!["libx*".into()],
            new_dependencies: false,
            ..Rules::of(&Origins::All, debian()).unwrap()
        };
        let code = |rules: &Rules, name: &str, is_new| {
            let candidate = Candidate { name, arch: "all", version: "1", is_new, releases: &[] };
            rules.objection(candidate).map(|why| why.code).unwrap_or_default()
        };
        for (name, is_new, expected) in [
            ("a", false, ""),
            ("liba", false, ""),
            ("libx1", false, "denied"),
            ("b", false, "not-allowed"),
            ("liba", true, "new"),
            ("libx1", true, "denied"),
        ] {
            assert_eq!(code(&rules, name, is_new), expected, "{name}");
        }
        let open = Rules { new_dependencies: true, ..rules };
        assert_eq!(code(&open, "b", true), "", "it comes with an allowed one");
    }

    #[test]
    fn what_the_canary_has_not_verified_is_refused_though_its_archive_is_good() {
        let rules = Rules {
            canary: Some(("canary".into(), Ripe::default())),
            ..Rules::of(&Origins::All, debian()).unwrap()
        };
        let candidate =
            Candidate { name: "a", arch: "all", version: "1", is_new: true, releases: &[] };
        let why = rules.objection(candidate).unwrap();
        assert_eq!(
            (why.code.as_str(), why.text.as_str()),
            ("canary", "no node of canary has verified 1")
        );
    }
}
