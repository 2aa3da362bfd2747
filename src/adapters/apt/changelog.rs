//! What is new in a package of a plan: its changelog, down to the version that is installed.

use super::{AptError, Layout, apt_get, repository};
use crate::core::plan::{PackageChange, PlanId};

/// A package may have a long past; nobody reads more of it.
const MOST: usize = 64 * 1024;

/// From the staged package itself; else from where its archive keeps changelogs. `None` when neither
/// has one, or only a reference to another package's.
pub async fn of(
    layout: &Layout,
    id: &PlanId,
    package: &PackageChange,
) -> Result<Option<String>, AptError> {
    let text = match staged(layout, id, package).await? {
        Some(text) => text,
        None => match fetched(layout, package).await? {
            Some(text) => text,
            None => return Ok(None),
        },
    };
    Ok(Some(news(&text, package.from.as_deref())).filter(|text| !text.trim().is_empty()))
}

/// The changelog in the staged archive, as Debian Policy 12.7 has it.
async fn staged(
    layout: &Layout,
    id: &PlanId,
    package: &PackageChange,
) -> Result<Option<String>, AptError> {
    let deb = repository::deb_path(&layout.plan(id), package);
    if !deb.exists() {
        return Ok(None);
    }
    for file in ["changelog.Debian.gz", "changelog.gz"] {
        let path = format!("./usr/share/doc/{}/{file}", package.name);
        let archive = apt_get::program(layout, "dpkg-deb").arg("--fsys-tarfile").arg(&deb);
        let member = apt_get::program(layout, "tar").args(["-xO", "--occurrence=1", &path]);
        let text = apt_get::program(layout, "gzip").arg("-dc");
        let done = archive.pipe(member)?.pipe(text)?.finish().await?;
        if done.status.success() && !done.stdout.is_empty() {
            return Ok(Some(done.stdout));
        }
    }
    Ok(None)
}

async fn fetched(layout: &Layout, package: &PackageChange) -> Result<Option<String>, AptError> {
    let exact = super::resolve::exact_name(package);
    let ask = apt_get::with_our_lists(layout, "apt-get");
    let done = ask.args(["-qq", "changelog", &exact]).finish().await?;
    Ok(Some(done.stdout).filter(|_| done.status.success()))
}

/// The entries above the one of `from`.
fn news(text: &str, from: Option<&str>) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let version = line.split_once(" (").and_then(|(_, rest)| rest.split_once(')'));
        let heads = !line.starts_with(' ') && version.is_some();
        let old = version.is_some_and(|(version, _)| {
            from.is_some_and(|from| super::version::compare(version, from).is_le())
        });
        if (heads && old) || kept.len() > MOST {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept.truncate(kept.trim_end().len());
    kept
}

/// The most urgent of the entries: `low`, `medium`, `high`, `emergency` or `critical`.
#[must_use]
pub fn urgency(news: &str) -> Option<String> {
    let urgencies = ["critical", "emergency", "high", "medium", "low"];
    let heads = || news.lines().filter(|line| !line.starts_with(' ')).map(str::to_ascii_lowercase);
    let has = |urgency: &&&str| heads().any(|head| head.contains(&format!("urgency={urgency}")));
    urgencies.iter().find(has).map(|urgency| (*urgency).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
web (1:2-1+deb12u2) bookworm-security; urgency=high

  * Fix (CVE-2026-1) something.

 -- A <a@example.com>  Mon, 23 Nov 2026 12:00:00 +0000

web (1:2-1+deb12u1) bookworm; urgency=medium

  * Older.

web (1:2-1) unstable; urgency=critical

  * Oldest.
";

    #[test]
    fn only_entries_newer_than_what_is_installed_are_news() {
        let found = news(TEXT, Some("1:2-1"));
        assert!(found.contains("Older") && !found.contains("Oldest"), "{found}");
        assert_eq!(urgency(&found).as_deref(), Some("high"));
        assert_eq!(news(TEXT, Some("1:2-1+deb12u2")), "");
        // An entry of the installed version need not be there.
        assert_eq!(news(TEXT, Some("1:2-1+deb12u1~x")), found);
        assert!(news(TEXT, None).contains("Oldest"));
        assert_eq!(urgency(""), None);
    }
}
