//! `rebootctl balancer` on a real etcd, with the keys that the agents write.
#![expect(clippy::disallowed_methods, reason = "runs the program")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::{NodeRecord, SlotStore};

use crate::etcd::Cluster;
use crate::wait::eventually;

const TEMPLATE: &str = "{{range gets \"/service/*\"}}{{base .Key}}={{.Value}}\n{{end}}";

/// A confdir with one resource, whose commands leave their traces.
struct Bench {
    cluster: Cluster,
    dir: tempfile::TempDir,
}

/// It dies with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    async fn new(members: u8) -> Self {
        let bench =
            Self { cluster: Cluster::start(members).await, dir: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.at("conf.d")).unwrap();
        fs::create_dir(bench.at("templates")).unwrap();
        let here = bench.dir.path().display();
        let resource = format!(
            "[template]\nsrc = \"list.tmpl\"\ndest = \"{here}/list\"\nmode = \"0640\"\n\
             prefix = \"/lockkeeper/v1\"\nkeys = [\"/service\"]\n\
             check_cmd = \"test ! -e {here}/refuse && cat {{{{.src}}}} > {here}/checked\"\n\
             reload_cmd = \"echo >> {here}/reloads && test ! -e {here}/broken\"\n"
        );
        bench.write("conf.d/list.toml", &resource);
        bench.write("templates/list.tmpl", TEMPLATE);
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn reloads(&self) -> usize {
        self.read("reloads").lines().count()
    }

    /// As an agent does.
    async fn publish(&self, node: &str, service: &str) {
        let access = Access {
            endpoints: self.cluster.endpoints(),
            timeout: Duration::from_secs(2),
            ..Access::default()
        };
        let store = SlotStore::Etcd(EtcdStore::new(&access, "/lockkeeper/v1"));
        let record = NodeRecord {
            name: format!("name-of-{node}"),
            phase: "steady".into(),
            text: String::new(),
            service: service.into(),
            address: None,
        };
        eventually("it is published", || async { store.publish(node, &record).await.ok() }).await;
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rebootctl"));
        command.arg("balancer").arg("--confdir").arg(self.dir.path()).env_clear();
        for endpoint in self.cluster.endpoints() {
            command.args(["--endpoint", &endpoint]);
        }
        command
    }

    fn start(&self) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.at("log")).unwrap();
        Running(self.command().stderr(Stdio::from(log)).spawn().unwrap())
    }

    fn once(&self, more: &[&str]) -> Output {
        self.command().arg("--onetime").args(more).output().unwrap()
    }

    async fn shows(&self, text: &str) {
        eventually(&format!("{text:?} is made and read"), || async {
            (self.read("list") == text && !self.at(".list.unread").exists()).then_some(())
        })
        .await;
    }

    async fn says(&self, text: &str) {
        let what = format!("the log says {text:?}");
        eventually(&what, || async { self.read("log").contains(text).then_some(()) }).await;
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_file_follows_the_nodes_and_its_program_is_told_of_each_change() {
    let bench = Bench::new(1).await;
    bench.publish("a", "in-service").await;
    bench.publish("b", "in-service").await;
    let _running = bench.start();
    bench.shows("a=in-service\nb=in-service\n").await;
    assert_eq!(fs::metadata(bench.at("list")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(bench.read("checked"), bench.read("list"), "what was checked is what is there");
    bench.publish("b", "draining").await;
    bench.shows("a=in-service\nb=draining\n").await;
    bench.publish("b", "in-service").await;
    bench.shows("a=in-service\nb=in-service\n").await;
    assert_eq!(bench.reloads(), 3);
}

#[tokio::test]
async fn the_last_good_file_stays_while_etcd_is_away_or_the_new_one_is_refused() {
    let mut bench = Bench::new(1).await;
    bench.publish("a", "in-service").await;
    let _running = bench.start();
    bench.shows("a=in-service\n").await;

    bench.write("refuse", "");
    bench.publish("a", "down").await;
    bench.says("check_cmd failed").await;
    assert_eq!((bench.read("list").as_str(), bench.reloads()), ("a=in-service\n", 1));
    assert!(!bench.at(".list.staged").exists());
    fs::remove_file(bench.at("refuse")).unwrap();
    bench.shows("a=down\n").await;

    bench.cluster.kill(0);
    bench.says("connection refused").await;
    assert_eq!((bench.read("list").as_str(), bench.reloads()), ("a=down\n", 2));
    bench.cluster.restart(0);
    bench.publish("a", "in-service").await;
    bench.shows("a=in-service\n").await;
    bench.says("all is well again").await;
}

#[tokio::test]
async fn another_member_is_watched_when_one_is_gone() {
    let mut bench = Bench::new(3).await;
    bench.publish("a", "in-service").await;
    let _running = bench.start();
    bench.shows("a=in-service\n").await;
    // The first is the one it watches.
    bench.cluster.kill(0);
    bench.publish("a", "draining").await;
    bench.shows("a=draining\n").await;
}

/// Its connection stays, and nothing comes over it any more.
#[tokio::test]
async fn another_member_is_watched_when_one_is_frozen() {
    let bench = Bench::new(3).await;
    bench.publish("a", "in-service").await;
    let _running = bench.start();
    bench.shows("a=in-service\n").await;
    bench.cluster.freeze(0);
    bench.publish("a", "draining").await;
    bench.shows("a=draining\n").await;
    bench.cluster.thaw(0);
}

#[tokio::test]
async fn a_file_that_was_not_read_yet_is_read_after_a_crash_and_after_a_failure() {
    let bench = Bench::new(1).await;
    bench.publish("a", "in-service").await;
    bench.write("broken", "");
    let failed = bench.once(&[]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(said(&failed).contains("reload_cmd failed"), "{}", said(&failed));
    assert_eq!(bench.read("list"), "a=in-service\n");
    // As after a crash: the file is as it should be, and nobody has read it.
    fs::remove_file(bench.at("broken")).unwrap();
    let done = bench.once(&[]);
    assert!(done.status.success() && said(&done).contains("has been read now"), "{}", said(&done));
    assert_eq!(bench.reloads(), 2);
    assert!(bench.once(&[]).status.success());
    assert_eq!(bench.reloads(), 2, "nothing has changed");
}

#[tokio::test]
async fn a_value_that_is_no_plain_word_gets_into_no_file() {
    let bench = Bench::new(1).await;
    bench.publish("a", "in-service").await;
    bench.publish("b", "x; } load_module evil.so;").await;
    let output = bench.once(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("/service/b does not hold a plain word"), "{}", said(&output));
    assert_eq!(bench.read("list"), "a=in-service\n");
    assert!(bench.once(&["--any-values"]).status.success());
    assert!(bench.read("list").contains("evil.so"));
}

#[tokio::test]
async fn what_is_wrong_with_a_resource_is_said_and_the_others_are_made() {
    let bench = Bench::new(1).await;
    bench.publish("a", "in-service").await;
    bench.write(
        "conf.d/odd.toml",
        "[template]\nsrc = \"x\"\ndest = \"/x\"\nkeys = [\"/service\"]\nown = 1\n",
    );
    bench.write("conf.d/root.toml", "[template]\nsrc = \"x\"\ndest = \"/x\"\nkeys = [\"/\"]\n");
    bench.write(
        "conf.d/here.toml",
        "[template]\nsrc = \"x\"\ndest = \"x\"\nkeys = [\"/service\"]\n",
    );
    let at = bench.at("other").display().to_string();
    let lost = format!("[template]\nsrc = \"lost.tmpl\"\ndest = \"{at}\"\nkeys = [\"/service\"]\n");
    bench.write("conf.d/lost.toml", &lost);
    let output = bench.once(&[]);
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "unknown field `own`",
        "root.toml: keys must name some, and not all there are",
        "here.toml: dest must be the whole path of a file",
        "lost.tmpl",
    ] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    assert_eq!(bench.read("list"), "a=in-service\n");
    assert!(!bench.at("other").exists());
}

#[tokio::test]
async fn the_etcd_of_the_machines_configuration_is_read_by_itself() {
    let bench = Bench::new(1).await;
    bench.publish("a", "in-service").await;
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/lockkeeper")).unwrap();
    let config = format!("[etcd]\nendpoints = [\"{}\"]\n", bench.cluster.endpoints()[0]);
    fs::write(root.path().join("etc/lockkeeper/lockkeeper.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rebootctl"))
        .args(["balancer", "--onetime", "--confdir"])
        .arg(bench.dir.path())
        .arg("--config-root")
        .arg(root.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(bench.read("list"), "a=in-service\n");
}
