//! Which lock a command is about: the agent's, through its bus, or one in etcd, directly.

use std::{collections::BTreeMap, time::Duration};

use super::agent::{control_proxy, status_proxy};
use crate::{
    adapters::{
        clock,
        slots::{
            NodeRecord, SlotStore,
            etcd::{Access, EtcdStore},
        },
    },
    cli::{
        args::{Papers, Target},
        error::CliError,
    },
    core::{change::Change, history::Entry},
    dbus::agent::{LockDoc, StatusDoc},
};

/// Deadline of one request to etcd.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The group that is meant where nothing is said and no agent is asked.
const DEFAULT_GROUP: &str = "default";

/// The way to the lock.
pub enum Reach {
    /// Through the agent.
    Agent,
    /// Straight to the store.
    Store(SlotStore),
}

impl Reach {
    /// What the command line asks for.
    pub fn of(target: &Target) -> Self {
        if target.endpoint.is_empty() {
            return Self::Agent;
        }
        Self::Store(SlotStore::Etcd(EtcdStore::new(&access(target), &target.prefix)))
    }

    /// The locks of every group, or of the one that is asked for.
    pub async fn locks(&self, group: Option<&str>) -> Result<Vec<LockDoc>, CliError> {
        let locks = match self {
            Self::Agent => status().await?.locks,
            Self::Store(store) => {
                let nodes = store.nodes().await?;
                let phase = |id: &str| nodes.get(id).map(|n| n.phase.clone()).unwrap_or_default();
                let groups = match group {
                    Some(group) => vec![group.to_owned()],
                    None => store.groups().await?,
                };
                let views = store.view(&groups).await?;
                let doc = |(group, view): (&String, &_)| {
                    LockDoc::of(group, view, Some(clock::wall()), phase)
                };
                views.iter().map(doc).collect()
            }
        };
        match group {
            Some(group) => Ok(vec![only(locks, group)?]),
            None => Ok(locks),
        }
    }

    /// The lock of one group: the one that is asked for, or the one that is meant.
    pub async fn lock(&self, group: Option<&str>) -> Result<LockDoc, CliError> {
        let first = || LockDoc { group: DEFAULT_GROUP.to_owned(), ..LockDoc::default() };
        match (self, group) {
            (Self::Agent, None) => {
                Ok(self.locks(None).await?.into_iter().next().unwrap_or_else(first))
            }
            (Self::Agent, Some(_)) | (Self::Store(_), _) => {
                only(self.locks(Some(group.unwrap_or(DEFAULT_GROUP))).await?, self.name(group))
            }
        }
    }

    /// Makes a change; answers with the lock before and after.
    pub async fn change(
        &self,
        group: Option<&str>,
        change: &Change,
    ) -> Result<(LockDoc, LockDoc), CliError> {
        let group = self.name(group);
        let Self::Store(store) = self else {
            let change = serde_json::to_string(change)?;
            return Ok(serde_json::from_str(&control_proxy().await?.admin(group, &change).await?)?);
        };
        let groups = [group.to_owned()];
        let before = store.view(&groups).await?.remove(group).unwrap_or_default();
        let after = store.admin(group, change).await?;
        let doc = |view| LockDoc::of(group, view, Some(clock::wall()), |_| String::new());
        Ok((doc(&before), doc(&after)))
    }

    /// All nodes' records.
    pub async fn nodes(&self) -> Result<BTreeMap<String, NodeRecord>, CliError> {
        match self {
            Self::Agent => Ok(serde_json::from_str(&status_proxy().await?.nodes().await?)?),
            Self::Store(store) => Ok(store.nodes().await?),
        }
    }

    /// What happened to a group.
    pub async fn history(&self, group: Option<&str>) -> Result<Vec<Entry>, CliError> {
        let group = self.name(group);
        match self {
            Self::Agent => Ok(serde_json::from_str(&status_proxy().await?.history(group).await?)?),
            Self::Store(store) => Ok(store.history(group).await?),
        }
    }

    /// The agent knows which group is meant by no name.
    fn name<'a>(&self, group: Option<&'a str>) -> &'a str {
        group.unwrap_or(match self {
            Self::Agent => "",
            Self::Store(_) => DEFAULT_GROUP,
        })
    }
}

/// How the command line says that etcd is reached.
pub fn access(target: &Target) -> Access {
    given(&target.endpoint, &target.papers)
}

/// The same, for any endpoints.
pub fn given(endpoints: &[String], papers: &Papers) -> Access {
    Access {
        endpoints: endpoints.to_vec(),
        timeout: TIMEOUT,
        ca_file: papers.cacert.clone(),
        cert_file: papers.cert.clone(),
        key_file: papers.key.clone(),
        user: papers.user.clone(),
        password_file: papers.password_file.clone(),
    }
}

/// The agent's status.
pub async fn status() -> Result<StatusDoc, CliError> {
    Ok(serde_json::from_str(&status_proxy().await?.status().await?)?)
}

fn only(locks: Vec<LockDoc>, group: &str) -> Result<LockDoc, CliError> {
    let mut known: Vec<String> = locks.iter().map(|lock| lock.group.clone()).collect();
    let found = locks.into_iter().find(|lock| lock.group == group);
    known.sort();
    found.ok_or_else(|| {
        let known = known.join(", ");
        CliError::Failed(format!(
            "this node is not in group {group:?}; it is in {known} (other groups: --endpoint)"
        ))
    })
}
