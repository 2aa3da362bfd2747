//! What runs on files that are not the installed ones any more, and what is to become of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{record::any_matches, verdict::Verdict};

mod classes;

/// systemd itself: process 1 of the node.
pub const MANAGER: &str = "init.scope";
/// How a unit's reason for a reboot ends, after its name.
const REASON: &str = " still uses files that were replaced";
/// The agent's unit.
pub const AGENT: &str = "lockkeeperd.service";

/// One process that still uses a file that was deleted or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// What the kernel calls it.
    pub name: String,
    /// The unit of the system's manager it belongs to.
    pub unit: Option<String>,
    /// One such file: a program, a library, or a script.
    pub file: String,
}

/// One look at all processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Those that use old files, by id.
    pub stale: Vec<Process>,
    /// Processes that were looked at.
    pub seen: usize,
    /// Processes with another root (containers): their files are not the node's.
    pub elsewhere: usize,
    /// Processes that must not be looked at.
    pub hidden: usize,
}

/// A service as systemd shows it: what decides whether it can be restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `simple`, `oneshot`, …
    pub service_type: String,
    /// What keeps it from being restarted.
    pub obstacle: Option<Obstacle>,
    /// Its file on disk differs from what systemd has read.
    pub outdated: bool,
}

/// What keeps a service from being restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It was made at run time, without a file.
    Transient,
    /// It serves one connection of a socket, which a restart would lose.
    Connection,
    /// `RefuseManualStart=` or `RefuseManualStop=`.
    Refuses,
}

/// How far lockkeeper goes with services that use old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They are restarted at the end of an update, or are a reason for a reboot. The default.
    Auto,
    /// They are shown.
    List,
    /// They are not looked for.
    Off,
}

impl Mode {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Auto, Self::List, Self::Off];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::List => "list",
            Self::Off => "off",
        }
    }
}

/// What the admin says of services; names are globs with `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How far to go.
    pub mode: Mode,
    /// Left alone.
    pub never: Vec<String>,
    /// Not restarted, but a reason for a reboot.
    pub by_reboot: Vec<String>,
    /// Neither restored nor verified, so not restarted either.
    pub ignore: Vec<String>,
}

/// What is to become of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is restarted at the end of an update.
    Restart,
    /// systemd executes itself anew, which disturbs nothing.
    Reexecute,
    /// Only a reboot brings it to the new files.
    Reboot,
    /// Nothing.
    Leave,
}

/// A unit with processes that use old files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleUnit {
    /// `web.service`; of processes without a unit, what the kernel calls them.
    pub name: String,
    /// Process ids.
    pub processes: Vec<u32>,
    /// Some of the old files.
    pub files: Vec<String>,
    /// What is to become of it.
    pub fate: Fate,
    /// Why so, as it follows a colon.
    pub why: String,
}

/// All of them, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The units.
    pub units: Vec<StaleUnit>,
    /// Processes with another root (containers), which were left out.
    pub elsewhere: usize,
    /// Processes that must not be looked at.
    pub hidden: usize,
    /// What was restarted, or executed anew, for the last update.
    #[serde(default)]
    pub restarted: Vec<String>,
    /// How the reboot that is asked for is to be made, where there is a choice.
    #[serde(default)]
    pub way: Option<Verdict>,
}

/// Whether a reason for a reboot is one of [`Report::reasons`].
#[must_use]
pub fn is_reason(reason: &str) -> bool {
    reason.ends_with(REASON)
}

impl Report {
    /// The names of the units with this fate.
    pub fn with(&self, fate: Fate) -> impl Iterator<Item = &str> {
        self.units.iter().filter(move |unit| unit.fate == fate).map(|unit| unit.name.as_str())
    }

    /// Why a reboot is needed, one sentence a unit. They do not change while nothing else does: that
    /// a reboot did not help is seen by reasons that stay the same.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let sentence = |name| format!("{name}{REASON}");
        self.with(Fate::Reboot).map(sentence).collect()
    }
}

impl Report {
    /// What people should know: what is to be restarted, what was, and what stays as it is.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let all = |names: Vec<String>| (!names.is_empty()).then(|| names.join(", "));
        let with = |fate| self.units.iter().filter(move |unit| unit.fate == fate);
        let names = |fate| with(fate).map(|unit| unit.name.clone());
        let whys = |fate| with(fate).map(|unit| format!("{} ({})", unit.name, unit.why)).collect();
        let due = all(names(Fate::Restart).chain(names(Fate::Reexecute)).collect()).map(|names| {
            let text = "these use files that were replaced, and are restarted with the next update";
            Verdict::new("stale-restart", format!("{text}: {names}"))
        });
        let reboot = all(whys(Fate::Reboot)).map(|names| {
            let text = "only a reboot brings these to the files that are installed";
            Verdict::new("stale-reboot", format!("{text}: {names}"))
        });
        let left = all(whys(Fate::Leave)).map(|names| {
            let text = "these use files that were replaced, and are left alone";
            Verdict::new("stale-left", format!("{text}: {names}"))
        });
        let done = all(self.restarted.clone()).map(|names| {
            let text = format!("restarted for the last update: {names}");
            Verdict::new("restarted", text)
        });
        [due, reboot, left, done, self.way.clone()].into_iter().flatten().collect()
    }
}

