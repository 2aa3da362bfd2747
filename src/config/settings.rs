//! Validated settings: what the rest of the program may rely on.

use std::{path::PathBuf, time::Duration};

use semver::VersionReq;
use sha2::{Digest as _, Sha256};
use url::Url;

pub use super::choices::{
    ApplyMode, BootComplete, NewDependencies, OnFailure, OnOverdue, Phased, Removals, Resurrected,
    Snapshot, Strategy, Users, WithoutWayBack,
};
use super::probes::Probe;
use crate::core::choice::Origins;
use crate::core::plan::hex;
use crate::core::record::{any_matches, matches};
use crate::core::slots::MEMBERS_GROUP;
use crate::core::window::Schedule;
use crate::core::{fast::Fast, stale::Mode};

/// Everything configurable, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `strategy`
    pub strategy: Strategy,
    /// `[check]`
    pub check: Check,
    /// `[channel]`: the release channel that this node follows; `None` by default.
    pub channel: Option<Channel>,
    /// `[lock]`
    pub lock: Lock,
    /// `[etcd]`
    pub etcd: Etcd,
    /// `[fleet_lock]`
    pub fleet_lock: FleetLock,
    /// `[blockers]`
    pub blockers: Blockers,
    /// `[drain]`
    pub drain: Drain,
    /// `[balancer]`
    pub balancer: Balancer,
    /// `[hooks]`
    pub hooks: Hooks,
    /// `[reboot]`
    pub reboot: Reboot,
    /// `[verify]`
    pub verify: Verify,
    /// `[[probe]]`
    pub probes: Vec<Probe>,
    /// `[schedule]`, `[[window]]`, `[[freeze]]`
    pub schedule: Schedule,
    /// `[packages]`
    pub packages: Packages,
    /// `[canary]`
    pub canary: Canary,
    /// `[services]`
    pub services: Services,
    /// `[workloads]`
    pub workloads: Workloads,
    /// `[containers]`
    pub containers: Containers,
}

/// `[check]`: asking the channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// `first`: first check this long after the agent starts (default 7m).
    pub first: Duration,
    /// `interval`: time between checks (default 45m; at least 10s).
    pub interval: Duration,
    /// `spread`: each delay varies by up to this much either way, but is never negative (default 5m;
    /// at most `interval`; may be more than `first`).
    pub spread: Duration,
}

/// `[channel]`: what this node should run is what a release says (docs/channels.md).
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// `name`: the channel (`stable`).
    pub name: String,
    /// `urls`: where it is, the best mirror first; at least one.
    pub urls: Vec<Url>,
    /// `root`: the file with the root of trust to begin with (default
    /// `/etc/lockkeeper/channel.root.json`).
    pub root: PathBuf,
    /// `ca_file`: the authority of the servers' certificates (default: those the system trusts).
    pub ca_file: Option<PathBuf>,
    /// `graph_url`: a server of the Cincinnati protocol that says what may come next (default none).
    pub graph_url: Option<Url>,
    /// `within`: the releases that this node may have (default: all).
    pub within: Option<VersionReq>,
}

/// `[lock]`: the reboot lock.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Lock {
    /// `group`: one or several (at most [`MOST_GROUPS`](crate::core::slots::MOST_GROUPS)), each
    /// `^[a-zA-Z0-9.-]+$` (default `default`). Sorted.
    pub groups: Vec<String>,
    /// `settle`: nobody is admitted for this long after an unlock (default 0s; etcd's minimum lease
    /// is about 2 s).
    pub settle: Duration,
    /// `expected`: this node should not need a slot for longer than this (default 1h); whoever waits
    /// marks it as overdue then.
    pub expected: Duration,
    /// `on_overdue`: what this node does about an overdue holder before it (default `wait`).
    pub on_overdue: OnOverdue,
    /// `max_quarantined`: with `quarantine`, so many overdue holders are passed by (default 1).
    pub max_quarantined: u32,
}

impl Lock {
    /// So many overdue holders do not count for this node.
    #[must_use]
    pub const fn quarantine(&self) -> u32 {
        match self.on_overdue {
            OnOverdue::Wait => 0,
            OnOverdue::Quarantine => self.max_quarantined,
        }
    }
}

/// `[etcd]`: used with strategy `etcd-lock`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Etcd {
    /// `endpoints`: `http://host:port` or `https://host:port`, not mixed, at least one (default
    /// `http://127.0.0.1:2379`).
    pub endpoints: Vec<String>,
    /// `prefix`: default `/lockkeeper/v1`.
    pub prefix: String,
    /// `timeout`: deadline of one request (default 5s).
    pub timeout: Duration,
    /// `ca_file`: the CA of etcd's certificates, set if and only if the endpoints are `https`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// `cert_file`: this node's certificate; set together with `key_file`.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// `key_file`: its key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// `user`: etcd's name for this node; set together with `password_file`.
    #[serde(default)]
    pub user: Option<String>,
    /// `password_file`: holds its password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// `[fleet_lock]`: used with strategy `fleet-lock`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FleetLock {
    /// `url`: the server's base URL, without the protocol's own paths; needed.
    pub url: String,
    /// `token_file`: holds a token that the server wants.
    pub token_file: Option<PathBuf>,
    /// `ca_file`: the authority of the server's certificate (default: those the system trusts).
    pub ca_file: Option<PathBuf>,
    /// `cert_file`: this node's certificate; set together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// `key_file`: its key.
    pub key_file: Option<PathBuf>,
    /// `interval`: time between two polls, where the server does not say (default 30s).
    pub interval: Duration,
    /// `timeout`: deadline of one request (default 1m: poseidon's drains a node before it answers).
    pub timeout: Duration,
}

