//! What becomes of each workload in a reboot, said beforehand: by what the record would say of it, and what
//! pulls it in at boot.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    record::{Engine, Policy, Record, RecordedContainer, RecordedUnit, Unit, Units},
    standing::by_policy,
    wish::Restore,
};

/// Podman's unit that starts containers with the policy `always` at boot.
pub const PODMAN_RESTART: &str = "podman-restart.service";

/// What is to be expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Everything that runs, each with what becomes of it.
    pub workloads: Vec<Row>,
    /// What fails already: nobody is blamed for it later.
    pub failing: Vec<String>,
    /// What keeps the record from being taken, so that no update begins.
    pub blocking: Vec<String>,
    /// Wishes that could not be understood, or not be read.
    pub doubts: Vec<String>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose, where it is a user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `web.service`, `container db (docker)`
    pub name: String,
    /// Whether it comes back.
    pub comes: Comes,
    /// Why, or by what.
    pub why: String,
    /// Whether the node fails without it.
    pub restore: Restore,
}

/// Whether a workload comes back after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comes {
    /// systemd or its engine starts it; lockkeeper only if they do not.
    ByItself,
    /// Nobody but lockkeeper starts it.
    Started,
    /// It asks to be left down.
    LeftDown,
    /// It is gone for good.
    Lost,
}

impl Comes {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::ByItself => "by itself",
            Self::Started => "lockkeeper",
            Self::LeftDown => "left down",
            Self::Lost => "LOST",
        }
    }
}

/// What the units of a boot are told by.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The active units that may carry a workload, targets too, and [`PODMAN_RESTART`].
    pub units: Units,
    /// What `default.target` stands for.
    pub default: String,
    /// Containers of systemd-nspawn that no service runs.
    pub machines: Vec<String>,
}

impl Boot {
    /// What the boot pulls a unit in by; none when it does not.
    fn pulls(&self, name: &str) -> Option<&str> {
        self.reaches(name, &mut BTreeSet::new())
    }

    fn reaches<'a>(&'a self, name: &str, seen: &mut BTreeSet<&'a str>) -> Option<&'a str> {
        let unit = self.units.get(name)?;
        unit.wanted_by
            .iter()
            .chain(&unit.triggered_by)
            .map(String::as_str)
            .find(|by| *by == self.default || (seen.insert(by) && self.reaches(by, seen).is_some()))
    }

    fn unit(&self, unit: &RecordedUnit) -> (Comes, String) {
        match self.pulls(&unit.name) {
            _ if unit.name == self.default => (Comes::ByItself, "it is the boot's own".to_owned()),
            Some(by) => (Comes::ByItself, by.to_owned()),
            None if unit.restore == Restore::No => (Comes::LeftDown, "Restore=no".to_owned()),
            None => (Comes::Started, "nothing pulls it in at boot".to_owned()),
        }
    }

    fn container(&self, record: &Record, own: &RecordedContainer) -> (Comes, String) {
        if let Some(unit) = &own.unit {
            let recorded = record.units.iter().find(|recorded| recorded.name == *unit);
            return match recorded.map(|recorded| self.unit(recorded)) {
                Some((comes, _)) => (comes, format!("{unit} runs it")),
                None if self.pulls(unit).is_some() => (Comes::ByItself, format!("{unit} runs it")),
                None => (Comes::Lost, format!("{unit} runs it, and nothing starts that")),
            };
        }
        if own.removes_itself {
            return (Comes::Lost, "its engine removes it when it stops (--rm)".to_owned());
        }
        // A shutdown ends most programs by a signal.
        if by_policy(own.engine, own.policy, true) {
            return (Comes::ByItself, format!("restart policy {}", own.policy));
        }
        let always = own.engine == Engine::Podman && own.policy == Policy::Always;
        if always && self.pulls(PODMAN_RESTART).is_some() {
            return (Comes::ByItself, PODMAN_RESTART.to_owned());
        }
        if own.restore == Restore::No {
            return (Comes::LeftDown, "lockkeeper.restore=no".to_owned());
        }
        (Comes::Started, format!("restart policy {}", own.policy))
    }

    /// Units that run without a file, so that nothing can start them again.
    fn transient(&self, record: &Record) -> impl Iterator<Item = &Unit> {
        let ids: Vec<String> = record.containers.iter().map(|c| c.id.clone()).collect();
        // Podman's own, for the health check of a container.
        let check =
            move |name: &str| ids.iter().any(|id| id.len() >= 12 && name.starts_with(id.as_str()));
        self.units.values().filter(move |unit| {
            unit.transient
                && unit.kind() == "service"
                && (unit.active.as_str(), unit.sub.as_str()) == ("active", "running")
                && !unit.name.starts_with("lockkeeper")
                && !check(&unit.name)
        })
    }
}