/// Decides about everything a scan has found. `facts`: those services of it that systemd knows.
/// `restarted`: what was restarted, or executed anew, already.
#[must_use]
pub fn judge(
    scan: &Scan,
    facts: &BTreeMap<String, Facts>,
    rules: &Rules,
    restarted: &[String],
) -> Report {
    let mut units: BTreeMap<(String, bool), StaleUnit> = BTreeMap::new();
    for process in &scan.stale {
        let (name, owned) = match &process.unit {
            Some(unit) => (unit.clone(), true),
            None => (process.name.clone(), false),
        };
        let unit = units.entry((name.clone(), owned)).or_insert_with(|| {
            let (fate, why) = if owned {
                fate(&name, facts.get(&name), rules, restarted)
            } else {
                (Fate::Leave, "it belongs to no unit".to_owned())
            };
            StaleUnit { name, processes: Vec::new(), files: Vec::new(), fate, why }
        });
        unit.processes.push(process.pid);
        if !unit.files.contains(&process.file) {
            unit.files.push(process.file.clone());
        }
    }
    let units = units.into_values().collect();
    let restarted = restarted.to_vec();
    Report { units, elsewhere: scan.elsewhere, hidden: scan.hidden, restarted, way: None }
}

fn fate(name: &str, facts: Option<&Facts>, rules: &Rules, restarted: &[String]) -> (Fate, String) {
    let (fate, why) = match unlimited(name, facts, rules, restarted) {
        Ok(fate) => (fate, String::new()),
        Err((fate, why)) => (fate, why.to_owned()),
    };
    if rules.mode != Mode::Auto && fate != Fate::Leave {
        return (Fate::Leave, format!("services.restart is \"{}\"", rules.mode.name()));
    }
    (fate, why)
}

/// What becomes of a unit where `services.restart` is "auto"; what is not the rule has a reason.
fn unlimited(
    name: &str,
    facts: Option<&Facts>,
    rules: &Rules,
    restarted: &[String],
) -> Result<Fate, (Fate, &'static str)> {
    let again = restarted.iter().any(|unit| unit == name);
    if name == MANAGER {
        let why = "systemd has executed itself anew, and uses them still";
        return if again { Err((Fate::Reboot, why)) } else { Ok(Fate::Reexecute) };
    }
    if any_matches(&rules.never, name) {
        return Err((Fate::Leave, "services.never has it"));
    }
    if any_matches(&rules.ignore, name) {
        return Err((Fate::Leave, "workloads.ignore has it"));
    }
    if any_matches(&rules.by_reboot, name) {
        return Err((Fate::Reboot, "services.by_reboot has it"));
    }
    classes::of(name)?;
    let Some(facts) = facts else { return Err((Fate::Leave, "systemd does not know it")) };
    restartable(facts)?;
    let why = "it was restarted, and uses them still";
    if again { Err((Fate::Leave, why)) } else { Ok(Fate::Restart) }
}

