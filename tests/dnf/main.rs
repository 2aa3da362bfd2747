//! Check, stage, apply and undo with real dnf and rpm, on a small system in a directory, from a signed
//! repository. Needs root, and dnf, dnf-plugins-core, rpm, createrepo-c, gnupg.

// The tests run the real tools, as an admin would; a helper that cannot go on ends its test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

mod checks;
mod repository;
mod server;
mod staging;
mod system;
mod transactions;

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt, process::Command, time::Duration,
};

use lockkeeper::{
    adapters::packages::{
        Layout, PackageError,
        plans::{self, Outcome, Way},
    },
    config::settings::{Packages, Settings, WithoutWayBack},
    core::{
        choice::Origins,
        plan::{Plan, PlanId},
    },
    dbus::executor::CheckReport,
    executor::{Rules, check, run::transact, stage::stage},
};
use system::System;
use tempfile::TempDir;

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let said = [&out.stderr, &out.stdout].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(out.status.success(), "{command:?}: {}", said.concat());
    String::from_utf8(out.stdout).unwrap()
}

/// In memory where that is possible.
fn open_dir() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// By rules that leave nothing out.
async fn check(layout: &Layout) -> Result<CheckReport, PackageError> {
    check_by(layout, |_| {}).await
}

/// By rules that leave nothing out but what they are changed to.
async fn check_by(
    layout: &Layout,
    change: impl FnOnce(&mut Packages),
) -> Result<CheckReport, PackageError> {
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

async fn staged(system: &System) -> Plan {
    let plan = check(&system.layout).await.unwrap().plan.expect("a plan");
    stage(&system.layout, &plan.id, WithoutWayBack::Allow).await.unwrap();
    plan
}

async fn apply(system: &System, id: &PlanId) -> Outcome {
    attempt(system, id, Way::There).await
}

async fn undo(system: &System, id: &PlanId) -> Outcome {
    attempt(system, id, Way::Back).await
}

/// As the transient unit does it, after the attempt has been counted.
async fn attempt(system: &System, id: &PlanId, way: Way) -> Outcome {
    let layout = &system.layout;
    let before = plans::attempts(layout, id, way).unwrap();
    plans::count_attempts(layout, id, way, before + 1).unwrap();
    transact(layout, id, way, Duration::from_secs(1)).await.unwrap()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// `alpha 1-1 > 2-1` of each package of a plan.
fn changes(plan: &Plan) -> Vec<String> {
    let change = |p: &lockkeeper::core::plan::PackageChange| {
        format!("{} {} > {}", p.name, p.from.as_deref().unwrap_or("-"), p.to)
    };
    plan.packages.iter().map(change).collect()
}
