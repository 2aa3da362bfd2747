//! unattended-upgrades' configuration, read with apt's own reader.

use std::{fs, path::PathBuf, process::Output};

use lockkeeper::{
    config::settings::{Settings, Strategy, Users},
    core::choice::{Candidate, Distribution, Release, Rules},
};
use serde_json::Value;
use tempfile::TempDir;

macro_rules! shipped {
    ($release:literal, $os:literal) => {
        (
            $release,
            [
                include_str!(concat!(
                    "../fixtures/unattended-upgrades/",
                    $release,
                    "/50unattended-upgrades"
                )),
                include_str!(concat!(
                    "../fixtures/unattended-upgrades/",
                    $release,
                    "/20auto-upgrades"
                )),
            ],
            $os,
        )
    };
}

/// What the package writes on each release, and the releases.
const SHIPPED: [(&str, [&str; 2], &str); 4] = [
    shipped!("debian-12", "ID=debian\nVERSION_CODENAME=bookworm\n"),
    shipped!("debian-13", "ID=debian\nVERSION_CODENAME=trixie\n"),
    shipped!("ubuntu-22.04", "ID=ubuntu\nVERSION_CODENAME=jammy\n"),
    shipped!("ubuntu-24.04", "ID=ubuntu\nVERSION_CODENAME=noble\n"),
];

const DROP_IN: &str = "etc/lockkeeper/conf.d/20-unattended-upgrades.toml";
const SWITCH: &str = "etc/apt/apt.conf.d/99lockkeeper";
const REBOOTS: &str = "Unattended-Upgrade::Automatic-Reboot \"true\";\n";

/// A machine with unattended-upgrades, of which apt reads only what is below its root.
pub struct Machine(TempDir);

impl Machine {
    /// As Debian 12 comes, with more options in a file of the administrator's.
    pub fn new(more: &str) -> Self {
        Self::of(SHIPPED[0].1, more)
    }

    fn of(shipped: [&str; 2], more: &str) -> Self {
        let machine = Self::empty();
        machine.write("usr/bin/unattended-upgrade", "");
        machine.write("etc/apt/apt.conf.d/50unattended-upgrades", shipped[0]);
        machine.write("etc/apt/apt.conf.d/20auto-upgrades", shipped[1]);
        machine.write("etc/apt/apt.conf.d/52unattended-upgrades-local", more);
        machine
    }

    pub fn empty() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write("first.conf", &format!("Dir \"{}/\";\n", machine.path("").display()));
        fs::create_dir_all(machine.path("etc/apt/apt.conf.d")).unwrap();
        machine
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn apt_config(&self) -> PathBuf {
        self.path("first.conf")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The administrator's own configuration.
    fn configure(&self, text: &str) {
        self.write("etc/lockkeeper/lockkeeper.toml", text);
    }

    #[expect(clippy::disallowed_methods, reason = "runs the program as a person does")]
    pub fn migrate(&self, arguments: &[&str]) -> (i32, String) {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_rebootctl"));
        program.args(["migrate", "unattended-upgrades", "--config-root"]).arg(self.0.path());
        program.arg("--apt-config").arg(self.apt_config()).args(arguments);
        let Output { status, stdout, stderr } = program.output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.code().unwrap(), text)
    }

