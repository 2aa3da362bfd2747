//! The way back: from every state a plan can leave behind to exactly what was there before.

use std::fs;

use lockkeeper::{
    adapters::{
        apt::{Layout, plans},
        packages::way_back::How,
    },
    config::settings::WithoutWayBack,
    core::plan::PlanId,
    dbus::executor::{ApplyReport, UndoReport},
    executor::stage::stage,
};

use crate::{
    apply,
    archive::{Archive, Package, run},
    failed, files, plan, staged,
    system::System,
    undo, updated,
};

/// How each package would come back: `alpha archive`, `delta remove`, …
fn ways(layout: &Layout, id: &PlanId) -> Vec<String> {
    let back = plans::way_back(layout, id).unwrap().unwrap();
    let word = |how: &How| match how {
        How::Remove { purge: true } => "remove",
        How::Remove { purge: false } => "remove, files stay",
        How::Archive { .. } => "archive",
        How::Repacked { .. } => "repacked",
        How::Missing { .. } => "missing",
    };
    back.packages.iter().map(|p| format!("{} {}", p.name, word(&p.how))).collect()
}

/// Everything dpkg and apt know of the packages.
fn known(system: &System) -> (Vec<(String, String)>, Vec<String>) {
    (system.versions().into_iter().collect(), system.mark(&["showauto"]))
}

#[tokio::test]
async fn an_applied_plan_is_undone_to_the_exact_set_from_before_without_archive() {
    let (archive, system) = updated();
    system.mark(&["auto", "alpha"]);
    let before = known(&system);
    let plan = staged(&system).await;
    assert_eq!(
        ways(&system.layout, &plan.id),
        ["alpha archive", "beta archive", "delta remove", "gamma archive"]
    );
    for name in ["alpha", "beta", "gamma"] {
        archive.withdraw(name);
    }
    fs::remove_dir_all(system.layout.lists()).unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_ne!(known(&system), before);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
    assert_eq!(system.read("usr/share/beta/version"), "1:1.0");
    // Asked again, it answers the same.
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
}

#[tokio::test]
async fn what_the_archive_has_no_more_is_put_together_from_what_is_installed() {
    let old = Package::new("alpha", "1.0").conffile("etc/alpha", "shipped");
    let archive = Archive::with(&[old]);
    let system = System::with(&archive, &["alpha"]);
    system.write("etc/alpha", "edited");
    archive.withdraw("alpha");
    archive.publish(&[Package::new("alpha", "1.1").script("postinst", "exit 1")]);
    let before = known(&system);
    let plan = staged(&system).await;
    assert_eq!(ways(&system.layout, &plan.id), ["alpha repacked"]);
    failed(apply(&system, &plan.id).await);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
    assert_eq!(system.read("etc/alpha"), "edited");
    assert_eq!(system.read("usr/share/alpha/version"), "1.0");
}

#[tokio::test]
async fn every_maintainer_script_that_fails_is_survived() {
    for (script, body) in [
        ("preinst", "exit 1"),
        ("postinst", "exit 1"),
        // Fails when it is replaced again, by whatever version.
        ("prerm", "exit 1"),
        ("postrm", "exit 1"),
    ] {
        let archive = Archive::with(&[Package::new("bad", "1.0"), Package::new("good", "1.0")]);
        let system = System::with(&archive, &["bad", "good"]);
        let before = known(&system);
        let bad = Package::new("bad", "1.1").script(script, body);
        // A failing prerm or postrm shows only on the way back.
        let also = if script.ends_with("inst") { "true" } else { "exit 1" };
        let bad = if script == "postinst" { bad } else { bad.script("postinst", also) };
        archive.publish(&[bad, Package::new("good", "1.1").field("Depends", "bad (>= 1.1)")]);
        let plan = staged(&system).await;
        failed(apply(&system, &plan.id).await);
        assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone, "{script}");
        assert_eq!(known(&system), before, "{script}");
    }
}

#[tokio::test]
async fn a_plan_that_was_never_applied_is_undone_by_doing_nothing() {
    let (_archive, system) = updated();
    let before = known(&system);
    let plan = staged(&system).await;
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
}

#[tokio::test]
async fn a_hold_that_came_later_does_not_keep_the_node_on_what_does_not_work() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    system.mark(&["hold", "alpha"]);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(system.version("alpha"), "hi 1.0", "the hold stays");
}

#[tokio::test]
async fn a_damaged_way_back_is_refused_with_nothing_changed_and_secured_anew_by_staging() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let deb = system.layout.back(&plan.id).join("debs/alpha_all.deb");
    let mut bytes = fs::read(&deb).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&deb, bytes).unwrap();
    let before = known(&system);
    let report = undo(&system, &plan.id).await;
    let UndoReport::Impossible { reason } = report else { panic!("{report:?}") };
    assert!(reason.contains("alpha_all.deb does not have the digest of 1.0"), "{reason}");
    assert_eq!(known(&system), before);

    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
}

