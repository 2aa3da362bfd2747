//! `doctor`: gathers the facts; what they mean is decided in the core.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    print, print_json,
    reach::{Reach, access},
};
use crate::{
    adapters::{
        neighbours, node, scripts,
        slots::{
            NodeRecord, SlotStore,
            etcd::{Access, EtcdStore},
        },
        systemd::Systemd,
    },
    cli::{
        args::Target,
        error::{CliError, TROUBLE},
        render,
    },
    config::{
        self,
        probes::Target as Asked,
        settings::{Settings, Strategy},
    },
    core::{
        doctor::{
            Agent, Facts, Finding, Machine, Mode, Neighbours, Node, Store, examine, in_trouble,
        },
        slots::{MEMBERS_GROUP, SlotsView},
    },
    dbus::agent::{StatusDoc, StatusProxy},
    observe::logging::chain,
};

/// What `doctor --json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u32,
    trouble: bool,
    findings: &'a [Finding],
}

/// Examines the lock at `target`, or this machine's, whose configuration is under `root`.
pub async fn doctor(
    json: bool,
    target: &Target,
    root: &Path,
    apt_config: Option<&Path>,
) -> Result<u8, CliError> {
    let facts = match Reach::of(target) {
        Reach::Store(store) => {
            Facts { machine: None, store: Some(elsewhere(&store, target).await) }
        }
        Reach::Agent => of_this_machine(root, apt_config).await,
    };
    let findings = examine(&facts);
    let trouble = in_trouble(&findings);
    if json {
        print_json(&Document { schema: 1, trouble, findings: &findings })?;
    } else {
        print(&render::doctor(&findings))?;
    }
    Ok(if trouble { TROUBLE } else { 0 })
}

/// A lock looked at from any machine.
async fn elsewhere(store: &SlotStore, target: &Target) -> Store {
    let access = access(target);
    let place = Place {
        access: &access,
        prefix: &target.prefix,
        groups: target.group.as_ref().map(std::slice::from_ref),
        target: given(&access),
    };
    place.facts(store).await
}

async fn of_this_machine(root: &Path, apt_config: Option<&Path>) -> Facts {
    let settings = config::load(root).map(|loaded| loaded.settings);
    let neighbours = neighbours::look(root, apt_config).await.map_err(|error| chain(&error));
    let machine = machine(&settings, neighbours, unrunnable(root, &settings)).await;
    let store = match &settings {
        Ok(settings) if settings.strategy == Strategy::EtcdLock => Some(configured(settings).await),
        Ok(_) | Err(_) => None,
    };
    Facts { machine: Some(machine), store }
}

/// The lock that this machine's configuration names.
async fn configured(settings: &Settings) -> Store {
    let etcd = &settings.etcd;
    let access = Access::from(etcd);
    let place = Place {
        access: &access,
        prefix: &etcd.prefix,
        groups: Some(&settings.lock.groups),
        target: String::new(),
    };
    let store = EtcdStore::new(&access, &etcd.prefix);
    place.facts(&SlotStore::Etcd(store)).await
}

/// How `rebootctl` is told the same on its command line.
fn given(access: &Access) -> String {
    let endpoints = access.endpoints.iter().flat_map(|url| [" --endpoint ", url]);
    endpoints.map(str::to_owned).chain(papers(access, ' ')).collect()
}

/// `etcdctl` for the same etcd. It asks for the password of a user by itself.
fn etcdctl(access: &Access) -> String {
    let open = Access { password_file: None, ..access.clone() };
    let start = format!("etcdctl --endpoints={}", access.endpoints.join(","));
    std::iter::once(start).chain(papers(&open, '=')).collect()
}

/// Certificates and user as options; both programs have the same names for them.
fn papers(access: &Access, sign: char) -> impl Iterator<Item = String> {
    let path = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
    let options = [
        ("cacert", path(&access.ca_file)),
        ("cert", path(&access.cert_file)),
        ("key", path(&access.key_file)),
        ("user", access.user.clone()),
        ("password-file", path(&access.password_file)),
    ];
    options.into_iter().filter_map(move |(name, value)| Some(format!(" --{name}{sign}{}", value?)))
}

/// Which lock, also for the commands that are printed.
struct Place<'a> {
    access: &'a Access,
    prefix: &'a str,
    /// The groups to look at; all the store knows where none are given.
    groups: Option<&'a [String]>,
    target: String,
}

