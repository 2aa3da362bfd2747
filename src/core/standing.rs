//! How a recorded unit or container stands now, and what that means for restoring and verifying.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    record::{
        Container, Engine, Health, Policy, Record, RecordedContainer, RecordedUnit, Unit, Units,
    },
    wish::Restore,
};

/// How something that ran before stands now. The texts are whole sentences without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Fine,
    /// Somebody else is at work on it: wait, do not start it.
    Coming(String),
    /// Down, and nobody is going to start it: start it.
    Down(String),
    /// Wrong in a way that starting it does not mend.
    Wrong(String),
    /// It is no longer there, or switched off on purpose: worth a report, nobody's failure.
    Gone(String),
}

/// Containers by engine and name.
pub type Containers = BTreeMap<(Engine, String), Container>;

/// What is observed after the disturbance.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The recorded units, what triggers them, and everything that is failing now.
    pub units: Units,
    /// The containers of the engines that answer.
    pub containers: Containers,
    /// Engines that do not answer, and what they say instead.
    pub silent: BTreeMap<Engine, String>,
    /// Files of recorded services that are still there.
    pub files: Vec<String>,
    /// When it was looked, to tell how long a container has been up.
    pub at: Option<Timestamp>,
}

impl Observed {
    /// How a recorded unit stands.
    #[must_use]
    pub fn unit(&self, recorded: &RecordedUnit) -> Standing {
        let name = &recorded.name;
        let Some(now) = self.units.get(name) else {
            return Standing::Wrong(format!("{name} cannot be read"));
        };
        match now.active.as_str() {
            "active" | "reloading" | "refreshing" => Standing::Fine,
            _ if now.load == "masked" => Standing::Gone(format!("{name} is masked")),
            _ if now.load == "not-found" => self.not_found(recorded),
            _ if now.load != "loaded" => {
                Standing::Wrong(format!("{name} cannot be loaded ({})", now.load))
            }
            "activating" if now.between_restarts() => Standing::Coming(loops(now)),
            "inactive" | "failed" if !now.busy => self.down(now),
            active => Standing::Coming(format!("{name} is {active} ({})", now.sub)),
        }
    }

    /// A service whose file is still there but no longer makes a unit (a generator refuses it) is
    /// lost; one whose file was removed is not missed.
    fn not_found(&self, recorded: &RecordedUnit) -> Standing {
        let RecordedUnit { name, file, .. } = recorded;
        if self.files.contains(file) {
            Standing::Wrong(format!("{name} no longer exists, although {file} does"))
        } else {
            Standing::Gone(format!("{name} no longer exists"))
        }
    }

    fn down(&self, now: &Unit) -> Standing {
        let armed = |t: &String| self.units.get(t).is_some_and(|t| t.active == "active");
        if now.active == "failed" {
            Standing::Down(format!("{} is failed ({})", now.name, now.result))
        } else if now.triggered_by.iter().any(armed) {
            Standing::Fine // started when it is needed
        } else {
            Standing::Down(format!("{} is not running", now.name))
        }
    }

    /// How a recorded container stands.
    #[must_use]
    pub fn container(&self, recorded: &RecordedContainer) -> Standing {
        if let Some(why) = self.silent.get(&recorded.engine) {
            return Standing::Coming(format!("{recorded} cannot be seen: {why}"));
        }
        let Some(now) = self.containers.get(&(recorded.engine, recorded.name.clone())) else {
            return vanished(recorded);
        };
        if now.restarting {
            let (restarts, code) = (now.restarts, now.exit_code);
            return Standing::Coming(format!(
                "{recorded} waits to be restarted (exit status {code}, restarted {restarts} times by now)"
            ));
        }
        if now.running { self.health(recorded, now) } else { stopped(recorded, now) }
    }

    fn health(&self, recorded: &RecordedContainer, now: &Container) -> Standing {
        let late = match (recorded.health_timeout_secs, self.up_for(now)) {
            (Some(limit), Some(up)) if up.as_secs() > limit => {
                format!(" {} s after its start ({limit} s at most)", up.as_secs())
            }
            _ => String::new(),
        };
        match now.health {
            Health::Unchecked | Health::Healthy => Standing::Fine,
            Health::Unhealthy | Health::Starting if recorded.unhealthy => Standing::Fine,
            Health::Starting => {
                Standing::Wrong(format!("{recorded} is not yet known to be healthy{late}"))
            }
            Health::Unhealthy => Standing::Wrong(format!("{recorded} is unhealthy{late}")),
        }
    }

