//! Check, stage and apply with real apt and dpkg, on a small system in a directory, from a signed
//! archive. Needs root, and apt-utils, gnupg.

// The tests run the real tools, as an admin would.
#![allow(clippy::disallowed_methods)]

#[path = "support/archive.rs"]
mod archive;
#[path = "support/system.rs"]
mod system;

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use archive::{Archive, Package, open_dir, run};
use lockkeeper::{
    adapters::{
        apt::{AptError, Layout, plans, repository, version},
        clock,
    },
    core::{
        health::Evidence,
        plan::{Plan, PlanId},
    },
    dbus::executor::ApplyReport,
    executor::{
        apply::{transact, verify_installed},
        check::check,
        confirm::confirm,
        evidence::reboot_evidence,
        stage::stage,
    },
};
use system::System;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition; the test fails when it does not come.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::since_boot() + PATIENCE;
    while !condition() {
        assert!(clock::since_boot() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn plan(system: &System) -> Plan {
    check(&system.layout).await.unwrap().plan.expect("a plan")
}

async fn staged(system: &System) -> Plan {
    let plan = plan(system).await;
    stage(&system.layout, &plan.id).await.unwrap();
    plan
}

/// As the transient unit does it, after the attempt has been counted.
async fn apply(system: &System, id: &PlanId) -> ApplyReport {
    let layout = &system.layout;
    plans::count_attempts(layout, id, plans::attempts(layout, id).unwrap() + 1).unwrap();
    transact(layout, id, Duration::from_secs(1)).await.unwrap()
}

fn refused(report: ApplyReport) -> String {
    match report {
        ApplyReport::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn failed(report: ApplyReport) -> String {
    match report {
        ApplyReport::Failed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// `name old new` of each package of a plan.
fn changes(plan: &Plan) -> Vec<String> {
    let from = |p: &lockkeeper::core::plan::PackageChange| p.from.clone().unwrap_or_default();
    plan.packages.iter().map(|p| format!("{} {} {}", p.name, from(p), p.to)).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// alpha, beta (needs delta from 1.1 on) and gamma at 1.0, then at 1.1.
fn updated() -> (Archive, System) {
    let beta = Package::new("beta", "1:1.0").arch("amd64");
    let archive =
        Archive::with(&[Package::new("alpha", "1.0"), beta.clone(), Package::new("gamma", "1.0")]);
    let system = System::with(&archive, &["alpha", "beta", "gamma"]);
    archive.publish(&[
        Package::new("alpha", "1.1"),
        Package::new("beta", "1:1.1").arch("amd64").field("Depends", "delta"),
        Package::new("delta", "0.1"),
        Package::new("gamma", "1.1"),
    ]);
    (archive, system)
}

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

#[tokio::test]
async fn a_staged_set_is_applied_without_archive_and_lists_after_the_archive_moved_on() {
    let (archive, system) = updated();
    let plan = staged(&system).await;
    assert_eq!(verify_installed(&system.layout, &plan.id).await.unwrap().len(), 4);
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
    assert!(verify_installed(&system.layout, &plan.id).await.unwrap().is_empty());
    // It has ended: asked again, it answers the same and does nothing.
    let again = transact(&system.layout, &plan.id, Duration::ZERO).await.unwrap();
    assert_eq!(again, ApplyReport::Applied);
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

    stage(&system.layout, &plan.id).await.unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
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
    assert!(error.contains("BADSIG"), "{error}");
}

#[tokio::test]
async fn a_foreign_key_is_an_error_that_names_the_source() {
    let (archive, system) = updated();
    let other = Archive::with(&[]);
    fs::write(system.root().join("etc/apt/trusted.gpg.d/lab.gpg"), other.key()).unwrap();
    let error = sources_error(&system).await;
    assert!(error.contains(&archive.path().display().to_string()), "{error}");
    assert!(error.contains("NO_PUBKEY"), "{error}");
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

#[tokio::test]
async fn an_archive_that_lost_a_file_fails_staging_and_leaves_nothing() {
    let (archive, system) = updated();
    let plan = plan(&system).await;
    archive.withdraw("beta");
    let error = stage(&system.layout, &plan.id).await.unwrap_err();
    assert_eq!(error.kind(), "apt");
    assert!(error.to_string().contains("beta_1-1.1_amd64.deb"), "{error}");
    assert_eq!(files(&system.layout.plan(&plan.id)), ["plan.json"]);
    assert_eq!(
        refused(apply(&system, &plan.id).await),
        format!("plan {} is not staged", plan.id.short())
    );
}

#[tokio::test]
async fn an_archive_that_swapped_a_file_fails_staging_and_leaves_nothing() {
    let (archive, system) = updated();
    let plan = plan(&system).await;
    // The same size, other content.
    let deb = archive.path().join("alpha_1.1_all.deb");
    let bytes = fs::read(&deb).unwrap();
    fs::write(&deb, bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
    let error = stage(&system.layout, &plan.id).await.unwrap_err();
    assert!(error.to_string().contains("Hash Sum mismatch"), "{error}");
    assert_eq!(files(&system.layout.plan(&plan.id)), ["plan.json"]);
}

#[tokio::test]
async fn a_plan_that_is_unknown_or_edited_is_not_staged() {
    let (_archive, system) = updated();
    let unknown = PlanId::parse(&"0".repeat(64)).unwrap();
    let error = stage(&system.layout, &unknown).await.unwrap_err();
    assert!(matches!(error, AptError::NoPlan(_)), "{error:?}");

    let plan = plan(&system).await;
    let path = system.layout.plan(&plan.id).join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"1.1\"", "\"9.9\"")).unwrap();
    let error = stage(&system.layout, &plan.id).await.unwrap_err();
    assert!(matches!(error, AptError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn staging_removes_older_plans_but_not_one_that_is_being_applied() {
    let (archive, system) = updated();
    let layout = &system.layout;
    let first = staged(&system).await;
    archive.publish(&[Package::new("alpha", "1.2")]);
    let second = staged(&system).await;
    assert_eq!(files(&layout.plans()), [second.id.as_str()]);

    plans::count_attempts(layout, &second.id, 1).unwrap();
    archive.publish(&[Package::new("alpha", "1.3")]);
    let third = staged(&system).await;
    let mut both = [second.id.to_string(), third.id.to_string()];
    both.sort();
    assert_eq!(files(&layout.plans()), both);
    assert_ne!(first.id, second.id);

    // It has ended: now it goes.
    assert_eq!(transact(layout, &second.id, Duration::ZERO).await.unwrap(), ApplyReport::Applied);
    let fourth = staged(&system).await;
    assert_eq!(files(&layout.plans()), [fourth.id.as_str()]);
}

#[tokio::test]
async fn staging_twice_is_the_same_as_once_and_a_plan_under_way_is_not_touched() {
    let (_archive, system) = updated();
    let layout = &system.layout;
    let plan = staged(&system).await;
    let deb = repository::deb_path(&layout.plan(&plan.id), &plan.packages[0]);
    let inode = |path: &PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&deb);
    stage(layout, &plan.id).await.unwrap();
    assert_eq!(inode(&deb), before, "a good stage was downloaded again");

    plans::count_attempts(layout, &plan.id, 1).unwrap();
    stage(layout, &plan.id).await.unwrap();
    assert_eq!(plans::attempts(layout, &plan.id).unwrap(), 1, "the attempt was forgotten");
    fs::remove_file(&deb).unwrap();
    let error = stage(layout, &plan.id).await.unwrap_err();
    assert!(matches!(error, AptError::Busy(_)), "{error:?}");
    assert!(matches!(confirm(layout, &plan.id), Err(AptError::Busy(_))));
}

#[tokio::test]
async fn confirming_leaves_a_small_record() {
    let (_archive, system) = updated();
    let layout = &system.layout;
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    for _ in 0..2 {
        confirm(layout, &plan.id).unwrap();
        let record = ["apply.log", "attempts.json", "plan.json", "result.json"];
        assert_eq!(files(&layout.plan(&plan.id)), record);
    }
    assert_eq!(transact(layout, &plan.id, Duration::ZERO).await.unwrap(), ApplyReport::Applied);
    confirm(layout, &PlanId::parse(&"1".repeat(64)).unwrap()).unwrap();
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
    assert!(
        reason.contains("post-installation script subprocess returned error exit status 3"),
        "{reason}"
    );
    assert_eq!(system.version("good"), "ii 1.1");
    let lacks = verify_installed(&system.layout, &plan.id).await.unwrap();
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

/// A package whose unpacking takes long enough to be cut off in the middle.
fn many(version: &str) -> Package {
    let package = Package::new("many", version);
    (0..3000).fold(package, |p, i| p.file(&format!("usr/share/many/{i}"), version.as_bytes()))
}

fn journal_is_dirty(system: &System) -> bool {
    files(&system.root().join("var/lib/dpkg/updates"))
        .iter()
        .any(|name| name.starts_with(|c: char| c.is_ascii_digit()))
}

#[tokio::test]
async fn an_unpacking_cut_off_by_a_power_cut_is_finished_offline_at_the_second_attempt() {
    let archive = Archive::with(&[many("1.0"), Package::new("alpha", "1.0")]);
    let system = System::with(&archive, &["many", "alpha"]);
    archive.publish(&[many("1.1"), Package::new("alpha", "1.1")]);
    let plan = staged(&system).await;
    drop(archive);

    // The first attempt: dpkg dies with its journal dirty.
    plans::count_attempts(&system.layout, &plan.id, 1).unwrap();
    let dir = system.layout.plan(&plan.id);
    let debs = plan.packages.iter().map(|package| repository::deb_path(&dir, package));
    let mut dpkg = quietly(system.dpkg().arg("--unpack").args(debs));
    let half_way = system.root().join("usr/share/many/100.dpkg-new");
    until("dpkg unpacks", || half_way.exists()).await;
    dpkg.kill().unwrap();
    dpkg.wait().unwrap();
    assert!(journal_is_dirty(&system));
    let states = system.versions();
    assert!(states["many"].starts_with("iHR"), "{states:?}");

    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(
        (system.version("many"), system.version("alpha")),
        ("ii 1.1".into(), "ii 1.1".into())
    );
    assert_eq!(system.read("usr/share/many/2999"), "1.1");
    assert!(!journal_is_dirty(&system));
}

#[tokio::test]
async fn a_dpkg_killed_during_the_transaction_is_repaired_in_the_same_attempt() {
    let archive = Archive::with(&[many("1.0")]);
    let system = System::with(&archive, &["many"]);
    archive.publish(&[many("1.1")]);
    let plan = staged(&system).await;
    let half_way = system.root().join("usr/share/many/100.dpkg-new");
    let kill = async {
        until("dpkg unpacks", || half_way.exists()).await;
        kill_dpkg_of(&system);
    };
    let (report, ()) = tokio::join!(apply(&system, &plan.id), kill);
    assert_eq!(report, ApplyReport::Applied);
    assert_eq!(system.version("many"), "ii 1.1");
}

/// Kills the dpkg that works on this system, and no other.
fn kill_dpkg_of(system: &System) {
    let root = format!("--root={}", system.root().display());
    let mut killed = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = command.split(|byte| *byte == 0).collect();
        if words[0].ends_with(b"dpkg") && words.contains(&root.as_bytes()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 1);
}

fn quietly(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a real dpkg that stays in its postinst, with dpkg's lock, until it is told to go on.
async fn dpkg_at_work(system: &System) -> Child {
    let fifo = system.root().join("go");
    run(Command::new("mkfifo").arg(&fifo));
    let wait = ": > /at-work; read go < /go";
    let folder = open_dir();
    let deb = Package::new("slow", "1.0").script("postinst", wait).build(folder.path());
    let child = quietly(system.dpkg().arg("-i").arg(deb));
    let at_work = system.root().join("at-work");
    until("dpkg is at work", || at_work.exists()).await;
    child
}

#[tokio::test]
async fn another_package_manager_at_work_refuses_the_plan_and_is_named() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let mut dpkg = dpkg_at_work(&system).await;
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains(&format!("dpkg (pid {})", dpkg.id())), "{reason}");
    assert!(reason.contains("var/lib/dpkg/lock"), "{reason}");
    assert_eq!(system.version("alpha"), "ii 1.0");

    fs::write(system.root().join("go"), "go\n").unwrap();
    assert!(dpkg.wait().unwrap().success());
    plans::forget_result(&system.layout, &plan.id).unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
}

#[tokio::test]
async fn a_plan_waits_for_another_package_manager_that_ends_in_time() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let mut dpkg = dpkg_at_work(&system).await;
    let go = system.root().join("go");
    plans::count_attempts(&system.layout, &plan.id, 1).unwrap();
    let transaction = transact(&system.layout, &plan.id, PATIENCE);
    let daily = system.root().join("var/lib/apt/daily_lock");
    let end = async {
        until("the transaction waits", || daily.exists()).await;
        tokio::task::spawn_blocking(move || fs::write(go, "go\n").unwrap()).await.unwrap();
    };
    let (report, ()) = tokio::join!(transaction, end);
    assert_eq!(report.unwrap(), ApplyReport::Applied);
    assert!(dpkg.wait().unwrap().success());
}

#[tokio::test]
async fn the_daily_jobs_of_apt_are_waited_for() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let lock = fs::File::create(system.root().join("var/lib/apt/daily_lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains(&format!("(pid {})", std::process::id())), "{reason}");
    assert!(reason.contains("daily_lock"), "{reason}");
}

#[tokio::test]
async fn a_second_attempt_that_cannot_go_on_has_failed_not_refused() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    plans::count_attempts(&system.layout, &plan.id, 1).unwrap();
    fs::remove_dir_all(system.layout.plan(&plan.id).join("debs")).unwrap();
    let reason = failed(apply(&system, &plan.id).await);
    assert!(reason.contains("cannot be read"), "{reason}");
}

/// A tmpfs, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(options: &str) -> Self {
        let dir = open_dir();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()));
        Self(dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// A package whose archive is this large.
fn large(version: &str, bytes: usize) -> Package {
    Package::new("large", version).file("usr/share/large/data", &vec![b'x'; bytes])
}

#[tokio::test]
async fn a_file_system_that_is_too_small_is_refused_before_the_download() {
    let archive = Archive::with(&[large("1.0", 10)]);
    let system = System::with(&archive, &["large"]);
    archive.publish(&[large("1.1", 6 << 20)]);
    let tmpfs = Tmpfs::new("size=4m,mode=755");
    let layout = system.state_at(tmpfs.0.path());
    let plan = check(&layout).await.unwrap().plan.unwrap();
    let error = stage(&layout, &plan.id).await.unwrap_err();
    let AptError::Space { mount, need, free } = &error else { panic!("{error:?}") };
    assert_eq!(mount, tmpfs.0.path());
    assert_eq!(*need, plan.download_bytes() + plan.download_bytes() / 10);
    assert!(*free < 4 << 20);
    assert!(error.to_string().contains(&need.to_string()), "{error}");
    assert_eq!(files(&layout.plan(&plan.id)), ["plan.json"]);
}

#[tokio::test]
async fn a_file_system_that_runs_full_on_the_way_is_named_and_cleaned_up() {
    let (_archive, system) = updated();
    // Room for the bytes, none for the files.
    let tmpfs = Tmpfs::new("size=4m,mode=755,nr_inodes=18");
    let layout = system.state_at(tmpfs.0.path());
    let plan = check(&layout).await.unwrap().plan.unwrap();
    let error = stage(&layout, &plan.id).await.unwrap_err();
    assert_eq!(error.kind(), "space", "{error:?}");
    let expected = format!("the file system {} is full", tmpfs.0.path().display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(files(&layout.plan(&plan.id)), ["plan.json"]);
}

#[tokio::test]
async fn the_reboot_flag_and_a_newer_kernel_are_evidence_and_a_plain_update_is_not() {
    let release = rustix::system::uname().release().to_str().unwrap().to_owned();
    let flavour = release.split_once('-').map_or("amd64", |(_, flavour)| flavour).to_owned();
    let name = format!("99.0.0-{flavour}");
    let kernel = Package::new(&format!("linux-image-{name}"), "99.0.0-1")
        .file(&format!("boot/vmlinuz-{name}"), b"kernel");
    let archive = Archive::with(&[kernel, Package::new("alpha", "1.0")]);
    let system = System::with(&archive, &["alpha"]);
    assert_eq!(reboot_evidence(&system.layout).await, Evidence::No);

    system.apt(&["install", &format!("linux-image-{name}")]);
    let evidence = reboot_evidence(&system.layout).await;
    if release.contains('-') {
        let expected = vec![format!("kernel {name} is installed, {release} runs")];
        assert_eq!(evidence, Evidence::Yes { reasons: expected });
    } else {
        assert!(matches!(evidence, Evidence::Unknown { .. }), "{evidence:?}");
    }

    // A container runs its host's kernel.
    system.write("run/systemd/container", "systemd-nspawn");
    assert_eq!(reboot_evidence(&system.layout).await, Evidence::No);
    system.write("run/reboot-required", "");
    system.write("run/reboot-required.pkgs", "libc6\ndbus\nlibc6\n");
    let reasons = ["dbus asks for a reboot", "libc6 asks for a reboot"].map(str::to_owned).to_vec();
    assert_eq!(reboot_evidence(&system.layout).await, Evidence::Yes { reasons });
}

#[test]
fn versions_are_ordered_as_dpkg_orders_them() {
    let versions = [
        "1.0",
        "1.0-1",
        "1.0-1~deb12u1",
        "1.0-1+deb12u1",
        "1:0.9",
        "1.0~rc1-1",
        "1.0+dfsg-1",
        "1.0a",
        "6.1.192-2",
        "6.1.0-9",
        "6.1.0-10",
        "2.36-9+deb12u13",
        "1.0.0.0.1",
        "0:1.0",
        "1.0-0",
        "1.0-01",
    ];
    for a in versions {
        for b in versions {
            let is = |relation: &str| {
                let compare = ["--compare-versions", a, relation, b];
                Command::new("dpkg").args(compare).status().unwrap().success()
            };
            let order = version::compare(a, b);
            assert_eq!(order == Ordering::Less, is("lt"), "{a} {b}");
            assert_eq!(order == Ordering::Equal, is("eq"), "{a} {b}");
        }
    }
}

#[test]
fn the_layout_of_the_running_system_is_the_contracts() {
    let layout = Layout::system(Path::new("/var/lib/lockkeeper-executor"));
    let id = PlanId::parse(&"a".repeat(64)).unwrap();
    assert_eq!(layout.lists(), Path::new("/var/lib/lockkeeper-executor/lists"));
    assert_eq!(layout.plan(&id), layout.plans().join("a".repeat(64)));
    assert_eq!(layout.at("/run/reboot-required"), Path::new("/run/reboot-required"));
    assert!(layout.is_running_system());
}
