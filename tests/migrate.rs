//! Carrying the locks of locksmith and airlock over, with `rebootctl migrate` as it is called.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/fenced.rs"]
#[expect(dead_code, reason = "used in part")]
mod fenced;
#[path = "migrate/neighbours.rs"]
mod neighbours;
#[path = "migrate/plans.rs"]
mod plans;
#[path = "migrate/unattended.rs"]
mod unattended;
#[path = "support/wait.rs"]
mod wait;

use std::time::Duration;

use etcd::{Cluster, Fence};
use fenced::{Authority, VALID};
use jiff::Timestamp;
use lockkeeper::{
    adapters::{
        migrate, node,
        slots::{
            SlotStore,
            etcd::{Access, EtcdStore},
            fleetlock::wire,
        },
    },
    core::{
        change::{AdminOp, Change},
        history::What,
        migrate::{Source, plan},
        slots::{Holder, SlotsView},
    },
};
use tempfile::TempDir;
use tokio::process::Command;

const PREFIX: &str = "/lockkeeper/v1";
const LOCKSMITH: &str = "coreos.com/updateengine/rebootlock";
const MACHINES: [&str; 2] =
    ["00112233445566778899aabbccddeeff", "1111111111114111a111111111111111"];

/// One etcd with both APIs: theirs and ours.
struct Fleet {
    etcd: Cluster,
    root: TempDir,
}

impl Fleet {
    async fn new(arguments: &[&str]) -> Self {
        let etcd = Cluster::start_with(1, arguments).await;
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/lockkeeper");
        std::fs::create_dir_all(&etc).unwrap();
        let text = format!("[etcd]\nendpoints = [{:?}]\n", etcd.endpoints()[0]);
        std::fs::write(etc.join("lockkeeper.toml"), text).unwrap();
        Self { etcd, root }
    }

    async fn both() -> Self {
        Self::new(&["--enable-v2"]).await
    }

    #[expect(clippy::disallowed_methods, reason = "runs the program as a person does")]
    async fn migrate(&self, arguments: &[&str]) -> (i32, String) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_rebootctl"));
        program.arg("migrate").args(arguments).args(["--endpoint", &self.etcd.endpoints()[0]]);
        let output = program.arg("--config-root").arg(self.root.path()).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text + &String::from_utf8(output.stderr).unwrap())
    }

    /// As locksmith does it: the v2 API, and the key is made only if it is not there.
    async fn locksmith(&self, path: &str, value: &str) {
        locksmith(&self.etcd.endpoints()[0], path, value).await;
    }

    async fn airlock(&self, group: &str, value: &str) {
        let key = format!("com.coreos.airlock/groups/{group}/v1/semaphore");
        self.etcd.client().await.put(key, value, None).await.unwrap();
    }

    /// Everything of theirs in v2, and the number of changes that v3 has seen.
    async fn print(&self) -> (String, i64) {
        let url = format!("{}/v2/keys/?recursive=true&sorted=true", self.etcd.endpoints()[0]);
        let body = http("GET", &url, "").await.split("\r\n\r\n").nth(1).unwrap().to_owned();
        (body, self.revision().await)
    }

    async fn revision(&self) -> i64 {
        let status = self.etcd.client().await.get("any", None).await.unwrap();
        status.header().unwrap().revision()
    }

    fn store(&self) -> SlotStore {
        let access = Access::open(&self.etcd.endpoints(), Duration::from_secs(5));
        SlotStore::Etcd(EtcdStore::new(&access, PREFIX))
    }

    async fn view(&self, group: &str) -> SlotsView {
        self.store().view(&[group.to_owned()]).await.unwrap().remove(group).unwrap()
    }

    async fn set_max(&self, group: &str, max: u32) {
        let change = Change { op: AdminOp::SetMax(max), by: "alice".into(), reason: String::new() };
        self.store().admin(group, &change).await.unwrap();
    }
}

