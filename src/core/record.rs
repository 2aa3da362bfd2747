//! What runs on a node, as systemd and the container engines tell it, and what of it is worth
//! writing down before a disturbance.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::{
    container::{Container, Engine, Health, Policy},
    unit::{Unit, Units},
};
use super::{
    order::Compose,
    wish::Restore,
    wrapped::{self, Named},
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
    /// Containers that were there and did not run.
    #[serde(default)]
    pub stopped: Vec<Stopped>,
    /// Sentences for wishes that could not be understood, or not be read.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// What users run without root, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, Record>,
}

/// A container that did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Whose it is.
    pub engine: Engine,
    /// Its name.
    pub name: String,
}

/// A unit that was active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedUnit {
    /// `web.service`
    pub name: String,
    /// Its unit file, or the file it is generated from.
    pub file: String,
    /// Whether it is started again, and judged.
    #[serde(default)]
    pub restore: Restore,
}

/// A container that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedContainer {
    /// Whose it is.
    pub engine: Engine,
    /// Its name; the id changes when a unit makes it anew.
    pub name: String,
    /// Its id at that time.
    #[serde(default)]
    pub id: String,
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
    /// Whether it is started again, and judged.
    #[serde(default)]
    pub restore: Restore,
    /// How long it may take after its start until it is healthy.
    #[serde(default)]
    pub health_timeout_secs: Option<u64>,
    /// Its place in a project of Compose.
    #[serde(default)]
    pub compose: Option<Compose>,
    /// Names or ids of containers whose namespaces it shares, or whose volumes it takes.
    #[serde(default)]
    pub joins: Vec<String>,
}

impl Record {
    /// The record of what is observed: only what ought to run afterwards as well.
    #[must_use]
    pub fn of(boot_id: String, taken: Timestamp, units: &Units, containers: &[Container]) -> Self {
        let mut running: Vec<&Container> = containers.iter().filter(|c| c.running).collect();
        running.sort_by(|a, b| (a.started, &a.name).cmp(&(b.started, &b.name)));
        let kept: Vec<&Unit> = units.values().filter(|u| u.ought_to_run()).collect();
        let of_units = kept.iter().flat_map(|u| &u.wish.doubts);
        let doubts = of_units.chain(running.iter().flat_map(|c| &c.wish.doubts)).cloned().collect();
        let owners = owners(&kept);
        let owner = |c: &Container| {
            c.unit.clone().or_else(|| owners.get(&(c.engine, c.name.clone())).cloned())
        };
        let by_unit = wishes_by_unit(running.iter().map(|c| (owner(c), c.wish.restore())));
        Self {
            schema: SCHEMA,
            boot_id,
            taken,
            units: kept.into_iter().map(|u| RecordedUnit::of(u, by_unit.get(&u.name))).collect(),
            failing: units.values().filter(|u| u.failing()).map(|u| u.name.clone()).collect(),
            checks: Vec::new(),
            containers: running
                .into_iter()
                .map(|c| RecordedContainer::of(c, owner(c), units))
                .collect(),
            stopped: Vec::new(),
            doubts,
            users: BTreeMap::new(),
        }
    }

    /// The record with the containers that did not run. One that a unit runs is that unit's affair.
    #[must_use]
    pub fn with_stopped(self, stopped: Vec<Stopped>) -> Self {
        Self { stopped, ..self }
    }

    /// The record without the units and containers whose names match one of `globs`.
    #[must_use]
    pub fn without(mut self, globs: &[String]) -> Self {
        self.units.retain(|u| !any_matches(globs, &u.name));
        self.containers.retain(|c| !any_matches(globs, &c.name));
        self.stopped.retain(|c| !any_matches(globs, &c.name));
        self.users = self.users.into_iter().map(|(n, own)| (n, own.without(globs))).collect();
        self
    }

    /// The record without the users whose names match none of `globs`.
    #[must_use]
    pub fn of_users(mut self, globs: &[String]) -> Self {
        self.users.retain(|name, _| any_matches(globs, name));
        self
    }

