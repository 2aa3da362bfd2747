//! One container as its engine shows it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{order::Compose, wish::Wish};

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

/// One container as its engine shows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Whose it is.
    pub engine: Engine,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
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
    /// What its labels say about restoring it.
    pub wish: Wish,
    /// Its place in a project of Compose.
    pub compose: Option<Compose>,
    /// Names or ids of containers whose namespaces it shares, or whose volumes it takes.
    pub joins: Vec<String>,
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

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::UnlessStopped => "unless-stopped",
            Self::Always => "always",
        })
    }
}

/// Containers for tests.
#[cfg(test)]
pub(super) mod testing {
    use super::{Container, Engine, Health, Policy, Wish};

    /// A container of Docker that runs, with nothing special about it.
    pub fn running(name: &str) -> Container {
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
            started: None,
            id: String::new(),
            wish: Wish::default(),
            compose: None,
            joins: Vec::new(),
        }
    }
}
