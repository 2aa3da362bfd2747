//! Which versions of which packages may be installed here?
//!
//! apt resolves; these rules say what of its answer is not wanted, and why. What they refuse is
//! hidden from apt, and it resolves anew.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    canary::Ripe,
    record::{any_matches, matches},
};

/// What a signed archive says of itself in its Release file, and where it is (`apt_preferences(5)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `o`: Origin (`Debian`).
    pub origin: String,
    /// `l`: Label (`Debian-Security`).
    pub label: String,
    /// `a`: Suite (`stable`).
    pub suite: String,
    /// `n`: Codename (`bookworm`).
    pub codename: String,
    /// `c`: component (`main`).
    pub component: String,
    /// Host it is fetched from.
    pub site: String,
    /// What the addresses of its files begin with (`http://deb.example.com/debian`).
    pub base: String,
}

impl Release {
    /// Does a file lie below its address? Then how long that address is.
    fn reach(&self, uri: &str) -> Option<usize> {
        let base = self.base.trim_end_matches('/');
        let rest = uri.strip_prefix(base).filter(|_| !base.is_empty())?;
        rest.starts_with('/').then_some(base.len())
    }
}

impl fmt::Display for Release {
    /// `o=Debian,n=bookworm,l=Debian`, as a pattern would be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("o", &self.origin), ("n", &self.codename), ("l", &self.label)];
        let named = parts.iter().filter(|(_, value)| !value.is_empty());
        let named: Vec<_> = named.map(|(key, value)| format!("{key}={value}")).collect();
        let site = || format!("site={}", self.site);
        f.write_str(&if named.is_empty() { site() } else { named.join(",") })
    }
}

/// One field of a [`Release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Origin,
    Label,
    Suite,
    Codename,
    Component,
    Site,
}

impl Field {
    /// By the names that apt's own patterns have, short and long.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "o" | "origin" => Self::Origin,
            "l" | "label" => Self::Label,
            "a" | "suite" | "archive" => Self::Suite,
            "n" | "codename" => Self::Codename,
            "c" | "component" => Self::Component,
            "site" => Self::Site,
            _ => return None,
        })
    }

    fn of(self, release: &Release) -> &str {
        match self {
            Self::Origin => &release.origin,
            Self::Label => &release.label,
            Self::Suite => &release.suite,
            Self::Codename => &release.codename,
            Self::Component => &release.component,
            Self::Site => &release.site,
        }
    }
}

/// Archives by what they say of themselves: `o=Debian,n=${codename}-security`. Every part must
/// match; `*` stands for anything, `\\,` for a comma.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<(Field, String)>);

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (key, glob) = part.split_once('=').ok_or(format!("{part:?} has no \"=\""))?;
            let field = Field::named(key.trim());
            let field = field
                .ok_or_else(|| format!("{:?} is none of o, l, a, n, c and site", key.trim()))?;
            let glob = glob.trim();
            if glob.is_empty() {
                return Err(format!("{part:?} has no value"));
            }
            if let Some(unknown) = unknown_variable(glob) {
                return Err(format!("{unknown} is neither ${{codename}} nor ${{distro_id}}"));
            }
            Ok((field, glob.to_owned()))
        };
        // No name has a NUL.
        let text = text.replace("\\,", "\0");
        let parts = text.split(',').map(|text| part(&text.replace('\0', ",")));
        parts.collect::<Result<_, _>>().map(Self)
    }

    /// Whether an archive of `distribution` is meant.
    #[must_use]
    pub fn matches(&self, release: &Release, distribution: &Distribution) -> bool {
        let part = |(field, glob): &(Field, String)| {
            matches(&distribution.fill_in(glob), field.of(release))
        };
        self.0.iter().all(part)
    }
}

/// The first `${…}` that does not stand for anything.
fn unknown_variable(text: &str) -> Option<String> {
    let mut parts = text.split("${");
    parts.next();
    let names = parts.map(|part| part.split_once('}').map_or(part, |(name, _)| name));
    let mut unknown = names.filter(|name| !VARIABLES.contains(name));
    unknown.next().map(|name| format!("${{{name}}}"))
}

