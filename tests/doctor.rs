//! `rebootctl doctor` as it is called, on real etcd.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "workloads/bus.rs"]
#[expect(clippy::disallowed_methods, dead_code, reason = "a bus of the test's own; used in part")]
mod bus;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/wait.rs"]
mod wait;

use std::{path::Path, time::Duration};

use bus::Bus;
use etcd::Cluster;
use jiff::Timestamp;
use lockkeeper::{
    adapters::slots::{
        NodeRecord, SlotStore,
        etcd::{Access, EtcdStore},
    },
    core::{
        change::{AdminOp, Change},
        slots::{Halt, Holder},
    },
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use wait::eventually;

const PREFIX: &str = "/lockkeeper/v1";

/// What one call said.
struct Said {
    code: i32,
    document: Value,
}

impl Said {
    fn codes(&self) -> Vec<&str> {
        self.findings().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
    }

    fn findings(&self) -> &Vec<Value> {
        self.document["findings"].as_array().unwrap()
    }

    fn finding(&self, code: &str) -> (&str, Vec<&str>) {
        let of = |finding: &&Value| finding["code"] == code;
        let found = self.findings().iter().find(of);
        let found = found.unwrap_or_else(|| panic!("no {code}: {:?}", self.findings()));
        let commands = found["commands"].as_array().unwrap().iter();
        (found["text"].as_str().unwrap(), commands.map(|c| c.as_str().unwrap()).collect())
    }
}

async fn rebootctl(arguments: &[&str]) -> (i32, String) {
    run(program().args(arguments)).await
}

#[expect(clippy::disallowed_methods, reason = "runs the program as a person does")]
fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rebootctl"))
}

async fn run(program: &mut Command) -> (i32, String) {
    let output = program.output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text + &String::from_utf8(output.stderr).unwrap())
}

async fn doctor(endpoints: &[String]) -> Said {
    let mut arguments = vec!["doctor", "--json"];
    arguments.extend(endpoints.iter().flat_map(|url| ["--endpoint", url]));
    said(rebootctl(&arguments).await)
}

fn said((code, text): (i32, String)) -> Said {
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(document["trouble"], code == 6, "{text}");
    Said { code, document }
}

/// Until it finds this.
async fn finds(endpoints: &[String], code: &str) -> Said {
    eventually(&format!("doctor finds {code}"), || async {
        Some(doctor(endpoints).await).filter(|said| said.codes().contains(&code))
    })
    .await
}

/// Until it finds just these.
async fn finds_just(endpoints: &[String], codes: &[&str]) -> Said {
    eventually(&format!("doctor finds {codes:?} and no more"), || async {
        Some(doctor(endpoints).await).filter(|said| said.codes() == codes)
    })
    .await
}

fn store(cluster: &Cluster) -> SlotStore {
    SlotStore::Etcd(EtcdStore::new(
        &Access::open(&cluster.endpoints(), Duration::from_secs(5)),
        PREFIX,
    ))
}

fn holder(node: &str, name: &str, nonce: &str) -> Holder {
    Holder {
        node: node.to_owned(),
        name: name.to_owned(),
        nonce: nonce.to_owned(),
        since: Timestamp::UNIX_EPOCH,
        reason: "update".to_owned(),
        release: None,
        boot_id: "boot".to_owned(),
        expected_secs: 0,
        overdue: false,
    }
}

fn record(name: &str, phase: &str) -> NodeRecord {
    NodeRecord {
        name: name.to_owned(),
        phase: phase.to_owned(),
        text: String::new(),
        service: "in-service".to_owned(),
        address: None,
    }
}

/// The node's agent runs until this store is dropped.
async fn lives(cluster: &Cluster, node: &str, record: &NodeRecord) -> SlotStore {
    let agent = store(cluster);
    agent.publish(node, record).await.unwrap();
    eventually(&format!("{node} is heard"), || async {
        agent.alive().await.unwrap().contains(node).then_some(())
    })
    .await;
    agent
}

/// The node has told of itself, and its agent is heard no more.
async fn died(cluster: &Cluster, node: &str, record: &NodeRecord) {
    drop(lives(cluster, node, record).await);
    let key = format!("{PREFIX}/alive/{node}");
    cluster.client().await.delete(key, None).await.unwrap();
}

async fn locked(cluster: &Cluster, claim: &Holder) {
    let groups = ["default".to_owned()];
    store(cluster).acquire(&groups, claim, |_| {}).await.unwrap();
}