    /// How long a container has been up.
    fn up_for(&self, now: &Container) -> Option<Duration> {
        Duration::try_from(self.at?.duration_since(now.started?)).ok()
    }

    /// Whether a container is up, not yet healthy, and still has time to become it.
    #[must_use]
    pub fn may_become_healthy(&self, recorded: &RecordedContainer) -> bool {
        let now = self.containers.get(&(recorded.engine, recorded.name.clone()));
        let sick = |now: &&Container| {
            now.running
                && !recorded.unhealthy
                && matches!(now.health, Health::Starting | Health::Unhealthy)
        };
        let up = now.filter(sick).and_then(|now| self.up_for(now));
        let limit = recorded.health_timeout_secs.map(Duration::from_secs);
        up.zip(limit).is_some_and(|(up, limit)| up < limit)
    }

    /// What is wrong with the node: what is required and not fine, then the units that fail now and
    /// did not before.
    #[must_use]
    pub fn failing(&self, record: &Record) -> Vec<String> {
        let mut failing = self.missed(record, Restore::Required);
        failing.extend(self.new_failures(record));
        failing
    }

    /// What is not fine of the recorded things that are to be restored in this way.
    #[must_use]
    pub fn missed(&self, record: &Record, wish: Restore) -> Vec<String> {
        let wanted = record.units.iter().filter(|u| u.restore == wish);
        let units = wanted.map(|u| self.unit(u));
        let wanted = || record.containers.iter().filter(|c| c.restore == wish);
        let visible = wanted().filter(|c| !self.silent.contains_key(&c.engine));
        let containers = visible.map(|c| self.container(c));
        let mut missed: Vec<String> = units.chain(containers).filter_map(complaint).collect();
        for (engine, why) in &self.silent {
            let lost = wanted().filter(|c| c.engine == *engine).count();
            if lost > 0 {
                missed.push(format!("{lost} container(s) of {engine} cannot be seen: {why}"));
            }
        }
        missed
    }

    fn new_failures<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = String> + 'a {
        let known = |u: &Unit| {
            record.failing.contains(&u.name) || record.units.iter().any(|r| r.name == u.name)
        };
        self.units.values().filter(move |u| u.failing() && !known(u)).map(|u| {
            if u.between_restarts() {
                loops(u)
            } else {
                format!("{} is failed ({})", u.name, u.result)
            }
        })
    }
}

/// The sentence, when the standing is a failure of the node.
fn complaint(standing: Standing) -> Option<String> {
    match standing {
        Standing::Fine | Standing::Gone(_) => None,
        Standing::Coming(text) | Standing::Down(text) | Standing::Wrong(text) => Some(text),
    }
}

fn loops(now: &Unit) -> String {
    let Unit { name, restarts, result, .. } = now;
    format!("{name} waits to be restarted ({result}, restarted {restarts} times by now)")
}

fn vanished(recorded: &RecordedContainer) -> Standing {
    let text = format!("{recorded} no longer exists");
    if recorded.removes_itself || recorded.unit.is_some() {
        Standing::Gone(text)
    } else {
        Standing::Wrong(text)
    }
}

fn stopped(recorded: &RecordedContainer, now: &Container) -> Standing {
    let text = format!("{recorded} is {} (exit status {})", now.status, now.exit_code);
    match recorded.unit.as_ref().or(now.unit.as_ref()) {
        Some(unit) => Standing::Wrong(format!("{text}; {unit} runs it")),
        None if now.status == "paused" => Standing::Wrong(format!("{recorded} is paused")),
        None => Standing::Down(text),
    }
}

/// Whether the engine may still start a container by itself: asked only soon after a boot.
#[must_use]
pub fn engine_starts(now: &Container) -> bool {
    by_policy(now.engine, now.policy, now.exit_code != 0)
}

