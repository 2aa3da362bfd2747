//! What runs on a node, as systemd and the container engines tell it, and what of it is worth
//! writing down before a disturbance.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Format of the stored record.
pub const SCHEMA: u32 = 1;

/// What ran before the disturbance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The boot it was taken in.
    pub boot_id: String,
    /// When; for people only.
    pub taken: Timestamp,
    /// Units that were active, by name.
    pub units: Vec<RecordedUnit>,
    /// Units that were failing already: nobody is blamed for them later.
    pub failing: Vec<String>,
    /// Containers that ran, in the order they were started in.
    pub containers: Vec<RecordedContainer>,
    /// Checks of the admin's own that failed already, by name.
    #[serde(default)]
    pub checks: Vec<String>,
}

/// A unit that was active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedUnit {
    /// `web.service`
    pub name: String,
    /// Its unit file, or the file it is generated from.
    pub file: String,
}

/// A container that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedContainer {
    /// Whose it is.
    pub engine: Engine,
    /// Its name; the id changes when a unit makes it anew.
    pub name: String,
    /// The image, as it was named.
    pub image: String,
    /// When the engine starts it by itself.
    pub policy: Policy,
    /// The unit that runs it, and brings it back.
    pub unit: Option<String>,
    /// The engine removes it when it stops (`--rm`).
    pub removes_itself: bool,
    /// Its health check failed already.
    pub unhealthy: bool,
    /// When it was started.
    pub started: Option<Timestamp>,
}

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Docker Engine.
    Docker,
    /// Podman of root.
    Podman,
}

/// A container's restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Never by itself.
    No,
    /// When it ended with a bad status.
    OnFailure,
    /// Unless somebody stopped it.
    UnlessStopped,
    /// Always.
    Always,
}

/// One unit as systemd shows it now; words as systemd has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `web.service`
    pub name: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `auto-restart`, …
    pub sub: String,
    /// Why it ended: `success`, `exit-code`, …
    pub result: String,
    /// `simple`, `oneshot`, …; empty for what is not a service.
    pub service_type: String,
    /// The bus name it takes, if any.
    pub bus_name: String,
    /// Made at run time (`systemd-run`), without a file.
    pub transient: bool,
    /// What pulls it in: `WantedBy`, `RequiredBy`, `BoundBy`, `UpheldBy`.
    pub wanted_by: Vec<String>,
    /// Sockets, timers, paths and automounts that start it on demand.
    pub triggered_by: Vec<String>,
    /// Its unit file, or the file it is generated from; empty when there is none.
    pub file: String,
    /// A job for it waits or runs.
    pub busy: bool,
    /// Times systemd has restarted it by itself since it was started.
    pub restarts: u32,
}

/// One container as its engine shows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Whose it is.
    pub engine: Engine,
    /// Its name.
    pub name: String,
    /// The image, as it was named.
    pub image: String,
    /// When the engine starts it by itself.
    pub policy: Policy,
    /// The unit that runs it.
    pub unit: Option<String>,
    /// The engine removes it when it stops.
    pub removes_itself: bool,
    /// `running`, `exited`, … as the engine says.
    pub status: String,
    /// Running, neither paused nor between two restarts.
    pub running: bool,
    /// It ended and the engine is about to start it again.
    pub restarting: bool,
    /// What its health check says.
    pub health: Health,
    /// What it ended with last.
    pub exit_code: i64,
    /// Times the engine has restarted it by itself.
    pub restarts: u32,
    /// When it was started last.
    pub started: Option<Timestamp>,
}

/// What a container's health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// There is none.
    Unchecked,
    /// Not yet known.
    Starting,
    /// Good.
    Healthy,
    /// Bad.
    Unhealthy,
}

/// Units by name.
pub type Units = BTreeMap<String, Unit>;

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

impl Record {
    /// The record of what is observed: only what ought to run afterwards as well.
    #[must_use]
    pub fn of(boot_id: String, taken: Timestamp, units: &Units, containers: &[Container]) -> Self {
        let mut running: Vec<&Container> = containers.iter().filter(|c| c.running).collect();
        running.sort_by(|a, b| (a.started, &a.name).cmp(&(b.started, &b.name)));
        Self {
            schema: SCHEMA,
            boot_id,
            taken,
            units: units.values().filter(|u| u.ought_to_run()).map(RecordedUnit::of).collect(),
            failing: units.values().filter(|u| u.failing()).map(|u| u.name.clone()).collect(),
            containers: running.into_iter().map(RecordedContainer::of).collect(),
            checks: Vec::new(),
        }
    }

    /// The record without the units and containers whose names match one of `globs`.
    #[must_use]
    pub fn without(mut self, globs: &[String]) -> Self {
        self.units.retain(|u| !ignored(globs, &u.name));
        self.containers.retain(|c| !ignored(globs, &c.name));
        self
    }

