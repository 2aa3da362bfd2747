//! Containers that are made anew from a newer image: which may be, in which order, and what has come of it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    container::Engine,
    image::short,
    order::Order,
    record::{Record, RecordedContainer, Unit, any_matches},
    wish::Restore,
    wrapped,
};

/// Format of the stored [`Journal`].
pub const SCHEMA: u32 = 1;

/// What is written down about images that are taken, and were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The cycle that has begun with it, by when its record was taken; in that cycle nothing else is begun.
    pub cycle: Option<Timestamp>,
    /// What that cycle changes, in the order it does.
    pub changes: Vec<Change>,
    /// What was pulled last, one for each name.
    pub pulled: Vec<Pulled>,
    /// Images that were not healthy here, and are not taken again.
    pub denied: Vec<Denied>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            cycle: None,
            changes: Vec::new(),
            pulled: Vec::new(),
            denied: Vec::new(),
        }
    }
}

/// What a registry had by a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Whose.
    pub engine: Engine,
    /// The name.
    pub reference: String,
    /// The image's id.
    pub id: String,
    /// The id of the image that the name stood for, here: when it stands for another one, somebody has
    /// pulled since.
    pub stood_for: String,
}

/// An image that was not healthy here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Whose.
    pub engine: Engine,
    /// The name it was pulled by.
    pub reference: String,
    /// Its id.
    pub id: String,
    /// What was wrong.
    pub why: String,
}

/// A name that is moved to another image, and the containers that are made anew for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose.
    pub engine: Engine,
    /// The name.
    pub reference: String,
    /// The id of the image that the containers ran.
    pub old: String,
    /// The id of the one they are to run.
    pub new: String,
    /// In the order they are made anew in.
    pub containers: Vec<Remade>,
    /// How far it is.
    pub step: Step,
}

/// One container, and who makes it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remade {
    /// Its name.
    pub name: String,
    /// Who does.
    pub maker: Maker,
}

/// Who makes a container anew, and so takes what its name stands for then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    /// A unit of systemd, when it is restarted.
    Unit(String),
    /// Compose, for a service of a project.
    Compose(Service),
}

/// A service of Compose, as the labels of a container say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The project.
    pub project: String,
    /// The service in it.
    pub service: String,
    /// The folder that the project was brought up in.
    pub directory: PathBuf,
    /// Its files, by their whole paths.
    pub files: Vec<PathBuf>,
    /// What Compose calls the configuration that the container was made by.
    pub hash: String,
    /// How many containers it has.
    pub scale: usize,
}

/// How far a change is; each is written down before what it says is begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Step {
    /// Nothing was done.
    Planned,
    /// The name moves to the new image.
    Taking,
    /// All containers run the new image, and were healthy.
    Taken {
        /// Their ids, in the order of their names: another one was started by somebody else.
        ids: Vec<String>,
    },
    /// The name moves back to the old image.
    GoingBack {
        /// What was wrong with the new one; none when a power cut, or a crash, has interrupted it.
        why: Option<String>,
    },
    /// The name stands for the old image.
    Back {
        /// As in [`Step::GoingBack`].
        why: Option<String>,
    },
}

/// Why a container is not made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// In words, to follow "not recreated, since".
    pub why: String,
    /// Whoever starts it the next time would get what the name stands for then: the name must not move.
    pub follows: bool,
}

/// What speaks against making a container of the record anew, as far as the record and its unit say it.
/// `never`: units that are not restarted.
#[must_use]
pub fn obstacle(
    of: &RecordedContainer,
    record: &Record,
    unit: Option<&Unit>,
    never: &[String],
) -> Option<Obstacle> {
    let own = match (&of.unit, unit) {
        (Some(name), unit) => obstacle_of_unit(of, name, unit, never),
        (None, _) if of.compose.is_none() => Some(stays("only who has started it knows how")),
        (None, _) if of.engine == Engine::Podman => {
            Some(stays("projects of Compose are recreated in Docker only"))
        }
        (None, _) => None,
    };
    let follows = of.unit.is_some();
    let obstacle = |why: String| Some(Obstacle { why, follows });
    own.or_else(|| {
        let hang_on = |other: &&RecordedContainer| {
            let joined = |name: &String| *name == of.name || (!of.id.is_empty() && *name == of.id);
            other.engine == of.engine && other.joins.iter().any(joined)
        };
        if of.restore == Restore::No {
            obstacle("its health does not count".to_owned())
        } else if of.unhealthy {
            obstacle("it is unhealthy as it is".to_owned())
        } else {
            let other = record.containers.iter().find(hang_on)?;
            obstacle(format!("{} shares its namespaces or volumes", other.name))
        }
    })
}

