//! Transactions: exactly the staged set, whatever else has happened meanwhile.

use std::{fs, time::Duration};

use lockkeeper::{
    adapters::{
        apt::{
            plans::{self, Outcome, Way},
            progress, repository, transaction,
        },
        clock,
    },
    config::settings::WithoutWayBack,
    core::progress::Progress,
    dbus::executor::{ApplyReport, UndoReport},
    executor::{
        apply::{against, verify_installed},
        run::transact,
        stage::stage,
    },
};

use crate::{
    apply,
    archive::{Archive, Package, open_dir, run},
    failed, plan, refused, staged,
    system::System,
    undo, until, updated,
};

#[tokio::test]
async fn a_staged_set_is_applied_without_archive_and_lists_after_the_archive_moved_on() {
    let (archive, system) = updated();
    let plan = staged(&system).await;
    assert_eq!(verify_installed(&system.layout, &plan.id, false).await.unwrap().len(), 4);
    archive.publish(&[Package::new("alpha", "1.2")]);
    system.apt(&["update"]);
    drop(archive);
    for lists in [system.root().join("var/lib/apt/lists"), system.layout.lists()] {
        fs::remove_dir_all(lists).unwrap();
    }
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    let versions = system.versions();
    let versions: Vec<_> = versions.iter().map(|(name, v)| format!("{name} {v}")).collect();
    assert_eq!(versions, ["alpha ii 1.1", "beta ii 1:1.1", "delta ii 0.1", "gamma ii 1.1"]);
    assert!(verify_installed(&system.layout, &plan.id, false).await.unwrap().is_empty());
    // It has ended: asked again, it answers the same and does nothing.
    let again = transact(&system.layout, &plan.id, Way::There, Duration::ZERO).await.unwrap();
    assert_eq!(again, Outcome::Complete);
}

#[tokio::test]
async fn auto_marks_are_kept_and_new_dependencies_get_one() {
    let archive = Archive::with(&[
        Package::new("top", "1.0").field("Depends", "below"),
        Package::new("below", "1.0"),
    ]);
    let system = System::with(&archive, &["top"]);
    assert_eq!(system.mark(&["showauto"]), ["below"]);
    archive.publish(&[
        Package::new("top", "1.1").field("Depends", "below, fresh"),
        Package::new("below", "1.1"),
        Package::new("fresh", "1.0"),
    ]);
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(system.mark(&["showauto"]), ["below", "fresh"]);
    assert_eq!(system.mark(&["showmanual"]), ["top"]);
}

#[tokio::test]
async fn a_tampered_archive_is_refused_with_nothing_changed_and_staging_again_repairs_it() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let before = (system.versions(), system.read("var/lib/dpkg/status"));
    let deb = repository::deb_path(&system.layout.plan(&plan.id), &plan.packages[0]);
    let mut bytes = fs::read(&deb).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&deb, bytes).unwrap();
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains("alpha_all.deb does not have the digest of 1.1"), "{reason}");
    assert_eq!((system.versions(), system.read("var/lib/dpkg/status")), before);

    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
}

#[tokio::test]
async fn apt_itself_refuses_an_archive_that_is_tampered_with_at_the_last_moment() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let before = (system.versions(), system.read("var/lib/dpkg/status"));
    let patience = Duration::from_secs(1);
    let ready = transaction::prepare(&system.layout, &plan.id, patience).await.unwrap().unwrap();
    // The same size, and verified already.
    let deb = repository::deb_path(&system.layout.plan(&plan.id), &plan.packages[0]);
    let mut bytes = fs::read(&deb).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&deb, bytes).unwrap();
    let outcome = transaction::install(&system.layout, ready).await.unwrap();
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("Hash Sum mismatch"), "{reason}");
    assert_eq!((system.versions(), system.read("var/lib/dpkg/status")), before);
}

