//! In which order containers are started: what each of them needs first.

use serde::{Deserialize, Serialize};

use super::record::RecordedContainer;

/// A container's place in a project of Compose, as its labels say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compose {
    /// The project.
    pub project: String,
    /// The service in it; several containers may be of one.
    pub service: String,
    /// The services that come before it.
    pub depends_on: Vec<Dependency>,
    /// Its labels do not say which: Compose 1 and podman-compose.
    #[serde(default)]
    pub unlabelled: bool,
}

/// One service that comes before another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub service: String,
    /// How far it must have come.
    pub until: Until,
}

/// How far a container must have come before another is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// `service_completed_successfully`: it has done its work, so it was not running.
    Completed,
    /// `service_started`
    Started,
    /// `service_healthy`
    Healthy,
}

/// One container that another needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its place in the record.
    pub on: usize,
    /// How far it must have come.
    pub until: Until,
}

/// What each container of a record needs, and sentences for what could not be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// By place in the record.
    pub needs: Vec<Vec<Need>>,
    /// One sentence each.
    pub doubts: Vec<String>,
}

impl Compose {
    /// Reads the label `com.docker.compose.depends_on`, where there is one:
    /// `db:service_healthy:false,cache:…`.
    #[must_use]
    pub fn new(project: &str, service: &str, depends_on: Option<&str>) -> Self {
        let unlabelled = depends_on.is_none();
        let parts = depends_on
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let depends_on = parts.map(|part| {
            let (service, rest) = part.split_once(':').unwrap_or((part, ""));
            let until = match rest.split(':').next().unwrap_or_default() {
                "service_healthy" => Until::Healthy,
                "service_completed_successfully" => Until::Completed,
                _ => Until::Started,
            };
            Dependency { service: service.to_owned(), until }
        });
        let depends_on = depends_on.collect();
        Self { project: project.to_owned(), service: service.to_owned(), depends_on, unlabelled }
    }
}

impl Order {
    /// What the containers' labels, and the namespaces they share, say. Where needs go round in a
    /// circle they are left out: then the order of before is all there is.
    #[must_use]
    pub fn of(containers: &[RecordedContainer]) -> Self {
        let mut order = Self { needs: Vec::new(), doubts: Vec::new() };
        for (at, container) in containers.iter().enumerate() {
            let mut needs = joined(containers, container);
            needs.extend(before(containers, at));
            for dependency in container.compose.iter().flat_map(|compose| &compose.depends_on) {
                let found = of_service(containers, container, dependency);
                // What has done its work was not running, and is not recorded.
                if found.is_empty() && dependency.until != Until::Completed {
                    order.doubts.push(format!(
                        "{container} depends on {}, which did not run: it is not waited for",
                        dependency.service
                    ));
                }
                needs.extend(found);
            }
            order.needs.push(needs);
        }
        order.open_circles(containers);
        order
    }

    fn open_circles(&mut self, containers: &[RecordedContainer]) {
        let mut left: Vec<usize> = (0..containers.len()).collect();
        loop {
            let blocked = |of: &usize| self.needs[*of].iter().any(|need| left.contains(&need.on));
            let still: Vec<usize> = left.iter().copied().filter(blocked).collect();
            if still.len() == left.len() {
                break;
            }
            left = still;
        }
        if left.is_empty() {
            return;
        }
        let names: Vec<String> = left.iter().map(|at| containers[*at].to_string()).collect();
        self.doubts.push(format!(
            "{}: they need each other, so they are started in the order of before",
            names.join(", ")
        ));
        for at in &left {
            self.needs[*at].retain(|need| !left.contains(&need.on));
        }
    }
}

/// The containers whose network or other namespaces it shares, or whose volumes it takes.
fn joined(containers: &[RecordedContainer], of: &RecordedContainer) -> Vec<Need> {
    let found = |wanted: &String| {
        containers.iter().position(|other| {
            other.engine == of.engine
                && (other.name == *wanted || (!other.id.is_empty() && other.id == *wanted))
        })
    };
    of.joins.iter().filter_map(found).map(|on| Need { on, until: Until::Started }).collect()
}

/// The one of its project that was started before it, where no label of the project says anything of
/// an order. One label is enough: then who has none needs nothing.
fn before(containers: &[RecordedContainer], at: usize) -> Option<Need> {
    let of = &containers[at];
    let own = of.compose.as_ref()?;
    let of_project = |other: &&RecordedContainer| {
        let project = other.compose.as_ref().map(|compose| &compose.project);
        other.engine == of.engine && project == Some(&own.project)
    };
    let says = |other: &RecordedContainer| other.compose.as_ref().is_some_and(|c| !c.unlabelled);
    if containers.iter().filter(of_project).any(says) {
        return None;
    }
    let on = containers[..at].iter().rposition(|other| of_project(&other))?;
    Some(Need { on, until: Until::Started })
}

