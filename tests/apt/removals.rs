//! `packages.removals = "allow"`: what goes for an update, what never does, and how it comes back.

use lockkeeper::{
    adapters::apt::{plans, repository},
    config::settings::{Packages, Removals, WithoutWayBack},
    core::plan::Plan,
    dbus::executor::{ApplyReport, CheckReport, UndoReport},
    executor::stage::stage,
};

use crate::{
    apply,
    archive::{Archive, Package},
    changes, check_by, failed, refused,
    system::System,
    undo,
};

fn allow(packages: &mut Packages) {
    packages.removals = Removals::Allow;
}

async fn found(system: &System, change: impl FnOnce(&mut Packages)) -> CheckReport {
    let both = |packages: &mut Packages| {
        allow(packages);
        change(packages);
    };
    check_by(&system.layout, both).await.unwrap()
}

fn removes(report: &CheckReport) -> Vec<String> {
    let plan = report.plan.iter();
    plan.flat_map(|plan| &plan.removes).map(ToString::to_string).collect()
}

fn kept(report: &CheckReport) -> Vec<String> {
    let kept = report.kept_back.iter();
    kept.map(|p| format!("{} {}: {}: {}", p.name, p.version, p.why.code, p.why.text)).collect()
}

async fn staged(system: &System) -> Plan {
    let plan = found(system, |_| {}).await.plan.expect("a plan");
    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    plan
}

/// `web` 2 needs `libnew`, which takes over the files of `libold`, which `web` 1 needs.
fn transition() -> (Archive, System) {
    let libold = Package::new("libold", "1").file("usr/lib/the-lib", b"old");
    let libold = libold.conffile("etc/libold.conf", "shipped\n");
    let archive = Archive::with(&[Package::new("web", "1").field("Depends", "libold"), libold]);
    let system = System::with(&archive, &["web"]);
    let libnew = Package::new("libnew", "2").file("usr/lib/the-lib", b"new");
    archive.publish(&[
        Package::new("web", "2").field("Depends", "libnew"),
        libnew.field("Conflicts", "libold").field("Replaces", "libold"),
    ]);
    (archive, system)
}

/// All that dpkg and apt know of the packages, and the file that changes hands.
fn known(system: &System) -> (Vec<(String, String)>, Vec<String>, String, String) {
    let file = system.read("usr/lib/the-lib");
    let conffile = system.read("etc/libold.conf");
    (system.versions().into_iter().collect(), system.mark(&["showauto"]), file, conffile)
}

#[tokio::test]
async fn a_package_goes_for_an_update_and_comes_back_with_its_mark() {
    let (archive, system) = transition();
    let refused = check_by(&system.layout, |_| {}).await.unwrap();
    assert_eq!(refused.plan, None);
    assert_eq!(kept(&refused), ["web 2: removes: it would have libold removed"]);

    system.write("etc/libold.conf", "edited\n");
    let before = known(&system);
    let plan = staged(&system).await;
    assert_eq!(changes(&plan), ["libnew  2", "web 1 2"]);
    assert_eq!(plan.removes[0].to_string(), "libold 1");
    // From the stage alone.
    archive.withdraw("libnew");
    archive.withdraw("libold");
    std::fs::remove_dir_all(system.layout.lists()).unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    let (versions, auto, file, conffile) = known(&system);
    let versions: Vec<_> = versions.iter().map(|(name, v)| format!("{name} {v}")).collect();
    assert_eq!(versions, ["libnew ii 2", "libold rc 1", "web ii 2"]);
    assert_eq!((auto, file, conffile), (vec!["libnew".into()], "new".into(), "edited\n".into()));

    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
}

#[tokio::test]
async fn an_update_that_fails_midway_gives_back_what_went_for_it() {
    let (archive, system) = transition();
    archive.publish(&[Package::new("web", "3")
        .field("Depends", "libnew")
        .script("postinst", "exit 1")
        .script("prerm", "exit 1")]);
    let before = known(&system);
    let plan = staged(&system).await;
    failed(apply(&system, &plan.id).await);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
}

#[tokio::test]
async fn a_package_that_the_archive_has_lost_is_repacked_before_it_goes() {
    let (archive, system) = transition();
    archive.withdraw("libold");
    archive.index(&[]);
    let plan = staged(&system).await;
    let back = plans::way_back(&system.layout, &plan.id).unwrap().unwrap();
    assert!(back.missing().is_empty() && back.removed.len() == 1);
    let before = known(&system);
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(known(&system), before);
}

#[tokio::test]
async fn what_must_stay_keeps_back_only_what_it_is_in_the_way_of() {
    let names = ["old", "tool", "solo"];
    let archive = Archive::with(&names.map(|name| Package::new(name, "1")));
    let essential = Package::new("core", "1").field("Essential", "yes");
    archive.publish(&[essential, Package::new("shell", "1")]);
    let system = System::with(&archive, &["old", "tool", "solo", "core", "shell"]);
    archive.publish(&[
        Package::new("tool", "2").field("Conflicts", "old"),
        Package::new("shell", "2").field("Conflicts", "core"),
        Package::new("solo", "2"),
    ]);
    // apt's own resolver spares what is essential.
    let core = "shell 2: unmet: Conflicts: core but 1 is to be installed";
    let report = found(&system, |_| {}).await;
    assert_eq!(changes(report.plan.as_ref().unwrap()), ["solo 1 2", "tool 1 2"]);
    assert_eq!((removes(&report), kept(&report)), (vec!["old 1".to_owned()], vec![core.into()]));

    let denied = found(&system, |packages| packages.deny = vec!["old".to_owned()]).await;
    assert_eq!(changes(denied.plan.as_ref().unwrap()), ["solo 1 2"]);
    let old = "it would have old removed; of old, packages.deny names it";
    assert_eq!(kept(&denied), [core, &format!("tool 2: removes: {old}")]);

    system.mark(&["hold", "old"]);
    let held = found(&system, |_| {}).await;
    assert_eq!(
        (removes(&held), changes(held.plan.as_ref().unwrap())),
        (vec![], vec!["solo 1 2".into()])
    );
    assert!(kept(&held).iter().any(|line| line.starts_with("tool 2: ")), "{:?}", kept(&held));
}

#[tokio::test]
async fn what_is_removed_is_part_of_the_plans_identity() {
    let (_archive, system) = transition();
    let plan = staged(&system).await;
    let same = Plan::new(plan.packages.clone()).unwrap();
    assert_ne!(same.id, plan.id);
    assert_eq!(same.removing(plan.removes.clone()), plan);
    // Who takes the removal out of the document is found out.
    let file = system.layout.plan(&plan.id).join("plan.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"libold\"", "\"libodd\"")).unwrap();
    assert!(plans::load(&system.layout, &plan.id).is_err());
}

#[tokio::test]
async fn a_removal_that_is_new_since_staging_is_refused() {
    let archive = Archive::with(&[Package::new("tool", "1"), Package::new("other", "1")]);
    archive.publish(&[Package::new("late", "1").field("Depends", "tool (<< 2)")]);
    let system = System::with(&archive, &["tool", "other"]);
    archive.publish(&[Package::new("tool", "2").field("Conflicts", "other")]);
    let plan = staged(&system).await;
    assert_eq!(plan.removes.len(), 1);
    assert!(repository::deb_path(&system.layout.plan(&plan.id), &plan.packages[0]).exists());
    system.apt(&["install", "late"]);
    let before = system.versions();
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains("the system has changed since staging"), "{reason}");
    assert_eq!(system.versions(), before);
}
