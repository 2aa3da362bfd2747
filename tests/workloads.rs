//! The executor's D-Bus service, and the callers of systemd and logind, on a real bus.

#![allow(clippy::disallowed_methods)] // tests start the programs they test
#![allow(clippy::unwrap_used, clippy::expect_used)] // also outside of test functions

#[path = "workloads/bus.rs"]
mod bus;
#[path = "workloads/fakes.rs"]
mod fakes;

use std::{future, path::Path, time::Duration};

use bus::Bus;
use fakes::{Answer, Login};
use lockkeeper::{
    adapters::systemd::{Systemd, boot, jobs::Started, login::Rebooting},
    core::health::Evidence,
    dbus::{
        EXECUTOR_NAME, EXECUTOR_PATH,
        executor::{ExecutorProxy, RebootReport},
    },
    executor::{
        Context,
        service::{self, ServiceError},
    },
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use zbus::Connection;

/// No step of a test takes longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than any test.
const NEVER_IDLE: Duration = Duration::from_secs(3600);

struct Served {
    task: JoinHandle<Result<(), ServiceError>>,
    _state: TempDir,
}

/// The service on `bus`, for calls of `users`. Returns when its name is there.
async fn serve(bus: &Bus, users: Vec<u32>, idle: Duration) -> Served {
    let connection = bus.connect().await;
    let state = tempfile::tempdir().unwrap();
    let context =
        Context::new(state.path(), Systemd::new(connection.clone()), Vec::new(), state.path());
    let watcher = bus.connect().await;
    let task = tokio::spawn(async move {
        service::serve(&connection, context, users, idle, future::pending()).await
    });
    timeout(DEADLINE, async {
        while !has_owner(&watcher).await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the name appears");
    Served { task, _state: state }
}

async fn has_owner(bus: &Connection) -> bool {
    let daemon = zbus::fdo::DBusProxy::new(bus).await.unwrap();
    daemon.name_has_owner(EXECUTOR_NAME.try_into().unwrap()).await.unwrap()
}

fn own_user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Name and text of a D-Bus error reply.
fn reply<T>(result: zbus::Result<T>) -> (String, String) {
    match result {
        Err(zbus::Error::MethodError(name, text, _)) => {
            (name.to_string(), text.unwrap_or_default())
        }
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("no error"),
    }
}

#[tokio::test]
async fn another_users_call_is_denied_whatever_it_asks_for() {
    let bus = Bus::start();
    let _served = serve(&bus, vec![own_user() + 1], NEVER_IDLE).await;
    let client = bus.connect().await;
    let executor = ExecutorProxy::new(&client).await.unwrap();
    let denied = |(name, text): (String, String)| {
        assert_eq!(name, "org.lockkeeper1.Error.AccessDenied", "{text}");
        assert!(text.contains(&format!("user {} ", own_user())), "{text}");
    };
    denied(reply(executor.check("", "").await));
    denied(reply(executor.describe("x").await));
    denied(reply(executor.changelogs("x", "").await));
    denied(reply(executor.stage("x").await));
    denied(reply(executor.apply("x").await));
    denied(reply(executor.reboot_evidence().await));
    denied(reply(executor.record().await));
    denied(reply(executor.workloads().await));
    denied(reply(executor.restart_stale("x").await));
    denied(reply(executor.restore(1).await));
    denied(reply(executor.verify("", false).await));
    denied(reply(executor.confirm("").await));
    denied(reply(executor.reboot("x", false).await));
}

#[tokio::test]
async fn arguments_that_are_no_identifiers_are_refused_before_anything_is_done() {
    let bus = Bus::start();
    let login = Login::new(Answer::Yes);
    let asked = login.asked.clone();
    let _login = login.serve(bus.connect().await).await;
    let _served = serve(&bus, vec![own_user()], NEVER_IDLE).await;
    let client = bus.connect().await;
    let executor = ExecutorProxy::new(&client).await.unwrap();
    let invalid = |(name, text): (String, String), said: &str| {
        assert_eq!(name, "org.lockkeeper1.Error.InvalidArgument", "{text}");
        assert!(text.contains(said), "{text}");
    };
    invalid(reply(executor.stage("../../etc").await), "../../etc");
    invalid(reply(executor.describe("../../etc").await), "../../etc");
    invalid(reply(executor.changelogs("x", "").await), "\"x\"");
    invalid(reply(executor.apply(&"A".repeat(64)).await), "AAAA");
    invalid(reply(executor.restart_stale("x").await), "\"x\"");
    invalid(reply(executor.verify("x", false).await), "\"x\"");
    invalid(reply(executor.confirm("x").await), "\"x\"");
    invalid(reply(executor.reboot("now", false).await), "\"now\" is not a boot id");
    invalid(reply(executor.restore(1_000_000).await), "1000000 s");
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_plan_that_is_gone_is_told_from_one_that_cannot_be_read() {
    let bus = Bus::start();
    let _served = serve(&bus, vec![own_user()], NEVER_IDLE).await;
    let client = bus.connect().await;
    let executor = ExecutorProxy::new(&client).await.unwrap();
    let id = "0".repeat(64);
    for error in [reply(executor.describe(&id).await), reply(executor.changelogs(&id, "").await)] {
        assert_eq!(error.0, "org.lockkeeper1.Error.UnknownPlan", "{}", error.1);
    }
}

#[tokio::test]
async fn an_error_tells_its_whole_story() {
    let bus = Bus::start();
    let _served = serve(&bus, vec![own_user()], NEVER_IDLE).await;
    let client = bus.connect().await;
    let executor = ExecutorProxy::new(&client).await.unwrap();
    // There is no systemd on this bus.
    let (name, text) = reply(executor.record().await);
    assert_eq!(name, "org.lockkeeper1.Error.Failed");
    assert!(text.starts_with("ListUnitsByPatterns failed: "), "{text}");
    assert!(text.contains("org.freedesktop.systemd1"), "{text}");
}

#[tokio::test]
async fn it_leaves_and_frees_its_name_when_nobody_calls() {
    let bus = Bus::start();
    let served = serve(&bus, vec![own_user()], Duration::from_millis(50)).await;
    timeout(DEADLINE, served.task).await.expect("it leaves").unwrap().unwrap();
    assert!(!has_owner(&bus.connect().await).await);
}

#[tokio::test]
async fn it_stays_as_long_as_a_call_is_in_progress() {
    let bus = Bus::start();
    // The call takes longer than the service would stay idle.
    let login = Login { delay: Duration::from_millis(1500), ..Login::new(Answer::Yes) };
    let _login = login.serve(bus.connect().await).await;
    let _manager = fakes::Systemd::default().serve(bus.connect().await).await;
    let client = bus.connect().await;
    let executor = ExecutorProxy::new(&client).await.unwrap();
    let served = serve(&bus, vec![own_user()], Duration::from_millis(700)).await;
    let answer = executor.reboot(&boot::boot_id().unwrap(), false).await.unwrap();
    assert_eq!(serde_json::from_str::<RebootReport>(&answer).unwrap(), RebootReport::Accepted);
    timeout(DEADLINE, served.task).await.expect("it leaves").unwrap().unwrap();
}

#[tokio::test]
async fn it_ends_when_the_bus_does() {
    let bus = Bus::start();
    let served = serve(&bus, vec![own_user()], NEVER_IDLE).await;
    drop(bus);
    let end = timeout(DEADLINE, served.task).await.expect("it ends").unwrap();
    assert!(matches!(end, Err(ServiceError::Closed)), "{end:?}");
}

#[tokio::test]
async fn the_call_that_activates_the_program_is_answered() {
    let program = Path::new(env!("CARGO_BIN_EXE_lockkeeper-executor"));
    let bus = Bus::start_with(Some((EXECUTOR_NAME, program)));
    let client = bus.connect().await;
    let executor = ExecutorProxy::new(&client).await.unwrap();
    let call = timeout(DEADLINE, executor.reboot("now", false)).await.expect("an answer");
    let (name, _) = reply(call);
    let expected = if own_user() == 0 { "InvalidArgument" } else { "AccessDenied" };
    assert_eq!(name, format!("org.lockkeeper1.Error.{expected}"));
    // It can be asked what it offers.
    let object = zbus::Proxy::new(&client, EXECUTOR_NAME, EXECUTOR_PATH, EXECUTOR_NAME);
    let text = object.await.unwrap().introspect().await.unwrap();
    for verb in [
        "Check",
        "Stage",
        "Apply",
        "RebootEvidence",
        "Record",
        "Workloads",
        "RestartStale",
        "PullImages",
        "Restore",
        "Verify",
        "Confirm",
        "Reboot",
    ] {
        assert!(text.contains(&format!("<method name=\"{verb}\">")), "{verb}: {text}");
    }
}

#[tokio::test]
async fn a_reboot_is_of_the_boot_it_was_asked_in_soft_reboots_counted() {
    let bus = Bus::start();
    let login = Login::new(Answer::Yes);
    let asked = login.asked.clone();
    let _login = login.serve(bus.connect().await).await;
    let mut manager = fakes::Systemd::default();
    manager.soft_reboots = Some(2);
    let _manager = manager.serve(bus.connect().await).await;
    let _served = serve(&bus, vec![own_user()], NEVER_IDLE).await;
    let executor = ExecutorProxy::new(&bus.connect().await).await.unwrap();
    let kernel = boot::boot_id().unwrap();
    for (boot, report) in [
        (kernel.clone(), RebootReport::AlreadyHappened),
        (format!("{kernel}+1"), RebootReport::AlreadyHappened),
        (format!("{kernel}+2"), RebootReport::Accepted),
    ] {
        let answer = executor.reboot(&boot, false).await.unwrap();
        assert_eq!(serde_json::from_str::<RebootReport>(&answer).unwrap(), report, "{boot}");
    }
    // Soft-reboots are off unless they are asked for.
    assert_eq!(*asked.lock().unwrap(), ["RebootWithFlags 1"]);
}

#[tokio::test]
async fn a_systemd_that_counts_no_soft_reboots_has_the_kernels_boots_alone() {
    let bus = Bus::start();
    let systemd = Systemd::new(bus.connect().await);
    assert!(systemd.this_boot().await.is_err());
    let _manager = fakes::Systemd::default().serve(bus.connect().await).await;
    assert_eq!(systemd.soft_reboots().await.unwrap(), None);
    assert_eq!(systemd.this_boot().await.unwrap().0, boot::boot_id().unwrap());
}

#[tokio::test]
async fn a_short_way_respects_inhibitors_and_never_becomes_another_request() {
    let bus = Bus::start();
    let login = Login::new(Answer::InvalidFlags);
    let asked = login.asked.clone();
    let (systemd, _served) = logind(&bus, login).await;
    assert!(systemd.soft_reboot().await.is_err());
    assert!(systemd.reboot_by_kexec().await.is_err());
    assert_eq!(*asked.lock().unwrap(), ["RebootWithFlags 5", "RebootWithFlags 3"]);
    let bus = Bus::start();
    let inhibitors = vec![inhibitor("shutdown", "block")];
    let login = Login { inhibitors, ..Login::new(Answer::Yes) };
    let asked = login.asked.clone();
    let (systemd, _served) = logind(&bus, login).await;
    assert!(matches!(systemd.soft_reboot().await.unwrap(), Rebooting::Refused(_)));
    assert!(matches!(systemd.reboot_by_kexec().await.unwrap(), Rebooting::Refused(_)));
    assert!(asked.lock().unwrap().is_empty());
}

/// A fake logind, and us as its client.
async fn logind(bus: &Bus, login: Login) -> (Systemd, Connection) {
    let served = login.serve(bus.connect().await).await;
    (Systemd::new(bus.connect().await), served)
}

fn inhibitor(what: &str, mode: &str) -> (String, String, String, String, u32, u32) {
    (what.to_owned(), "backup".to_owned(), "nightly".to_owned(), mode.to_owned(), 0, 1)
}

#[tokio::test]
async fn an_inhibitor_refuses_the_reboot_before_logind_is_asked() {
    let bus = Bus::start();
    let mut login = Login::new(Answer::Yes);
    login.inhibitors = vec![inhibitor("sleep", "block"), inhibitor("shutdown:idle", "block")];
    let asked = login.asked.clone();
    let (systemd, _served) = logind(&bus, login).await;
    let reasons = vec!["backup inhibits shutdown: nightly".to_owned()];
    assert_eq!(systemd.inhibitors().await, Evidence::Yes { reasons });
    let answer = systemd.reboot().await.unwrap();
    assert!(matches!(&answer, Rebooting::Refused(why) if why.contains("nightly")), "{answer:?}");
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_logind_inhibitors_are_unknown_and_there_is_no_reboot() {
    let bus = Bus::start();
    let systemd = Systemd::new(bus.connect().await);
    let evidence = systemd.inhibitors().await;
    assert!(matches!(evidence, Evidence::Unknown { .. }), "{evidence:?}");
    let answer = systemd.reboot().await.unwrap();
    assert!(matches!(answer, Rebooting::Refused(_)), "{answer:?}");
}

#[tokio::test]
async fn logind_is_told_to_check_inhibitors_itself_and_its_no_is_a_refusal() {
    let bus = Bus::start();
    let login = Login::new(Answer::AccessDenied);
    let asked = login.asked.clone();
    let (systemd, _served) = logind(&bus, login).await;
    let answer = systemd.reboot().await.unwrap();
    assert!(matches!(answer, Rebooting::Refused(_)), "{answer:?}");
    assert_eq!(*asked.lock().unwrap(), ["RebootWithFlags 1"]);
}

#[tokio::test]
async fn a_logind_that_does_not_know_the_flag_gets_a_plain_request() {
    let bus = Bus::start();
    let login = Login::new(Answer::InvalidFlags);
    let asked = login.asked.clone();
    let (systemd, _served) = logind(&bus, login).await;
    assert!(matches!(systemd.reboot().await.unwrap(), Rebooting::Accepted));
    assert_eq!(*asked.lock().unwrap(), ["RebootWithFlags 1", "Reboot false"]);
}

#[tokio::test]
async fn a_shutdown_already_under_way_is_as_good_as_ours() {
    for (preparing, accepted) in [(true, true), (false, false)] {
        let bus = Bus::start();
        let login = Login { preparing, ..Login::new(Answer::InProgress) };
        let (systemd, _served) = logind(&bus, login).await;
        let answer = systemd.reboot().await.unwrap();
        assert_eq!(matches!(answer, Rebooting::Accepted), accepted, "{answer:?}");
    }
}

#[tokio::test]
async fn jobs_are_awaited_even_when_they_end_before_systemd_answers() {
    let bus = Bus::start();
    let manager = fakes::Systemd::default();
    let reset = manager.reset.clone();
    let _manager = manager.serve(bus.connect().await).await;
    let systemd = Systemd::new(bus.connect().await);
    let names = ["good.service", "bad.service", "none.service"].map(str::to_owned);
    let ends = timeout(DEADLINE, systemd.start(&names, DEADLINE)).await.expect("an end").unwrap();
    assert_eq!(ends["good.service"], Started::Done);
    assert_eq!(ends["bad.service"], Started::Ended("failed".to_owned()));
    let Started::Refused(why) = &ends["none.service"] else { panic!("{ends:?}") };
    assert!(why.contains("not found"), "{why}");
    assert_eq!(*reset.lock().unwrap(), names);
    // A second time on the same connection: systemd says that we have subscribed already.
    let again = systemd.start(&names[..1], DEADLINE).await.unwrap();
    assert_eq!(again["good.service"], Started::Done);
}

#[tokio::test]
async fn a_job_that_does_not_end_in_time_is_late() {
    let bus = Bus::start();
    let _manager = fakes::Systemd::default().serve(bus.connect().await).await;
    let systemd = Systemd::new(bus.connect().await);
    let names = ["slow.service", "good.service"].map(str::to_owned);
    let ends = systemd.start(&names, Duration::from_secs(3)).await.unwrap();
    assert_eq!(ends["slow.service"], Started::Late);
    assert_eq!(ends["good.service"], Started::Done);
}

#[tokio::test]
async fn a_unit_that_systemd_does_not_know_is_no_failure_and_a_missing_systemd_is() {
    let bus = Bus::start();
    let systemd = Systemd::new(bus.connect().await);
    let names = ["gone.service".to_owned()];
    assert!(systemd.facts(&names).await.is_err());
    let _manager = fakes::Systemd::default().serve(bus.connect().await).await;
    assert!(systemd.facts(&names).await.unwrap().is_empty());
}

#[tokio::test]
async fn users_who_linger_are_found_and_root_is_none_of_them() {
    let bus = Bus::start();
    let users =
        vec![(1001, "bob", true), (0, "root", true), (1000, "alice", true), (1002, "eve", false)];
    let (systemd, _served) = logind(&bus, Login { users, ..Login::new(Answer::Yes) }).await;
    let found = systemd.lingering().await.unwrap();
    let found: Vec<(&str, String)> = found.iter().map(|u| (u.name.as_str(), u.manager())).collect();
    let expected = [("alice", "user@1000.service"), ("bob", "user@1001.service")];
    assert_eq!(found, expected.map(|(name, unit)| (name, unit.to_owned())));
}

#[tokio::test]
async fn machines_that_no_service_runs_are_named_and_without_machined_there_are_none() {
    let bus = Bus::start();
    let systemd = Systemd::new(bus.connect().await);
    assert!(systemd.machines_by_hand().await.unwrap().is_empty());
    let machines = fakes::Machines(vec![
        ("db", "systemd-nspawn", "systemd-nspawn@db.service"),
        ("scratch", "systemd-nspawn", "machine-scratch.scope"),
        ("vm", "libvirt-qemu", "machine-qemu.scope"),
    ]);
    let _machines = machines.serve(bus.connect().await).await;
    assert_eq!(systemd.machines_by_hand().await.unwrap(), ["scratch"]);
}