fn of_service(
    containers: &[RecordedContainer],
    of: &RecordedContainer,
    dependency: &Dependency,
) -> Vec<Need> {
    let same = |other: &RecordedContainer| {
        other.engine == of.engine
            && other.compose.as_ref().zip(of.compose.as_ref()).is_some_and(|(other, own)| {
                other.project == own.project && other.service == dependency.service
            })
    };
    let found = containers.iter().enumerate().filter(|(_, other)| same(other));
    found.map(|(on, _)| Need { on, until: dependency.until }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::{Engine, Policy};

    fn container(service: &str, depends_on: &str) -> RecordedContainer {
        RecordedContainer {
            engine: Engine::Docker,
            name: format!("shop-{service}-1"),
            id: format!("id-of-{service}"),
            image: "web".to_owned(),
            policy: Policy::No,
            unit: None,
            removes_itself: false,
            unhealthy: false,
            started: None,
            restore: crate::core::wish::Restore::Required,
            health_timeout_secs: None,
            compose: Some(Compose::new("shop", service, Some(depends_on))),
            joins: Vec::new(),
        }
    }

    #[test]
    fn conditions_are_read_from_the_label() {
        let compose = Compose::new(
            "shop",
            "web",
            Some(
                "db:service_healthy:false,cache:service_started:true,migrate:service_completed_successfully:false,old",
            ),
        );
        let read: Vec<_> =
            compose.depends_on.iter().map(|d| (d.service.as_str(), d.until)).collect();
        let expected = [
            ("db", Until::Healthy),
            ("cache", Until::Started),
            ("migrate", Until::Completed),
            ("old", Until::Started),
        ];
        assert_eq!(read, expected);
        assert!(Compose::new("shop", "web", Some("")).depends_on.is_empty());
    }

    #[test]
    fn a_service_needs_all_containers_of_what_it_depends_on_in_its_own_project() {
        let web = container(
            "web",
            "db:service_healthy:false,migrate:service_completed_successfully:false",
        );
        let second = RecordedContainer { name: "shop-db-2".to_owned(), ..container("db", "") };
        let other = RecordedContainer {
            compose: Some(Compose::new("blog", "db", Some(""))),
            ..container("db", "")
        };
        let podman = RecordedContainer { engine: Engine::Podman, ..container("db", "") };
        let order = Order::of(&[web, container("db", ""), second, other, podman]);
        let need = |on| Need { on, until: Until::Healthy };
        assert_eq!(order.needs[0], [need(1), need(2)]);
        assert!(order.needs[1..].iter().all(Vec::is_empty) && order.doubts.is_empty());
    }

    #[test]
    fn a_project_whose_labels_say_nothing_is_started_one_after_the_other_as_before() {
        let of = |project: &str, service: &str| RecordedContainer {
            compose: Some(Compose::new(project, service, None)),
            ..container(service, "")
        };
        let alone = RecordedContainer { compose: None, ..container("alone", "") };
        let all =
            [of("shop", "db"), of("blog", "db"), alone, of("shop", "web"), of("shop", "proxy")];
        let need = |on| vec![Need { on, until: Until::Started }];
        let order = Order::of(&all);
        assert_eq!(order.needs, [vec![], vec![], vec![], need(0), need(3)]);
        assert!(order.doubts.is_empty());
    }

    #[test]
    fn one_label_says_that_who_has_none_needs_nothing() {
        let unlabelled = |service: &str| RecordedContainer {
            compose: Some(Compose::new("shop", service, None)),
            ..container(service, "")
        };
        // Started in the wrong order before: that must not be kept against what the label says.
        let all = [container("web", "db:service_started:false"), unlabelled("db"), unlabelled("x")];
        let order = Order::of(&all);
        assert_eq!(order.needs, [vec![Need { on: 1, until: Until::Started }], vec![], vec![]]);
        assert!(order.doubts.is_empty());
    }

    #[test]
    fn a_container_in_anothers_network_needs_it_by_name_or_id() {
        let joins = |name: &str| RecordedContainer {
            joins: vec![name.to_owned()],
            compose: None,
            ..container("web", "")
        };
        let db = container("db", "");
        let order = Order::of(&[db, joins("shop-db-1"), joins("id-of-db"), joins("gone")]);
        let need = Need { on: 0, until: Until::Started };
        assert_eq!(order.needs, [vec![], vec![need], vec![need], vec![]]);
    }

    #[test]
    fn circles_are_opened_and_named_and_the_rest_keeps_its_order() {
        let all =
            [container("a", "b"), container("b", "a"), container("c", "a"), container("d", "x")];
        let order = Order::of(&all);
        assert!(order.needs.iter().take(2).all(Vec::is_empty));
        assert_eq!(
            order.doubts,
            [
                "container shop-d-1 (docker) depends on x, which did not run: it is not waited for",
                "container shop-a-1 (docker), container shop-b-1 (docker), container shop-c-1 (docker): \
                 they need each other, so they are started in the order of before",
            ]
        );
    }
}