#[tokio::test]
async fn three_good_members_are_called_good_in_words_and_in_json() {
    let cluster = Cluster::start(3).await;
    let endpoints = cluster.endpoints();
    let said = finds(&endpoints, "etcd-well").await;
    assert_eq!((said.code, said.codes()), (0, vec!["etcd-well", "lock-well"]));
    let (text, _) = said.finding("etcd-well");
    let leader = cluster.leader().await;
    assert!(text.ends_with(&format!("3 voting member(s), all well, 2 needed; m{leader} leads")));
    let (code, text) = rebootctl(&["doctor", "--endpoint", &endpoints[0]]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("ok       etcd-well: etcd 3."), "{text}");
}

#[tokio::test]
async fn a_dead_member_is_named_with_what_removes_and_replaces_it() {
    let mut cluster = Cluster::start(3).await;
    cluster.kill(2);
    cluster.ready().await;
    // The others may be electing a leader still.
    let said = finds_just(&cluster.endpoints(), &["member-silent", "lock-well"]).await;
    assert_eq!(said.code, 6);
    let (text, commands) = said.finding("member-silent");
    assert!(text.starts_with("etcd member m2 (id "), "{text}");
    let id = text.split("(id ").nth(1).unwrap().split(')').next().unwrap();
    let etcdctl = format!("etcdctl --endpoints={}", cluster.endpoints().join(","));
    assert!(commands[1].starts_with(&format!("{etcdctl} member remove {id} ")), "{commands:?}");
    let peer = format!("http://{}:2380", cluster.address(2));
    let add = format!("{etcdctl} member add m2 --learner --peer-urls={peer} ");
    assert!(commands[2].starts_with(&add), "{commands:?}");
    // What it prints does mend it.
    let mut client = cluster.client().await;
    client.member_remove(u64::from_str_radix(id, 16).unwrap()).await.unwrap();
    let said = finds(&cluster.endpoints()[..2], "two-members").await;
    assert_eq!(said.code, 0, "{:?}", said.findings());
}

