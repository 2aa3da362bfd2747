//! Plans, and what is kept back from them, as text for people: pure.

use std::fmt::Write;

use jiff::Timestamp;

use super::render::{line, table};
use crate::{
    core::{
        choice::KeptBack,
        plan::{PackageChange, Plan},
    },
    dbus::{
        agent::SupplyDoc,
        executor::{Changelog, PackageDetails, PlanDetails},
    },
};

/// `check` and `plan`.
#[must_use]
pub fn supply(doc: &SupplyDoc, now: Timestamp) -> String {
    let mut text = match (&doc.staged, &doc.problem) {
        (Some(plan), _) => self::plan(plan, doc.details.as_ref()),
        (None, None) => "nothing to install\n".to_owned(),
        (None, Some(_)) => String::new(),
    };
    text.push_str(&kept_back(&doc.kept_back));
    for also in &doc.also {
        let _ = writeln!(text, "note: {}: {}", also.code, line(also, now));
    }
    text
}

fn plan(plan: &Plan, details: Option<&PlanDetails>) -> String {
    let rows = plan.packages.iter().map(|p| {
        let installed = p.from.as_deref().unwrap_or("-");
        let why = why(p, details);
        [p.name.as_str(), installed, &p.to, &why, &size(p.size), &p.origin].map(str::to_owned)
    });
    let mut text = table(["PACKAGE", "INSTALLED", "STAGED", "WHY", "SIZE", "ORIGIN"], rows);
    let (id, count, bytes) = (plan.id.short(), plan.packages.len(), size(plan.download_bytes()));
    let _ = writeln!(text, "\nstaged {id}: {count} package(s), {bytes}");
    for going in &plan.removes {
        let _ = writeln!(text, "{going} is removed for it");
    }
    let reboot = plan.reboot_expected();
    if !reboot.is_empty() {
        let _ = writeln!(text, "a reboot is to be expected because of {}", reboot.join(", "));
    }
    for missing in details.iter().flat_map(|details| &details.without_way_back) {
        let _ = writeln!(text, "there is no way back from {missing}");
    }
    text
}

/// `security`, `update`, `needed by web`
fn why(package: &PackageChange, details: Option<&PlanDetails>) -> String {
    let same =
        |known: &&PackageDetails| (&known.name, &known.arch) == (&package.name, &package.arch);
    let word = package.why().word();
    match details.and_then(|details| details.packages.iter().find(same)) {
        Some(known) if !known.needed_by.is_empty() => {
            format!("{word} by {}", known.needed_by.join(", "))
        }
        _ => word.to_owned(),
    }
}

/// Bytes, with three digits that matter.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let (mut value, mut unit) = (bytes, 0);
    let mut tenths = 0;
    while value >= 1000 && unit + 1 < UNITS.len() {
        tenths = value % 1000 / 100;
        value /= 1000;
        unit += 1;
    }
    match (unit, value) {
        (0, _) | (_, 100..) => format!("{value} {}", UNITS[unit]),
        _ => format!("{value}.{tenths} {}", UNITS[unit]),
    }
}

fn kept_back(kept: &[KeptBack]) -> String {
    if kept.is_empty() {
        return String::new();
    }
    let rows = kept.iter().map(|p| {
        let installed = p.installed.as_deref().unwrap_or("(new)");
        [p.name.as_str(), installed, &p.version, &p.why.text].map(str::to_owned)
    });
    let table = table(["KEPT BACK", "INSTALLED", "AVAILABLE", "WHY"], rows);
    format!("\n{table}")
}

/// `plan --changelog`
#[must_use]
pub fn changelogs(found: &[Changelog]) -> String {
    let one = |changelog: &Changelog| match &changelog.text {
        Some(text) => {
            let urgency = changelog.urgency.as_deref().unwrap_or("unknown");
            format!("== {} (urgency {urgency})\n\n{}\n", changelog.name, printable(text))
        }
        None => format!("== {}\n\nneither it nor its archive has a changelog\n", changelog.name),
    };
    found.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// What a package brings is not let at the terminal.
fn printable(text: &str) -> String {
    let odd = |letter: &char| letter.is_control() && *letter != '\n' && *letter != '\t';
    text.chars().map(|letter| if odd(&letter) { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbus::executor::Back;

    fn package(name: &str, from: Option<&str>) -> PackageChange {
        PackageChange {
            name: name.to_owned(),
            arch: "amd64".to_owned(),
            from: from.map(str::to_owned),
            to: "2".to_owned(),
            sha256: "0".repeat(64),
            size: 1_540_000,
            origin: "Debian-Security:12/stable-security".to_owned(),
        }
    }

    #[test]
    fn a_plan_says_who_needs_what_is_new_and_what_cannot_be_gone_back_from() {
        let plan = Plan::new(vec![package("libfoo", None), package("web", Some("1"))]).unwrap();
        let known = |name: &str, needed_by: &[&str], back| PackageDetails {
            name: name.to_owned(),
            arch: "amd64".to_owned(),
            why: String::new(),
            needed_by: needed_by.iter().map(|name| (*name).to_owned()).collect(),
            asks_for_reboot: false,
            way_back: Some(back),
        };
        let missing = Back::Missing { why: "gone".to_owned() };
        let details = PlanDetails {
            id: plan.id.clone(),
            packages: vec![
                known("libfoo", &["db", "web"], Back::Remove),
                known("web", &[], missing),
            ],
            without_way_back: vec!["web 1: gone".to_owned()],
        };
        let text = super::plan(&plan, Some(&details));
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].starts_with("libfoo   -          2       needed by db, web  1.5 MB"),
            "{text}"
        );
        assert!(lines[2].starts_with("web      1          2       security"), "{text}");
        assert_eq!(lines.last(), Some(&"there is no way back from web 1: gone"));
        assert!(super::plan(&plan, None).contains("  needed  "), "without details, too");
    }

    #[test]
    fn a_changelog_cannot_steer_the_terminal_and_a_missing_one_is_said() {
        let changelog = |text: Option<&str>| Changelog {
            name: "web".to_owned(),
            arch: "all".to_owned(),
            urgency: Some("high".to_owned()),
            text: text.map(str::to_owned),
        };
        let said = changelogs(&[changelog(Some("web (2)\n\u{1b}[2J\r")), changelog(None)]);
        assert_eq!(
            said,
            "== web (urgency high)\n\nweb (2)\n\u{fffd}[2J\u{fffd}\n\n\
             == web\n\nneither it nor its archive has a changelog\n"
        );
    }
}
