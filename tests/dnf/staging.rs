//! The stage: exact files with good signatures, or nothing.

use std::fs;

use lockkeeper::{
    adapters::packages::{
        PackageError,
        plans::{self, Outcome},
    },
    config::settings::WithoutWayBack,
    dbus::executor::Back,
    executor::{
        confirm::confirm,
        describe::{changelogs, describe},
        stage::stage,
    },
};

use crate::{
    apply, check, names,
    repository::{Package, Repository},
    server::Server,
    staged,
    system::System,
    undo,
};

#[tokio::test]
async fn what_is_staged_can_be_described_and_is_gone_when_confirmed() {
    let repository = Repository::with(&[Package::new("alpha", "1")]);
    let system = System::with(&repository, &["alpha"]);
    let entries = "* Thu Jan 01 2026 Lab <lab@example.com> - 2-1\n- mended\n\n\
                   * Wed Dec 31 2025 Lab <lab@example.com> - 1-1\n- begun";
    repository.add(&[
        Package::new("alpha", "2").tag("Requires: engine").changelog(entries),
        Package::new("fresh", "1").tag("Provides: engine"),
    ]);
    let plan = staged(&system).await;
    let details = describe(&system.layout, &plan.id).await.unwrap();
    let ways: Vec<_> = details.packages.iter().map(|p| p.way_back.clone().unwrap()).collect();
    assert_eq!(ways, [Back::Archive, Back::Remove]);
    assert_eq!(details.packages[1].needed_by, ["alpha"]);
    assert!(details.without_way_back.is_empty());
    let news = changelogs(&system.layout, &plan.id, "alpha").await.unwrap();
    let text = news[0].text.clone().unwrap();
    assert!(text.contains("- mended") && !text.contains("- begun"), "{text}");

    confirm(&system.layout, &plan.id).unwrap();
    assert!(!plans::is_staged(&system.layout, &plan.id));
    assert!(!system.layout.plan(&plan.id).join("rpms").exists());
}

#[tokio::test]
async fn a_package_that_no_trusted_key_has_signed_is_not_staged() {
    let repository = Repository::with(&[Package::new("alpha", "1")]);
    let system = System::with(&repository, &["alpha"]);
    for other in [Package::new("alpha", "2").unsigned(), Package::new("alpha", "2")] {
        // The second is signed by a key that nobody has imported.
        let stranger = Repository::with(&[other]);
        let address = format!("file://{}", stranger.tree().display());
        let text = format!("[stranger]\nname=stranger\nbaseurl={address}\ngpgcheck=0\n");
        system.write("etc/yum.repos.d/stranger.repo", &text);
        let plan = check(&system.layout).await.unwrap().plan.unwrap();
        let staged = stage(&system.layout, &plan.id, WithoutWayBack::Allow).await;
        let error = staged.unwrap_err().to_string();
        assert!(error.contains("alpha.noarch.rpm has no good signature"), "{error}");
        assert!(!plans::is_staged(&system.layout, &plan.id));
        assert!(!system.layout.plan(&plan.id).join("rpms").exists());
    }
}

#[tokio::test]
async fn a_repository_that_swapped_a_file_fails_staging_and_leaves_nothing() {
    let repository = Repository::with(&[Package::new("alpha", "1")]);
    let system = System::with(&repository, &["alpha"]);
    repository.add(&[Package::new("alpha", "2")]);
    let plan = check(&system.layout).await.unwrap().plan.unwrap();
    let file = repository.tree().join("alpha-2-1.noarch.rpm");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let staged = stage(&system.layout, &plan.id, WithoutWayBack::Allow).await;
    assert!(matches!(staged, Err(PackageError::Said { doing: "downloading", .. })), "{staged:?}");
    assert!(!system.layout.plan(&plan.id).join("rpms").exists());
}

