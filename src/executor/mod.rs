//! The root side: the verbs of `org.lockkeeper1.Executor`, one file each.

use std::path::{Path, PathBuf};

use crate::core::plan::PlanId;

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
