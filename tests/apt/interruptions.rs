//! Power cuts, killed programs, and other package managers at work.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use lockkeeper::{
    adapters::apt::{
        plans::{self, Outcome, Way},
        repository,
    },
    dbus::executor::ApplyReport,
    executor::run::transact,
};

use crate::{
    PATIENCE, apply,
    archive::{Archive, Package, open_dir, run},
    failed, files, refused, staged,
    system::System,
    until, updated,
};

/// A package whose unpacking takes long enough to be cut off in the middle.
pub fn many(version: &str) -> Package {
    let package = Package::new("many", version);
    (0..3000).fold(package, |p, i| p.file(&format!("usr/share/many/{i}"), version.as_bytes()))
}

pub fn journal_is_dirty(system: &System) -> bool {
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
    plans::count_attempts(&system.layout, &plan.id, Way::There, 1).unwrap();
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
pub fn kill_dpkg_of(system: &System) {
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

pub fn quietly(command: &mut Command) -> Child {
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
    plans::forget_result(&system.layout, &plan.id, Way::There).unwrap();
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
}

#[tokio::test]
async fn a_plan_waits_for_another_package_manager_that_ends_in_time() {
    let (_archive, system) = updated();
    let plan = staged(&system).await;
    let mut dpkg = dpkg_at_work(&system).await;
    let go = system.root().join("go");
    plans::count_attempts(&system.layout, &plan.id, Way::There, 1).unwrap();
    let transaction = transact(&system.layout, &plan.id, Way::There, PATIENCE);
    let daily = system.root().join("var/lib/apt/daily_lock");
    let end = async {
        until("the transaction waits", || daily.exists()).await;
        tokio::task::spawn_blocking(move || fs::write(go, "go\n").unwrap()).await.unwrap();
    };
    let (report, ()) = tokio::join!(transaction, end);
    assert_eq!(report.unwrap(), Outcome::Complete);
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
    plans::count_attempts(&system.layout, &plan.id, Way::There, 1).unwrap();
    fs::remove_dir_all(system.layout.plan(&plan.id).join("debs")).unwrap();
    let reason = failed(apply(&system, &plan.id).await);
    assert!(reason.contains("cannot be read"), "{reason}");
}

#[tokio::test]
async fn what_was_cut_off_after_dpkg_had_noted_the_new_version_is_unpacked_again() {
    let (archive, system) = updated();
    let plan = staged(&system).await;
    drop(archive);
    plans::count_attempts(&system.layout, &plan.id, Way::There, 1).unwrap();
    // apt sees 1.1 and has nothing to upgrade; dpkg will not configure it.
    let path = "var/lib/dpkg/status";
    let status = system.read(path);
    let stanza = |stanza: &str| {
        if !stanza.trim_start().starts_with("Package: alpha\n") {
            return stanza.to_owned();
        }
        stanza
            .replace("install ok installed", "install reinstreq half-installed")
            .replace("1.0", "1.1")
    };
    let status: Vec<String> = status.split("\n\n").map(stanza).collect();
    system.write(path, &status.join("\n\n"));
    assert_eq!(system.version("alpha"), "iHR1.1");

    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(system.version("alpha"), "ii 1.1");
    assert_eq!(system.read("usr/share/alpha/version"), "1.1");
}
