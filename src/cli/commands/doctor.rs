//! `doctor`: gathers the facts; what they mean is decided in the core.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{print, print_json, reach::Reach};
use crate::{
    adapters::{
        node,
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
        settings::{Settings, Strategy},
    },
    core::{
        doctor::{Agent, Facts, Finding, Machine, Mode, Node, Store, examine, in_trouble},
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
pub async fn doctor(json: bool, target: &Target, root: &Path) -> Result<u8, CliError> {
    let facts = match Reach::of(target) {
        Reach::Store(store) => {
            Facts { machine: None, store: Some(elsewhere(&store, target).await) }
        }
        Reach::Agent => of_this_machine(root).await,
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
    let place = Place {
        endpoints: &target.endpoint,
        prefix: &target.prefix,
        groups: target.group.as_ref().map(std::slice::from_ref),
        target: target.endpoint.iter().flat_map(|url| [" --endpoint ", url]).collect(),
    };
    place.facts(store).await
}

async fn of_this_machine(root: &Path) -> Facts {
    let settings = config::load(root).map(|loaded| loaded.settings);
    let machine = machine(&settings).await;
    let store = match &settings {
        Ok(settings) if settings.strategy == Strategy::EtcdLock => Some(configured(settings).await),
        Ok(_) | Err(_) => None,
    };
    Facts { machine: Some(machine), store }
}

/// The lock that this machine's configuration names.
async fn configured(settings: &Settings) -> Store {
    let etcd = &settings.etcd;
    let place = Place {
        endpoints: &etcd.endpoints,
        prefix: &etcd.prefix,
        groups: Some(&settings.lock.groups),
        target: String::new(),
    };
    let store = EtcdStore::new(&Access::from(etcd), &etcd.prefix);
    place.facts(&SlotStore::Etcd(store)).await
}

/// Which lock, also for the commands that are printed.
struct Place<'a> {
    endpoints: &'a [String],
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
            etcdctl: format!("etcdctl --endpoints={}", self.endpoints.join(",")),
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

async fn machine(settings: &Result<Settings, config::ConfigErrors>) -> Machine {
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
            return Machine { mode, agent: Err(why.clone()), clock: Err(why) };
        }
    };
    let clock = Systemd::new(bus.clone()).clock_synchronised().await;
    let clock = clock.map_err(|error| chain(&error));
    Machine { mode, agent: agent(&bus).await, clock }
}

async fn agent(bus: &zbus::Connection) -> Result<Agent, String> {
    let proxy = StatusProxy::new(bus).await.map_err(|error| chain(&error))?;
    let said = proxy.status().await.map_err(|error| CliError::from(error).to_string())?;
    let status: StatusDoc =
        serde_json::from_str(&said).map_err(|error| CliError::from(error).to_string())?;
    Ok(Agent { version: status.agent, config_problem: status.config_problem })
}
