//! Alerts as a real Prometheus tells of them. Needs prometheus.

// The tests run the real server, as an admin would; a helper that cannot go on ends its test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use lockkeeper::{
    adapters::{alerts::firing, clock},
    config::settings::Alerts,
    core::health::Evidence,
};
use tempfile::TempDir;

const RULES: &str = "\
groups:
- name: lab
  interval: 100ms
  rules:
  - alert: Watchdog
    expr: vector(1)
  - alert: DiskFull
    expr: vector(1)
    labels: {instance: db-1}
  - alert: NotYet
    expr: vector(1)
    for: 1h
  - alert: Never
    expr: vector(0) > 1
";
const CONFIG: &str = "global: {evaluation_interval: 100ms}\nrule_files: [rules.yml]\n";

/// A server on the loopback that ends with its test.
struct Prometheus {
    child: Child,
    url: String,
    _dir: TempDir,
}

impl Prometheus {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("rules.yml"), RULES).unwrap();
        fs::write(at("prometheus.yml"), CONFIG).unwrap();
        // Free a moment ago; nobody else asks the kernel for this one.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        Self { child, url: format!("http://{address}"), _dir: dir }
    }

    fn alerts(&self, ignore: &[&str]) -> Alerts {
        let ignore = ignore.iter().map(|name| (*name).to_owned()).collect();
        Alerts { url: self.url.clone(), ignore, ca_file: None, token_file: None }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says once its rules have been evaluated.
async fn settled(alerts: &Alerts) -> Vec<String> {
    let deadline = clock::since_boot() + Duration::from_secs(60);
    loop {
        let seen = firing(alerts).await;
        match seen {
            Evidence::Yes { mut reasons } if reasons.len() > 1 || !alerts.ignore.is_empty() => {
                reasons.sort();
                return reasons;
            }
            _ => assert!(clock::since_boot() < deadline, "{seen:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn what_fires_at_a_real_server_is_a_reason_unless_it_is_ignored() {
    let server = Prometheus::start();
    let all = settled(&server.alerts(&[])).await;
    assert_eq!(all, ["alert DiskFull is firing (db-1)", "alert Watchdog is firing"]);
    let but_the_dog = settled(&server.alerts(&["Watch*"])).await;
    assert_eq!(but_the_dog, ["alert DiskFull is firing (db-1)"]);
    let none = firing(&server.alerts(&["Watchdog", "DiskFull"])).await;
    assert_eq!(none, Evidence::No);
}

#[tokio::test]
async fn a_server_that_is_gone_or_another_one_is_unknown() {
    let mut server = Prometheus::start();
    settled(&server.alerts(&[])).await;
    let other = Alerts { url: format!("{}/graph", server.url), ..server.alerts(&[]) };
    assert!(matches!(firing(&other).await, Evidence::Unknown { .. }), "not its API");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let gone = firing(&server.alerts(&[])).await;
    assert!(matches!(&gone, Evidence::Unknown { why } if why.contains(&server.url)), "{gone:?}");
}