#[tokio::test]
async fn an_index_that_was_changed_in_the_stage_has_no_effect() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let dir = system.layout.plan(&plan.id);
    fs::write(dir.join("Packages"), "Package: evil\n").unwrap();
    fs::write(dir.join("prefs"), "Package: *\nPin: release o=*\nPin-Priority: -1\n").unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
}

#[tokio::test]
async fn a_failing_postinst_fails_the_plan_and_the_rest_of_the_set_is_finished() {
    let archive = Archive::with(&[
        Package::new("bad", "1.0"),
        Package::new("good", "1.0"),
        Package::new("needs-bad", "1.0"),
    ]);
    let system = System::with(&archive, &["bad", "good", "needs-bad"]);
    archive.publish(&[
        Package::new("bad", "1.1").script("postinst", "echo broken >&2; exit 3"),
        Package::new("good", "1.1"),
        Package::new("needs-bad", "1.1").field("Depends", "bad (>= 1.1)"),
    ]);
    let plan = staged(&system).await;
    let reason = failed(apply(&system, &plan.id).await);
    let expected = "bad 1.1 is half-configured; needs-bad 1.1 is unpacked";
    assert!(reason.starts_with(expected), "{reason}");
    // In dpkg's words, which changed with 1.23.
    assert!(reason.contains("processing package bad (--configure): "), "{reason}");
    assert!(reason.contains("exit status 3"), "{reason}");
    assert_eq!(system.version("good"), "ii 1.1");
    let lacks = verify_installed(&system.layout, &plan.id, false).await.unwrap();
    assert_eq!(lacks, ["bad 1.1 is half-configured", "needs-bad 1.1 is unpacked"]);
}

#[tokio::test]
async fn a_failing_preinst_fails_the_plan_and_leaves_nothing_half_done() {
    let archive = Archive::with(&[Package::new("bad", "1.0"), Package::new("good", "1.0")]);
    let system = System::with(&archive, &["bad", "good"]);
    let bad = Package::new("bad", "1.1").script("preinst", "exit 1");
    archive.publish(&[bad, Package::new("good", "1.1")]);
    let plan = staged(&system).await;
    let reason = failed(apply(&system, &plan.id).await);
    assert!(reason.starts_with("bad is at 1.0, not 1.1"), "{reason}");
    assert_eq!((system.version("bad"), system.version("good")), ("ii 1.0".into(), "ii 1.1".into()));
}

#[tokio::test]
async fn what_was_broken_before_does_not_fail_a_plan_that_is_fully_installed() {
    let sick = Package::new("sick", "1.0").script("postinst", "[ ! -e /sick ]");
    let archive = Archive::with(&[sick, Package::new("alpha", "1.0")]);
    let system = System::with(&archive, &["sick", "alpha"]);
    system.write("sick", "");
    let again = Package::new("sick", "1.0").script("postinst", "[ ! -e /sick ]");
    let folder = open_dir();
    let deb = again.build(folder.path());
    assert!(!system.dpkg().arg("-i").arg(deb).output().unwrap().status.success());
    assert_eq!(system.version("sick"), "iF 1.0");

    archive.publish(&[Package::new("alpha", "1.1")]);
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(
        (system.version("alpha"), system.version("sick")),
        ("ii 1.1".into(), "iF 1.0".into())
    );
}

#[tokio::test]
async fn the_admins_configuration_files_are_kept_without_a_question() {
    let with_file = |version: &str| Package::new("conf", version).conffile("etc/conf", version);
    let archive = Archive::with(&[with_file("1.0")]);
    let system = System::with(&archive, &["conf"]);
    system.write("etc/conf", "edited");
    archive.publish(&[with_file("1.1")]);
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(system.read("etc/conf"), "edited");
    assert_eq!(system.read("etc/conf.dpkg-dist"), "1.1");
}

