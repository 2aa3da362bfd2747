//! Checks: the exact set, and sources that are not to be trusted.

use std::{fs, process::Command};

use lockkeeper::{
    adapters::apt::plans, config::settings::WithoutWayBack, dbus::executor::ApplyReport,
    executor::stage::stage,
};

use crate::{
    apply,
    archive::{Archive, Package, run},
    changes, check, files, plan, staged,
    system::System,
    updated,
};

#[tokio::test]
async fn a_check_gives_the_exact_set_with_digests_and_leaves_the_systems_lists_alone() {
    let (archive, system) = updated();
    let before = files(&system.root().join("var/lib/apt/lists"));
    let plan = plan(&system).await;
    assert_eq!(
        changes(&plan),
        ["alpha 1.0 1.1", "beta 1:1.0 1:1.1", "delta  0.1", "gamma 1.0 1.1"]
    );
    let beta = &plan.packages[1];
    let deb = archive.path().join("beta_1-1.1_amd64.deb");
    let sum = run(Command::new("sha256sum").arg(&deb));
    assert_eq!(Some(beta.sha256.as_str()), sum.split(' ').next());
    assert_eq!((beta.size, beta.arch.as_str()), (fs::metadata(&deb).unwrap().len(), "amd64"));
    assert_eq!(beta.origin, "Lab:stable");
    assert_eq!(files(&system.root().join("var/lib/apt/lists")), before);
    assert_eq!(plans::load(&system.layout, &plan.id).unwrap(), plan);
    let layout = &system.layout;
    assert!(!layout.cache().exists(), "what a check has read is gone with it");
    stage(layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    assert!(!layout.cache().exists(), "what a staging has read is gone with it");
}

#[tokio::test]
async fn a_system_that_is_up_to_date_has_no_plan() {
    let archive = Archive::with(&[Package::new("alpha", "1.0")]);
    let system = System::with(&archive, &["alpha"]);
    assert_eq!(check(&system.layout).await.unwrap().plan, None);
}

#[tokio::test]
async fn a_held_package_is_not_in_the_plan_and_stays_held() {
    let (_archive, system) = updated();
    system.mark(&["hold", "gamma"]);
    let plan = staged(&system).await;
    assert_eq!(changes(&plan), ["alpha 1.0 1.1", "beta 1:1.0 1:1.1", "delta  0.1"]);
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(system.version("gamma"), "hi 1.0");
    assert_eq!(system.mark(&["showhold"]), ["gamma"]);
}

async fn sources_error(system: &System) -> String {
    let error = check(&system.layout).await.unwrap_err();
    assert_eq!(error.kind(), "sources", "{error:?}");
    assert!(!system.layout.plans().exists(), "a plan was made of lists that cannot be trusted");
    error.to_string()
}

#[tokio::test]
async fn a_bad_signature_is_an_error_that_names_the_source() {
    let (archive, system) = updated();
    archive.forge();
    let error = sources_error(&system).await;
    assert!(error.contains(&archive.path().display().to_string()), "{error}");
    // apt 2, apt 3
    assert!(error.contains("BADSIG") || error.contains("manipulated"), "{error}");
}

#[tokio::test]
async fn a_foreign_key_is_an_error_that_names_the_source() {
    let (archive, system) = updated();
    let other = Archive::with(&[]);
    fs::write(system.root().join("etc/apt/trusted.gpg.d/lab.gpg"), other.key()).unwrap();
    let error = sources_error(&system).await;
    assert!(error.contains(&archive.path().display().to_string()), "{error}");
    assert!(error.contains("NO_PUBKEY") || error.contains("Missing key"), "{error}");
}

#[tokio::test]
async fn expired_lists_are_an_error() {
    let (archive, system) = updated();
    archive.index(&[("Valid-Until", "Wed, 01 Jan 2020 00:00:00 UTC")]);
    let error = sources_error(&system).await;
    assert!(error.contains("is expired"), "{error}");
}

#[tokio::test]
async fn a_source_that_is_gone_is_an_error_even_when_others_answer() {
    let (archive, system) = updated();
    for (gone, source, reason) in [
        ("deb file:/nowhere ./\n", "file:/nowhere: ", "does not have a Release file"),
        (
            "deb http://127.0.0.1:1/d x main\n",
            "http://127.0.0.1:1/d/dists/x: ",
            "Connection refused",
        ),
    ] {
        system.write("etc/apt/sources.list", &(archive.source() + gone));
        let error = sources_error(&system).await;
        assert!(error.contains(source) && error.contains(reason), "{error}");
    }
}