/// `[blockers]`: what is not disturbed.
#[derive(Clone, Debug, PartialEq)]
pub struct Blockers {
    /// `users`: what logged-in users mean (default `warn`).
    pub users: Users,
    /// `notice`: how long before it is disturbed logged-in users are told (default 1m).
    pub notice: Duration,
    /// `units`: nothing is begun while one of these runs (globs; default apt's daily work).
    pub units: Vec<String>,
    /// `alerts_url` and its neighbours: nothing is begun while alerts fire; `None` by default.
    pub alerts: Option<Alerts>,
}

/// A Prometheus server that is asked for alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// `alerts_url`: its base URL.
    pub url: String,
    /// `alerts_ignore`: names of alerts that do not count (globs; default none).
    pub ignore: Vec<String>,
    /// `alerts_ca_file`: PEM file with the authority of its certificate.
    pub ca_file: Option<PathBuf>,
    /// `alerts_token_file`: file with a bearer token.
    pub token_file: Option<PathBuf>,
}

/// `[drain]`
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// `wait`: time between publishing "draining" and the first disruption (default 5s).
    pub wait: Duration,
}

/// `[balancer]`: what load balancers are told, with strategy `etcd-lock`.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancer {
    /// `address`: where they reach this node (default: the address it reaches etcd from).
    pub address: Option<String>,
}

/// `[hooks]`: the admin's own programs, at fixed points of the cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    /// `timeout`: a hook is ended after this long, and has failed (default 5m).
    pub timeout: Duration,
    /// `timeouts`: other limits than that, by `POINT/NAME` (glob `*`); the first that fits counts.
    pub timeouts: Vec<(String, Duration)>,
    /// `advisory`: hooks, by `POINT/NAME` (glob `*`), whose failures change nothing.
    pub advisory: Vec<String>,
}

impl Hooks {
    /// How long a hook (`pre-apply/10-pool`) may take.
    #[must_use]
    pub fn limit(&self, hook: &str) -> Duration {
        let own = self.timeouts.iter().find(|(glob, _)| matches(glob, hook));
        own.map_or(self.timeout, |(_, limit)| *limit)
    }

    /// Whether a hook's failure changes nothing.
    #[must_use]
    pub fn is_advisory(&self, hook: &str) -> bool {
        any_matches(&self.advisory, hook)
    }
}

/// `[reboot]`
#[derive(Clone, Debug, PartialEq)]
pub struct Reboot {
    /// `fast`: which short ways may be taken where they are enough (default `never`).
    pub fast: Fast,
    /// `timeout`: a requested reboot that has not happened after this long is requested again
    /// (default 10m).
    pub timeout: Duration,
}

/// `[verify]`
#[derive(Clone, Debug, PartialEq)]
pub struct Verify {
    /// `grace`: what systemd and the engines bring back by themselves is awaited this long before
    /// lockkeeper starts it (default 60s).
    pub grace: Duration,
    /// `settle`: the node must be healthy without a break for this long (default 30s).
    pub settle: Duration,
    /// `timeout`: not healthy after this long = the update failed (default 10m; more than settle).
    pub timeout: Duration,
    /// `check_timeout`: a program of `health.d` that takes longer has failed (default 30s).
    pub check_timeout: Duration,
    /// `foreign_checks`: whether the checks of greenboot and health-checker are made (default yes).
    pub foreign_checks: bool,
    /// `boot_complete`: whether boot-complete.target counts (default `ignore`).
    pub boot_complete: BootComplete,
}

/// `[packages]`
#[derive(Clone, Debug, PartialEq)]
pub struct Packages {
    /// `origins`: the archives that packages may come from (default `distribution`).
    pub origins: Origins,
    /// `allow`: only these packages (glob `*`) are updated; none means every package.
    pub allow: Vec<String>,
    /// `deny`: these packages (glob `*`) are never updated.
    pub deny: Vec<String>,
    /// `new_dependencies`: whether a package that is not installed may be installed with one that
    /// needs it (default `allow`).
    pub new_dependencies: NewDependencies,
    /// `removals`: whether an installed package may be removed for an update (default `refuse`).
    pub removals: Removals,
    /// `phased`: whether this machine waits for its turn in a phased update (default `respect`).
    pub phased: Phased,
    /// `apply`: when staged packages are installed (default `online`).
    pub apply: ApplyMode,
    /// `on_failure`: what becomes of a node whose update failed (default `roll-back`).
    pub on_failure: OnFailure,
    /// `without_way_back`: what becomes of a plan with a package whose installed version cannot be
    /// secured (default `allow`).
    pub without_way_back: WithoutWayBack,
    /// `snapshot`: whether a snapshot of the root is the way back (default `off`).
    pub snapshot: Snapshot,
    /// `lock_wait`: how long other package managers are waited for before a transaction is refused
    /// (default 5m).
    pub lock_wait: Duration,
}