fn restartable(facts: &Facts) -> Result<(), (Fate, &'static str)> {
    match facts.load.as_str() {
        "loaded" => {}
        "not-found" => return Err((Fate::Leave, "its unit file is gone")),
        _ => return Err((Fate::Leave, "its unit file cannot be used")),
    }
    if facts.service_type == "oneshot" {
        return Err((Fate::Leave, "it ends by itself"));
    }
    match facts.obstacle {
        None => Ok(()),
        Some(Obstacle::Transient) => Err((Fate::Leave, "it was made at run time")),
        Some(Obstacle::Connection) => Err((Fate::Leave, "it serves one connection")),
        Some(Obstacle::Refuses) => Err((Fate::Reboot, "it refuses to be restarted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
        Rules {
            mode: Mode::Auto,
            never: words(&["sql*"]),
            by_reboot: words(&["mail.service"]),
            ignore: words(&["scratch.service"]),
        }
    }

    fn loaded() -> Facts {
        Facts { load: "loaded".into(), service_type: "simple".into(), ..Facts::default() }
    }

    fn blocked(obstacle: Obstacle) -> Facts {
        Facts { obstacle: Some(obstacle), ..loaded() }
    }

    fn process(pid: u32, unit: Option<&str>, file: &str) -> Process {
        Process { pid, name: "proc".into(), unit: unit.map(str::to_owned), file: file.into() }
    }

    fn decided(name: &str, facts: Option<Facts>, rules: &Rules, restarted: &[String]) -> StaleUnit {
        let scan = Scan { stale: vec![process(7, Some(name), "/lib/a")], ..Scan::default() };
        let facts = facts.map(|facts| (name.to_owned(), facts)).into_iter().collect();
        judge(&scan, &facts, rules, restarted).units.remove(0)
    }

    #[test]
    fn each_unit_has_its_fate() {
        use Fate::{Leave, Reboot, Reexecute, Restart};
        for (name, expected) in [
            ("web.service", Restart),
            ("ssh.service", Restart),
            ("etcd.service", Restart),
            ("systemd-journald.service", Restart),
            ("systemd-networkd.service", Restart),
            ("lockkeeperd.service", Restart),
            ("lockkeeper-hub.service", Restart),
            ("init.scope", Reexecute),
            ("dbus.service", Reboot),
            ("dbus-broker.service", Reboot),
            ("systemd-logind.service", Reboot),
            ("docker.service", Reboot),
            ("containerd.service", Reboot),
            ("podman.service", Reboot),
            ("libpod-conmon-0123.scope", Reboot),
            ("systemd-nspawn@db.service", Reboot),
            ("gdm.service", Reboot),
            ("NetworkManager.service", Reboot),
            ("libvirtd.service", Reboot),
            ("mail.service", Reboot),
            ("sql-1.service", Leave),
            ("scratch.service", Leave),
            ("session-3.scope", Leave),
            ("user@1000.service", Leave),
            ("run-u7.scope", Leave),
            ("getty@tty1.service", Leave),
            ("apt-daily-upgrade.service", Leave),
            ("lockkeeper-executor.service", Leave),
            ("lockkeeper-apply-0123456789ab.service", Leave),
        ] {
            let unit = decided(name, Some(loaded()), &rules(), &[]);
            assert_eq!(unit.fate, expected, "{unit:?}");
            assert_eq!(unit.why.is_empty(), matches!(expected, Restart | Reexecute), "{unit:?}");
        }
    }

    #[test]
    fn what_cannot_be_restarted_is_told_by_what_systemd_says() {
        for (facts, expected, why) in [
            (None, Fate::Leave, "does not know"),
            (Some(Facts { load: "not-found".into(), ..loaded() }), Fate::Leave, "gone"),
            (Some(Facts { load: "bad-setting".into(), ..loaded() }), Fate::Leave, "cannot be used"),
            (Some(blocked(Obstacle::Transient)), Fate::Leave, "at run time"),
            (Some(Facts { service_type: "oneshot".into(), ..loaded() }), Fate::Leave, "ends"),
            (Some(blocked(Obstacle::Connection)), Fate::Leave, "connection"),
            (Some(blocked(Obstacle::Refuses)), Fate::Reboot, "refuses"),
        ] {
            let unit = decided("web.service", facts, &rules(), &[]);
            assert_eq!(unit.fate, expected, "{unit:?}");
            assert!(unit.why.contains(why), "{unit:?}");
        }
    }

    #[test]
    fn nothing_is_restarted_twice_for_one_update() {
        let restarted = ["web.service".to_owned(), MANAGER.to_owned()];
        let web = decided("web.service", Some(loaded()), &rules(), &restarted);
        assert_eq!(web.fate, Fate::Leave);
        let manager = decided(MANAGER, None, &rules(), &restarted);
        assert_eq!(manager.fate, Fate::Reboot);
    }

    #[test]
    fn where_they_are_only_listed_nothing_is_restarted_and_nothing_asks_for_a_reboot() {
        let rules = Rules { mode: Mode::List, ..rules() };
        for name in ["web.service", "dbus.service", MANAGER, "mail.service"] {
            let unit = decided(name, Some(loaded()), &rules, &[]);
            assert_eq!(unit.fate, Fate::Leave, "{unit:?}");
            assert!(unit.why.contains("services.restart"), "{unit:?}");
        }
    }

    #[test]
    fn processes_of_one_unit_are_one_finding_and_those_without_stay_apart() {
        let stale = vec![
            process(7, Some("web.service"), "/lib/a"),
            process(9, None, "/lib/a"),
            process(8, Some("web.service"), "/lib/a"),
            process(10, Some("web.service"), "/lib/b"),
            process(11, Some("dbus.service"), "/lib/b"),
        ];
        let scan = Scan { stale, seen: 40, elsewhere: 3, hidden: 1 };
        let facts = [("web.service".to_owned(), loaded())].into();
        let report = judge(&scan, &facts, &rules(), &[]);
        let names: Vec<&str> = report.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["dbus.service", "proc", "web.service"]);
        assert_eq!(report.units[2].processes, [7, 8, 10]);
        assert_eq!(report.units[2].files, ["/lib/a", "/lib/b"]);
        assert_eq!(report.units[1].fate, Fate::Leave);
        assert_eq!((report.elsewhere, report.hidden), (3, 1));
        assert_eq!(report.reasons(), ["dbus.service still uses files that were replaced"]);
        assert_eq!(report.with(Fate::Restart).collect::<Vec<_>>(), ["web.service"]);
        let told: Vec<String> = report.verdicts().into_iter().map(|told| told.text).collect();
        assert_eq!(
            told,
            [
                "these use files that were replaced, and are restarted with the next update: \
                 web.service",
                "only a reboot brings these to the files that are installed: dbus.service (the bus \
                 would lose everybody who is on it)",
                "these use files that were replaced, and are left alone: proc (it belongs to no unit)",
            ]
        );
        let done = judge(&Scan::default(), &facts, &rules(), &["web.service".to_owned()]);
        assert_eq!(done.verdicts()[0].text, "restarted for the last update: web.service");
    }
}