#[tokio::test]
async fn a_system_that_changed_since_staging_is_refused() {
    let (archive, system) = updated();
    let plan = staged(&system).await;
    archive.publish(&[Package::new("alpha", "1.2")]);
    system.apt(&["update"]);
    system.apt(&["install", "alpha"]);
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains("the system has changed since staging"), "{reason}");
    assert_eq!(system.version("alpha"), "ii 1.2");
    assert_eq!(system.version("beta"), "ii 1:1.0");
}

#[tokio::test]
async fn what_an_admin_has_installed_of_the_plan_meanwhile_is_not_in_the_way() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    system.apt(&["update"]);
    system.apt(&["install", "alpha"]);
    assert_eq!(system.version("alpha"), "ii 1.1");
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
}

/// How often one transaction is made: neither apt's order nor whose turn it is may matter.
const RUNS: usize = 20;
/// So many packages it has.
const SET: usize = 14;

/// Which package of the set another needs.
fn needs(package: usize) -> Option<usize> {
    match package {
        9 => Some(5),
        11 => Some(9),
        3 | 7 => Some(package + 1),
        _ => None,
    }
}

/// The set, whose packages fail when `/bad` has their name.
fn set(version: &str) -> Vec<Package> {
    let package = |i| {
        let name = format!("p{i:02}");
        let fails = format!(r#"read bad < /bad; [ "$bad" != {name} ]"#);
        let package = Package::new(&name, version);
        let package = if version == "1.1" { package.script("postinst", &fails) } else { package };
        match needs(i) {
            Some(other) => package.field("Depends", &format!("p{other:02} (>= {version})")),
            None => package,
        }
    };
    (0..SET).map(package).collect()
}

#[tokio::test]
async fn all_but_a_failing_package_and_its_dependants_are_finished_in_every_one_of_20_runs() {
    let archive = Archive::with(&set("1.0"));
    let names: Vec<String> = (0..SET).map(|i| format!("p{i:02}")).collect();
    let system = System::with(&archive, &names.iter().map(String::as_str).collect::<Vec<_>>());
    archive.publish(&set("1.1"));
    let before = system.versions();
    let plan = staged(&system).await;
    for run in 0..RUNS {
        let bad = run % SET;
        system.write("bad", &format!("p{bad:02}\n"));
        let reason = failed(apply(&system, &plan.id).await);
        assert!(reason.contains(&format!("p{bad:02} 1.1 is half-configured")), "{reason}");
        let versions = system.versions();
        for (i, name) in names.iter().enumerate() {
            let waits = std::iter::successors(needs(i), |i| needs(*i)).any(|needed| needed == bad);
            let expected = match waits {
                _ if i == bad => "iF 1.1",
                true => "iU 1.1",
                false => "ii 1.1",
            };
            assert_eq!(versions[name], expected, "run {run}: {name}");
        }
        assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone, "run {run}");
        assert_eq!(system.versions(), before, "run {run}");
        for way in [Way::There, Way::Back] {
            plans::forget_result(&system.layout, &plan.id, way).unwrap();
        }
    }
}

#[tokio::test]
async fn a_plan_made_for_other_versions_is_refused_since_its_way_back_would_lead_elsewhere() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let folder = open_dir();
    let between = Package::new("alpha", "1.05").build(folder.path());
    run(system.dpkg().arg("-i").arg(between));
    let before = system.versions();
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains("alpha is at 1.05, and was 1.0"), "{reason}");
    assert_eq!(system.versions(), before);
}

#[tokio::test]
async fn a_set_that_is_found_again_from_other_versions_is_not_applied_before_they_are_secured() {
    let (_archive, system) = updated();
    let first = staged(&system).await;
    let folder = open_dir();
    let between = Package::new("alpha", "1.0.5").build(folder.path());
    run(system.dpkg().arg("-i").arg(between));
    let before = system.versions();
    let again = plan(&system).await;
    assert_eq!((&again.id, again.packages[0].from.as_deref()), (&first.id, Some("1.0.5")));
    let reason = refused(apply(&system, &again.id).await);
    assert!(reason.contains("its way back leads to other versions"), "{reason}");
    assert_eq!(system.versions(), before);

    let UndoReport::Impossible { reason } = undo(&system, &again.id).await else {
        panic!("undone");
    };
    assert_eq!(reason, "what was secured is not what the plan has replaced");
    assert_eq!(system.versions(), before);

    staged(&system).await;
    assert_eq!(apply(&system, &again.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &again.id).await, UndoReport::Undone);
    assert_eq!(system.versions(), before);
}