async fn locksmith(endpoint: &str, path: &str, value: &str) {
    let url = format!("{endpoint}/v2/keys/{LOCKSMITH}/{path}");
    let form = format!("prevExist=false&value={}", escaped(value));
    let answer = http("PUT", &url, &form).await;
    assert!(answer.contains("\"action\":\"create\""), "{answer}");
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat()
}

/// One plain request, head and body of the answer.
async fn http(method: &str, url: &str, form: &str) -> String {
    request(method, url, "Content-Type: application/x-www-form-urlencoded", form).await
}

async fn request(method: &str, url: &str, head: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let length = body.len();
    let text = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{head}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn holder(node: &str) -> Holder {
    Holder {
        node: node.to_owned(),
        name: node.to_owned(),
        nonce: String::new(),
        since: Timestamp::UNIX_EPOCH,
        reason: String::new(),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    }
}

fn held(max: usize, holders: &[&str]) -> String {
    let semaphore = max - holders.len();
    format!(r#"{{"semaphore":{semaphore},"max":{max},"holders":{holders:?}}}"#)
}

#[tokio::test]
async fn locksmiths_lock_is_shown_carried_over_and_then_there_is_nothing_to_do() {
    let fleet = Fleet::both().await;
    fleet.locksmith("semaphore", &held(2, &MACHINES)).await;
    fleet.locksmith("groups/db/semaphore", r#"{"semaphore":1,"max":1,"holders":null}"#).await;
    let before = fleet.print().await;
    let ids = MACHINES.map(|machine| node::id_of(machine).unwrap());

    let (code, dry) = fleet.migrate(&["locksmith", "--dry-run"]).await;
    let plan = format!(
        "db:\n  nothing to do\ndefault (new):\n  max 1 -> 2\n  lock {} (machine {})\n  lock {} \
         (machine {})\n",
        ids[0], MACHINES[0], ids[1], MACHINES[1]
    );
    assert_eq!((code, dry), (0, plan.clone()));
    assert_eq!(fleet.print().await, before, "a dry run changes nothing");

    assert_eq!(fleet.migrate(&["locksmith"]).await, (0, plan));
    let after = fleet.print().await;
    assert_eq!(after.0, before.0, "theirs is never written");
    let slots = fleet.view("default").await.slots;
    assert_eq!((slots.max, slots.holders.len()), (2, 2));
    for (id, machine) in ids.iter().zip(MACHINES) {
        let holder = slots.holder(id).unwrap();
        assert!(holder.by_hand());
        assert_eq!(holder.name, machine);
        assert_eq!(holder.reason, "held in locksmith when it was migrated");
    }
    let history = fleet.store().history("default").await.unwrap();
    let what: Vec<_> = history.iter().map(|entry| entry.what).collect();
    assert_eq!(what, [What::LockedByHand, What::MaxSet, What::LockedByHand]);

    let (code, again) = fleet.migrate(&["locksmith"]).await;
    assert_eq!(code, 0);
    assert!(again.contains("default:\n  nothing to do\n  has a slot already: "), "{again}");
    assert_eq!(fleet.print().await, after, "the second run changes nothing");
}

#[tokio::test]
async fn a_holder_of_airlocks_gives_its_slot_back_at_the_hub() {
    let fleet = Fleet::new(&[]).await;
    fleet.airlock("default", r#"{"total_slots":3,"holders":["ab","cd"]}"#).await;
    let (code, text) = fleet.migrate(&["airlock"]).await;
    let plan = "default (new):\n  max 1 -> 3\n  lock ab\n  lock cd\n";
    assert_eq!((code, text.as_str()), (0, plan));
    let settle = Duration::ZERO;
    assert!(fleet.store().depart("default", "ab", wire::NONCE, settle).await.unwrap());
    let slots = fleet.view("default").await.slots;
    assert_eq!(slots.holders.iter().map(|h| h.node.as_str()).collect::<Vec<_>>(), ["cd"]);
}

#[tokio::test]
async fn a_group_that_is_not_understood_stays_as_it_is_and_the_others_go_on() {
    let fleet = Fleet::both().await;
    fleet.locksmith("semaphore", "garbage").await;
    fleet.locksmith("groups/web/semaphore", &held(1, &MACHINES[..1])).await;
    fleet.locksmith("groups/my+group/semaphore", &held(1, &[])).await;
    let (code, text) = fleet.migrate(&["locksmith", "--json"]).await;
    assert_eq!(code, 1, "{text}");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let groups = &document["groups"];
    let why = groups["default"]["refused"].as_str().unwrap();
    assert!(why.contains("not a semaphore of locksmith's"), "{why}");
    let why = groups["my+group"]["refused"].as_str().unwrap();
    assert!(why.contains("cannot be the name of a group here"), "{why}");
    assert_eq!(groups["web"]["go"]["take"][0]["id"], MACHINES[0]);
    assert_eq!(fleet.store().groups().await.unwrap(), ["web"]);
}

#[tokio::test]
async fn a_max_that_was_set_here_is_not_overruled() {
    let fleet = Fleet::both().await;
    fleet.set_max("default", 2).await;
    fleet.set_max("default", 1).await;
    fleet.locksmith("semaphore", &held(3, &MACHINES[..1])).await;
    let before = fleet.print().await;
    let (code, text) = fleet.migrate(&["locksmith"]).await;
    assert_eq!(code, 1);
    assert!(text.contains("max is 3 in locksmith, and was set to 1 here"), "{text}");
    assert_eq!(fleet.print().await, before);
    fleet.set_max("default", 3).await;
    assert_eq!(fleet.migrate(&["locksmith"]).await.0, 0);
    assert_eq!(fleet.view("default").await.slots.holders.len(), 1);
}

#[tokio::test]
async fn who_is_quicker_stops_it_halfway_and_is_told_in_the_plan() {
    let fleet = Fleet::new(&[]).await;
    fleet.set_max("default", 2).await;
    fleet.airlock("default", r#"{"total_slots":2,"holders":["ab","cd"]}"#).await;
    let access = Access::open(&fleet.etcd.endpoints(), Duration::from_secs(5));
    let found =
        Source::Airlock.read(&migrate::read(Source::Airlock, &access).await.unwrap(), |_| None);
    let store = fleet.store();
    let mut plan = plan(Source::Airlock, &found, &migrate::look(&store, &found).await.unwrap());
    let quick = holder("xy");
    let change = Change { op: AdminOp::Lock(quick), by: "bob".into(), reason: String::new() };
    store.admin("default", &change).await.unwrap();

    migrate::apply(&store, &mut plan, "alice").await.unwrap();
    assert!(plan.refuses());
    let said = plan.to_string();
    assert!(said.starts_with("default: stopped halfway: "), "{said}");
    assert!(said.ends_with("; run this again\n"), "{said}");
    let holders = fleet.view("default").await.slots.holders;
    assert_eq!(holders.iter().map(|h| h.node.as_str()).collect::<Vec<_>>(), ["ab", "xy"]);
    let (code, again) = fleet.migrate(&["airlock"]).await;
    assert_eq!(code, 1);
    assert!(again.contains("3 would hold a slot together"), "{again}");
}

#[tokio::test]
async fn one_group_is_carried_over_alone() {
    let fleet = Fleet::both().await;
    fleet.locksmith("semaphore", &held(2, &[])).await;
    fleet.locksmith("groups/web/semaphore", &held(2, &[])).await;
    let said = fleet.migrate(&["locksmith", "--group", "web"]).await;
    assert_eq!(said, (0, "web (new):\n  max 1 -> 2\n".to_owned()));
    assert_eq!(fleet.store().groups().await.unwrap(), ["web"]);
}

#[tokio::test]
async fn without_a_lock_of_theirs_there_is_nothing_to_migrate() {
    let fleet = Fleet::both().await;
    for source in ["locksmith", "airlock"] {
        let text = format!("nothing to migrate: no semaphore of {source}'s\n");
        assert_eq!(fleet.migrate(&[source]).await, (0, text));
    }
}

#[tokio::test]
async fn an_etcd_without_the_old_api_is_told_from_one_without_a_lock() {
    let fleet = Fleet::new(&["--enable-v2=false"]).await;
    let before = fleet.revision().await;
    let (code, text) = fleet.migrate(&["locksmith"]).await;
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("--enable-v2"), "{text}");
    assert_eq!(fleet.revision().await, before);
}

#[tokio::test]
async fn an_etcd_that_is_down_is_no_empty_lock() {
    let mut fleet = Fleet::both().await;
    fleet.etcd.kill(0);
    for source in ["locksmith", "airlock"] {
        let (code, text) = fleet.migrate(&[source]).await;
        assert_eq!(code, 5, "{text}");
        assert!(text.contains("connection refused"), "{text}");
    }
}

#[tokio::test]
async fn a_machine_whose_lock_is_not_in_etcd_has_nowhere_to_carry_it() {
    let fleet = Fleet::both().await;
    let file = fleet.root.path().join("etc/lockkeeper/lockkeeper.toml");
    std::fs::write(file, "strategy = \"reboot\"\n").unwrap();
    let (code, text) = fleet.migrate(&["locksmith"]).await;
    assert_eq!(code, 1);
    assert!(text.contains("this machine's lock is not in etcd"), "{text}");
}

#[tokio::test]
async fn the_old_api_is_read_with_the_papers_that_etcd_asks_for() {
    let ca = Authority::new();
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let fence = |address: &str| {
        let own = ca.issue(address, &[address], VALID);
        let files =
            [("cert-file", own.cert), ("key-file", own.key), ("trusted-ca-file", ca.file())];
        let args = files.map(|(name, file)| format!("--{name}={}", path(file)));
        let args = args.into_iter().chain(["--client-cert-auth", "--enable-v2"].map(str::to_owned));
        Fence { args: args.collect(), tls: true }
    };
    let etcd = Cluster::fenced(1, fence).await;
    locksmith(&etcd.side_doors()[0], "semaphore", &held(1, &[])).await;
    let stranger = Access {
        ca_file: Some(ca.file()),
        ..Access::open(&etcd.endpoints(), Duration::from_secs(5))
    };
    let papers = ca.issue("alice", &[], VALID);
    let known = fenced::with_papers(stranger.clone(), &papers);
    let values = migrate::read(Source::Locksmith, &known).await.unwrap();
    assert_eq!(values.into_values().collect::<Vec<_>>(), [held(1, &[])]);
    migrate::read(Source::Locksmith, &stranger).await.unwrap_err();
    let unknown = Access { ca_file: None, ..stranger };
    let error = migrate::read(Source::Locksmith, &unknown).await.unwrap_err();
    assert!(error.to_string().contains("give --cacert"), "{error}");
}

#[tokio::test]
async fn the_old_api_is_read_as_the_user_that_its_own_authentication_knows() {
    let fleet = Fleet::both().await;
    fleet.locksmith("semaphore", &held(1, &[])).await;
    let endpoint = &fleet.etcd.endpoints()[0];
    let root = r#"{"user":"root","password":"right"}"#;
    let role = r#"{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}"#;
    for (path, body, status) in
        [("users/root", root, "201"), ("enable", "", "200"), ("roles/guest", role, "200")]
    {
        let head = "Content-Type: application/json\r\nAuthorization: Basic cm9vdDpyaWdodA==";
        let url = format!("{endpoint}/v2/auth/{path}");
        let answer = request("PUT", &url, head, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
    let file = fleet.root.path().join("password");
    let arguments = ["locksmith", "--user", "root", "--password-file", file.to_str().unwrap()];
    for (password, code, words) in [("right\n", 0, "nothing to do"), ("wrong\n", 5, "user")] {
        std::fs::write(&file, password).unwrap();
        let (found, text) = fleet.migrate(&arguments).await;
        assert_eq!(found, code, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let (code, text) = fleet.migrate(&["locksmith"]).await;
    assert_eq!(code, 5, "{text}");
}