/// `[canary]`: what one node has tried, others may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// `publish`: this node tells the followers of its groups what it has verified (default no).
    pub publish: bool,
    /// `follow`: the group whose nodes must have verified a version before it is installed here.
    pub follow: Option<String>,
    /// `soak`: for how long a verified version has been known here before it is installed (default
    /// 1d; at most 90d).
    pub soak: Duration,
}

/// `[services]`: those that use files which an update has replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Services {
    /// `restart`: how far to go with them (default `auto`).
    pub restart: Mode,
    /// `never`: unit names (glob `*`) that are left alone.
    pub never: Vec<String>,
    /// `by_reboot`: unit names (glob `*`) that are not restarted, but ask for a reboot.
    pub by_reboot: Vec<String>,
}

/// `[workloads]`
#[derive(Clone, Debug, PartialEq)]
pub struct Workloads {
    /// `ignore`: unit or container names (glob `*`) that are neither restored nor verified.
    pub ignore: Vec<String>,
    /// `resurrected`: what becomes of containers that somebody had stopped and their engine has
    /// started again (default `report`).
    pub resurrected: Resurrected,
    /// `users`: users (glob `*`) who linger, and whose units and containers are restored and verified
    /// like the node's own (default none).
    pub users: Vec<String>,
}

/// `[containers]`
#[derive(Clone, Debug, PartialEq)]
pub struct Containers {
    /// `pull`: images (glob `*`, as containers name them) that are pulled beforehand, where a running
    /// container names one by a tag (default none).
    pub pull: Vec<String>,
    /// `update`: those of which containers are made anew from what was pulled, when the node holds a
    /// slot (default none). They are pulled, too.
    pub update: Vec<String>,
}

impl Containers {
    /// All names that are pulled.
    #[must_use]
    pub fn pulled(&self) -> Vec<String> {
        self.pull.iter().chain(&self.update).cloned().collect()
    }
}

/// Format of [`LockChoice`].
pub const LOCK_SCHEMA: u32 = 1;

/// Which lock this node uses: what must not change under a slot, or a ticket, that it has.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LockChoice {
    /// [`LOCK_SCHEMA`].
    pub schema: u32,
    /// `strategy`
    pub strategy: Strategy,
    /// `[lock]`
    pub lock: Lock,
    /// `[etcd]`
    pub etcd: Etcd,
    /// `[fleet_lock]`
    #[serde(default)]
    pub fleet_lock: FleetLock,
}

/// The built-in values.
impl Default for FleetLock {
    fn default() -> Self {
        Settings::default().fleet_lock
    }
}

impl LockChoice {
    /// Whether both are one lock, however it is reached: a slot of one is a slot of the other.
    #[must_use]
    pub fn is_same_lock(&self, other: &Self) -> bool {
        self.strategy == other.strategy
            && self.lock == other.lock
            && self.etcd.endpoints == other.etcd.endpoints
            && self.etcd.prefix == other.etcd.prefix
            && self.fleet_lock.url == other.fleet_lock.url
    }
}

impl Settings {
    /// Identity of all that packages are chosen by: a plan made under one is not applied under
    /// another.
    #[must_use]
    pub fn choice(&self) -> String {
        let Packages { origins, allow, deny, new_dependencies, removals, phased, .. } =
            &self.packages;
        let Canary { publish: _, follow, soak } = &self.canary;
        let channel = self.channel.as_ref();
        let channel = channel
            .map(|channel| (&channel.name, &channel.root, &channel.graph_url, &channel.within));
        let packages = (origins, allow, deny, new_dependencies, removals, phased);
        let all = (packages, follow, soak, channel);
        hex(&Sha256::digest(format!("{all:?}")))
    }

    /// Every group this node may hold a slot of.
    #[must_use]
    pub fn lock_groups(&self) -> Vec<String> {
        let mut groups = self.lock.groups.clone();
        if self.strategy == Strategy::EtcdLock && !groups.iter().any(|g| g == MEMBERS_GROUP) {
            groups.push(MEMBERS_GROUP.to_owned());
        }
        groups
    }

    /// The lock these settings choose.
    #[must_use]
    pub fn lock_choice(&self) -> LockChoice {
        LockChoice {
            schema: LOCK_SCHEMA,
            strategy: self.strategy,
            lock: self.lock.clone(),
            etcd: self.etcd.clone(),
            fleet_lock: self.fleet_lock.clone(),
        }
    }

    /// These settings with another lock.
    #[must_use]
    pub fn with_lock(self, choice: LockChoice) -> Self {
        let LockChoice { schema: _, strategy, lock, etcd, fleet_lock } = choice;
        Self { strategy, lock, etcd, fleet_lock, ..self }
    }
}