/// alpha is not wholly there, so that nothing can be put together from it.
pub fn without_way_back() -> (Archive, System) {
    let sick = Package::new("alpha", "1.0").script("postinst", "[ ! -e /sick ]");
    let archive = Archive::with(&[sick, Package::new("beta", "1.0")]);
    let system = System::with(&archive, &["alpha", "beta"]);
    system.write("sick", "");
    let deb = archive.path().join("alpha_1.0_all.deb");
    run(system.dpkg().arg("--unpack").arg(deb));
    archive.withdraw("alpha");
    archive.withdraw("beta");
    archive.publish(&[Package::new("alpha", "1.1"), Package::new("beta", "1.1")]);
    (archive, system)
}

#[tokio::test]
async fn without_a_way_back_the_undo_is_refused_and_says_of_what() {
    let (_archive, system) = without_way_back();
    let plan = plan(&system).await;
    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    assert_eq!(ways(&system.layout, &plan.id), ["alpha missing", "beta repacked"]);
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    let before = known(&system);
    let report = undo(&system, &plan.id).await;
    let UndoReport::Impossible { reason } = report else { panic!("{report:?}") };
    assert!(reason.contains("alpha 1.0: "), "{reason}");
    assert_eq!(known(&system), before);
}

#[tokio::test]
async fn a_plan_without_a_way_back_is_not_staged_where_such_plans_are_not_wanted() {
    let (archive, system) = without_way_back();
    let plan = plan(&system).await;
    let error = stage(&system.layout, &plan.id, WithoutWayBack::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), "no-way-back");
    let text = error.to_string();
    assert!(text.starts_with("there is no way back from alpha 1.0: "), "{text}");
    assert!(!text.contains("beta"), "{text}");
    assert_eq!(files(&system.layout.plan(&plan.id)), ["chosen.json", "plan.json"]);

    // One that was staged while they were allowed is not taken for good.
    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    let error = stage(&system.layout, &plan.id, WithoutWayBack::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), "no-way-back");
    assert!(!plans::is_staged(&system.layout, &plan.id));

    // The archive has it again.
    archive.publish(&[Package::new("alpha", "1.0"), Package::new("alpha", "1.1")]);
    let again = crate::plan(&system).await;
    stage(&system.layout, &again.id, WithoutWayBack::Refuse).await.unwrap();
    assert_eq!(ways(&system.layout, &again.id), ["alpha archive", "beta repacked"]);
}

#[tokio::test]
async fn an_earlier_version_that_the_archive_lists_and_has_lost_comes_from_the_cache_or_is_repacked()
 {
    let (archive, system) = updated();
    let cache = system.root().join("var/cache/apt/archives");
    for (name, other) in [("alpha", false), ("beta", true)] {
        let deb = files(archive.path()).into_iter().find(|f| f.starts_with(&format!("{name}_1")));
        let lost = archive.path().join(deb.unwrap());
        let mut bytes = fs::read(&lost).unwrap();
        fs::remove_file(&lost).unwrap();
        // Of beta the cache has something of the same size, and not the same.
        let middle = bytes.len() / 2;
        bytes[middle] ^= u8::from(other);
        let quoted = lost.file_name().unwrap().to_str().unwrap().replace("1-1.0", "1%3a1.0");
        fs::write(cache.join(quoted), bytes).unwrap();
    }
    let before = known(&system);
    let plan = staged(&system).await;
    assert_eq!(
        ways(&system.layout, &plan.id),
        ["alpha archive", "beta repacked", "delta remove", "gamma archive"]
    );
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
}

#[tokio::test]
async fn a_package_that_changes_its_architecture_goes_back_to_the_one_it_had() {
    let archive = Archive::with(&[Package::new("alpha", "1.0"), Package::new("beta", "1.0")]);
    let system = System::with(&archive, &["alpha", "beta"]);
    archive.withdraw("beta");
    let changed = |name: &str| Package::new(name, "1.1").arch("amd64");
    archive.publish(&[changed("alpha"), changed("beta")]);
    let before = known(&system);
    let plan = staged(&system).await;
    assert_eq!(ways(&system.layout, &plan.id), ["alpha archive", "beta repacked"]);
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
    let arch = run(system.dpkg().args(["-s", "alpha", "beta"]));
    assert_eq!(arch.matches("Architecture: all").count(), 2, "{arch}");
}

#[tokio::test]
async fn a_newer_stage_does_not_take_the_way_back_of_what_is_not_confirmed() {
    let (archive, system) = updated();
    let before = known(&system);
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    archive.publish(&[Package::new("alpha", "1.2")]);
    let newer = staged(&system).await;
    assert_ne!(newer.id, plan.id);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);

    // Once confirmed, it makes way.
    lockkeeper::executor::confirm::confirm(&system.layout, &plan.id).unwrap();
    staged(&system).await;
    assert!(!system.layout.plan(&plan.id).exists());
}