    /// A user's own record, as a part of this one: of itself it says only what it is about.
    #[must_use]
    pub fn with_user(mut self, name: String, own: Self) -> Self {
        let own = Self {
            schema: self.schema,
            boot_id: self.boot_id.clone(),
            taken: self.taken,
            checks: Vec::new(),
            users: BTreeMap::new(),
            ..own
        };
        self.users.insert(name, own);
        self
    }

    /// Of the containers that run now, those that somebody had stopped and the engine has started by
    /// their restart policy.
    #[must_use]
    pub fn resurrected<'a>(&self, running: &'a [Container]) -> Vec<&'a Container> {
        let stopped =
            |c: &Container| self.stopped.iter().any(|s| s.engine == c.engine && s.name == c.name);
        let by_policy = |c: &Container| c.policy != Policy::No && c.unit.is_none();
        running.iter().filter(|c| stopped(c) && by_policy(c)).collect()
    }

    /// The engines that had running containers.
    #[must_use]
    pub fn engines(&self) -> Vec<Engine> {
        let mut engines: Vec<Engine> = self.containers.iter().map(|c| c.engine).collect();
        engines.sort_unstable();
        engines.dedup();
        engines
    }
}

/// The units whose commands run a container by name.
fn owners(units: &[&Unit]) -> BTreeMap<Named, String> {
    let runs = |unit: &&Unit| {
        let name = unit.name.clone();
        let named = unit.starts.iter().filter_map(|command| wrapped::runs(command));
        named.map(move |named| (named, name.clone())).collect::<Vec<_>>()
    };
    units.iter().flat_map(runs).collect()
}

/// What a unit's containers say of it: the strictest, where one unit runs several.
fn wishes_by_unit(
    containers: impl Iterator<Item = (Option<String>, Restore)>,
) -> BTreeMap<String, Restore> {
    let mut wishes = BTreeMap::new();
    for (unit, wish) in containers.filter_map(|(unit, wish)| Some((unit?, wish))) {
        let strictest = wishes.entry(unit).or_insert(wish);
        *strictest = (*strictest).max(wish);
    }
    wishes
}

impl RecordedUnit {
    /// A unit that says nothing goes by what its container says. Of a target the node never fails: what
    /// it has pulled in is recorded itself.
    fn of(unit: &Unit, container: Option<&Restore>) -> Self {
        let silent = if unit.kind() == "target" { Restore::BestEffort } else { Restore::default() };
        let restore = unit.wish.restore.or(container.copied()).unwrap_or(silent);
        Self { name: unit.name.clone(), file: unit.file.clone(), restore }
    }
}

