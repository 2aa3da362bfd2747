//! The root side: the verbs of `org.lockkeeper1.Executor`, one file each.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    adapters::{
        containers::ContainerError,
        state_file::StateFileError,
        systemd::{Systemd, SystemdError, boot::BootIdError},
    },
    core::{plan::PlanId, standing::Restarts},
};

pub mod apply;
pub mod check;
pub mod confirm;
pub mod evidence;
pub mod reboot;
pub mod record;
pub mod restore;
pub mod service;
pub mod stage;
pub mod verify;

mod look;

/// What the verbs share.
#[derive(Debug)]
pub struct Context {
    /// Where the files are.
    pub dirs: Dirs,
    /// systemd and logind.
    pub systemd: Systemd,
    /// Units and containers nobody restores or verifies (`workloads.ignore`, globs with `*`).
    pub ignore: Vec<String>,
    /// What [`verify`] saw last, as long as this process lives.
    seen: Mutex<Option<Restarts>>,
}

impl Context {
    /// A context that has seen nothing yet.
    #[must_use]
    pub fn new(dirs: Dirs, systemd: Systemd, ignore: Vec<String>) -> Self {
        Self { dirs, systemd, ignore, seen: Mutex::default() }
    }

    /// Remembers counts of automatic restarts; answers with those remembered before, if any.
    fn remember(&self, now: Restarts) -> Option<Restarts> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now)
    }
}

/// Why recording, restoring, verifying or rebooting did not work.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The boot id.
    #[error(transparent)]
    BootId(#[from] BootIdError),
    /// systemd or logind.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// A container engine.
    #[error(transparent)]
    Containers(#[from] ContainerError),
    /// The record's file.
    #[error(transparent)]
    Record(#[from] StateFileError),
}

/// Where the executor keeps its files.
#[derive(Clone, Debug)]
pub struct Dirs {
    state: PathBuf,
}

impl Dirs {
    /// The place on an installed system, `/var/lib/lockkeeper-executor` (root, 0755).
    #[must_use]
    pub fn system() -> Self {
        Self::at(Path::new("/var/lib/lockkeeper-executor"))
    }

    /// Another place.
    #[must_use]
    pub fn at(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The state directory itself.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The private package lists.
    #[must_use]
    pub fn lists(&self) -> PathBuf {
        self.state.join("lists")
    }

    /// The folder of all plans.
    #[must_use]
    pub fn plans(&self) -> PathBuf {
        self.state.join("plans")
    }

    /// The folder of one plan.
    #[must_use]
    pub fn plan(&self, id: &PlanId) -> PathBuf {
        self.plans().join(id.as_str())
    }

    /// What was running before the disturbance.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.state.join("record.json")
    }
}
