//! The root side: the verbs of `org.lockkeeper1.Executor`, one file each.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    adapters::{
        containers::ContainerError,
        kexec::KexecError,
        node::NodeError,
        packages::{Layout, PackageError},
        stale::LookError,
        state_file::StateFileError,
        systemd::{
            Systemd, SystemdError,
            boot::{BootError, BootIdError},
        },
    },
    config::{
        self,
        settings::{Channel, Containers, Packages, Resurrected, Services, Settings, Workloads},
    },
    core::standing::Restarts,
};

pub mod announce;
pub mod apply;
pub mod as_user;
pub mod at_boot;
pub mod channel;
pub mod check;
pub mod confirm;
pub mod describe;
pub mod evidence;
pub mod hooks;
pub mod images;
pub mod kexec;
pub mod outlook;
pub mod reboot;
pub mod record;
pub mod recreate;
pub mod restore;
pub mod run;
pub mod service;
pub mod soft;
pub mod stage;
pub mod stale;
pub mod undo;
pub mod verify;

mod boot_complete;
mod bring_up;
mod checks;
mod foreign_checks;
mod leftover;
mod look;
mod resurrected;
mod users;

/// Where the executor keeps its files on an installed system (root, 0755).
pub const STATE: &str = "/var/lib/lockkeeper-executor";

/// What the verbs share.
#[derive(Debug)]
pub struct Context {
    /// The packages' system, and where plans are kept.
    pub layout: Layout,
    /// The file of the record.
    pub record: PathBuf,
    /// systemd and logind.
    pub systemd: Systemd,
    /// Units and containers nobody restores or verifies (`workloads.ignore`, globs with `*`).
    pub ignore: Vec<String>,
    /// `workloads.resurrected`
    pub resurrected: Resurrected,
    /// `workloads.users`: users (globs with `*`) whose workloads count as the node's own.
    pub users: Vec<String>,
    /// The root of the configuration.
    pub config: PathBuf,
    /// `[services]`
    pub services: Services,
    /// The file that says which hooks have run in this cycle.
    pub hooks: PathBuf,
    /// The file that names what was restarted for the update.
    pub restarted: PathBuf,
    /// The file of the last soft-reboot that was asked for.
    pub soft_reboot: PathBuf,
    /// The file of the last reboot by kexec that was asked for.
    pub kexec: PathBuf,
    /// The file that says which name of an image a pull is moving.
    pub images: PathBuf,
    /// The file that says which containers are made anew from newer images.
    pub recreated: PathBuf,
    /// Where what is known of the release channel is.
    pub channel: channel::Places,
    /// What [`verify`] saw last, as long as this process lives.
    seen: Mutex<Option<Restarts>>,
    /// Held while the admin's checks run: what was reported of those that do not count.
    checking: tokio::sync::Mutex<Vec<String>>,
    /// Held while users are asked: each has one process of ours.
    asking: tokio::sync::Mutex<()>,
    /// Held while names of images move.
    moving: tokio::sync::Mutex<()>,
}

impl Context {
    /// A context that has seen nothing yet; its files are under `state`.
    #[must_use]
    pub fn new(state: &Path, systemd: Systemd, ignore: Vec<String>, config: &Path) -> Self {
        Self {
            layout: Layout::system(state),
            record: state.join("record.json"),
            systemd,
            ignore,
            resurrected: Settings::default().workloads.resurrected,
            users: Vec::new(),
            config: config.to_owned(),
            services: Settings::default().services,
            hooks: state.join("hooks.json"),
            restarted: state.join("restarted.json"),
            soft_reboot: state.join("soft-reboot.json"),
            kexec: state.join("kexec.json"),
            images: state.join("images.json"),
            recreated: state.join("recreated.json"),
            channel: channel::Places::system(state),
            seen: Mutex::default(),
            checking: tokio::sync::Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            moving: tokio::sync::Mutex::default(),
        }
    }

    /// The same with other `[services]` than the built-in ones.
    #[must_use]
    pub fn with_services(self, services: Services) -> Self {
        Self { services, ..self }
    }

    /// The same with other `[workloads]` than the built-in ones.
    #[must_use]
    pub fn with_workloads(self, workloads: Workloads) -> Self {
        let Workloads { ignore, resurrected, users } = workloads;
        Self { ignore, resurrected, users, ..self }
    }

    /// Remembers counts of automatic restarts; answers with those remembered before, if any.
    fn remember(&self, now: Restarts) -> Option<Restarts> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now)
    }
}

/// What is configured about packages.
#[derive(Debug)]
pub struct Rules {
    /// `[packages]`
    pub packages: Packages,
    /// `canary.follow`
    pub follow: Option<String>,
    /// Identity of all that packages are chosen by.
    pub choice: String,
    /// `[containers]`
    pub containers: Containers,
    /// `[channel]`
    pub channel: Option<Channel>,
}

impl Rules {
    /// The rules of the configuration under `root`. `None` when it cannot be read.
    #[must_use]
    pub fn read(root: &Path) -> Option<Self> {
        match config::load(root) {
            Ok(config::Loaded { settings, .. }) => Some(Self {
                choice: settings.choice(),
                follow: settings.canary.follow,
                packages: settings.packages,
                containers: settings.containers,
                channel: settings.channel,
            }),
            Err(errors) => {
                tracing::warn!("the configuration cannot be read: {errors}");
                None
            }
        }
    }
}

/// Why recording, restoring, verifying or rebooting did not work.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The boot id.
    #[error(transparent)]
    BootId(#[from] BootIdError),
    /// The boot we are in.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// systemd or logind.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The next kernel.
    #[error(transparent)]
    Kexec(#[from] KexecError),
    /// What uses old files.
    #[error(transparent)]
    Stale(#[from] LookError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PackageError),
    /// A container engine.
    #[error(transparent)]
    Containers(#[from] ContainerError),
    /// Who this node is.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What a hook is to be told.
    #[error("what hooks are told cannot be written")]
    Document(#[source] serde_json::Error),
    /// A file of ours.
    #[error(transparent)]
    Record(#[from] StateFileError),
    /// What a user runs.
    #[error("what {user} runs without root cannot be seen: {why}")]
    User {
        /// Whose.
        user: String,
        /// Why not.
        why: String,
    },
    /// Checks of the admin's own cannot be made: without them nothing is begun.
    #[error("{0}")]
    Checks(String),
}
