//! Which archives have which version, as `apt-cache policy` tells it.

use std::collections::BTreeMap;

use super::{AptError, Layout, apt_get, sources};
use crate::core::choice::Release;

/// The priority of what is installed: archives below it have no updates.
const INSTALLED: i32 = 100;

/// What is known of some packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<String, Package>);

/// One package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Package {
    candidate: Option<String>,
    /// The newest version of the archives with the highest priority, and that priority.
    best: Option<(i32, String)>,
    /// The archives of each version; dpkg's own record is none.
    versions: BTreeMap<String, Vec<Release>>,
}

/// Asks apt, by the private lists, for packages named `name:arch`.
pub async fn look_up(
    layout: &Layout,
    names: impl Iterator<Item = String>,
) -> Result<Known, AptError> {
    let files = files(&policy(layout, std::iter::empty()).await?);
    Ok(parse(&policy(layout, names).await?, &files))
}

async fn policy(layout: &Layout, names: impl Iterator<Item = String>) -> Result<String, AptError> {
    let done =
        apt_get::with_our_lists(layout, "apt-cache").arg("policy").args(names).finish().await?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = sources::complaint(done.said());
    Err(AptError::Said { doing: "looking up where packages come from", said })
}

impl Known {
    /// The archives that have this version.
    #[must_use]
    pub fn releases(&self, name: &str, arch: &str, version: &str) -> &[Release] {
        let versions = self.package(name, arch).map(|package| &package.versions);
        versions.and_then(|versions| versions.get(version)).map_or(&[], Vec::as_slice)
    }

    /// The version apt would install.
    #[must_use]
    pub fn candidate(&self, name: &str, arch: &str) -> Option<&str> {
        self.package(name, arch)?.candidate.as_deref()
    }

    /// The version apt would install without pins on the package itself.
    #[must_use]
    pub fn unpinned(&self, name: &str, arch: &str) -> Option<&str> {
        self.package(name, arch)?.best.as_ref().map(|(_, version)| version.as_str())
    }

    /// apt leaves its own architecture, and `all`, out of a name.
    fn package(&self, name: &str, arch: &str) -> Option<&Package> {
        self.0.get(&format!("{name}:{arch}")).or_else(|| self.0.get(name))
    }
}

/// Each archive's line, without its priority, and what it says of itself. One that says a thing twice
/// says nothing.
fn files(text: &str) -> BTreeMap<String, Release> {
    let mut found = BTreeMap::new();
    let mut file: Option<String> = None;
    for line in text.lines().take_while(|line| !line.starts_with("Pinned packages")) {
        let words = line.trim_start();
        let Some(name) = &file else {
            file = without_priority(words).map(str::to_owned);
            continue;
        };
        let release: &mut Release = found.entry(name.clone()).or_default();
        if let Some(fields) = words.strip_prefix("release ") {
            *release = fields_of(fields).unwrap_or_default();
        } else if let Some(site) = words.strip_prefix("origin ") {
            site.clone_into(&mut release.site);
        } else if let Some(next) = without_priority(words) {
            file = Some(next.to_owned());
        }
    }
    // What is installed.
    found.retain(|_, release| release.suite != "now");
    for (name, release) in &mut found {
        name.split(' ').next().unwrap_or_default().clone_into(&mut release.base);
    }
    found
}

/// `500 http://… bookworm/main amd64 Packages` → without the number.
fn without_priority(words: &str) -> Option<&str> {
    prioritised(words).map(|(_, rest)| rest)
}

/// The number, and what stands behind it.
fn prioritised(words: &str) -> Option<(i32, &str)> {
    let (priority, rest) = words.split_once(' ')?;
    Some((priority.parse().ok()?, rest.trim_start()))
}

/// `v=12,o=Debian,a=stable,n=bookworm,l=Debian,c=main,b=amd64`; a value may have a comma in it.
fn fields_of(text: &str) -> Option<Release> {
    let mut fields: BTreeMap<char, String> = BTreeMap::new();
    let mut last = None;
    for part in text.split(',') {
        let mut letters = part.chars();
        let key = letters.next().filter(|key| "voanlcb".contains(*key));
        match (key, letters.next(), last) {
            (Some(key), Some('='), _) => {
                if fields.insert(key, letters.as_str().to_owned()).is_some() {
                    return None;
                }
                last = Some(key);
            }
            (_, _, Some(key)) => {
                let value = fields.entry(key).or_default();
                value.push(',');
                value.push_str(part);
            }
            (_, _, None) => return None,
        }
    }
    let mut take = |key| fields.remove(&key).unwrap_or_default();
    Some(Release {
        origin: take('o'),
        label: take('l'),
        suite: take('a'),
        codename: take('n'),
        component: take('c'),
        site: String::new(),
        base: String::new(),
    })
}

