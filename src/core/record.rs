//! What runs on a node, as systemd and the container engines tell it, and what of it is worth
//! writing down before a disturbance.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::{
    container::{Container, Engine, Health, Policy},
    unit::{Unit, Units},
};

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