/// Whether an engine starts a container at boot by itself that ended badly, or well, with the shutdown.
#[must_use]
pub fn by_policy(engine: Engine, policy: Policy, ended_badly: bool) -> bool {
    let starts = match policy {
        Policy::No => false,
        Policy::OnFailure => ended_badly,
        Policy::UnlessStopped | Policy::Always => true,
    };
    // Podman has no daemon: what its boot unit did not start, nobody does.
    engine == Engine::Docker && starts
}

/// Counts of automatic restarts, by the name of what restarts.
pub type Restarts = BTreeMap<String, u32>;

/// Sentences for what was restarted by itself between two looks: it may be running at each look and
/// still not stay up. What was not running at the first look counts from zero. Nothing is said of
/// `known` names.
#[must_use]
pub fn restarted(before: &Restarts, now: &Restarts, known: &[String]) -> Vec<String> {
    let news = now.iter().filter(|(name, count)| {
        **count > before.get(*name).copied().unwrap_or_default() && !known.contains(name)
    });
    news.map(|(name, count)| format!("{name} was restarted by itself ({count} times by now)"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::container::testing::running;

    fn unit(name: &str, active: &str, sub: &str) -> Unit {
        Unit {
            name: name.to_owned(),
            load: "loaded".to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
            result: "success".to_owned(),
            ..Unit::default()
        }
    }

    fn recorded(name: &str) -> RecordedUnit {
        RecordedUnit {
            name: name.to_owned(),
            file: format!("/etc/containers/systemd/{name}"),
            restore: Restore::Required,
        }
    }

    fn observed(units: &[Unit]) -> Observed {
        let units = units.iter().map(|u| (u.name.clone(), u.clone())).collect();
        Observed { units, ..Observed::default() }
    }

    fn coming(text: &str) -> Standing {
        Standing::Coming(text.to_owned())
    }

    fn down(text: &str) -> Standing {
        Standing::Down(text.to_owned())
    }

    fn wrong(text: &str) -> Standing {
        Standing::Wrong(text.to_owned())
    }

    fn gone(text: &str) -> Standing {
        Standing::Gone(text.to_owned())
    }

    #[test]
    fn every_state_of_a_recorded_unit_has_a_standing() {
        let base = |active, sub| unit("w.service", active, sub);
        let failed = Unit { result: "exit-code".to_owned(), ..base("failed", "failed") };
        let cases = [
            (base("active", "running"), Standing::Fine),
            (base("reloading", "reload"), Standing::Fine),
            (Unit { load: "not-found".to_owned(), ..base("active", "running") }, Standing::Fine),
            (base("activating", "start-pre"), coming("w.service is activating (start-pre)")),
            (base("deactivating", "stop"), coming("w.service is deactivating (stop)")),
            (
                Unit { busy: true, ..base("inactive", "dead") },
                coming("w.service is inactive (dead)"),
            ),
            (
                Unit {
                    restarts: 3,
                    result: "exit-code".to_owned(),
                    ..base("activating", "auto-restart")
                },
                coming("w.service waits to be restarted (exit-code, restarted 3 times by now)"),
            ),
            (failed.clone(), down("w.service is failed (exit-code)")),
            (base("inactive", "dead"), down("w.service is not running")),
            (
                Unit { load: "bad-setting".to_owned(), ..failed },
                wrong("w.service cannot be loaded (bad-setting)"),
            ),
            (
                Unit { load: "masked".to_owned(), ..base("inactive", "dead") },
                gone("w.service is masked"),
            ),
            (
                Unit { load: "not-found".to_owned(), ..base("inactive", "dead") },
                gone("w.service no longer exists"),
            ),
        ];
        for (now, expected) in cases {
            assert_eq!(
                observed(std::slice::from_ref(&now)).unit(&recorded("w.service")),
                expected,
                "{now:?}"
            );
        }
        assert_eq!(observed(&[]).unit(&recorded("w.service")), wrong("w.service cannot be read"));
    }

    #[test]
    fn a_unit_whose_source_no_longer_makes_a_unit_is_lost() {
        let mut now = observed(&[Unit {
            load: "not-found".to_owned(),
            ..unit("w.service", "inactive", "dead")
        }]);
        now.files = vec!["/etc/containers/systemd/w.service".to_owned()];
        let text = "w.service no longer exists, although /etc/containers/systemd/w.service does";
        assert_eq!(now.unit(&recorded("w.service")), wrong(text));
    }

    #[test]
    fn an_idle_service_whose_socket_listens_is_fine_but_not_when_it_failed() {
        let idle = Unit {
            triggered_by: vec!["w.socket".to_owned()],
            ..unit("w.service", "inactive", "dead")
        };
        let listening = unit("w.socket", "active", "listening");
        assert_eq!(
            observed(&[idle.clone(), listening.clone()]).unit(&recorded("w.service")),
            Standing::Fine
        );
        let closed = unit("w.socket", "inactive", "dead");
        assert_eq!(
            observed(&[idle.clone(), closed]).unit(&recorded("w.service")),
            down("w.service is not running")
        );
        let failed = Unit { active: "failed".to_owned(), result: "signal".to_owned(), ..idle };
        assert_eq!(
            observed(&[failed, listening]).unit(&recorded("w.service")),
            down("w.service is failed (signal)")
        );
    }

    fn container(status: &str) -> Container {
        Container {
            status: status.to_owned(),
            running: status == "running",
            restarting: status == "restarting",
            ..running("db")
        }
    }

    fn empty() -> Record {
        Record::of(String::new(), Timestamp::UNIX_EPOCH, &Units::new(), &[])
    }

    fn was() -> RecordedContainer {
        let all = [container("running")];
        let record = Record::of(String::new(), Timestamp::UNIX_EPOCH, &Units::new(), &all);
        record.containers[0].clone()
    }

    fn with(container: &Container) -> Observed {
        let key = (container.engine, container.name.clone());
        Observed { containers: Containers::from([(key, container.clone())]), ..Observed::default() }
    }

    #[test]
    fn every_state_of_a_recorded_container_has_a_standing() {
        let cases = [
            (container("running"), Standing::Fine),
            (Container { health: Health::Healthy, ..container("running") }, Standing::Fine),
            (
                Container { health: Health::Starting, ..container("running") },
                wrong("container db (docker) is not yet known to be healthy"),
            ),
            (
                Container { health: Health::Unhealthy, ..container("running") },
                wrong("container db (docker) is unhealthy"),
            ),
            (
                Container { exit_code: 137, ..container("exited") },
                down("container db (docker) is exited (exit status 137)"),
            ),
            (container("created"), down("container db (docker) is created (exit status 0)")),
            (container("paused"), wrong("container db (docker) is paused")),
            (
                Container { restarts: 4, exit_code: 1, ..container("restarting") },
                coming(
                    "container db (docker) waits to be restarted (exit status 1, restarted 4 times by now)",
                ),
            ),
            (
                Container { unit: Some("db.service".to_owned()), ..container("exited") },
                wrong("container db (docker) is exited (exit status 0); db.service runs it"),
            ),
        ];
        for (now, expected) in cases {
            assert_eq!(with(&now).container(&was()), expected, "{now:?}");
        }
    }

    #[test]
    fn a_container_that_was_unhealthy_before_is_not_held_against_the_node() {
        let sick = Container { health: Health::Unhealthy, ..container("running") };
        let was = RecordedContainer { unhealthy: true, ..was() };
        assert_eq!(with(&sick).container(&was), Standing::Fine);
        assert_ne!(with(&container("exited")).container(&was), Standing::Fine);
    }

    #[test]
    fn a_vanished_container_is_a_loss_unless_vanishing_is_its_way() {
        let nothing = Observed::default();
        assert_eq!(nothing.container(&was()), wrong("container db (docker) no longer exists"));
        let removed = RecordedContainer { removes_itself: true, ..was() };
        assert_eq!(nothing.container(&removed), gone("container db (docker) no longer exists"));
        let owned = RecordedContainer { unit: Some("db.service".to_owned()), ..was() };
        assert_eq!(nothing.container(&owned), gone("container db (docker) no longer exists"));
    }

    #[test]
    fn only_what_is_required_is_a_failure_and_the_rest_is_told_apart() {
        let names = ["web.service", "extra.service", "scratch.service"];
        let now = observed(&names.map(|name| unit(name, "inactive", "dead")));
        let all = [Restore::Required, Restore::BestEffort, Restore::No];
        let record = Record {
            units: names
                .iter()
                .zip(all)
                .map(|(name, restore)| RecordedUnit { restore, ..recorded(name) })
                .collect(),
            containers: all.map(|restore| RecordedContainer { restore, ..was() }).to_vec(),
            ..empty()
        };
        let gone = "container db (docker) no longer exists";
        assert_eq!(now.failing(&record), ["web.service is not running", gone]);
        assert_eq!(
            now.missed(&record, Restore::BestEffort),
            ["extra.service is not running", gone]
        );
    }

    #[test]
    fn a_container_has_its_time_to_become_healthy_and_then_it_is_said_that_it_is_over() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let slow =
            Container { health: Health::Starting, started: Some(at(1000)), ..container("running") };
        let seen = |second| Observed { at: Some(at(second)), ..with(&slow) };
        let patient = RecordedContainer { health_timeout_secs: Some(120), ..was() };
        assert!(seen(1119).may_become_healthy(&patient));
        assert!(!seen(1120).may_become_healthy(&patient) && !seen(1001).may_become_healthy(&was()));
        assert!(!with(&slow).may_become_healthy(&patient), "it is not known how long it is up");
        let text = "container db (docker) is not yet known to be healthy";
        assert_eq!(seen(1119).container(&patient), wrong(text));
        let late = format!("{text} 130 s after its start (120 s at most)");
        assert_eq!(seen(1130).container(&patient), wrong(&late));
        let healthy = Container { health: Health::Healthy, ..slow.clone() };
        let now = Observed { at: Some(at(1001)), ..with(&healthy) };
        assert!(!now.may_become_healthy(&patient));
    }

    #[test]
    fn containers_of_a_silent_engine_are_neither_fine_nor_gone() {
        let silent = BTreeMap::from([(Engine::Docker, "docker does not answer".to_owned())]);
        let now = Observed { silent, ..Observed::default() };
        let text = "container db (docker) cannot be seen: docker does not answer";
        assert_eq!(now.container(&was()), coming(text));
        let record = Record { containers: vec![was(), was()], ..empty() };
        assert_eq!(
            now.failing(&record),
            ["2 container(s) of docker cannot be seen: docker does not answer"]
        );
    }

    #[test]
    fn only_new_failures_count_and_each_once() {
        let failed =
            |name| Unit { result: "exit-code".to_owned(), ..unit(name, "failed", "failed") };
        let looping = Unit {
            restarts: 2,
            result: "signal".to_owned(),
            ..unit("loop.service", "activating", "auto-restart")
        };
        let now = observed(&[
            failed("old.service"),
            failed("new.service"),
            failed("web.service"),
            looping,
        ]);
        let record = Record {
            units: vec![recorded("web.service")],
            failing: vec!["old.service".to_owned()],
            ..empty()
        };
        assert_eq!(
            now.failing(&record),
            [
                "web.service is failed (exit-code)",
                "loop.service waits to be restarted (signal, restarted 2 times by now)",
                "new.service is failed (exit-code)",
            ]
        );
    }

    #[test]
    fn only_docker_starts_containers_by_itself_and_only_by_policy() {
        let with = |policy, exit_code| {
            engine_starts(&Container { policy, exit_code, ..container("exited") })
        };
        assert!(
            with(Policy::Always, 0) && with(Policy::UnlessStopped, 0) && with(Policy::OnFailure, 1)
        );
        assert!(!with(Policy::No, 1) && !with(Policy::OnFailure, 0));
        let podman =
            Container { engine: Engine::Podman, policy: Policy::Always, ..container("exited") };
        assert!(!engine_starts(&podman));
    }

    #[test]
    fn a_rising_count_of_restarts_is_a_failure_a_high_one_is_not() {
        let count = |list: &[(&str, u32)]| {
            list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect::<Restarts>()
        };
        let before =
            count(&[("a.service", 1), ("b.service", 9), ("c.service", 3), ("old.service", 0)]);
        let now = count(&[
            ("a.service", 2),
            ("b.service", 9),
            ("c.service", 0),
            ("new.service", 5),
            ("old.service", 1),
        ]);
        assert_eq!(
            restarted(&before, &now, &["old.service".to_owned()]),
            [
                "a.service was restarted by itself (2 times by now)",
                "new.service was restarted by itself (5 times by now)",
            ]
        );
    }
}