#[tokio::test]
async fn what_a_server_lists_and_has_lost_is_named_and_what_it_has_is_staged() {
    let first = ["alpha", "beta"].map(|name| Package::new(name, "1"));
    let repository = Repository::with(&first);
    let system = System::with(&repository, &["alpha", "beta"]);
    repository.add(&["alpha", "beta"].map(|name| Package::new(name, "2")));
    let server = Server::of(repository.tree());
    system.source("lab", &server.address());
    let file = |name: &str| repository.tree().join(name);
    fs::rename(file("alpha-2-1.noarch.rpm"), file("elsewhere")).unwrap();
    fs::remove_file(file("beta-1-1.noarch.rpm")).unwrap();
    let plan = check(&system.layout).await.unwrap().plan.unwrap();
    let error = stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap_err();
    assert!(error.to_string().contains("alpha-2-1.noarch"), "{error}");
    assert!(!system.layout.plan(&plan.id).join("rpms").exists());

    fs::rename(file("elsewhere"), file("alpha-2-1.noarch.rpm")).unwrap();
    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    let missing = describe(&system.layout, &plan.id).await.unwrap().without_way_back;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].starts_with("beta 1-1: ") && missing[0].contains("404"), "{missing:?}");
    drop(server);
    assert_eq!(apply(&system, &plan.id).await, Outcome::Complete);
    let reason = match undo(&system, &plan.id).await {
        Outcome::Refused { reason } => reason,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(reason, "there is no way back from beta-2-1.noarch");
    assert_eq!(system.packages(), names(["alpha-2-1", "beta-2-1"]));
}

#[tokio::test]
async fn without_the_earlier_version_in_a_repository_the_policy_decides() {
    let repository = Repository::with(&[Package::new("alpha", "1")]);
    let system = System::with(&repository, &["alpha"]);
    repository.publish(&[Package::new("alpha", "2")]);
    let plan = check(&system.layout).await.unwrap().plan.unwrap();
    let refused = stage(&system.layout, &plan.id, WithoutWayBack::Refuse).await.unwrap_err();
    assert!(refused.to_string().contains("alpha 1-1: no repository has it"), "{refused}");
    assert!(!plans::is_staged(&system.layout, &plan.id));
    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    let details = describe(&system.layout, &plan.id).await.unwrap();
    assert_eq!(details.without_way_back, ["alpha 1-1: no repository has it any more"]);
}

#[tokio::test]
async fn an_earlier_version_that_no_repository_has_comes_from_dnfs_cache_if_it_is_the_one() {
    let first = ["alpha", "beta"].map(|name| Package::new(name, "1"));
    let repository = Repository::with(&first);
    let system = System::configured(&repository, &["alpha", "beta"], "keepcache=1\n");
    // What lies on the same machine dnf does not keep.
    let server = Server::of(repository.tree());
    system.source("lab", &server.address());
    system.dnf(&["reinstall", "alpha", "beta"]);
    let before = system.packages();
    let cached = |name: &str| {
        let cache = fs::read_dir(system.root().join("var/cache/dnf")).unwrap().flatten();
        let mut files = cache.map(|entry| entry.path().join("packages").join(name));
        files.find(|file| file.exists()).unwrap()
    };
    let (alpha, beta) = (cached("alpha-1-1.noarch.rpm"), cached("beta-1-1.noarch.rpm"));
    repository.publish(&["alpha", "beta"].map(|name| Package::new(name, "2")));
    let good = fs::read(&beta).unwrap();
    // Another package is no way back to this one, whatever it is called.
    fs::copy(&alpha, &beta).unwrap();
    let plan = staged(&system).await;
    let missing = describe(&system.layout, &plan.id).await.unwrap().without_way_back;
    assert_eq!(missing, ["beta 1-1: no repository has it any more"]);

    fs::write(&beta, good).unwrap();
    plans::withdraw(&system.layout, &plan.id).unwrap();
    stage(&system.layout, &plan.id, WithoutWayBack::Refuse).await.unwrap();
    drop((server, repository));
    fs::remove_dir_all(system.root().join("var/cache/dnf")).unwrap();
    assert_eq!(apply(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(undo(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(system.packages(), before);
}