    /// The engines that had containers.
    #[must_use]
    pub fn engines(&self) -> Vec<Engine> {
        let all = [Engine::Docker, Engine::Podman];
        all.into_iter().filter(|e| self.containers.iter().any(|c| c.engine == *e)).collect()
    }
}

impl RecordedUnit {
    fn of(unit: &Unit) -> Self {
        Self { name: unit.name.clone(), file: unit.file.clone() }
    }
}

impl RecordedContainer {
    fn of(now: &Container) -> Self {
        Self {
            engine: now.engine,
            name: now.name.clone(),
            image: now.image.clone(),
            policy: now.policy,
            unit: now.unit.clone(),
            removes_itself: now.removes_itself,
            unhealthy: now.health == Health::Unhealthy,
            started: now.started,
        }
    }
}

impl fmt::Display for RecordedContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} ({})", self.name, self.engine)
    }
}

impl Unit {
    /// `service`, `timer`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// It runs, and one may expect it to run after a reboot as well.
    #[must_use]
    pub fn ought_to_run(&self) -> bool {
        let kept = match self.kind() {
            "service" => self.sub == "running" && self.service_type != "oneshot",
            "timer" | "socket" | "path" | "mount" => true,
            _ => false,
        };
        kept && self.active == "active"
            && !self.file.is_empty()
            && !self.comes_and_goes()
            && self.is_workload()
    }

    /// It has failed, or fails over and over, and that is news about the node.
    #[must_use]
    pub fn failing(&self) -> bool {
        (self.active == "failed" || self.between_restarts()) && self.is_workload()
    }

    /// systemd waits to start it again after it ended badly.
    #[must_use]
    pub fn between_restarts(&self) -> bool {
        self.active == "activating" && self.sub.starts_with("auto-restart")
    }

    /// Not a session, a one-off unit or lockkeeper itself: those are neither restored nor blamed.
    #[must_use]
    pub fn is_workload(&self) -> bool {
        const NAMES: [&str; 4] = ["user@", "session-", "user-runtime-dir@", "lockkeeper"];
        !self.transient && !NAMES.iter().any(|n| self.name.starts_with(n))
    }

    /// Started when it is needed and gone when it is not.
    fn comes_and_goes(&self) -> bool {
        const NAMES: [&str; 4] = ["getty@", "serial-getty@", "container-getty@", "console-getty."];
        let pulled = !self.wanted_by.is_empty();
        let on_demand = !self.triggered_by.is_empty() || !self.bus_name.is_empty();
        let by_device = pulled && self.wanted_by.iter().all(|w| w.ends_with(".device"));
        let internal = self.name.starts_with("systemd-")
            && self.kind() == "service"
            && !self.name.starts_with("systemd-nspawn@")
            && (!pulled || !self.bus_name.is_empty());
        NAMES.iter().any(|n| self.name.starts_with(n))
            || (on_demand && !pulled)
            || by_device
            || internal
    }
}

/// Whether `name` matches one of `globs` (`*` stands for any text).
#[must_use]
pub fn ignored(globs: &[String], name: &str) -> bool {
    globs.iter().any(|glob| matches(glob, name))
}

