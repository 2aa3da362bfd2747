//! Check, stage and apply with real apt and dpkg, on a small system in a directory, from a signed
//! archive. Needs root, and apt-utils, btrfs-progs, gnupg.

// The tests run the real tools, as an admin would; a helper that cannot go on ends its test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod admins;
mod applying;
#[path = "../support/archive.rs"]
mod archive;
mod checks;
mod choosing;
mod descriptions;
#[path = "../support/disk.rs"]
mod disk;
mod evidence;
mod hardships;
mod interruptions;
mod releases;
mod removals;
#[path = "../support/server.rs"]
mod server;
mod snapshots;
mod staging;
#[path = "../support/system.rs"]
mod system;
mod twins;
mod undoing;

use std::{fs, path::Path, time::Duration};

use archive::{Archive, Package};
use lockkeeper::{
    adapters::{
        apt::{
            AptError, Layout,
            plans::{self, Outcome, Way},
        },
        clock,
    },
    config::settings::{Packages, Settings, WithoutWayBack},
    core::{
        choice::Origins,
        plan::{PackageChange, Plan, PlanId},
    },
    dbus::executor::{ApplyReport, CheckReport, UndoReport},
    executor::{Rules, check, run::transact, stage::stage},
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

/// By rules that leave nothing out.
async fn check(layout: &Layout) -> Result<CheckReport, AptError> {
    check_by(layout, |_| {}).await
}

/// By rules that leave nothing out but what they are changed to.
async fn check_by(
    layout: &Layout,
    change: impl FnOnce(&mut Packages),
) -> Result<CheckReport, AptError> {
    let mut packages = Packages { origins: Origins::All, ..Settings::default().packages };
    change(&mut packages);
    let rules = Rules {
        packages,
        follow: None,
        choice: "of the test".to_owned(),
        containers: Settings::default().containers,
        channel: None,
    };
    check::check(layout, &rules, None, None).await
}

async fn plan(system: &System) -> Plan {
    check(&system.layout).await.unwrap().plan.expect("a plan")
}

async fn staged(system: &System) -> Plan {
    let plan = plan(system).await;
    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    plan
}

/// As the transient unit does it, after the attempt has been counted.
async fn apply(system: &System, id: &PlanId) -> ApplyReport {
    attempt(system, id, Way::There).await.into()
}

/// The same for the way back.
async fn undo(system: &System, id: &PlanId) -> UndoReport {
    attempt(system, id, Way::Back).await.into()
}

async fn attempt(system: &System, id: &PlanId, way: Way) -> Outcome {
    let layout = &system.layout;
    let before = plans::attempts(layout, id, way).unwrap();
    plans::count_attempts(layout, id, way, before + 1).unwrap();
    transact(layout, id, way, Duration::from_secs(1)).await.unwrap()
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
    let from = |p: &PackageChange| p.from.clone().unwrap_or_default();
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
