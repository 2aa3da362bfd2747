//! unattended-upgrades' configuration, read with apt's own reader.

use std::{fs, path::Path, process::Output};

use tempfile::TempDir;

/// The options Debian 12 and 13 ship with, and the file that debconf writes.
const DEBIAN: &str = r#"
Unattended-Upgrade::Origins-Pattern {
    "origin=Debian,codename=${distro_codename},label=Debian";
    "origin=Debian,codename=${distro_codename},label=Debian-Security";
    "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
};
Unattended-Upgrade::Package-Blacklist {
};
"#;

/// Those of Ubuntu 22.04 and 24.04.
const UBUNTU: &str = r#"
Unattended-Upgrade::Allowed-Origins {
    "${distro_id}:${distro_codename}";
    "${distro_id}:${distro_codename}-security";
    "${distro_id}ESMApps:${distro_codename}-apps-security";
    "${distro_id}ESM:${distro_codename}-infra-security";
};
Unattended-Upgrade::Package-Blacklist {
};
Unattended-Upgrade::DevRelease "auto";
"#;

const PERIODIC: &str =
    "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n";

/// A machine with these options in its 50unattended-upgrades.
struct Machine(TempDir);

impl Machine {
    fn new(options: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write("etc/apt/apt.conf.d/50unattended-upgrades", options);
        machine.write("etc/apt/apt.conf.d/20auto-upgrades", PERIODIC);
        let parts = machine.path("etc/apt/apt.conf.d");
        let first =
            format!("Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"{}\";\n", parts.display());
        machine.write("apt.conf", &first);
        machine
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "runs the program as a person does")]
    fn migrate(&self, arguments: &[&str]) -> (i32, String) {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_rebootctl"));
        program.args(["migrate", "unattended-upgrades", "--config-root"]).arg(self.0.path());
        program.arg("--apt-config").arg(self.path("apt.conf")).args(arguments);
        let Output { status, stdout, stderr } = program.output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.code().unwrap(), text)
    }

    fn migrated(&self) -> String {
        let (code, text) = self.migrate(&[]);
        assert_eq!(code, 0, "{text}");
        fs::read_to_string(self.path("etc/lockkeeper/conf.d/20-unattended-upgrades.toml")).unwrap()
    }

    fn settings(&self) -> lockkeeper::config::settings::Settings {
        lockkeeper::config::load(self.0.path()).unwrap().settings
    }
}

#[test]
fn the_shipped_options_of_debian_and_ubuntu_become_a_configuration_that_loads() {
    for (options, expected) in [
        (
            DEBIAN,
            "packages.origins = [\"o=Debian,n=${codename},l=Debian\", \
             \"o=Debian,n=${codename},l=Debian-Security\", \
             \"o=Debian,n=${codename}-security,l=Debian-Security\"]",
        ),
        (
            UBUNTU,
            "packages.origins = [\"o=${distro_id},a=${codename}\", \
             \"o=${distro_id},a=${codename}-security\", \
             \"o=${distro_id}ESMApps,a=${codename}-apps-security\", \
             \"o=${distro_id}ESM,a=${codename}-infra-security\"]",
        ),
    ] {
        let machine = Machine::new(options);
        let toml = machine.migrated();
        assert!(toml.contains(expected), "{toml}");
        let settings = machine.settings();
        assert_eq!(settings.strategy.name(), "off", "nobody asked for reboots");
        // A second run finds its own file.
        assert_eq!(machine.migrated(), toml);
    }
}

#[test]
fn a_dry_run_shows_the_same_and_writes_nothing() {
    let machine = Machine::new(DEBIAN);
    let (code, text) = machine.migrate(&["--dry-run", "--switch-over"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("would be written") && text.contains("o=Debian"), "{text}");
    assert!(!machine.path("etc/lockkeeper").exists());
    assert!(!machine.path("etc/apt/apt.conf.d/99lockkeeper").exists());
}

#[test]
fn everything_arrives_and_the_rest_is_listed() {
    let more = "Unattended-Upgrade::Package-Blacklist { \"linux-\"; \"(lib)?xen\"; };\n\
                Unattended-Upgrade::Automatic-Reboot \"true\";\n\
                Unattended-Upgrade::Automatic-Reboot-Time \"03:30\";\n\
                Unattended-Upgrade::Mail \"root\";\n";
    let machine = Machine::new(&format!("{DEBIAN}{more}"));
    let (code, text) = machine.migrate(&["--json"]);
    assert_eq!(code, 0, "{text}");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let left: Vec<&str> = document["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["option"].as_str().unwrap())
        .collect();
    assert!(left.contains(&"Unattended-Upgrade::Mail \"root\""), "{left:?}");
    assert!(left.iter().any(|option| option.contains("(lib)?xen")), "{left:?}");
    assert_eq!(document["still_on"], true);
    let settings = machine.settings();
    assert_eq!(settings.strategy.name(), "reboot");
    assert_eq!(settings.packages.deny, ["linux-*"]);
    assert_eq!(settings.schedule.windows[0].start, jiff::civil::time(3, 30, 0, 0));
}

#[test]
fn what_the_administrator_has_set_is_not_overruled() {
    let machine =
        Machine::new(&format!("{DEBIAN}Unattended-Upgrade::Automatic-Reboot \"true\";\n"));
    machine.write(
        "etc/lockkeeper/lockkeeper.toml",
        "strategy = \"off\"\npackages.origins = \"security\"\n",
    );
    let (code, text) = machine.migrate(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("packages.origins is set already, in "), "{text}");
    assert!(text.contains("lockkeeper.toml:2:"), "{text}");
    assert_eq!(machine.settings().strategy.name(), "off");

    let file = "etc/lockkeeper/conf.d/20-unattended-upgrades.toml";
    machine.write(file, "# mine\n");
    let (code, text) = machine.migrate(&[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("says something else"), "{text}");
    assert_eq!(fs::read_to_string(machine.path(file)).unwrap(), "# mine\n");
}

#[test]
fn after_the_switch_apt_itself_says_that_it_is_off() {
    let machine = Machine::new(DEBIAN);
    let (code, text) = machine.migrate(&["--switch-over"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("99lockkeeper; remove that file to have it back"), "{text}");
    let value = |config: &Path| {
        #[expect(clippy::disallowed_methods, reason = "asks apt itself")]
        let output = std::process::Command::new("apt-config")
            .args(["shell", "ON", "APT::Periodic::Unattended-Upgrade"])
            .env("APT_CONFIG", config)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(value(&machine.path("apt.conf")), "ON='0'\n");
    let (_, text) = machine.migrate(&["--dry-run"]);
    assert!(text.contains("does not run here"), "{text}");
}

#[test]
fn where_it_is_not_configured_there_is_nothing_to_do() {
    let machine = Machine::new("");
    let (code, text) = machine.migrate(&[]);
    assert_eq!(code, 0);
    assert!(text.starts_with("nothing to migrate"), "{text}");
}
