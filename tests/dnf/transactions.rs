//! Transactions: exactly the staged set, there and back, whatever happens meanwhile.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use lockkeeper::{
    adapters::{
        clock,
        packages::{
            plans::{self, Outcome, Way},
            progress,
        },
    },
    core::plan::Plan,
    executor::apply::verify_installed,
};

use crate::{
    apply, check, names,
    repository::{Package, Repository},
    run, staged,
    system::System,
    undo,
};

fn refused(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused { reason } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { reason } => reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// alpha 1 (a dependency of beta) and kernels; newer ones of both, and a new dependency, are there.
fn updated() -> (Repository, System) {
    let repository = Repository::with(&[
        Package::new("alpha", "1"),
        Package::new("beta", "1").tag("Requires: alpha"),
        Package::new("kernel", "1"),
    ]);
    let system = System::with(&repository, &["beta", "kernel"]);
    repository.add(&[
        Package::new("alpha", "2").tag("Requires: fresh"),
        Package::new("fresh", "1"),
        Package::new("kernel", "2"),
    ]);
    (repository, system)
}

#[tokio::test]
async fn the_staged_set_is_installed_after_the_repository_has_gone_and_undone_to_the_set_before() {
    let (repository, system) = updated();
    let (before, reasons) = (system.packages(), system.reasons());
    assert!(reasons.contains("alpha dependency"), "{reasons:?}");
    let plan = staged(&system).await;
    drop(repository);
    fs::remove_dir_all(system.layout.metadata()).unwrap();

    assert_eq!(apply(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(
        system.packages(),
        names(["alpha-2-1", "beta-1-1", "fresh-1-1", "kernel-1-1", "kernel-2-1"])
    );
    let after = system.reasons();
    for reason in ["alpha dependency", "beta user", "fresh dependency"] {
        assert!(after.contains(reason), "{after:?}");
    }
    assert!(verify_installed(&system.layout, &plan.id, false).await.unwrap().is_empty());

    assert_eq!(undo(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(system.packages(), before);
    for reason in ["alpha dependency", "beta user"] {
        assert!(system.reasons().contains(reason), "{:?}", system.reasons());
    }
    assert!(verify_installed(&system.layout, &plan.id, true).await.unwrap().is_empty());
    assert!(!verify_installed(&system.layout, &plan.id, false).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tampered_file_of_the_same_size_is_refused_there_and_back() {
    let (_repository, system) = updated();
    let before = system.packages();
    let plan = staged(&system).await;
    for (folder, way) in
        [(system.layout.plan(&plan.id), Way::There), (system.layout.back(&plan.id), Way::Back)]
    {
        let file = folder.join("rpms/alpha.noarch.rpm");
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&file, bad).unwrap();
        let outcome = match way {
            Way::There => apply(&system, &plan.id).await,
            Way::Back => undo(&system, &plan.id).await,
        };
        let reason = refused(outcome);
        assert!(
            reason.contains("is damaged: there is no file with the digest of alpha-"),
            "{reason}"
        );
        fs::write(&file, good).unwrap();
    }
    assert_eq!(system.packages(), before);
}

#[tokio::test]
async fn a_set_found_again_from_other_versions_is_not_applied_with_the_way_back_from_before() {
    let (repository, system) = updated();
    let first = staged(&system).await;
    repository.add(&[Package::new("alpha", "1.5")]);
    system.dnf(&["upgrade", "alpha-1.5"]);
    let before = system.packages();
    let again = check(&system.layout).await.unwrap().plan.unwrap();
    assert_eq!(again.id, first.id);
    let reason = refused(apply(&system, &again.id).await);
    assert!(reason.contains("its way back leads to other versions"), "{reason}");
    assert_eq!(system.packages(), before);
}

#[tokio::test]
async fn a_system_that_has_moved_on_is_refused() {
    let (repository, system) = updated();
    let plan = staged(&system).await;
    repository.add(&[Package::new("alpha", "3")]);
    system.dnf(&["upgrade", "alpha"]);
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.ends_with("alpha is at 3-1, and was 1-1"), "{reason}");

    let (repository, system) = updated();
    let plan = staged(&system).await;
    repository.add(&[Package::new("late", "1").tag("Conflicts: alpha >= 2")]);
    system.dnf(&["install", "late"]);
    let before = system.packages();
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.contains("changed since staging") && reason.contains("alpha-2-1"), "{reason}");
    assert_eq!(system.packages(), before);
}

#[tokio::test]
async fn what_came_since_and_needs_the_update_keeps_the_node_from_going_back() {
    let (repository, system) = updated();
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, Outcome::Complete);
    repository.add(&[Package::new("late", "1").tag("Requires: alpha >= 2")]);
    system.dnf(&["install", "late"]);
    let before = system.packages();
    let reason = refused(undo(&system, &plan.id).await);
    assert!(reason.contains("late"), "{reason}");
    assert_eq!(system.packages(), before);
}

#[tokio::test]
async fn a_failing_post_scriptlet_is_a_failure_though_dnf_calls_it_complete_and_is_undone() {
    let repository = Repository::with(&[Package::new("alpha", "1"), Package::new("beta", "1")]);
    let system = System::with(&repository, &["alpha", "beta"]);
    let before = system.packages();
    let bad = Package::new("alpha", "2").script("%post", "error(\"no\")");
    repository.add(&[bad, Package::new("beta", "2")]);
    let plan = staged(&system).await;
    let reason = failed(apply(&system, &plan.id).await);
    assert!(reason.contains("Error in POSTIN scriptlet in rpm package alpha"), "{reason}");
    assert_eq!(system.packages(), names(["alpha-2-1", "beta-2-1"]));
    assert_eq!(undo(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(system.packages(), before);
}

#[tokio::test]
async fn a_failing_pre_scriptlet_leaves_its_package_and_finishes_the_rest() {
    let repository = Repository::with(&[Package::new("alpha", "1"), Package::new("beta", "1")]);
    let system = System::with(&repository, &["alpha", "beta"]);
    let before = system.packages();
    let bad = Package::new("alpha", "2").script("%pre", "error(\"no\")");
    repository.add(&[bad, Package::new("beta", "2")]);
    let plan = staged(&system).await;
    let reason = failed(apply(&system, &plan.id).await);
    assert!(reason.starts_with("alpha-2-1.noarch is not installed"), "{reason}");
    assert_eq!(system.packages(), names(["alpha-1-1", "beta-2-1"]));
    assert_eq!(undo(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(system.packages(), before);
}

/// A script of alpha 2 that goes on only when nothing holds it.
const HELD: &str = "while posix.access(\"/hold\") do posix.sleep(1) end\n\
                    io.open(\"/done\", \"a\"):write(\"x\"):close()";

fn held() -> (Repository, System) {
    let repository = Repository::with(&[Package::new("alpha", "1"), Package::new("beta", "1")]);
    let system = System::with(&repository, &["alpha", "beta"]);
    let alpha = Package::new("alpha", "2").tag("Requires: fresh").script("%post", HELD);
    repository.add(&[alpha, Package::new("fresh", "1"), Package::new("beta", "2")]);
    system.write("hold", "");
    (repository, system)
}

/// Waits until both versions of alpha are there: the script is held.
async fn until_half_way(system: &System) {
    let deadline = clock::since_boot() + Duration::from_secs(60);
    let both = names(["alpha-1-1", "alpha-2-1"]);
    while !system.packages().is_superset(&both) {
        assert!(clock::since_boot() < deadline, "{:?}", system.packages());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The transaction of a plan, as a process that can be killed.
fn begin(system: &System, plan: &Plan) -> Child {
    let rpms = system.layout.plan(&plan.id).join("rpms");
    let files = fs::read_dir(rpms).unwrap().map(|entry| entry.unwrap().path());
    let mut dnf = system.program("dnf");
    dnf.args(["-q", "-y", "--disablerepo=*", "upgrade"]).args(files);
    dnf.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn a_transaction_cut_off_by_a_power_cut_is_finished_offline_at_the_second_attempt() {
    let (repository, system) = held();
    let plan = staged(&system).await;
    drop(repository);

    // The first attempt dies with the machine.
    plans::count_attempts(&system.layout, &plan.id, Way::There, 1).unwrap();
    let mut dnf = begin(&system, &plan);
    until_half_way(&system).await;
    dnf.kill().unwrap();
    dnf.wait().unwrap();
    let ails = verify_installed(&system.layout, &plan.id, false).await.unwrap();
    assert!(ails.contains(&"alpha is installed twice: 1-1, 2-1".to_owned()), "{ails:?}");

    fs::remove_file(system.root().join("hold")).unwrap();
    assert_eq!(apply(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(system.packages(), names(["alpha-2-1", "beta-2-1", "fresh-1-1"]));
    assert!(system.root().join("done").exists(), "the script that was cut off has run");
    assert!(!system.root().join("usr/share/alpha/1").exists());
    run(system.rpm("rpm").args(["-V", "alpha", "beta", "fresh"]));
    run(&mut verify_database(&system));
}

fn verify_database(system: &System) -> Command {
    let mut verify = system.rpm("rpmdb");
    verify.arg("--verifydb");
    verify
}

#[tokio::test]
async fn a_dnf_killed_during_the_transaction_is_repaired_in_the_same_attempt() {
    let (_repository, system) = held();
    let plan = staged(&system).await;
    let kill = async {
        until_half_way(&system).await;
        fs::remove_file(system.root().join("hold")).unwrap();
        kill_dnf_of(&system);
    };
    let (outcome, ()) = tokio::join!(apply(&system, &plan.id), kill);
    assert_eq!(outcome, Outcome::Complete);
    assert_eq!(system.packages(), names(["alpha-2-1", "beta-2-1", "fresh-1-1"]));
}

#[tokio::test]
async fn a_transaction_that_was_cut_off_is_gone_back_from_to_the_set_before() {
    let (_repository, system) = held();
    let before = system.packages();
    let plan = staged(&system).await;
    plans::count_attempts(&system.layout, &plan.id, Way::There, 2).unwrap();
    let kill = async {
        until_half_way(&system).await;
        fs::remove_file(system.root().join("hold")).unwrap();
        kill_dnf_of(&system);
    };
    let mut dnf = begin(&system, &plan);
    kill.await;
    dnf.wait().unwrap();
    assert_eq!(undo(&system, &plan.id).await, Outcome::Complete);
    assert_eq!(system.packages(), before);
    run(&mut verify_database(&system));
}

#[tokio::test]
async fn cut_off_at_any_point_the_plan_is_finished_or_undone_as_a_whole() {
    const PACKAGES: usize = 8;
    let names: Vec<String> = (0..PACKAGES).map(|i| format!("many{i}")).collect();
    let many = |version| names.iter().map(move |name| Package::new(name, version).files(60));
    let repository = Repository::with(&many("1").collect::<Vec<_>>());
    let old: Vec<String> = names.iter().map(|name| format!("{name}-1-1")).collect();
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let newer = many("2").map(|package| package.tag("Requires: fresh"));
    repository.add(&newer.chain([Package::new("fresh", "1")]).collect::<Vec<_>>());
    let (mut half_way, deadline) = (0, clock::since_boot() + Duration::from_secs(300));
    for cut in 0..PACKAGES {
        let system = System::with(&repository, &old);
        let before = system.packages();
        let plan = staged(&system).await;
        plans::count_attempts(&system.layout, &plan.id, Way::There, 1).unwrap();
        // Four times while new versions come, and four times while old ones go.
        let comes = cut % 4 < 2;
        let file = format!("usr/share/many{cut}/{}", if comes { "2" } else { "1" });
        let file = system.root().join(file);
        let mut dnf = begin(&system, &plan);
        while file.exists() != comes {
            assert!(clock::since_boot() < deadline, "{}", file.display());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        dnf.kill().unwrap();
        dnf.wait().unwrap();
        let now = system.packages();
        half_way += usize::from(names_of(&now, "many").count() > PACKAGES);
        if cut % 2 == 0 {
            assert_eq!(apply(&system, &plan.id).await, Outcome::Complete, "{cut}: {now:?}");
            let after = system.packages();
            assert_eq!((after.len(), names_of(&after, "many").count()), (PACKAGES + 1, PACKAGES));
            assert!(names_of(&after, "many").all(|name| name.ends_with("-2-1")), "{after:?}");
        } else {
            assert_eq!(undo(&system, &plan.id).await, Outcome::Complete, "{cut}: {now:?}");
            assert_eq!(system.packages(), before, "{cut}: {now:?}");
        }
        run(system.rpm("rpm").arg("-Va"));
        let left = run(Command::new("find").arg(system.root()).args(["-name", "*;*"]));
        assert_eq!(left, "", "{cut}: {now:?}");
        run(&mut verify_database(&system));
    }
    assert!(half_way >= PACKAGES / 2, "{half_way} cuts were in the middle of the transaction");
}

fn names_of<'a>(
    packages: &'a BTreeSet<String>,
    start: &'a str,
) -> impl Iterator<Item = &'a String> {
    packages.iter().filter(move |name| name.starts_with(start))
}

#[tokio::test]
async fn another_dnf_at_work_refuses_the_plan_and_is_named() {
    let (repository, system) = updated();
    let plan = staged(&system).await;
    repository.add(&[Package::new("slow", "1").script("%post", HELD)]);
    system.write("hold", "");
    let mut dnf = system.program("dnf");
    let dnf = dnf.args(["-q", "-y", "--refresh", "install", "slow"]);
    let mut dnf = dnf.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = clock::since_boot() + Duration::from_secs(60);
    while !system.packages().contains("slow-1-1") {
        assert!(clock::since_boot() < deadline, "slow does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reason = refused(apply(&system, &plan.id).await);
    assert!(reason.starts_with("dnf (pid ") && reason.contains("/.rpm.lock"), "{reason}");
    fs::remove_file(system.root().join("hold")).unwrap();
    assert!(dnf.wait().unwrap().success());
    plans::forget_result(&system.layout, &plan.id, Way::There).unwrap();
    assert_eq!(apply(&system, &plan.id).await, Outcome::Complete);
}

#[tokio::test]
async fn progress_is_told_while_the_transaction_runs() {
    let (_repository, system) = held();
    let plan = staged(&system).await;
    let look = async {
        until_half_way(&system).await;
        let told = progress::of(&system.layout, &plan.id);
        fs::remove_file(system.root().join("hold")).unwrap();
        told.unwrap()
    };
    let (outcome, told) = tokio::join!(apply(&system, &plan.id), look);
    assert_eq!(outcome, Outcome::Complete);
    assert_eq!(told.doing, "installing");
    assert!(told.percent < 100 && told.step.contains("alpha-2-1"), "{told:?}");
}

/// Kills the dnf that works on this system, and no other.
fn kill_dnf_of(system: &System) {
    let root = system.installroot();
    let mut killed = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.split(|byte| *byte == 0).any(|word| word == root.as_bytes()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 1);
}