fn parse(text: &str, files: &BTreeMap<String, Release>) -> Known {
    let mut known = Known::default();
    let (mut name, mut version) = (String::new(), String::new());
    for line in text.lines() {
        if !line.starts_with(' ') {
            line.trim_end_matches(':').clone_into(&mut name);
            continue;
        }
        let package = known.0.entry(name.clone()).or_default();
        if let Some(candidate) = line.strip_prefix("  Candidate: ") {
            package.candidate = Some(candidate.to_owned()).filter(|version| version != "(none)");
        } else if let Some(rest) = line
            .strip_prefix(" *** ")
            .or_else(|| line.strip_prefix("     "))
            .filter(|rest| !rest.starts_with(' '))
        {
            rest.split(' ').next().unwrap_or_default().clone_into(&mut version);
            package.versions.entry(version.clone()).or_default();
        } else if let Some((priority, file)) = prioritised(line.trim_start())
            && let Some(release) = files.get(file)
        {
            package.versions.entry(version.clone()).or_default().push(release.clone());
            // The newest comes first.
            let better = package.best.as_ref().is_none_or(|(best, _)| *best < priority);
            if better && priority >= INSTALLED {
                package.best = Some((priority, version.clone()));
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://deb.example.com/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin deb.example.com
 -10 http://deb.example.com/debian bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
     origin deb.example.com
 500 file:/srv/lab ./ Packages
     release o=Lab, Inc,l=Lab,c=
     origin
 500 https://two.example.com ./ Packages
     release o=A,l=x,o=Debian,c=
     origin two.example.com
Pinned packages:
     bash -> 5 with priority 990
";

    const PACKAGES: &str = "\
bash:
  Installed: 5.2-2+b8
  Candidate: 5.2-2+b13
  Version table:
     5.2-2+b13 500 (phased 10%)
        500 http://deb.example.com/debian bookworm/main amd64 Packages
        500 http://deb.example.com/debian-security bookworm-security/main amd64 Packages
 *** 5.2-2+b8 100
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: (none)
  Candidate: (none)
  Version table:
     1:2 -1
         -1 file:/srv/lab ./ Packages
";

    #[test]
    fn each_version_has_the_archives_it_is_in() {
        let known = parse(PACKAGES, &files(FILES));
        let codenames = |version: &str| -> Vec<&str> {
            let releases = known.releases("bash", "amd64", version);
            releases.iter().map(|release| release.codename.as_str()).collect()
        };
        assert_eq!(codenames("5.2-2+b13"), ["bookworm", "bookworm-security"]);
        assert_eq!(codenames("5.2-2+b8"), Vec::<&str>::new(), "dpkg's record is no archive");
        assert_eq!(codenames("6"), Vec::<&str>::new());
        assert_eq!(known.candidate("bash", "amd64"), Some("5.2-2+b13"));
        assert_eq!(known.candidate("libc6", "i386"), None);
        let [lab] = known.releases("libc6", "i386", "1:2") else { panic!("{known:?}") };
        assert_eq!((lab.origin.as_str(), lab.site.as_str()), ("Lab, Inc", ""));
    }

    #[test]
    fn without_pins_the_newest_of_the_best_archives_counts() {
        let archive = "http://deb.example.com/debian bookworm/main amd64 Packages";
        let security =
            "http://deb.example.com/debian-security bookworm-security/main amd64 Packages";
        let text = format!(
            "a:\n  Candidate: 2\n     4 -1\n        100 {archive}\n     3 -1\n        500 {security}\n     \
             2 990\n        500 {archive}\n *** 1 100\n        100 /var/lib/dpkg/status\n"
        );
        let known = parse(&text, &files(FILES));
        assert_eq!(known.unpinned("a", "amd64"), Some("3"));
        assert_eq!(known.unpinned("b", "amd64"), None);
    }

    #[test]
    fn who_says_a_thing_twice_says_nothing() {
        let files = files(FILES);
        let two = &files["https://two.example.com ./ Packages"];
        assert_eq!((two.origin.as_str(), two.site.as_str()), ("", "two.example.com"));
        assert_eq!(files.len(), 4);
        assert_eq!(fields_of("x"), None);
    }
}