#[tokio::test]
async fn a_lost_quorum_is_told_by_the_survivor_and_recovered_as_it_says() {
    let mut cluster = Cluster::start(3).await;
    locked(&cluster, &holder("a", "web-1", "n")).await;
    let agent = lives(&cluster, "a", &record("web-1", "applying")).await;
    // A member that is forced to go on alone forgets what it does not know to be committed, and it
    // learns that of an entry with the next one.
    let mut survivor = etcd_client::Client::connect([&cluster.endpoints()[0]], None).await.unwrap();
    for _ in 0..3 {
        survivor.put("any", "", None).await.unwrap();
    }
    cluster.kill(1);
    cluster.kill(2);
    let said = finds(&cluster.endpoints(), "quorum-lost").await;
    assert_eq!(said.code, 6);
    assert_eq!(said.codes(), ["quorum-lost", "member-silent", "member-silent"]);
    let (text, commands) = said.finding("quorum-lost");
    assert!(text.starts_with("1 of etcd's 3 voting members answer, 2 are needed"), "{text}");
    let survivor = &cluster.endpoints()[0];
    let expected = [
        "systemctl start etcd  # on m1 (",
        "systemctl start etcd  # on m2 (",
        &format!("etcdctl --endpoints={survivor} snapshot save"),
        "echo ETCD_FORCE_NEW_CLUSTER=true >> /etc/default/etcd  # on m0 (",
        "systemctl restart etcd  # on m0 (",
        &format!("rebootctl status --endpoint {survivor}  # "),
    ];
    let all_there = |want: &&str| commands.iter().any(|command| command.starts_with(want));
    assert!(expected.iter().all(all_there), "{commands:?}");
    cluster.restart_alone(0).await;
    let said = finds(&cluster.endpoints()[..1], "one-member").await;
    assert_eq!(said.code, 0, "{:?}", said.findings());
    let views = agent.view(&["default".to_owned()]).await.unwrap();
    assert!(views["default"].slots.held_by("a", "n"), "the slot is still held");
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_told() {
    let mut cluster = Cluster::start(1).await;
    cluster.kill(0);
    let said = doctor(&cluster.endpoints()).await;
    assert_eq!((said.code, said.codes()), (6, vec!["etcd-unreachable"]));
    assert!(said.finding("etcd-unreachable").0.contains("connection refused"));
}

#[tokio::test]
async fn a_full_database_is_told_and_mended_as_it_says() {
    let cluster = Cluster::start_with(1, &["--quota-backend-bytes", "200000"]).await;
    let mut client = cluster.client().await;
    while client.put("big", vec![b'x'; 60_000], None).await.is_ok() {}
    let said = finds(&cluster.endpoints(), "alarm-no-space").await;
    assert_eq!(said.code, 6);
    let (text, commands) = said.finding("alarm-no-space");
    assert!(text.starts_with("etcd member m0 has raised the alarm NOSPACE"), "{text}");
    let etcdctl = format!("etcdctl --endpoints={}", cluster.endpoints()[0]);
    let verbs = ["get any -w fields", "compact REVISION", "defrag --cluster", "alarm disarm"];
    for (command, verb) in commands.iter().zip(verbs) {
        assert!(command.starts_with(&format!("{etcdctl} {verb}")), "{command}");
    }
    assert_eq!(commands.len(), verbs.len());
    let revision = client.get("any", None).await.unwrap().header().unwrap().revision();
    let how = etcd_client::CompactionOptions::new().with_physical();
    client.compact(revision, Some(how)).await.unwrap();
    client.defragment().await.unwrap();
    let (act, kind) = (etcd_client::AlarmAction::Deactivate, etcd_client::AlarmType::Nospace);
    let id = client.status().await.unwrap().header().unwrap().member_id();
    let mut of = etcd_client::AlarmOptions::new();
    of.with_member(id);
    client.alarm(act, kind, Some(of)).await.unwrap();
    assert_eq!(doctor(&cluster.endpoints()).await.code, 0);
}

#[tokio::test]
async fn a_learner_is_no_trouble_not_even_a_dead_one() {
    let mut cluster = Cluster::start(1).await;
    cluster.add_learner(true).await;
    let endpoint = &cluster.endpoints()[..1];
    let said = finds(endpoint, "learner").await;
    assert_eq!(said.code, 0, "{:?}", said.findings());
    assert!(said.finding("learner").1[0].contains(" member promote "));
    cluster.kill(1);
    assert!(
        finds(endpoint, "learner-ill").await.finding("learner-ill").1[1].contains("member remove")
    );
}

#[tokio::test]
async fn a_ghost_that_holds_a_slot_is_told_with_what_unlocks_it() {
    let cluster = Cluster::start(1).await;
    let endpoint = &cluster.endpoints()[0];
    locked(&cluster, &holder("a", "web-1", "n")).await;
    died(&cluster, "a", &record("web-1", "applying")).await;
    let said = doctor(&cluster.endpoints()).await;
    assert_eq!(said.code, 6);
    let (text, commands) = said.finding("holder-ghost");
    assert!(text.contains("web-1 (a) holds a slot of group default"), "{text}");
    let unlock = commands[1].split("  # ").next().unwrap();
    assert_eq!(unlock, format!("rebootctl unlock a --endpoint {endpoint} --group default"));
    let words: Vec<&str> = unlock.split(' ').skip(1).collect();
    assert_eq!(rebootctl(&words).await.0, 0);
    let said = doctor(&cluster.endpoints()).await;
    assert_eq!(said.code, 0);
    assert_eq!(said.codes(), ["node-silent", "one-member", "etcd-well"]);
}

#[tokio::test]
async fn a_holder_that_reboots_is_no_ghost() {
    let cluster = Cluster::start(1).await;
    locked(&cluster, &holder("a", "web-1", "n")).await;
    died(&cluster, "a", &record("web-1", "rebooting")).await;
    let said = doctor(&cluster.endpoints()).await;
    assert_eq!((said.code, said.codes()[0]), (0, "holder-down"));
    let _back = lives(&cluster, "a", &record("web-1", "verifying")).await;
    assert_eq!(
        doctor(&cluster.endpoints()).await.codes(),
        ["one-member", "etcd-well", "lock-well"]
    );
}

#[tokio::test]
async fn a_machine_that_came_back_with_another_id_is_recognised_by_its_name() {
    let cluster = Cluster::start(1).await;
    locked(&cluster, &holder("old", "web-1", "n")).await;
    died(&cluster, "old", &record("web-1", "rebooting")).await;
    let _new = lives(&cluster, "new", &record("web-1", "steady")).await;
    let said = doctor(&cluster.endpoints()).await;
    assert_eq!(said.code, 6);
    let (text, commands) = said.finding("holder-replaced");
    assert!(text.contains("web-1 (old)") && text.contains("now has the id new"), "{text}");
    assert!(commands[0].starts_with("rebootctl unlock old "), "{commands:?}");
    let change = Change {
        op: AdminOp::Unlock("old".to_owned()),
        by: "an admin".to_owned(),
        reason: String::new(),
    };
    store(&cluster).admin("default", &change).await.unwrap();
    let said = doctor(&cluster.endpoints()).await;
    let (_, commands) = said.finding("node-replaced");
    let keys: Vec<&str> = commands
        .iter()
        .map(|c| c.split(" del ").nth(1).unwrap().split(' ').next().unwrap())
        .collect();
    assert_eq!(keys, ["/lockkeeper/v1/nodes/old", "/lockkeeper/v1/service/old"]);
    for key in keys {
        assert_eq!(cluster.client().await.delete(key, None).await.unwrap().deleted(), 1);
    }
    assert_eq!(
        doctor(&cluster.endpoints()).await.codes(),
        ["one-member", "etcd-well", "lock-well"]
    );
}

#[tokio::test]
async fn halts_hand_locks_and_unreadable_locks_of_every_group_are_told() {
    let cluster = Cluster::start(1).await;
    let store = store(&cluster);
    let change = |op| Change { op, by: "an admin".to_owned(), reason: "because".to_owned() };
    let halt = Halt {
        reason: "web.service failed".to_owned(),
        by: "web-1".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        release: Some("p".to_owned()),
        expires: None,
    };
    store.admin("web", &change(AdminOp::Halt { halt, for_secs: None })).await.unwrap();
    store.admin("db", &change(AdminOp::Lock(holder("b", "db-1", "")))).await.unwrap();
    let newer = r#"{"schema":2,"max":1,"holders":[]}"#;
    let key = format!("{PREFIX}/groups/odd/slots");
    cluster.client().await.put(key, newer, None).await.unwrap();
    let said = doctor(&cluster.endpoints()).await;
    assert_eq!(said.code, 6);
    assert!(said.finding("halted").0.contains("group web is halted by web-1: web.service failed"));
    assert!(said.finding("held-by-hand").0.contains("db-1 (b) holds a slot of group db"));
    let (text, _) = said.finding("lock-unreadable");
    assert!(text.contains("group odd") && text.contains("newer lockkeeper"), "{text}");
}

/// A machine: a configuration, and a bus on which timedated is started when it is called.
struct Machine {
    root: TempDir,
    bus: Bus,
}

impl Machine {
    fn new(configuration: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/lockkeeper");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(etc.join("lockkeeper.toml"), configuration).unwrap();
        let timedated = ("org.freedesktop.timedate1", Path::new("/lib/systemd/systemd-timedated"));
        Self { root, bus: Bus::start_with(Some(timedated)) }
    }

    async fn doctor(&self) -> Said {
        let mut call = program();
        call.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address());
        call.args(["doctor", "--json", "--config-root"]).arg(self.root.path());
        said(run(&mut call).await)
    }

    #[expect(clippy::disallowed_methods, reason = "the agent of a machine of the test's own")]
    fn agent(&self) -> Child {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_lockkeeperd"));
        agent.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address()).env_remove("NOTIFY_SOCKET");
        agent.arg("--config-root").arg(self.root.path());
        let state = self.root.path().join("state");
        std::fs::create_dir(&state).unwrap();
        agent.arg("--state-dir").arg(state).kill_on_drop(true).spawn().unwrap()
    }
}