    fn document(&self, arguments: &[&str]) -> (i32, Value) {
        let (code, text) = self.migrate(&[arguments, &["--json"]].concat());
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn drop_in(&self) -> Option<String> {
        fs::read_to_string(self.path(DROP_IN)).ok()
    }

    fn settings(&self) -> Settings {
        lockkeeper::config::load(self.0.path()).unwrap().settings
    }

    /// What apt itself says of an option.
    #[expect(clippy::disallowed_methods, reason = "asks apt itself")]
    fn apt_says(&self, option: &str) -> String {
        let mut ask = std::process::Command::new("apt-config");
        ask.args(["shell", "IT", option]).env("APT_CONFIG", self.apt_config());
        String::from_utf8(ask.output().unwrap().stdout).unwrap().trim().to_owned()
    }
}

fn left(document: &Value) -> Vec<&str> {
    let left = document["left"].as_array().unwrap();
    left.iter().map(|left| left["option"].as_str().unwrap()).collect()
}

/// Suite and codename as the archives of a release have them.
fn archive(origin: &str, suite: &str, codename: &str, label: &str) -> Release {
    Release {
        origin: origin.into(),
        label: label.into(),
        suite: suite.into(),
        codename: codename.into(),
        component: "main".into(),
        site: "archive.example.com".into(),
        base: String::new(),
    }
}

/// Archives, and whether unattended-upgrades takes packages from them as it is shipped.
fn archives(release: &str) -> Vec<(Release, bool)> {
    let debian = |name: &str| {
        let of = |suffix: &str, label| {
            archive("Debian", &format!("stable{suffix}"), &format!("{name}{suffix}"), label)
        };
        vec![
            (of("", "Debian"), true),
            (of("-security", "Debian-Security"), true),
            (of("-updates", "Debian"), false),
            (of("-proposed-updates", "Debian"), false),
            (archive("Debian", "testing", "forky", "Debian"), false),
            (archive("Debian Backports", "x", &format!("{name}-backports"), "x"), false),
            (archive("Docker", name, "", "Docker CE"), false),
        ]
    };
    let ubuntu = |name: &str| {
        let of = |origin, suffix: &str| archive(origin, &format!("{name}{suffix}"), name, "Ubuntu");
        vec![
            (of("Ubuntu", ""), true),
            (of("Ubuntu", "-security"), true),
            (of("UbuntuESMApps", "-apps-security"), true),
            (of("UbuntuESM", "-infra-security"), true),
            (of("Ubuntu", "-updates"), false),
            (of("Ubuntu", "-proposed"), false),
            (of("Ubuntu", "-backports"), false),
            (archive("Docker", name, "", "Docker CE"), false),
        ]
    };
    match release {
        "debian-12" => debian("bookworm"),
        "debian-13" => debian("trixie"),
        "ubuntu-22.04" => ubuntu("jammy"),
        _ => ubuntu("noble"),
    }
}

#[test]
fn as_shipped_the_same_archives_are_taken_on_every_release() {
    for (release, shipped, os) in SHIPPED {
        let machine = Machine::of(shipped, "");
        let (code, text) = machine.migrate(&[]);
        assert_eq!(code, 0, "{text}");
        let toml = machine.drop_in().unwrap();
        let settings = machine.settings();
        assert_eq!(settings.strategy, Strategy::Off, "nobody asked for reboots");
        let rules = Rules::of(&settings.packages.origins, Distribution::parse(os)).unwrap();
        for (archive, taken) in archives(release) {
            let releases = std::slice::from_ref(&archive);
            let package =
                Candidate { name: "a", arch: "all", version: "1", is_new: false, releases };
            assert_eq!(rules.objection(package).is_none(), taken, "{release}: {archive:?}");
        }
        assert_eq!(machine.migrate(&[]).0, 0, "it finds its own file");
        assert_eq!(machine.drop_in().unwrap(), toml);
        let named = text.contains("DevRelease \"auto\"");
        assert_eq!(named, release.starts_with("ubuntu"), "{text}");
    }
}

#[test]
fn a_dry_run_shows_the_same_and_writes_nothing() {
    let machine = Machine::new(REBOOTS);
    let (code, text) = machine.migrate(&["--dry-run", "--switch-over"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("toml would be written") && text.contains("o=Debian"), "{text}");
    assert!(text.contains("99lockkeeper would be written"), "{text}");
    assert!(!machine.path("etc/lockkeeper").exists());
    assert!(!machine.path(SWITCH).exists());
}

#[test]
fn everything_arrives_and_the_rest_is_listed() {
    let more = "Unattended-Upgrade::Package-Blacklist { \"linux-\"; \"(lib)?xen(store)?\"; };\n\
                Unattended-Upgrade::Package-Whitelist { \"libstdc\\+\\+6$\"; \"linux\"; \"xen\"; };\n\
                Unattended-Upgrade::Automatic-Reboot-Time \"03:30\";\n\
                Unattended-Upgrade::Update-Days { \"Mon\"; \"Fri\"; };\n\
                Unattended-Upgrade::Mail \"root\";\n\
                Unattended-Upgrade::Something-New \"7\";\n";
    let machine = Machine::new(&format!("{REBOOTS}{more}"));
    let (code, document) = machine.document(&[]);
    assert_eq!(code, 0, "{document}");
    let left = left(&document);
    for option in ["Mail \"root\"", "Something-New \"7\"", "OnlyOnACPower \"true\" (its default)"] {
        assert!(left.contains(&format!("Unattended-Upgrade::{option}").as_str()), "{left:?}");
    }
    assert_eq!(document["still_on"], true);
    let settings = machine.settings();
    assert_eq!(settings.strategy, Strategy::Reboot);
    assert_eq!(settings.packages.deny, ["linux-*", "libxen*", "xen*"]);
    assert_eq!(settings.packages.allow, ["libstdc++6", "linux*", "xen*"]);
    let window = &settings.schedule.windows[0];
    assert_eq!(window.start, jiff::civil::time(3, 30, 0, 0));
    assert_eq!(settings.schedule.windows.len(), 1);
}

#[test]
fn what_cannot_be_said_and_would_update_more_is_to_be_settled_first() {
    let more = "Unattended-Upgrade::Package-Blacklist { \"(?!linux)\"; };\n\
                Unattended-Upgrade::Automatic-Reboot-WithUsers \"false\";\n";
    let machine = Machine::new(&format!("{REBOOTS}{more}"));
    let (code, text) = machine.migrate(&["--switch-over"]);
    assert_eq!(code, 1, "{text}");
    let nothing = "Nothing is written before you have settled, in /etc/lockkeeper:\n  \
                   Unattended-Upgrade::Package-Blacklist";
    assert!(text.starts_with(nothing), "{text}");
    assert!(text.contains("Not switched over: first the above must be settled."), "{text}");
    assert_eq!(machine.drop_in(), None);
    assert!(!machine.path(SWITCH).exists());

    machine.configure("[packages]\ndeny = [\"a*\"]\n");
    let (code, document) = machine.document(&["--switch-over"]);
    assert_eq!(code, 0, "{document}");
    assert_eq!(machine.settings().strategy, Strategy::Reboot);
    assert_eq!(machine.settings().blockers.users, Users::Wait);
    assert_eq!(machine.settings().packages.deny, ["a*"]);
    assert!(machine.path(SWITCH).exists());
}

#[test]
fn what_the_administrator_has_set_is_not_overruled() {
    let machine = Machine::new(REBOOTS);
    machine.configure("strategy = \"off\"\npackages.origins = \"security\"\n");
    let (code, text) = machine.migrate(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("packages.origins is set already, in "), "{text}");
    assert!(text.contains("lockkeeper.toml:2:"), "{text}");
    assert_eq!(machine.settings().strategy, Strategy::Off);

    machine.write(DROP_IN, "# mine\n");
    for arguments in [&[][..], &["--dry-run"]] {
        let (code, text) = machine.migrate(arguments);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("says something else"), "{text}");
    }
    assert_eq!(machine.drop_in().unwrap(), "# mine\n");
}

#[test]
fn what_would_not_load_is_not_written() {
    let machine = Machine::new("Unattended-Upgrade::Automatic-Reboot-Time \"02:00\";\n");
    machine.configure("schedule.min_remaining = \"5h\"\n");
    let (code, text) = machine.migrate(&[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("window[0].length"), "{text}");
    assert_eq!(machine.drop_in(), None);
}

#[test]
fn after_the_switch_apt_itself_says_that_it_is_off_and_it_can_be_had_back() {
    let machine =
        Machine::new(&format!("{REBOOTS}Unattended-Upgrade::InstallOnShutdown \"true\";\n"));
    let (code, text) = machine.migrate(&["--switch-over"]);
    assert_eq!(code, 0, "{text}");
    let file = machine.path(SWITCH);
    assert!(text.contains(&format!("To have it back: rm {}\n", file.display())), "{text}");
    let says = || {
        let options =
            ["APT::Periodic::Unattended-Upgrade", "Unattended-Upgrade::InstallOnShutdown"];
        options.map(|option| machine.apt_says(option))
    };
    assert_eq!(says(), ["IT='0'", "IT='false'"]);
    let (_, text) = machine.migrate(&["--dry-run"]);
    assert!(text.contains("does not run here"), "{text}");
    fs::remove_file(file).unwrap();
    assert_eq!(says(), ["IT='1'", "IT='true'"]);
}

#[test]
fn a_switch_that_something_overrules_is_none() {
    let on = "APT::Periodic::Unattended-Upgrade \"1\";\n";
    for path in ["etc/apt/apt.conf.d/99zz-local", "etc/apt/apt.conf"] {
        let machine = Machine::new(REBOOTS);
        machine.write(path, on);
        machine.write("etc/apt/apt.conf.d/99zz-other", "APT::Get::Assume-Yes \"true\";\n");
        let (code, text) = machine.migrate(&["--switch-over"]);
        assert_eq!(code, 1, "{text}");
        let by = format!("({}): take that out", machine.path(path).display());
        assert!(text.contains(&by), "{text}");
        assert!(text.contains("goes on to run beside lockkeeper"), "{text}");
        assert!(!machine.path(SWITCH).exists());
        assert!(machine.drop_in().is_some());
    }
}

#[test]
fn a_machine_is_not_left_without_any_updates() {
    let machine = Machine::new("");
    for arguments in [&["--switch-over", "--dry-run"][..], &["--switch-over"]] {
        let (code, text) = machine.migrate(arguments);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("Not switched over: strategy is \"off\""), "{text}");
        assert!(!machine.path(SWITCH).exists());
    }
    assert!(machine.drop_in().is_some());
    machine.configure("strategy = \"reboot\"\n");
    let (code, text) = machine.migrate(&["--switch-over"]);
    assert_eq!(code, 0, "{text}");
    assert!(machine.path(SWITCH).exists());
}

#[test]
fn everybody_can_read_what_is_written_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::new(REBOOTS);
    #[expect(clippy::disallowed_methods, reason = "runs the program as a careful person does")]
    let status = std::process::Command::new("sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_rebootctl")])
        .args(["migrate", "unattended-upgrades", "--switch-over", "--config-root"])
        .arg(machine.path(""))
        .arg("--apt-config")
        .arg(machine.apt_config())
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    for path in [DROP_IN, SWITCH] {
        let mode = fs::metadata(machine.path(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{path}");
    }
}

#[test]
fn where_it_is_not_configured_there_is_nothing_to_do() {
    let machine = Machine::empty();
    let (code, text) = machine.migrate(&[]);
    assert_eq!(code, 0);
    assert!(text.starts_with("nothing to migrate"), "{text}");
    let (code, document) = machine.document(&["--switch-over"]);
    assert_eq!((code, &document["drop_in"]), (0, &Value::Null));
    assert!(!machine.path(SWITCH).exists());
}

#[test]
fn where_it_is_configured_and_not_installed_it_does_not_run() {
    let machine = Machine::new("");
    fs::remove_file(machine.path("usr/bin/unattended-upgrade")).unwrap();
    let (code, document) = machine.document(&[]);
    assert_eq!((code, &document["still_on"]), (0, &Value::Bool(false)));
    assert!(machine.drop_in().is_some());
}
