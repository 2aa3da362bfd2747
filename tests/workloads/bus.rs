//! A bus of our own: a real dbus-daemon that only this test can reach.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::timeout;
use zbus::{Connection, connection};

/// The daemon; it ends with the test.
pub struct Bus {
    daemon: Child,
    address: String,
    _dir: TempDir,
}

impl Bus {
    /// Starts a daemon that knows no services.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a daemon that runs `program` when somebody calls `name`.
    pub fn start_with(service: Option<(&str, &Path)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("unix:path={}", dir.path().join("socket").display());
        let services = dir.path().join("services");
        fs::create_dir(&services).unwrap();
        if let Some((name, program)) = service {
            let text = format!("[D-BUS Service]\nName={name}\nExec={}\n", program.display());
            fs::write(services.join(format!("{name}.service")), text).unwrap();
        }
        let config = dir.path().join("bus.conf");
        fs::write(&config, configuration(&address, &services)).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address"])
            .env("DBUS_SYSTEM_BUS_ADDRESS", &address)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        // It prints its address once it listens.
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:"), "{line}");
        Self { daemon, address, _dir: dir }
    }

    /// Where it listens.
    #[allow(dead_code, reason = "for tests that run other programs on it")]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A new connection to it.
    pub async fn connect(&self) -> Connection {
        let connecting = connection::Builder::address(self.address.as_str()).build();
        timeout(Duration::from_secs(20), connecting).await.expect("the bus answers").unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

fn configuration(address: &str, services: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#,
        services.display()
    )
}