impl RecordedContainer {
    /// A container that says nothing goes by what the unit that runs it says.
    fn of(now: &Container, owner: Option<String>, units: &Units) -> Self {
        let unit = owner.as_ref().and_then(|name| units.get(name));
        let wish = unit.map_or_else(|| now.wish.clone(), |unit| now.wish.or(&unit.wish));
        Self {
            engine: now.engine,
            name: now.name.clone(),
            id: now.id.clone(),
            image: now.image.clone(),
            policy: now.policy,
            unit: owner,
            removes_itself: now.removes_itself,
            unhealthy: now.health == Health::Unhealthy,
            started: now.started,
            restore: wish.restore(),
            health_timeout_secs: wish.health_timeout.map(|limit| limit.as_secs()),
            compose: now.compose.clone(),
            joins: now.joins.clone(),
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
pub fn any_matches(globs: &[String], name: &str) -> bool {
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
    use crate::core::container::testing::running;
    use crate::core::unit::testing::{service, words};
    use crate::core::wish::{
        Restore::{BestEffort, No, Required},
        Wish,
    };

    fn container(name: &str, second: i64) -> Container {
        Container { started: Timestamp::from_second(second).ok(), ..running(name) }
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

    fn wish(restore: Restore) -> Wish {
        Wish { restore: Some(restore), ..Wish::default() }
    }

    #[test]
    fn a_unit_and_its_container_go_by_what_either_says_and_both_by_their_own_word() {
        let of = |unit: Wish, labels: &[Wish]| {
            let mut units = Units::new();
            units.insert("db.service".to_owned(), Unit { wish: unit, ..service("db.service") });
            let all: Vec<Container> = labels
                .iter()
                .map(|wish| Container {
                    unit: Some("db.service".to_owned()),
                    wish: wish.clone(),
                    ..container("db", 1)
                })
                .collect();
            let record = Record::of("boot".to_owned(), Timestamp::UNIX_EPOCH, &units, &all);
            (
                record.units[0].restore,
                record.containers.iter().map(|c| c.restore).collect::<Vec<_>>(),
            )
        };
        let silent = Wish::default;
        assert_eq!(of(silent(), &[silent()]), (Required, vec![Required]));
        assert_eq!(of(silent(), &[wish(No)]), (No, vec![No]));
        assert_eq!(of(wish(No), &[silent()]), (No, vec![No]));
        assert_eq!(of(wish(No), &[wish(Required)]), (No, vec![Required]));
        assert_eq!(of(silent(), &[wish(No), wish(BestEffort)]), (BestEffort, vec![No, BestEffort]));
        assert_eq!(of(silent(), &[wish(No), silent()]), (Required, vec![No, Required]));
    }

    #[test]
    fn a_target_that_was_started_by_hand_is_started_again_and_no_node_fails_for_it() {
        let mut units = Units::new();
        let by_hand = Unit { wanted_by: vec![], ..service("shop.target") };
        let asks = Unit { wish: wish(Required), ..by_hand.clone() };
        for unit in [by_hand, Unit { name: "strict.target".to_owned(), ..asks }] {
            units.insert(unit.name.clone(), unit);
        }
        let record = Record::of("boot".to_owned(), Timestamp::UNIX_EPOCH, &units, &[]);
        let found: Vec<_> = record.units.iter().map(|u| (u.name.as_str(), u.restore)).collect();
        assert_eq!(found, [("shop.target", BestEffort), ("strict.target", Required)]);
    }

    #[test]
    fn a_container_belongs_to_the_unit_whose_command_names_it() {
        let run = words(&["/usr/bin/docker", "run", "--rm", "--name", "db", "postgres"]);
        let mut units = Units::new();
        units.insert("db.service".to_owned(), Unit { starts: vec![run], ..service("db.service") });
        let podman = Container { engine: Engine::Podman, ..container("db", 3) };
        let all = [container("db", 1), container("other", 2), podman];
        let record = Record::of("boot".to_owned(), Timestamp::UNIX_EPOCH, &units, &all);
        let owners: Vec<_> = record.containers.iter().map(|c| c.unit.as_deref()).collect();
        assert_eq!(owners, [Some("db.service"), None, None]);
    }

    #[test]
    fn a_record_from_before_wishes_requires_everything() {
        let old = r#"{"schema":1,"boot_id":"b","taken":"1970-01-01T00:00:00Z",
            "units":[{"name":"web.service","file":"/web.service"}],"failing":[],
            "containers":[{"engine":"docker","name":"db","image":"db","policy":"no","unit":null,
            "removes_itself":false,"unhealthy":false,"started":null}]}"#;
        let record: Record = serde_json::from_str(old).unwrap();
        assert_eq!(record.units[0].restore, Restore::Required);
        assert_eq!(record.containers[0].restore, Restore::Required);
        assert!(record.stopped.is_empty() && record.doubts.is_empty());
    }

    #[test]
    fn what_was_stopped_and_runs_by_its_policy_is_resurrected() {
        let stopped = |name: &str| Stopped { engine: Engine::Docker, name: name.to_owned() };
        let record = Record::of("b".to_owned(), Timestamp::UNIX_EPOCH, &Units::new(), &[])
            .with_stopped(vec![stopped("a"), stopped("b"), stopped("c")]);
        let always = |name| Container { policy: Policy::Always, ..container(name, 1) };
        let owned = Container { unit: Some("c.service".to_owned()), ..always("c") };
        let podman = Container { engine: Engine::Podman, ..always("a") };
        let now = [always("a"), container("b", 1), owned, always("new"), podman];
        let names: Vec<&str> = record.resurrected(&now).iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a"]);
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