fn obstacle_of_unit(
    of: &RecordedContainer,
    name: &str,
    unit: Option<&Unit>,
    never: &[String],
) -> Option<Obstacle> {
    let follows = |why: String| Some(Obstacle { why, follows: true });
    let Some(unit) = unit else { return follows(format!("{name} cannot be seen")) };
    let named = (of.engine, of.name.clone());
    let mut made = unit.starts.iter().filter_map(|command| wrapped::makes(command));
    let Some(made) = made.find(|made| made.named == named) else {
        let started = |command: &Vec<String>| wrapped::runs(command).as_ref() == Some(&named);
        if unit.starts.iter().any(started) {
            return Some(stays(&format!("{name} only starts the container that is there")));
        }
        return follows(format!("the command of {name} does not name it"));
    };
    if any_matches(never, name) {
        follows(format!("services.never names {name}"))
    } else if made.pulls || unit.before.iter().flatten().any(|word| word.contains("pull")) {
        follows(format!("{name} has it pulled at each start, so there is no way back"))
    } else if !made.clears && !unit.ends.iter().any(|command| wrapped::removes(command, &named)) {
        follows(format!("{name} does not remove the old one"))
    } else {
        None
    }
}

fn stays(why: &str) -> Obstacle {
    Obstacle { why: why.to_owned(), follows: false }
}

/// Changes and their containers in the order these need each other, as [`Order`] says.
#[must_use]
pub fn in_order(record: &Record, mut changes: Vec<Change>) -> Vec<Change> {
    let all = &record.containers;
    let needs = Order::of(all).needs;
    let mut places: Vec<usize> = Vec::new();
    // Circles are opened there: each round finds one.
    while let Some(next) = (0..all.len())
        .find(|at| !places.contains(at) && needs[*at].iter().all(|need| places.contains(&need.on)))
    {
        places.push(next);
    }
    let place = |engine: Engine, name: &str| {
        places.iter().position(|at| all[*at].engine == engine && all[*at].name == name)
    };
    for change in &mut changes {
        let engine = change.engine;
        change.containers.sort_by_key(|own| place(engine, &own.name));
    }
    changes.sort_by_key(|c| c.containers.first().and_then(|own| place(c.engine, &own.name)));
    changes
}

impl Journal {
    /// Notes what was pulled, in place of what is known of that name.
    pub fn note_pulled(&mut self, pulled: Pulled) {
        self.pulled.retain(|p| (p.engine, &p.reference) != (pulled.engine, &pulled.reference));
        self.pulled.push(pulled);
    }

    /// What is known of a name.
    #[must_use]
    pub fn pulled(&self, engine: Engine, reference: &str) -> Option<&Pulled> {
        self.pulled.iter().find(|p| p.engine == engine && p.reference == reference)
    }

    /// Why an image is not taken by a name again.
    #[must_use]
    pub fn denied(&self, engine: Engine, reference: &str, id: &str) -> Option<&str> {
        let same = |d: &&Denied| d.engine == engine && d.reference == reference && d.id == id;
        self.denied.iter().find(same).map(|denied| denied.why.as_str())
    }

    /// Begins to go back from the change at a place. An image that was to blame, or may have been, is denied.
    pub fn go_back(&mut self, at: usize, why: Option<String>) {
        let Some(change) = self.changes.get_mut(at) else { return };
        let Change { engine, reference, new, .. } = change.clone();
        change.step = Step::GoingBack { why: why.clone() };
        if let Some(why) = why
            && self.denied(engine, &reference, &new).is_none()
        {
            self.denied.push(Denied { engine, reference, id: new, why });
        }
    }