/// Whether `name` matches `glob` (`*` stands for any text).
#[must_use]
pub fn matches(glob: &str, name: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else { return glob == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    (0..=tail.len()).filter(|i| tail.is_char_boundary(*i)).any(|i| matches(rest, &tail[i..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Unit {
        Unit {
            name: name.to_owned(),
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            sub: "running".to_owned(),
            result: "success".to_owned(),
            service_type: "simple".to_owned(),
            wanted_by: vec!["multi-user.target".to_owned()],
            file: format!("/lib/systemd/system/{name}"),
            ..Unit::default()
        }
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn what_ought_to_run_again_is_told_from_what_comes_and_goes() {
        let by_hand = Unit { wanted_by: vec![], ..service("by-hand.service") };
        let cases: Vec<(bool, Unit)> = vec![
            (true, service("web.service")),
            (true, by_hand.clone()),
            (true, service("systemd-networkd.service")),
            (true, Unit { wanted_by: vec![], ..service("systemd-nspawn@db.service") }),
            (true, Unit { triggered_by: words(&["docker.socket"]), ..service("docker.service") }),
            (true, Unit { bus_name: "org.example".to_owned(), ..service("broker.service") }),
            (true, Unit { sub: "waiting".to_owned(), ..service("tidy.timer") }),
            (true, Unit { sub: "listening".to_owned(), ..service("web.socket") }),
            (true, Unit { sub: "mounted".to_owned(), ..service("srv.mount") }),
            (
                false,
                Unit { file: String::new(), sub: "mounted".to_owned(), ..service("run-x.mount") },
            ),
            (false, Unit { triggered_by: words(&["web.socket"]), ..by_hand.clone() }),
            (false, Unit { bus_name: "org.example".to_owned(), ..by_hand.clone() }),
            (
                false,
                Unit {
                    bus_name: "org.x.hostname1".to_owned(),
                    ..service("systemd-hostnamed.service")
                },
            ),
            (false, Unit { wanted_by: vec![], ..service("systemd-ask-password-wall.service") }),
            (false, Unit { wanted_by: words(&["dev-bus-usb.device"]), ..service("usb.service") }),
            (false, Unit { service_type: "oneshot".to_owned(), ..service("job.service") }),
            (false, Unit { sub: "exited".to_owned(), ..service("old.service") }),
            (
                false,
                Unit {
                    active: "reloading".to_owned(),
                    sub: "reload".to_owned(),
                    ..service("multi-user.target")
                },
            ),
            (false, Unit { transient: true, ..service("run-u7.service") }),
            (false, service("getty@tty1.service")),
            (false, service("user@1000.service")),
            (false, service("session-3.scope")),
            (false, service("lockkeeperd.service")),
            (false, service("lockkeeper-apply-0123456789ab.service")),
            (
                false,
                Unit {
                    active: "failed".to_owned(),
                    sub: "failed".to_owned(),
                    ..service("bad.service")
                },
            ),
        ];
        for (expected, unit) in cases {
            assert_eq!(unit.ought_to_run(), expected, "{unit:?}");
        }
    }

    #[test]
    fn failing_units_are_those_failed_or_caught_between_restarts() {
        let failed =
            Unit { active: "failed".to_owned(), sub: "failed".to_owned(), ..service("a.service") };
        let looping = Unit {
            active: "activating".to_owned(),
            sub: "auto-restart".to_owned(),
            ..service("b.service")
        };
        let queued = Unit { sub: "auto-restart-queued".to_owned(), ..looping.clone() };
        let starting = Unit { sub: "start".to_owned(), ..looping.clone() };
        assert!(failed.failing() && looping.failing() && queued.failing());
        assert!(!starting.failing() && !service("c.service").failing());
        assert!(!Unit { transient: true, ..failed.clone() }.failing());
        assert!(!Unit { name: "lockkeeperd.service".to_owned(), ..failed.clone() }.failing());
        assert!(!Unit { name: "user@1000.service".to_owned(), ..failed }.failing());
    }

    fn container(name: &str, second: i64) -> Container {
        Container {
            engine: Engine::Docker,
            name: name.to_owned(),
            image: "busybox".to_owned(),
            policy: Policy::No,
            unit: None,
            removes_itself: false,
            status: "running".to_owned(),
            running: true,
            restarting: false,
            health: Health::Unchecked,
            exit_code: 0,
            restarts: 0,
            started: Timestamp::from_second(second).ok(),
        }
    }

    #[test]
    fn containers_are_recorded_in_the_order_they_were_started_in() {
        let stopped = Container { running: false, ..container("stopped", 1) };
        let sick = Container { health: Health::Unhealthy, ..container("db", 10) };
        let all = [container("web", 20), stopped, sick, container("proxy", 30)];
        let record = Record::of("boot".to_owned(), Timestamp::UNIX_EPOCH, &Units::new(), &all);
        let names: Vec<&str> = record.containers.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["db", "web", "proxy"]);
        assert!(record.containers[0].unhealthy && !record.containers[1].unhealthy);
        assert_eq!(record.engines(), [Engine::Docker]);
    }

    #[test]
    fn a_record_keeps_its_meaning_over_json() {
        let mut units = Units::new();
        units.insert("web.service".to_owned(), service("web.service"));
        let record =
            Record::of("boot".to_owned(), Timestamp::UNIX_EPOCH, &units, &[container("db", 1)]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert_eq!(record.units[0].file, "/lib/systemd/system/web.service");
    }

    #[test]
    fn ignored_names_leave_the_record() {
        let mut units = Units::new();
        units.insert("web.service".to_owned(), service("web.service"));
        units.insert("scratch-1.service".to_owned(), service("scratch-1.service"));
        let all = [container("db", 1), container("scratch", 2)];
        let record = Record::of("boot".to_owned(), Timestamp::UNIX_EPOCH, &units, &all)
            .without(&words(&["scratch*"]));
        assert_eq!(record.units.len(), 1);
        assert_eq!(record.containers.len(), 1);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (glob, name, expected) in [
            ("web.service", "web.service", true),
            ("web.service", "web-service", false),
            ("web*.service", "web.service", true),
            ("web*.service", "web-2.service", true),
            ("web*.service", "web-2.socket", false),
            ("*", "", true),
            ("*a*b", "xaybzb", true),
            ("a*b", "ab c", false),
            ("*é", "café", true),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} {name}");
        }
    }
}