impl Outlook {
    /// What is to be expected of what `record` says.
    #[must_use]
    pub fn of(record: &Record, boot: &Boot) -> Self {
        let row =
            |name: String, (comes, why), restore| Row { user: None, name, comes, why, restore };
        let units = record.units.iter();
        let mut workloads: Vec<Row> =
            units.map(|u| row(u.name.clone(), boot.unit(u), u.restore)).collect();
        workloads.extend(record.containers.iter().map(|own| {
            let mut row = row(own.to_string(), boot.container(record, own), own.restore);
            if own.unhealthy {
                row.why.push_str("; unhealthy already");
            }
            row
        }));
        let lost = |name: String, why: &str| row(name, (Comes::Lost, why.to_owned()), Restore::No);
        workloads.extend(
            boot.transient(record)
                .map(|u| lost(u.name.clone(), "made by systemd-run, without a file")),
        );
        workloads.extend(
            boot.machines.iter().map(|name| lost(format!("machine {name}"), "started by hand")),
        );
        let failing = record.failing.clone();
        Self { workloads, failing, blocking: Vec::new(), doubts: record.doubts.clone() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::{
        container::{Container, testing::running},
        unit::testing::{service, words},
        wish::Wish,
    };

    fn boot(units: &[Unit]) -> Boot {
        let target = Unit {
            sub: "active".to_owned(),
            wanted_by: words(&["graphical.target"]),
            ..service("multi-user.target")
        };
        let all = units.iter().chain([&target]).map(|unit| (unit.name.clone(), unit.clone()));
        let default = "graphical.target".to_owned();
        Boot { units: all.collect(), default, machines: Vec::new() }
    }

    fn container(engine: Engine, name: &str, policy: Policy) -> Container {
        let id = format!("{name}-0123456789ab");
        Container { engine, id, policy, ..running(name) }
    }

    fn expected(boot: &Boot, containers: &[Container]) -> Vec<(String, Comes)> {
        let record = Record::of(String::new(), Timestamp::UNIX_EPOCH, &boot.units, containers);
        let rows = Outlook::of(&record, boot).workloads;
        rows.into_iter().map(|row| (row.name, row.comes)).collect()
    }

    fn no() -> Wish {
        Wish { restore: Some(Restore::No), ..Wish::default() }
    }

    #[test]
    fn a_unit_comes_by_itself_when_the_boot_pulls_it_in_by_however_many_others() {
        let by = |name: &str, by: &[&str]| Unit { wanted_by: words(by), ..service(name) };
        let boot = boot(&[
            service("web.service"),
            by("part.service", &["web.service"]),
            by("by-hand.service", &[]),
            by("with-it.service", &["by-hand.service"]),
            by("ring-a.service", &["ring-b.service"]),
            by("ring-b.service", &["ring-a.service"]),
            by("unknown.service", &["rescue.target"]),
            Unit { wish: no(), ..by("unwanted.service", &[]) },
            Unit { wish: no(), ..service("unwanted-and-enabled.service") },
        ]);
        let found = expected(&boot, &[]);
        let of = |name: &str| found.iter().find(|(n, _)| n == name).map(|(_, comes)| *comes);
        for (name, comes) in [
            ("web.service", Comes::ByItself),
            ("part.service", Comes::ByItself),
            ("by-hand.service", Comes::Started),
            ("with-it.service", Comes::Started),
            ("ring-a.service", Comes::Started),
            ("unknown.service", Comes::Started),
            ("unwanted.service", Comes::LeftDown),
            ("unwanted-and-enabled.service", Comes::ByItself),
        ] {
            assert_eq!(of(name), Some(comes), "{name}");
        }
    }

    #[test]
    fn a_container_comes_as_its_engine_or_its_unit_does() {
        let named = |unit: &str| Some(unit.to_owned());
        let with = |unit: &str, name| Container {
            unit: named(unit),
            removes_itself: true,
            ..container(Engine::Podman, name, Policy::No)
        };
        let all = [
            container(Engine::Docker, "always", Policy::Always),
            container(Engine::Docker, "by-hand", Policy::No),
            Container { wish: no(), ..container(Engine::Docker, "unwanted", Policy::No) },
            Container {
                removes_itself: true,
                ..container(Engine::Docker, "thrown-away", Policy::No)
            },
            container(Engine::Podman, "podman-always", Policy::Always),
            container(Engine::Podman, "podman-until", Policy::UnlessStopped),
            with("db.service", "in-unit"),
            with("by-hand.service", "in-unit-by-hand"),
            with("gone.service", "in-no-unit"),
        ];
        let by_hand = Unit { wanted_by: vec![], ..service("by-hand.service") };
        let of = |boot: &Boot| {
            let found = expected(boot, &all);
            move |name: &str| {
                found.iter().find(|(n, _)| n.contains(&format!(" {name} "))).unwrap().1
            }
        };
        let without = of(&boot(&[service("db.service"), by_hand.clone()]));
        for (name, comes) in [
            ("always", Comes::ByItself),
            ("by-hand", Comes::Started),
            ("unwanted", Comes::LeftDown),
            ("thrown-away", Comes::Lost),
            ("podman-always", Comes::Started),
            ("podman-until", Comes::Started),
            ("in-unit", Comes::ByItself),
            ("in-unit-by-hand", Comes::Started),
            ("in-no-unit", Comes::Lost),
        ] {
            assert_eq!(without(name), comes, "{name}");
        }
        let restart = Unit {
            sub: "exited".to_owned(),
            service_type: "oneshot".to_owned(),
            ..service(PODMAN_RESTART)
        };
        let with_it = of(&boot(&[service("db.service"), by_hand, restart]));
        assert_eq!(with_it("podman-always"), Comes::ByItself);
        assert_eq!(with_it("podman-until"), Comes::Started);
    }

    #[test]
    fn what_was_made_at_run_time_is_lost_and_podmans_own_checks_are_not_told_of() {
        let transient = |name: &str| Unit {
            transient: true,
            wanted_by: vec![],
            file: String::new(),
            ..service(name)
        };
        let mut boot = boot(&[
            transient("run-u7.service"),
            transient("db-0123456789ab-77.service"),
            transient("lockkeeper-user-1000-record.service"),
        ]);
        boot.machines.push("debian".to_owned());
        let found = expected(&boot, &[container(Engine::Podman, "db", Policy::No)]);
        let lost: Vec<&str> = found
            .iter()
            .filter(|(_, comes)| *comes == Comes::Lost)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(lost, ["run-u7.service", "machine debian"]);
    }
}
