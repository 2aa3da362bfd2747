//! The program itself.
#![expect(clippy::disallowed_methods, reason = "runs the program")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;
use crate::wire::{HEADER, ask, body, connect, host, lock, request, unlock};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lockkeeper-hub");

/// A running hub; it dies with this value.
struct Running(Child, String);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(config: &Path) -> Running {
    let mut child = Command::new(PROGRAM)
        .arg("--config")
        .arg(config)
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = lines.find_map(|line| {
        let line = line.unwrap();
        line.split_once("serving FleetLock at ").map(|(_, at)| format!("http://{at}"))
    });
    // Somebody has to read on, or the program would wait.
    std::thread::spawn(move || lines.for_each(drop));
    Running(child, url.expect("it serves"))
}

fn config(dir: &Path, more: &str) -> std::path::PathBuf {
    let path = dir.join("hub.toml");
    let database = dir.join("slots.redb");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nstore = \"embedded\"\n{more}\n[embedded]\npath = \"{}\"\n",
        database.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn it_serves_ends_when_told_to_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "[groups]\nweb = 2");
    let mut hub = start(&config);
    assert_eq!(lock(&hub.1, "a", "web").await.status, 200);
    assert_eq!(lock(&hub.1, "b", "web").await.status, 200);
    assert_eq!(lock(&hub.1, "c", "web").await.status, 423);
    let mut kept = connect(&hub.1).await;
    let again = request("POST", "/v1/pre-reboot", HEADER, &body("a", "web"));
    assert_eq!(ask(&mut kept, &again).await.status, 200);
    kill_process(Pid::from_child(&hub.0), Signal::TERM).unwrap();
    assert!(hub.0.wait().unwrap().success(), "an idle connection does not hold it up");
    assert!(tokio::net::TcpStream::connect(host(&hub.1)).await.is_err());
    let hub = start(&config);
    assert_eq!(lock(&hub.1, "a", "web").await.status, 200, "it holds it still");
    assert_eq!(
        lock(&hub.1, "d", "web").await.problem().1,
        "all 2 slot(s) are taken, by a, b; 1 node is before you"
    );
    unlock(&hub.1, "a", "web").await;
    assert_eq!(lock(&hub.1, "d", "web").await.kind(), "failed_lock_queued");
    assert_eq!(lock(&hub.1, "c", "web").await.status, 200);
}

#[tokio::test]
async fn a_reload_takes_new_tokens_and_keeps_the_old_ones_when_the_file_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "the-first-token-1\n").unwrap();
    let config = config(dir.path(), &format!("[auth]\ntoken_file = \"{}\"", tokens.display()));
    let hub = start(&config);
    let admits = async |token: &str| {
        let head = format!("{HEADER}Authorization: Bearer {token}\r\n");
        let text = request("POST", "/v1/steady-state", &head, &body("a", "g"));
        crate::wire::once(&hub.1, &text).await.status == 200
    };
    assert!(admits("the-first-token-1").await);
    let reload = || kill_process(Pid::from_child(&hub.0), Signal::HUP).unwrap();
    std::fs::write(&tokens, "short\n").unwrap();
    reload();
    assert!(admits("the-first-token-1").await);
    std::fs::write(&tokens, "the-second-token-2\n").unwrap();
    reload();
    eventually("the new token is known", || async {
        admits("the-second-token-2").await.then_some(())
    })
    .await;
    assert!(!admits("the-first-token-1").await);
}

#[test]
fn a_configuration_can_be_tried_and_a_bad_one_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let try_it = |config: &Path, also: &[&str]| {
        let output =
            Command::new(PROGRAM).arg("--config").arg(config).args(also).env_clear().output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let good = config(dir.path(), "");
    assert_eq!(try_it(&good, &["--check-config"]).0, Some(0));
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "listen = 1\nmore = 2\n").unwrap();
    for also in [&["--check-config"][..], &[]] {
        let (code, said) = try_it(&bad, also);
        assert_eq!((code, said.lines().count()), (Some(3), 2), "{said}");
    }
    let lost = config(dir.path(), "[auth]\ntoken_file = \"/nowhere/token\"");
    let (code, said) = try_it(&lost, &["--check-config"]);
    assert!(code == Some(1) && said.contains("cannot read /nowhere/token"), "{said}");
}
