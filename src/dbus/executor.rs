//! The executor's D-Bus interface `org.lockkeeper1.Executor`: its documents and the client side.
//!
//! Each document travels as one JSON text: the two programs come from one package, and a text shows
//! up readable in `busctl monitor`.

use serde::{Deserialize, Serialize};

use crate::core::{choice::KeptBack, health::Evidence, plan::Plan, stale::Report};

/// Answer of `Check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// What to install; `None` when the node is up to date.
    pub plan: Option<Plan>,
    /// What has a newer version and is left as it is.
    pub kept_back: Vec<KeptBack>,
    /// Is a reboot pending already (for whatever reason)?
    pub reboot: Evidence,
    /// The rules that the packages were chosen by.
    pub choice: String,
    /// What uses files that were replaced; `None` when that could not be seen.
    #[serde(default)]
    pub stale: Option<Report>,
}

/// Answer of `Apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum ApplyReport {
    /// Every package of the plan is installed and configured.
    Applied,
    /// Nothing was changed: the stage is gone or damaged, another package manager is at work, …
    Refused {
        /// Why.
        reason: String,
    },
    /// The system was, or may have been, changed, and the plan is not fully installed.
    Failed {
        /// What apt, dpkg or the transaction runner said, short.
        reason: String,
    },
}

/// Answer of `Undo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum UndoReport {
    /// The node has exactly the packages it had before.
    Undone,
    /// Nothing was changed: there is no way back, another package manager is at work, …
    Impossible {
        /// Why.
        reason: String,
    },
    /// The system was, or may have been, changed, and is not as it was before.
    Failed {
        /// What is not.
        reason: String,
    },
}

/// Answer of `Reboot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum RebootReport {
    /// logind took the request: the reboot happens now or a little later.
    Accepted,
    /// The boot id given is not the running one: that reboot has happened already.
    AlreadyHappened,
    /// logind or an inhibitor said no: no reboot is under way.
    Refused {
        /// By whom and why.
        reason: String,
    },
}

/// The executor as the agent calls it.
#[zbus::proxy(
    interface = "org.lockkeeper1.Executor",
    default_service = "org.lockkeeper1.Executor",
    default_path = "/org/lockkeeper1/Executor"
)]
pub trait Executor {
    /// Refreshes private package lists and says what to install: a [`CheckReport`]. `verified`: what
    /// the canary group allows, a [`Ripe`](crate::core::canary::Ripe); empty where none is followed.
    fn check(&self, verified: &str) -> zbus::Result<String>;
    /// Downloads, verifies and publishes the stage of a plan that `Check` has answered. Idempotent.
    fn stage(&self, plan: &str) -> zbus::Result<()>;
    /// How far work on a plan has come: a [`Progress`](crate::core::progress::Progress), or null.
    fn progress(&self, plan: &str) -> zbus::Result<String>;
    /// Installs exactly a staged plan in a transient unit and waits for it; attaches to it when it
    /// runs already; answers again when it has ended: an [`ApplyReport`].
    fn apply(&self, plan: &str) -> zbus::Result<String>;
    /// Goes back from a plan to exactly what was installed before, in a transient unit, as
    /// [`Executor::apply`] does: an [`UndoReport`].
    fn undo(&self, plan: &str) -> zbus::Result<String>;
    /// Is a reboot needed? An [`Evidence`].
    fn reboot_evidence(&self) -> zbus::Result<String>;
    /// Writes down durably what is running; replaces the last record.
    fn record(&self) -> zbus::Result<()>;
    /// After an update without a reboot: restarts the services that use files which `plan` has
    /// replaced, and waits for each, the agent last. Answers with what is left: a
    /// [`Report`].
    fn restart_stale(&self, plan: &str) -> zbus::Result<String>;
    /// Starts what the record has and what does not run, waiting for each; answers with the names
    /// it started (JSON list of text). `grace_secs`: how long to let systemd and the engines do it.
    fn restore(&self, grace_secs: u64) -> zbus::Result<String>;
    /// Compares the node with the record (and `plan`, when not empty, with the installed versions;
    /// `or_undone`: it is well, too, when all its packages are what they were before):
    /// a [`crate::core::health::HealthReport`].
    fn verify(&self, plan: &str, or_undone: bool) -> zbus::Result<String>;
    /// The node is good on `plan` (may be empty): forget the stage and the record.
    fn confirm(&self, plan: &str) -> zbus::Result<()>;
    /// Reboots through logind, if `boot_id` is still the running boot: a [`RebootReport`].
    fn reboot(&self, boot_id: &str) -> zbus::Result<String>;
}