    /// Ends the cycle, and forgets what was changed in it; true when there was something to forget.
    pub fn settle(&mut self) -> bool {
        let changes = std::mem::take(&mut self.changes);
        for Change { engine, reference, .. } in &changes {
            self.pulled.retain(|p| (p.engine, &p.reference) != (*engine, reference));
        }
        self.cycle.take().is_some() || !changes.is_empty()
    }

    /// Sentences for names that do not stand for their old image yet, and, unless the cycle has `failed`
    /// already, for images that did not do: a cycle with one fails.
    #[must_use]
    pub fn failing(&self, failed: bool) -> Vec<String> {
        let sentence = |change: &Change| {
            let Change { engine, reference, old, new, step, .. } = change;
            let (old, new) = (short(old), short(new));
            match step {
                Step::GoingBack { .. } => {
                    Some(format!("{reference} ({engine}) cannot be put back from {new} to {old}"))
                }
                Step::Back { why: Some(why) } if !failed => Some(format!(
                    "{reference} ({engine}) was {new} and did not do ({why}): it is {old} again"
                )),
                _ => None,
            }
        };
        self.changes.iter().filter_map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        container::testing::running,
        order::Compose,
        record::Units,
        unit::testing::{service, words},
    };

    fn record(containers: &[crate::core::record::Container]) -> Record {
        Record::of("b".to_owned(), Timestamp::UNIX_EPOCH, &Units::new(), containers)
    }

    fn web(edit: impl FnOnce(&mut RecordedContainer)) -> Record {
        let mut record = record(&[running("web")]);
        edit(&mut record.containers[0]);
        record
    }

    fn of_unit(command: &str, ends: &[&str], never: &[&str]) -> Option<Obstacle> {
        let record = web(|web| web.unit = Some("web.service".to_owned()));
        let starts = vec![command.split(' ').map(str::to_owned).collect()];
        let ends = ends.iter().map(|end| end.split(' ').map(str::to_owned).collect()).collect();
        let unit = crate::core::record::Unit { starts, ends, ..service("web.service") };
        obstacle(&record.containers[0], &record, Some(&unit), &words(never))
    }

    #[test]
    fn a_unit_that_has_its_image_pulled_before_each_start_leaves_no_way_back() {
        let record = web(|web| web.unit = Some("web.service".to_owned()));
        let unit = |before: &[&str]| crate::core::record::Unit {
            starts: vec![words(&["docker", "run", "--rm", "--name", "web", "x"])],
            before: vec![words(before)],
            ..service("web.service")
        };
        let against = |before: &[&str]| {
            obstacle(&record.containers[0], &record, Some(&unit(before)), &[])
                .map(|found| found.why)
        };
        let why =
            Some("web.service has it pulled at each start, so there is no way back".to_owned());
        assert_eq!(against(&["/usr/bin/docker", "pull", "x"]), why);
        assert_eq!(against(&["/bin/sh", "-c", "docker image pull x || true"]), why);
        assert_eq!(against(&["/usr/bin/docker", "rm", "-f", "web"]), None);
    }

    #[test]
    fn a_unit_that_makes_its_container_anew_makes_it_of_the_new_image() {
        assert_eq!(of_unit("docker run --rm --name web x", &[], &["db.service"]), None);
        assert_eq!(of_unit("docker run --name web x", &["docker rm web"], &[]), None);
    }

    #[test]
    fn a_unit_that_would_bring_the_old_container_back_or_leave_no_way_back_is_no_maker() {
        let cases = [
            (
                "docker start -a web",
                &[][..],
                "web.service only starts the container that is there",
                false,
            ),
            ("docker run --name web x", &[], "web.service does not remove the old one", true),
            ("docker run --rm x", &[], "the command of web.service does not name it", true),
            (
                "docker run --rm --pull=always --name web x",
                &[],
                "web.service has it pulled at each start, so there is no way back",
                true,
            ),
            ("docker run --rm --name web x", &["web*"], "services.never names web.service", true),
        ];
        for (command, never, why, follows) in cases {
            let expected = Obstacle { why: why.to_owned(), follows };
            assert_eq!(of_unit(command, &[], never), Some(expected), "{command}");
        }
    }