#[tokio::test]
async fn a_node_examines_the_lock_of_its_own_configuration() {
    let cluster = Cluster::start(1).await;
    let etcd =
        format!("strategy = \"etcd-lock\"\n[etcd]\nendpoints = [{:?}]\n", cluster.endpoints()[0]);
    let machine = Machine::new(&etcd);
    let without = machine.doctor().await;
    assert_eq!(without.code, 6);
    let (_, commands) = without.finding("agent-silent");
    assert_eq!(commands[2], "systemctl enable --now lockkeeperd");
    let _agent = machine.agent();
    let said = eventually("the agent answers", || async {
        Some(machine.doctor().await).filter(|said| !said.codes().contains(&"agent-silent"))
    })
    .await;
    // Whether the clock is right depends on where this test runs; that it can be told does not.
    assert_eq!(said.code, 0, "{:?}", said.findings());
    assert!(!said.codes().contains(&"clock-unknown"), "{:?}", said.findings());
    for code in ["one-member", "etcd-well", "lock-well"] {
        said.finding(code);
    }
}

#[tokio::test]
async fn a_configuration_with_mistakes_is_told_before_anything_else() {
    let machine = Machine::new("strategy = \"etcd\"\n");
    let said = machine.doctor().await;
    assert_eq!(said.code, 6);
    let (text, commands) = said.finding("configuration-bad");
    assert!(text.contains("strategy"), "{text}");
    assert_eq!(commands, ["rebootctl config check"]);
    let off = Machine::new("strategy = \"off\"\n").doctor().await;
    off.finding("strategy-off");
    assert!(!off.codes().iter().any(|code| code.contains("etcd")), "{:?}", off.codes());
}

#[tokio::test]
async fn a_check_that_cannot_be_run_is_told_before_an_update_meets_it() {
    let machine =
        Machine::new("[[probe]]\nname = \"queue\"\ncommand = [\"/usr/local/bin/check-queue\"]\n");
    let folder = machine.root.path().join("etc/lockkeeper/health.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("10-disk.sh"), "#!/bin/sh\n").unwrap();
    let said = machine.doctor().await;
    let (text, _) = said.finding("check-cannot-run");
    assert!(text.contains("check 10-disk.sh cannot be run") && text.contains("not executable"));
    assert!(text.contains("probe queue cannot be run"), "{text}");
}