/// What may stand in a pattern; the last is unattended-upgrades' word for the first.
const VARIABLES: [&str; 3] = ["codename", "distro_id", "distro_codename"];

/// The distribution that runs (os-release(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`: `debian`, `ubuntu`; empty when it is not known.
    pub id: String,
    /// `ID_LIKE`: those it is made from, each a word.
    pub like: String,
    /// `VERSION_CODENAME`: `bookworm`.
    pub codename: String,
}

impl Distribution {
    /// Reads an os-release file.
    #[must_use]
    pub fn parse(os_release: &str) -> Self {
        let value = |key: &str| {
            let mut values = os_release.lines().filter_map(|line| {
                let value = line.trim().strip_prefix(key)?.strip_prefix('=')?;
                Some(value.trim().trim_matches(['"', '\'']).to_owned())
            });
            values.next_back().unwrap_or_default()
        };
        Self { id: value("ID"), like: value("ID_LIKE"), codename: value("VERSION_CODENAME") }
    }

    /// Is it this one, or made from it?
    #[must_use]
    pub fn is_like(&self, id: &str) -> bool {
        self.id == id || self.like.split_whitespace().any(|word| word == id)
    }

    /// Its name in Release files.
    fn origin(&self) -> &str {
        match self.id.as_str() {
            "debian" => "Debian",
            "ubuntu" => "Ubuntu",
            other => other,
        }
    }

    fn fill_in(&self, glob: &str) -> String {
        glob.replace("${distro_codename}", &self.codename)
            .replace("${codename}", &self.codename)
            .replace("${distro_id}", self.origin())
    }
}

/// The archives that packages may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// The distribution's own: release, updates and security.
    #[default]
    Distribution,
    /// The distribution's security archives.
    Security,
    /// All that apt is told of.
    All,
    /// Those that match one of these.
    Patterns(Vec<String>),
}

impl Origins {
    /// The word of those that have one.
    pub const WORDS: [(&'static str, Self); 3] =
        [("distribution", Self::Distribution), ("security", Self::Security), ("all", Self::All)];

    /// The patterns meant; `None` for everything.
    ///
    /// # Errors
    /// When it is not known which archives are those of this distribution.
    fn patterns(&self, distribution: &Distribution) -> Result<Option<Vec<Pattern>>, String> {
        let (release, security): (&[&str], &[&str]) = match distribution.id.as_str() {
            "debian" => (
                &["o=Debian,n=${codename}", "o=Debian,n=${codename}-updates"],
                &["o=Debian,n=${codename}-security", "o=Debian,n=${codename},l=Debian-Security"],
            ),
            "ubuntu" => (
                &["o=Ubuntu,a=${codename}", "o=Ubuntu,a=${codename}-updates"],
                &[
                    "o=Ubuntu,a=${codename}-security",
                    "o=UbuntuESM,a=${codename}-infra-security",
                    "o=UbuntuESMApps,a=${codename}-apps-security",
                ],
            ),
            _ => (&[], &[]),
        };
        let texts: Vec<String> = match self {
            Self::All => return Ok(None),
            Self::Patterns(patterns) => patterns.clone(),
            Self::Distribution | Self::Security if security.is_empty() => {
                return Err(format!(
                    "which archives are those of the distribution {:?} is not known: name them in \
                     packages.origins (docs/packages.md)",
                    distribution.id
                ));
            }
            Self::Distribution => {
                [release, security].concat().iter().map(|t| (*t).to_owned()).collect()
            }
            Self::Security => security.iter().map(|text| (*text).to_owned()).collect(),
        };
        texts.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>().map(Some)
    }
}

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
}

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
        self.origin_objection(candidate.releases).or_else(|| {
            let (group, ripe) = self.canary.as_ref()?;
            let package = format!("{}:{}", candidate.name, candidate.arch);
            let text = ripe.objection(group, &package, candidate.version)?;
            Some(Objection::new("canary", text))
        })
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