    #[test]
    fn what_nobody_owns_what_is_ill_and_what_others_hang_on_is_left_alone() {
        let compose = || Some(Compose::new("shop", "web", None));
        let why = |record: Record| {
            obstacle(&record.containers[0], &record, None, &[]).map(|obstacle| obstacle.why)
        };
        assert_eq!(why(web(|web| web.compose = compose())), None);
        let nobody = why(web(|_| ())).unwrap();
        assert_eq!(nobody, "only who has started it knows how");
        let podman = why(web(|web| {
            web.compose = compose();
            web.engine = Engine::Podman;
        }));
        assert_eq!(podman.unwrap(), "projects of Compose are recreated in Docker only");
        let ill = why(web(|web| {
            web.compose = compose();
            web.unhealthy = true;
        }));
        assert_eq!(ill.unwrap(), "it is unhealthy as it is");
        let left = why(web(|web| {
            web.compose = compose();
            web.restore = Restore::No;
        }));
        assert_eq!(left.unwrap(), "its health does not count");
        let mut joined = record(&[running("web"), running("sidecar")]);
        let at = |name: &str| joined.containers.iter().position(|c| c.name == name).unwrap();
        let (own, other) = (at("web"), at("sidecar"));
        joined.containers[own].compose = compose();
        joined.containers[other].joins = vec!["web".to_owned()];
        let found = obstacle(&joined.containers[own], &joined, None, &[]).unwrap();
        assert_eq!(found.why, "sidecar shares its namespaces or volumes");
    }

    fn change(reference: &str, containers: &[&str]) -> Change {
        Change {
            engine: Engine::Docker,
            reference: reference.to_owned(),
            old: "0".repeat(64),
            new: "1".repeat(64),
            containers: containers
                .iter()
                .map(|name| Remade { name: (*name).to_owned(), maker: Maker::Unit(String::new()) })
                .collect(),
            step: Step::Planned,
        }
    }

    #[test]
    fn what_others_need_is_made_anew_first() {
        let needs = |service: &str, on: Option<&str>| crate::core::record::Container {
            compose: Some(Compose::new("shop", service, on)),
            ..running(service)
        };
        let all = [
            needs("a", Some("b:service_started:false")),
            needs("b", Some("")),
            needs("c", Some("a")),
        ];
        let changes = vec![change("x:1", &["c", "a"]), change("y:1", &["b"])];
        let ordered = in_order(&record(&all), changes);
        let names: Vec<_> = ordered
            .iter()
            .map(|c| c.containers.iter().map(|own| own.name.as_str()).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(names, ["b", "a c"]);
    }

    #[test]
    fn an_image_that_did_not_do_is_denied_until_there_is_a_third_one() {
        let mut journal = Journal { changes: vec![change("x:1", &["a"])], ..Journal::default() };
        journal.go_back(0, None);
        let stuck = "x:1 (docker) cannot be put back from 111111111111 to 000000000000";
        assert!(journal.failing(true) == [stuck] && journal.denied.is_empty());
        journal.changes[0].step = Step::Back { why: None };
        assert!(journal.failing(false).is_empty());
        journal.go_back(0, Some("it is gone".to_owned()));
        journal.go_back(0, Some("again".to_owned()));
        journal.changes[0].step = Step::Back { why: Some("again".to_owned()) };
        let denied = |id: &str| journal.denied(Engine::Docker, "x:1", &id.repeat(64));
        assert_eq!((denied("1"), denied("2")), (Some("it is gone"), None));
        let said = "x:1 (docker) was 111111111111 and did not do (again): it is 000000000000 again";
        assert_eq!(journal.failing(false), [said]);
        assert!(journal.failing(true).is_empty());
        assert!(journal.settle() && journal.failing(false).is_empty() && journal.denied.len() == 1);
        assert!(!journal.settle());
    }

    #[test]
    fn of_each_name_only_the_last_pull_counts() {
        let pulled = |id: &str| Pulled {
            engine: Engine::Docker,
            reference: "x:1".to_owned(),
            id: id.to_owned(),
            stood_for: "0".to_owned(),
        };
        let mut journal = Journal::default();
        journal.note_pulled(pulled("1"));
        journal.note_pulled(pulled("2"));
        assert_eq!(journal.pulled(Engine::Docker, "x:1").map(|p| p.id.as_str()), Some("2"));
        assert!(journal.pulled(Engine::Podman, "x:1").is_none() && journal.pulled.len() == 1);
    }
}
