//! What is new in a package of a plan, and what of the plan needs it.

use std::collections::BTreeSet;

use super::{course::Course, program};
use crate::{
    adapters::packages::{Layout, News, PackageError, plans},
    core::plan::{PackageChange, PlanId},
};

/// A package may have a long past; nobody reads more of it.
const MOST: usize = 64 * 1024;

/// From the staged package itself; `None` when it has no changelog.
pub async fn of(
    layout: &Layout,
    id: &PlanId,
    package: &PackageChange,
) -> Result<Option<News>, PackageError> {
    let file = Course::there(layout, &plans::load(layout, id)?).file(package);
    if !file.exists() {
        return Ok(None);
    }
    let text = program::rpm(layout, "rpm").args(["-qp", "--changelog"]).arg(file).output().await?;
    let text = news(&text, package.from.as_deref());
    Ok(Some(News { text, urgency: None }).filter(|news| !news.text.trim().is_empty()))
}

/// The entries above the one of `from`. An entry's first line ends with the version, mostly without
/// the epoch and the distribution's part of the release.
fn news(text: &str, from: Option<&str>) -> String {
    let from = from.map(|from| from.split_once(':').map_or(from, |(_, rest)| rest));
    let is_old = |line: &str| {
        let version = line.strip_prefix("* ").and_then(|line| line.split_whitespace().last());
        version.zip(from).is_some_and(|(version, from)| {
            let version = version.split_once(':').map_or(version, |(_, rest)| rest);
            from.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let mut kept = String::new();
    for line in text.lines().take_while(|line| !is_old(line)) {
        if kept.len() + line.len() > MOST || line == "(none)" {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// What in a staged plan requires or recommends a package, or what it provides.
pub async fn needed_by(
    layout: &Layout,
    id: &PlanId,
    name: &str,
) -> Result<Vec<String>, PackageError> {
    let plan = plans::load(layout, id)?;
    let course = Course::there(layout, &plan);
    let there = |package: &&PackageChange| course.file(package).exists();
    let own = plan.packages.iter().filter(there).filter(|package| package.name == name);
    let provided = ask(layout, &course, "[%{PROVIDENAME}\\n]", own.collect()).await?;
    let provided: BTreeSet<&str> = provided.lines().chain([name]).collect();
    let others = plan.packages.iter().filter(there).filter(|package| package.name != name);
    let needs = "[%{=NAME}\\t%{REQUIRENAME}\\n][%{=NAME}\\t%{RECOMMENDNAME}\\n]";
    let needs = ask(layout, &course, needs, others.collect()).await?;
    let names = needs.lines().filter_map(|line| line.split_once('\t'));
    let names = names.filter(|(_, needed)| provided.contains(needed)).map(|(name, _)| name);
    Ok(names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect())
}

/// What rpm says of the files of these packages.
async fn ask(
    layout: &Layout,
    course: &Course,
    format: &str,
    packages: Vec<&PackageChange>,
) -> Result<String, PackageError> {
    if packages.is_empty() {
        return Ok(String::new());
    }
    let files = packages.into_iter().map(|package| course.file(package));
    Ok(program::rpm(layout, "rpm").args(["-qp", "--qf", format]).args(files).output().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_since_the_installed_version_is_news() {
        let text = "* Thu Jan 01 2026 A <a@example.com> - 2:1.2-3\n- new\n\n\
                    * Wed Dec 31 2025 A <a@example.com> - 2:1.2-1\n- older\n";
        let first = "* Thu Jan 01 2026 A <a@example.com> - 2:1.2-3\n- new\n\n";
        assert_eq!(news(text, Some("2:1.2-1.fc39")), first);
        assert_eq!(news(text, Some("2:1.2-1")), first);
        assert_eq!(news(text, Some("2:1.2-3")), "");
        assert_eq!(news(text, Some("2:1.2-11")), text);
        assert_eq!(news(text, None), text);
        assert_eq!(news("(none)\n", None), "");
    }
}