#[tokio::test]
async fn a_plan_under_way_keeps_the_versions_it_goes_from() {
    let (_archive, system) = updated();
    let first = staged(&system).await;
    let mut other = first.clone();
    other.packages[0].from = Some("1.05".to_owned());
    plans::count_attempts(&system.layout, &first.id, Way::There, 1).unwrap();
    plans::remember(&system.layout, &other, "of the test", None).unwrap();
    assert_eq!(plans::load(&system.layout, &first.id).unwrap(), first);
}

#[tokio::test]
async fn how_far_an_installation_has_come_can_be_seen_while_it_goes_on() {
    let names = ["one", "two", "three"];
    let archive = Archive::with(&names.map(|name| Package::new(name, "1")));
    let system = System::with(&archive, &names);
    let waits = "echo > /waiting\nwhile [ ! -e /go ]; do :; done";
    archive.publish(&names.map(|name| Package::new(name, "2").script("postinst", waits)));
    let plan = staged(&system).await;
    let seen = || progress::of(&system.layout, &plan.id);
    assert_eq!(seen(), None, "staged, and nothing begun");
    let watch = async {
        until("a script runs", || system.root().join("waiting").exists()).await;
        // apt may not have written yet whose it is.
        let tells = |seen: &Progress| names.iter().any(|name| seen.step.contains(name));
        until("its package is named", || seen().as_ref().is_some_and(tells)).await;
        let seen = seen();
        system.write("go", "");
        seen
    };
    let (report, halfway) = tokio::join!(apply(&system, &plan.id), watch);
    assert_eq!(report, ApplyReport::Applied);
    let halfway = halfway.expect("progress");
    assert_eq!(halfway.doing, "installing");
    assert!((40..100).contains(&halfway.percent), "{halfway:?}");
    assert_eq!(seen(), None, "it has ended");
}

#[tokio::test]
async fn what_was_not_chosen_by_the_rules_in_force_is_not_begun_and_what_was_begun_is_finished() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let layout = &system.layout;
    let by = |choice| against(layout, &plan.id, choice, None, clock::wall()).unwrap();
    let against = |choice| by(Some(choice));
    assert_eq!(against("of the test"), None);
    assert!(by(None).unwrap().contains("the configuration cannot be read"));
    let why = against("others").unwrap();
    assert!(why.contains("was not chosen by the rules in force"), "{why}");
    fs::remove_file(layout.plan(&plan.id).join("chosen.json")).unwrap();
    assert!(against("of the test").is_some(), "nobody knows");
    plans::count_attempts(layout, &plan.id, Way::There, 1).unwrap();
    assert_eq!(against("others"), None, "it is under way");
    assert_eq!(by(None), None, "it is under way");
    let refused = Outcome::Refused { reason: "apt is busy".to_owned() };
    plans::set_result(layout, &plan.id, Way::There, &refused).unwrap();
    assert!(against("others").is_some(), "it would be tried afresh");
    plans::set_result(layout, &plan.id, Way::There, &Outcome::Complete).unwrap();
    assert_eq!(against("others"), None, "it has ended");
}

#[tokio::test]
async fn who_holds_or_removes_a_package_after_staging_reads_so_in_the_refusal() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    system.mark(&["hold", "gamma"]);
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains("gamma is on hold; apt would go without gamma:all=1.1"), "{reason}");

    let (_archive, system) = updated();
    let plan = staged(&system).await;
    run(system.dpkg().args(["--remove", "gamma"]));
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains("gamma was removed; apt would go without"), "{reason}");
}
