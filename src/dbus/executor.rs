//! The executor's D-Bus interface `org.lockkeeper1.Executor`: its documents and the client side.
//!
//! Each document travels as one JSON text: the two programs come from one package, and a text shows
//! up readable in `busctl monitor`.

use serde::{Deserialize, Serialize};

use crate::core::{
    channel::followed,
    choice::KeptBack,
    health::Evidence,
    plan::{Plan, PlanId},
    stale::Report,
    state::Cause,
};

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
    /// What the release channel has for this node, where one is followed.
    #[serde(default)]
    pub release: Option<followed::Report>,
}

/// Answer of `Describe`: what the staging of a plan has found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDetails {
    /// Which plan.
    pub id: PlanId,
    /// Each of its packages, in its order.
    pub packages: Vec<PackageDetails>,
    /// Those there is no way back from: package, version and why.
    pub without_way_back: Vec<String>,
}

/// What is known of a package of a staged plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageDetails {
    /// Binary package name, without architecture.
    pub name: String,
    /// Debian architecture.
    pub arch: String,
    /// Why it is in the plan ([`Why::word`](crate::core::plan::Why::word)).
    pub why: String,
    /// What in the plan needs or recommends it, if it was not installed.
    pub needed_by: Vec<String>,
    /// What it replaces is in use until a reboot.
    pub asks_for_reboot: bool,
    /// How it would be gone back from; `None` when that is not known (any more).
    pub way_back: Option<Back>,
}

/// How a package would be gone back from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Back {
    /// It is removed: it was not there.
    Remove,
    /// The archive's own package.
    Archive,
    /// A package made of what was installed.
    Repacked,
    /// There is no way.
    Missing {
        /// Why not.
        why: String,
    },
}

/// An answer of `Changelogs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changelog {
    /// Binary package name, without architecture.
    pub name: String,
    /// Debian architecture.
    pub arch: String,
    /// The most urgent of its entries (`low` to `critical`).
    pub urgency: Option<String>,
    /// What is new since the version installed; `None` when nobody has it.
    pub text: Option<String>,
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
    /// What the next boot was to install cannot be installed; no reboot is under way.
    NotReady {
        /// Why.
        reason: String,
    },
    /// logind or an inhibitor said no: no reboot is under way.
    Refused {
        /// By whom and why.
        reason: String,
    },
}

/// The cycle, as hooks are told of it: argument of `RunHooks`. Words for people, but for the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// [`Phase::word`](crate::core::state::Phase::word)
    pub phase: String,
    /// The plan it is about, if it is about one.
    pub plan: Option<PlanId>,
    /// Why.
    pub reason: String,
    /// It is to reboot, whatever comes of the plan.
    pub reboots: bool,
    /// What failed, if something did.
    pub cause: Option<Cause>,
    /// That in words.
    pub failing: Option<String>,
}

impl Cycle {
    /// Longest text of a field.
    const LONGEST: usize = 4096;

    /// The same with its texts cut to a length that nobody minds.
    #[must_use]
    pub fn bounded(self) -> Self {
        let cut = |text: String| text.chars().take(Self::LONGEST).collect();
        Self {
            phase: cut(self.phase),
            reason: cut(self.reason),
            failing: self.failing.map(cut),
            ..self
        }
    }

    /// Whether what ran before has just been started again.
    #[must_use]
    pub fn restores(&self) -> bool {
        self.phase == "restoring"
    }
}

/// Answer of `RunHooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum HooksReport {
    /// All have run, or have run before, and none that has a say has failed.
    Done,
    /// One said no, could not be run, or took too long.
    Refused {
        /// Which, and what it said.
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
    /// `paced`: what a server lets this node have next, a
    /// [`Paced`](crate::core::channel::graph::Paced); empty where none is asked.
    fn check(&self, verified: &str, paced: &str) -> zbus::Result<String>;
    /// What is remembered of releases: a [`Memory`](followed::Memory).
    fn releases(&self) -> zbus::Result<String>;
    /// What the staging of a plan has found out: a [`PlanDetails`].
    fn describe(&self, plan: &str) -> zbus::Result<String>;
    /// What is new in a package of a plan (empty: in all of them): a JSON list of [`Changelog`].
    fn changelogs(&self, plan: &str, package: &str) -> zbus::Result<String>;
    /// Downloads, verifies and publishes the stage of a plan that `Check` has answered. Idempotent.
    fn stage(&self, plan: &str) -> zbus::Result<()>;
    /// Pulls the images that running containers name, as far as the configuration says so: an
    /// [`image::Report`](crate::core::image::Report). What the names stand for does not change.
    fn pull_images(&self) -> zbus::Result<String>;
    /// How far work on a plan has come: a [`Progress`](crate::core::progress::Progress), or null.
    fn progress(&self, plan: &str) -> zbus::Result<String>;
    /// Installs exactly a staged plan in a transient unit and waits for it; attaches to it when it
    /// runs already; answers again when it has ended: an [`ApplyReport`].
    fn apply(&self, plan: &str) -> zbus::Result<String>;
    /// As [`Executor::reboot`], into a boot that installs exactly a staged plan and then reboots.
    fn apply_at_boot(&self, plan: &str, boot_id: &str) -> zbus::Result<String>;
    /// What has come of a plan that a boot was to install; what was cut off there is finished as by
    /// [`Executor::apply`]: an [`ApplyReport`].
    fn finish(&self, plan: &str) -> zbus::Result<String>;
    /// Goes back from a plan to exactly what was installed before, in a transient unit, as
    /// [`Executor::apply`] does: an [`UndoReport`].
    fn undo(&self, plan: &str) -> zbus::Result<String>;
    /// Is a reboot needed? An [`Evidence`].
    fn reboot_evidence(&self) -> zbus::Result<String>;
    /// Tells whoever is logged in that the machine is about to be disturbed, in so many seconds.
    fn announce(&self, secs: u64) -> zbus::Result<()>;
    /// What becomes of everything that runs in a reboot: an [`Outlook`](crate::core::outlook::Outlook).
    fn workloads(&self) -> zbus::Result<String>;
    /// Writes down durably what is running; replaces the last record.
    fn record(&self) -> zbus::Result<()>;
    /// Runs the hooks of a [`Point`](crate::core::hook::Point), as far as they are due, each within
    /// its limit: a [`HooksReport`]. `cycle`: a [`Cycle`].
    fn run_hooks(&self, point: &str, cycle: &str) -> zbus::Result<String>;
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
    /// Reboots through logind, if `boot_id` is still the running boot: a [`RebootReport`]. `by_hand`:
    /// somebody asks for it, so it is a full one whatever is allowed.
    fn reboot(&self, boot_id: &str, by_hand: bool) -> zbus::Result<String>;
}
