//! What is told of a staged plan.

use std::{fs, process::Command};

use lockkeeper::{
    adapters::apt::AptError,
    core::plan::PlanId,
    dbus::executor::{Back, PackageDetails, PlanDetails},
    executor::describe::{changelogs, describe},
};

use crate::{
    archive::{Archive, Package, run},
    staged,
    system::System,
    undoing::without_way_back,
    updated,
};

fn package<'a>(details: &'a PlanDetails, name: &str) -> &'a PackageDetails {
    details.packages.iter().find(|package| package.name == name).unwrap()
}

#[tokio::test]
async fn a_plan_says_of_each_package_why_it_comes_and_how_it_would_go() {
    let (archive, system) = updated();
    archive.publish(&[Package::new("libc6", "1")]);
    system.apt(&["update"]);
    system.apt(&["install", "libc6"]);
    archive.publish(&[
        Package::new("libc6", "2").field("Depends", "linux-image-6.1.0-9-lab"),
        Package::new("linux-image-6.1.0-9-lab", "1"),
        Package::new("gamma", "1.2").field("Recommends", "delta"),
    ]);
    let plan = staged(&system).await;
    let details = describe(&system.layout, &plan.id).await.unwrap();
    assert_eq!(details.id, plan.id);
    let names = |found: Vec<&String>| found.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(details.packages.iter().map(|p| &p.name).collect()),
        names(plan.packages.iter().map(|p| &p.name).collect())
    );
    let delta = package(&details, "delta");
    assert_eq!((delta.why.as_str(), &delta.way_back), ("needed", &Some(Back::Remove)));
    assert_eq!(delta.needed_by, ["beta", "gamma"]);
    let alpha = package(&details, "alpha");
    assert_eq!((alpha.why.as_str(), &alpha.way_back), ("update", &Some(Back::Archive)));
    assert!(alpha.needed_by.is_empty() && !alpha.asks_for_reboot);
    assert!(package(&details, "libc6").asks_for_reboot);
    let kernel = package(&details, "linux-image-6.1.0-9-lab");
    assert!(kernel.asks_for_reboot && kernel.needed_by == ["libc6"], "{kernel:?}");
    assert!(details.without_way_back.is_empty());
}

#[tokio::test]
async fn a_package_without_a_way_back_is_named_with_the_reason() {
    let (_archive, system) = without_way_back();
    let details = describe(&system.layout, &staged(&system).await.id).await.unwrap();
    let Some(Back::Missing { why }) = &package(&details, "alpha").way_back else {
        panic!("{details:?}")
    };
    assert_eq!(details.without_way_back, [format!("alpha 1.0: {why}")]);
    assert_eq!(package(&details, "beta").way_back, Some(Back::Repacked));
}

#[tokio::test]
async fn a_plan_that_is_not_known_is_not_described() {
    let (_archive, system) = updated();
    let unknown = PlanId::parse(&"0".repeat(64)).unwrap();
    assert!(matches!(describe(&system.layout, &unknown).await, Err(AptError::NoPlan(_))));
    let found = changelogs(&system.layout, &unknown, "").await;
    assert!(matches!(found, Err(AptError::NoPlan(_))));
}

/// A changelog as a package carries it.
fn changelog(entries: &[(&str, &str, &str)]) -> Vec<u8> {
    let entry = |(version, urgency, what): &(&str, &str, &str)| {
        format!(
            "alpha ({version}) stable; urgency={urgency}\n\n  * {what}\n\n \
             -- Lab <lab@example.com>  Mon, 23 Nov 2026 12:00:00 +0000\n"
        )
    };
    let text = entries.iter().map(entry).collect::<Vec<_>>().join("\n");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c"), text).unwrap();
    run(Command::new("gzip").arg("-n").arg(dir.path().join("c")));
    fs::read(dir.path().join("c.gz")).unwrap()
}

#[tokio::test]
async fn a_changelog_is_read_from_the_staged_package_down_to_what_is_installed() {
    let archive = Archive::with(&[Package::new("alpha", "1.0"), Package::new("beta", "1.0")]);
    let system = System::with(&archive, &["alpha", "beta"]);
    let entries = [
        ("1.2", "medium", "Newest."),
        ("1.1", "high", "Closes a hole."),
        ("1.0", "critical", "First."),
    ];
    let news = changelog(&entries);
    archive.publish(&[
        Package::new("alpha", "1.2").file("usr/share/doc/alpha/changelog.gz", &news),
        Package::new("beta", "1.1"),
    ]);
    let staged = staged(&system).await;
    // The archive is gone by now.
    system.write("etc/apt/sources.list", "");
    let all = changelogs(&system.layout, &staged.id, "").await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["alpha", "beta"]);
    let text = all[0].text.as_deref().unwrap();
    assert!(text.contains("Newest") && text.contains("a hole"), "{text}");
    assert!(!text.contains("First"), "that is what is installed: {text}");
    assert_eq!(all[0].urgency.as_deref(), Some("high"));
    assert_eq!((&all[1].text, &all[1].urgency), (&None, &None), "none is no failure");
    assert_eq!(changelogs(&system.layout, &staged.id, "beta").await.unwrap().len(), 1);
    assert!(changelogs(&system.layout, &staged.id, "gamma").await.unwrap().is_empty());
}