impl Place<'_> {
    async fn facts(self, store: &SlotStore) -> Store {
        let own = node::addresses().unwrap_or_default();
        let cluster = match store.cluster(&own).await {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) => Err("the lock is a local file".to_owned()),
            Err(why) => Err(why),
        };
        let why = "etcd has no quorum".to_owned();
        let (mut groups, mut known) = (BTreeMap::new(), Err(why));
        if let Some(cluster) = cluster.as_ref().ok().filter(|cluster| cluster.has_quorum()) {
            groups = self.views(store, cluster.member_here()).await;
            known = nodes(store).await;
        }
        Store {
            etcdctl: etcdctl(self.access),
            target: self.target,
            prefix: self.prefix.trim_end_matches('/').to_owned(),
            cluster,
            groups,
            nodes: known,
        }
    }

    /// The groups, each read by itself, so that one that cannot be read hides no other.
    async fn views(
        &self,
        store: &SlotStore,
        member_here: bool,
    ) -> BTreeMap<String, Result<SlotsView, String>> {
        let mut groups = match self.groups {
            Some(groups) => groups.to_vec(),
            None => match store.groups().await {
                Ok(groups) => groups,
                Err(error) => return BTreeMap::from([("*".to_owned(), Err(chain(&error)))]),
            },
        };
        if member_here && self.target.is_empty() {
            groups.push(MEMBERS_GROUP.to_owned());
        }
        let mut views = BTreeMap::new();
        for group in groups {
            let seen = store.view(std::slice::from_ref(&group)).await;
            let view = seen.map(|mut views| views.remove(&group).unwrap_or_default());
            views.insert(group, view.map_err(|error| chain(&error)));
        }
        views
    }
}

async fn nodes(store: &SlotStore) -> Result<BTreeMap<String, Node>, String> {
    let (records, alive) =
        tokio::try_join!(store.nodes(), store.alive()).map_err(|error| chain(&error))?;
    let node = |(id, record): (String, NodeRecord)| {
        let alive = alive.contains(&id);
        (id, Node { name: record.name, phase: record.phase, alive })
    };
    Ok(records.into_iter().map(node).collect())
}

async fn machine(
    settings: &Result<Settings, config::ConfigErrors>,
    neighbours: Result<Neighbours, String>,
    checks: Vec<String>,
) -> Machine {
    let mode = match settings {
        Ok(settings) => Ok(match settings.strategy {
            Strategy::Off => Mode::Off,
            Strategy::Reboot => Mode::Alone,
            Strategy::EtcdLock | Strategy::FleetLock => Mode::Fleet,
        }),
        Err(errors) => Err(chain(errors)),
    };
    let bus = match zbus::Connection::system().await {
        Ok(bus) => bus,
        Err(error) => {
            let why = format!("the system bus cannot be used: {}", chain(&error));
            return Machine { mode, agent: Err(why.clone()), clock: Err(why), neighbours, checks };
        }
    };
    let clock = Systemd::new(bus.clone()).clock_synchronised().await;
    let clock = clock.map_err(|error| chain(&error));
    Machine { mode, agent: agent(&bus).await, clock, neighbours, checks }
}

/// The admin's checks that cannot be run, as their files show; the executor would say the same.
fn unrunnable(root: &Path, settings: &Result<Settings, config::ConfigErrors>) -> Vec<String> {
    let programs = scripts::find(root, &scripts::folders("health.d")).into_iter();
    let programs = programs.map(|found| (format!("check {}", found.name), found.program));
    let probes = settings.iter().flat_map(|settings| &settings.probes);
    let commands = probes.filter_map(|probe| match &probe.target {
        Asked::Command(argv) => {
            let program = Path::new(argv.first()?);
            Some((format!("probe {}", probe.name), scripts::trusted(root, program)))
        }
        Asked::Http { .. } | Asked::Tcp(_) => None,
    });
    let all = programs.chain(commands);
    all.filter_map(|(name, program)| Some(format!("{name} cannot be run: {}", program.err()?)))
        .collect()
}

async fn agent(bus: &zbus::Connection) -> Result<Agent, String> {
    let proxy = StatusProxy::new(bus).await.map_err(|error| chain(&error))?;
    let said = proxy.status().await.map_err(|error| CliError::from(error).to_string())?;
    let status: StatusDoc =
        serde_json::from_str(&said).map_err(|error| CliError::from(error).to_string())?;
    Ok(Agent { version: status.agent, config_problem: status.config_problem })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn printed_commands_get_in_as_we_did() {
        let access = Access {
            ca_file: Some("/ca".into()),
            user: Some("alice".to_owned()),
            password_file: Some("/pw".into()),
            ..Access::open(&["https://192.0.2.1:2379".to_owned()], Duration::from_secs(1))
        };
        assert_eq!(
            given(&access),
            " --endpoint https://192.0.2.1:2379 --cacert /ca --user alice --password-file /pw"
        );
        assert_eq!(
            etcdctl(&access),
            "etcdctl --endpoints=https://192.0.2.1:2379 --cacert=/ca --user=alice"
        );
    }
}
