//! The admin's own programs, run: real ones, on a real bus, by a stand-in for systemd that runs them.

#![allow(clippy::disallowed_methods)] // tests start the programs they test
#![allow(clippy::unwrap_used, clippy::expect_used)] // also outside of test functions

#[path = "workloads/bus.rs"]
mod bus;
#[path = "checks/systemd.rs"]
mod systemd;

use std::{fs, future, net::TcpListener, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use bus::Bus;
use lockkeeper::{
    adapters::{
        scripts::{self, End, Ended, Order},
        systemd::Systemd,
    },
    core::health::HealthReport,
    dbus::{EXECUTOR_NAME, executor::ExecutorProxy},
    executor::{Context, service},
};
use tempfile::TempDir;
use tokio::time::timeout;
use zbus::Connection;

/// No step of a test takes longer.
const DEADLINE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(20);

/// A machine in a directory, with a systemd of its own.
struct Machine {
    root: TempDir,
    bus: Bus,
    client: Connection,
    started: std::sync::Arc<std::sync::Mutex<Vec<(String, usize)>>>,
    units: systemd::Units,
    _systemd: Connection,
}

impl Machine {
    async fn new() -> Self {
        let bus = Bus::start();
        let systemd = systemd::Systemd::default();
        let (started, units) = (systemd.started.clone(), systemd.units.clone());
        let served = systemd.serve(bus.connect().await).await;
        let client = bus.connect().await;
        let root = tempfile::tempdir().unwrap();
        Self { root, bus, client, started, units, _systemd: served }
    }

    fn write(&self, path: &str, mode: u32, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn script(&self, path: &str, text: &str) {
        self.write(path, 0o755, &format!("#!/bin/sh\n{text}\n"));
    }

    async fn run(&self, name: &str, input: &[u8], limit: Duration) -> Ended {
        let program = scripts::trusted(self.root.path(), Path::new(name)).unwrap();
        let unit = format!("lockkeeper-check-{}.service", name.replace('/', "-"));
        let order = Order {
            unit: &unit,
            description: name,
            program: &program,
            arguments: &["one", ""],
            environment: &["EXTRA=more"],
            input,
            limit,
        };
        timeout(DEADLINE, scripts::run(&self.client, &order)).await.unwrap().unwrap()
    }

    /// What the executor's `Verify` says.
    async fn failing(&self) -> Vec<String> {
        let connection = self.bus.connect().await;
        let state = tempfile::tempdir().unwrap();
        let systemd = Systemd::new(connection.clone());
        let context = Context::new(state.path(), systemd, Vec::new(), self.root.path());
        let user = rustix::process::getuid().as_raw();
        let serving = tokio::spawn(async move {
            service::serve(&connection, context, vec![user], LONG, future::pending()).await
        });
        let daemon = zbus::fdo::DBusProxy::new(&self.client).await.unwrap();
        let named = async {
            while !daemon.name_has_owner(EXECUTOR_NAME.try_into().unwrap()).await.unwrap() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, named).await.unwrap();
        let executor = ExecutorProxy::new(&self.client).await.unwrap();
        let said = timeout(DEADLINE, executor.verify("", false)).await.unwrap().unwrap();
        serving.abort();
        let report: HealthReport = serde_json::from_str(&said).unwrap();
        let prefix = format!("{}/", self.root.path().display());
        report.failing.into_iter().map(|text| text.replace(&prefix, "/")).collect()
    }
}

#[tokio::test]
async fn a_program_gets_its_arguments_its_input_and_a_clean_environment() {
    let machine = Machine::new().await;
    machine.script("a", "echo \"$# $1 $EXTRA $HOME $CARGO\"; cat; echo wrong >&2; exit 3");
    let long = vec![b'x'; 200_000];
    let ended = machine.run("a", &long, LONG).await;
    assert_eq!(ended.end, End::Status(3));
    assert!(ended.said.ends_with("xxxwrong\n") && ended.said.len() == 8192, "{}", ended.said.len());
    let ended = machine.run("a", b"read\n", LONG).await;
    assert_eq!(ended.said, "2 one more /root \nread\nwrong\n");
    assert_eq!(machine.run("a", b"", LONG).await.said, "2 one more /root \nwrong\n");
    assert!(machine.units.lock().unwrap().is_empty(), "nothing is left");
}

#[tokio::test]
async fn every_way_to_end_has_its_word() {
    let machine = Machine::new().await;
    machine.script("well", "exit 0");
    machine.script("killed", "kill -9 $$");
    machine.script("slow", "echo waiting; sleep 100 & sleep 100");
    machine.write("broken", 0o755, "#!/nowhere/interpreter\n");
    for (name, end) in [
        ("well", End::Well),
        ("killed", End::Signal(9)),
        ("broken", End::Unstarted),
        ("slow", End::Late(Duration::from_millis(300))),
    ] {
        let limit = if name == "slow" { Duration::from_millis(300) } else { LONG };
        let ended = machine.run(name, b"", limit).await;
        assert_eq!(ended.end, end, "{name}");
    }
}

#[tokio::test]
async fn a_run_that_was_begun_before_is_waited_for_and_not_doubled() {
    let machine = Machine::new().await;
    machine.script("a", "mkdir \"${0%/*}/here\" || exit 9; sleep 0.5; rmdir \"${0%/*}/here\"");
    let first = machine.run("a", b"", LONG);
    // Whoever began it is gone before it has ended.
    let _ = timeout(Duration::from_millis(200), first).await;
    assert_eq!(machine.run("a", b"", LONG).await.end, End::Well);
    assert_eq!(machine.started.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn each_check_that_fails_is_named_and_only_those() {
    let machine = Machine::new().await;
    assert_eq!(machine.failing().await, [] as [&str; 0]);
    machine.script("etc/lockkeeper/health.d/10-disk.sh", "echo disk is full; exit 3");
    machine.script("etc/lockkeeper/health.d/20-well", "exit 0");
    machine.script("etc/lockkeeper/health.d/30-slow", "sleep 100");
    machine.write("etc/lockkeeper/health.d/40-open", 0o777, "#!/bin/sh\n");
    machine.script("usr/lib/lockkeeper/health.d/50-usr", "exit 1");
    machine.script("run/lockkeeper/health.d/50-usr", "exit 0");
    machine.script("usr/local/bin/queue", "[ \"$1\" = --fast ] && exit 0; echo slow; exit 4");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (good, gone) = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap(), gone.local_addr().unwrap())
    };
    machine.write(
        "etc/lockkeeper/lockkeeper.toml",
        0o644,
        &format!(
            "verify.check_timeout = \"1s\"\n\
             [[probe]]\nname = \"good\"\ntcp = \"{good}\"\n\
             [[probe]]\nname = \"gone\"\nhttp = \"http://{gone}/\"\n\
             [[probe]]\nname = \"fast\"\ncommand = [\"/usr/local/bin/queue\", \"--fast\"]\n\
             [[probe]]\nname = \"slow\"\ncommand = [\"/usr/local/bin/queue\", \"-v\"]\n\
             [[probe]]\nname = \"none\"\ncommand = [\"/usr/local/bin/none\"]\n"
        ),
    );
    assert_eq!(
        machine.failing().await,
        [
            "check 10-disk.sh failed with exit status 3: disk is full",
            "check 30-slow took longer than 1 s",
            "check 40-open cannot be run: /etc/lockkeeper/health.d/40-open can be written by others \
             (chmod go-w /etc/lockkeeper/health.d/40-open)",
            "probe gone: connection refused",
            "probe slow failed with exit status 4: slow",
            "probe none cannot be run: /usr/local/bin/none cannot be looked at: No such file or \
             directory (os error 2)",
        ]
    );
}

#[tokio::test]
async fn the_checks_of_others_are_called_as_they_expect() {
    let machine = Machine::new().await;
    // Without a first line, and not executable: it is bash's.
    machine.write(
        "etc/greenboot/check/required.d/01.sh",
        0o644,
        "[[ -n $BASH ]] || exit 1\nexit 5",
    );
    machine.write("usr/lib/greenboot/check/required.d/02.sh", 0o755, "exit 6");
    machine.write("usr/lib/greenboot/check/required.d/03.sh", 0o755, "exit 7");
    machine.write("etc/greenboot/check/wanted.d/04.sh", 0o755, "exit 8");
    machine.write("etc/greenboot/check/required.d/notes.txt", 0o644, "");
    machine.write("etc/greenboot/check/required.d/05.sh", 0o666, "exit 0");
    machine.write(
        "etc/greenboot/greenboot.conf",
        0o644,
        "# DISABLED_HEALTHCHECKS=(\"01.sh\")\nGREENBOOT_MAX_BOOT_ATTEMPTS=3\n\
         DISABLED_HEALTHCHECKS=( \"03.sh\"\n  'other.sh' )\n",
    );
    machine.script("usr/libexec/health-checker/tmp.sh", "[ \"$*\" = check ] && exit 9");
    machine.script("usr/lib/health-checker/old.sh", "[ \"$*\" = check ]");
    let said = machine.failing().await;
    assert_eq!(
        said,
        [
            "check /usr/lib/greenboot/check/required.d/02.sh failed with exit status 6",
            "check /etc/greenboot/check/required.d/01.sh failed with exit status 5",
            "check /etc/greenboot/check/required.d/05.sh cannot be run: \
             /etc/greenboot/check/required.d/05.sh can be written by others (chmod go-w \
             /etc/greenboot/check/required.d/05.sh)",
            "check /usr/libexec/health-checker/tmp.sh failed with exit status 9",
        ]
    );
    machine.write("etc/lockkeeper/lockkeeper.toml", 0o644, "verify.foreign_checks = false\n");
    assert_eq!(machine.failing().await, [] as [&str; 0]);
}

#[tokio::test]
async fn with_a_broken_configuration_the_probes_are_not_left_out() {
    let machine = Machine::new().await;
    machine.write("etc/lockkeeper/lockkeeper.toml", 0o644, "[[probe]]\n");
    let said = machine.failing().await;
    assert!(
        matches!(&said[..], [text] if text.starts_with("the probes are not known")),
        "{said:?}"
    );
}

#[tokio::test]
async fn few_checks_run_at_a_time() {
    let machine = Machine::new().await;
    for number in 10..22 {
        machine.script(&format!("etc/lockkeeper/health.d/{number}"), "sleep 0.2");
    }
    assert_eq!(machine.failing().await, [] as [&str; 0]);
    let started = machine.started.lock().unwrap();
    assert_eq!(started.len(), 12);
    let most = started.iter().map(|(_, running)| *running).max().unwrap();
    assert!((2..=4).contains(&most), "{most}");
}
