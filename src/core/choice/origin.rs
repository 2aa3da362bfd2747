//! Archives, by what they say of themselves, and the distribution whose they are.

use std::fmt;

use crate::core::record::matches;

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
    pub(super) fn reach(&self, uri: &str) -> Option<usize> {
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
    pub(super) fn patterns(
        &self,
        distribution: &Distribution,
    ) -> Result<Option<Vec<Pattern>>, String> {
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
