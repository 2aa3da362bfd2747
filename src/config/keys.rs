//! The one list of what can be configured. [`Fragment`], [`Merged`], the names that are known, and
//! `config show` all come from it.

use std::{path::PathBuf, time::Duration};

use semver::VersionReq;
use serde_json::Value;

use super::{
    choices::Choice,
    duration,
    entries::{FreezeEntry, WindowEntry},
    fragment::{Node, Reader},
    origin::{Located, Origin},
    probes::ProbeEntry,
    settings::{
        ApplyMode, BootComplete, NewDependencies, OnFailure, OnOverdue, Phased, Removals,
        Resurrected, Snapshot, Strategy, Users, WithoutWayBack,
    },
    value::{self, between, texts},
};
use crate::core::choice::Origins;
use crate::core::{fast::Fast, stale::Mode};

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const HOUR: Duration = secs(3600);
const DAY: Duration = secs(24 * 3600);

macro_rules! keys {
    ($($path:literal, $field:ident: $type:ty = $default:expr, $read:expr;)*) => {
        /// What one file says: only what it does say, each value with its place.
        #[derive(Default)]
        pub(super) struct Fragment {
            $($field: Option<Located<$type>>,)*
            pub(super) windows: Option<Located<Vec<WindowEntry>>>,
            pub(super) freezes: Option<Located<Vec<FreezeEntry>>>,
            pub(super) probes: Option<Located<Vec<ProbeEntry>>>,
        }

        /// What all layers add up to.
        pub(super) struct Merged {
            $(pub(super) $field: Located<$type>,)*
            pub(super) windows: Located<Vec<WindowEntry>>,
            pub(super) freezes: Located<Vec<FreezeEntry>>,
            pub(super) probes: Located<Vec<ProbeEntry>>,
        }

        const PATHS: &[&str] = &[$($path),*];

        impl Fragment {
            /// Reads the value of `path` if that is the path of a key outside the lists; whether it
            /// is.
            pub(super) fn set(
                &mut self,
                reader: &mut Reader<'_>,
                path: &str,
                node: &Node<'_>,
            ) -> bool {
                match path {
                    $($path => self.$field = reader.located(path, node, $read),)*
                    _ => return false,
                }
                true
            }
        }

        impl Merged {
            /// No file at all.
            pub(super) fn built_in() -> Self {
                Self {
                    $($field: Located::built_in($default),)*
                    windows: Located::built_in(Vec::new()),
                    freezes: Located::built_in(Vec::new()),
                    probes: Located::built_in(Vec::new()),
                }
            }

            /// Puts a stronger layer on top. Lists are replaced as a whole.
            pub(super) fn overlay(&mut self, stronger: Fragment) {
                $(replace(&mut self.$field, stronger.$field);)*
                replace(&mut self.windows, stronger.windows);
                replace(&mut self.freezes, stronger.freezes);
                replace(&mut self.probes, stronger.probes);
            }

            fn plain_keys(&self) -> Vec<Effective> {
                vec![$(Effective::of($path, &self.$field),)*]
            }
        }
    };
}

// path, field: type = built-in value, how it is read.
keys! {
    "strategy", strategy: Strategy = Strategy::Off, value::choice;
    "check.first", check_first: Duration = secs(7 * 60), between(Duration::ZERO, 7 * DAY);
    "check.interval", check_interval: Duration = secs(45 * 60), between(secs(10), 7 * DAY);
    "check.spread", check_spread: Duration = secs(5 * 60), between(Duration::ZERO, 7 * DAY);
    "channel.name", channel_name: Option<String> = None, value::channel;
    "channel.urls", channel_urls: Vec<String> = Vec::new(), texts(value::channel_url);
    "channel.root", channel_root: Option<PathBuf> =
        Some(PathBuf::from("/etc/lockkeeper/channel.root.json")), value::file;
    "channel.ca_file", channel_ca_file: Option<PathBuf> = None, value::file;
    "channel.graph_url", channel_graph_url: String = String::new(), value::graph_url;
    "channel.within", channel_within: Option<VersionReq> = None, value::within;
    "lock.group", lock_group: Vec<String> = vec!["default".to_owned()], value::groups;
    "lock.settle", lock_settle: Duration = Duration::ZERO, between(Duration::ZERO, DAY);
    "lock.expected", lock_expected: Duration = HOUR, between(secs(60), 7 * DAY);
    "lock.on_overdue", lock_on_overdue: OnOverdue = OnOverdue::Wait, value::choice;
    "lock.max_quarantined", lock_max_quarantined: u32 = 1, value::count(1, 1000);
    "etcd.endpoints", etcd_endpoints: Vec<String> = vec!["http://127.0.0.1:2379".to_owned()],
        value::endpoints;
    "etcd.prefix", etcd_prefix: String = "/lockkeeper/v1".to_owned(), value::prefix;
    "etcd.timeout", etcd_timeout: Duration = secs(5),
        between(Duration::from_millis(100), secs(60));
    "etcd.ca_file", etcd_ca_file: Option<PathBuf> = None, value::file;
    "etcd.cert_file", etcd_cert_file: Option<PathBuf> = None, value::file;
    "etcd.key_file", etcd_key_file: Option<PathBuf> = None, value::file;
    "etcd.user", etcd_user: Option<String> = None, value::user;
    "etcd.password_file", etcd_password_file: Option<PathBuf> = None, value::file;
    "fleet_lock.url", fleet_lock_url: String = String::new(), value::lock_url;
    "fleet_lock.token_file", fleet_lock_token_file: Option<PathBuf> = None, value::file;
    "fleet_lock.ca_file", fleet_lock_ca_file: Option<PathBuf> = None, value::file;
    "fleet_lock.cert_file", fleet_lock_cert_file: Option<PathBuf> = None, value::file;
    "fleet_lock.key_file", fleet_lock_key_file: Option<PathBuf> = None, value::file;
    "fleet_lock.interval", fleet_lock_interval: Duration = secs(30), between(secs(1), secs(600));
    "fleet_lock.timeout", fleet_lock_timeout: Duration = secs(60), between(secs(1), secs(1800));
    "blockers.users", blockers_users: Users = Users::Warn, value::choice;
    "blockers.notice", blockers_notice: Duration = secs(60), between(Duration::ZERO, HOUR);
    "blockers.units", blockers_units: Vec<String> =
        vec!["apt-daily.service".to_owned(), "apt-daily-upgrade.service".to_owned()],
        texts(value::unit_pattern);
    "blockers.alerts_url", blockers_alerts_url: String = String::new(), value::base_url;
    "blockers.alerts_ignore", blockers_alerts_ignore: Vec<String> = Vec::new(),
        texts(value::pattern);
    "blockers.alerts_ca_file", blockers_alerts_ca_file: Option<PathBuf> = None, value::file;
    "blockers.alerts_token_file", blockers_alerts_token_file: Option<PathBuf> = None, value::file;
    "drain.wait", drain_wait: Duration = secs(5), between(Duration::ZERO, HOUR);
    "balancer.address", balancer_address: Option<String> = None, value::host;
    "hooks.timeout", hooks_timeout: Duration = secs(5 * 60), between(secs(1), DAY);
    "hooks.timeouts", hooks_timeouts: Vec<String> = Vec::new(), texts(value::hook_timeout);
    "hooks.advisory", hooks_advisory: Vec<String> = Vec::new(), texts(value::hook);
    "reboot.fast", reboot_fast: Fast = Fast::Never, value::choice;
    "reboot.timeout", reboot_timeout: Duration = secs(10 * 60), between(secs(10), DAY);
    "verify.grace", verify_grace: Duration = secs(60), between(Duration::ZERO, HOUR);
    "verify.settle", verify_settle: Duration = secs(30), between(Duration::ZERO, HOUR);
    "verify.timeout", verify_timeout: Duration = secs(10 * 60), between(secs(1), DAY);
    "verify.check_timeout", verify_check_timeout: Duration = secs(30), between(secs(1), secs(120));
    "verify.foreign_checks", verify_foreign_checks: bool = true, value::flag;
    "verify.boot_complete", verify_boot_complete: BootComplete = BootComplete::Ignore,
        value::choice;
    "schedule.spread", schedule_spread: Duration = Duration::ZERO, between(Duration::ZERO, 7 * DAY);
    "schedule.min_remaining", schedule_min_remaining: Duration = secs(15 * 60),
        between(Duration::ZERO, 7 * DAY);
    "packages.origins", packages_origins: Origins = Origins::Distribution, value::origins;
    "packages.allow", packages_allow: Vec<String> = Vec::new(), texts(value::package);
    "packages.deny", packages_deny: Vec<String> = Vec::new(), texts(value::package);
    "packages.new_dependencies", packages_new_dependencies: NewDependencies =
        NewDependencies::Allow, value::choice;
    "packages.removals", packages_removals: Removals = Removals::Refuse, value::choice;
    "packages.phased", packages_phased: Phased = Phased::Respect, value::choice;
    "packages.apply", packages_apply: ApplyMode = ApplyMode::Online, value::choice;
    "packages.on_failure", packages_on_failure: OnFailure = OnFailure::RollBack, value::choice;
    "packages.without_way_back", packages_without_way_back: WithoutWayBack = WithoutWayBack::Allow,
        value::choice;
    "packages.snapshot", packages_snapshot: Snapshot = Snapshot::Off, value::choice;
    "packages.lock_wait", packages_lock_wait: Duration = secs(5 * 60), between(Duration::ZERO, HOUR);
    "canary.publish", canary_publish: bool = false, value::flag;
    "canary.follow", canary_follow: Option<String> = None, value::follow;
    "canary.soak", canary_soak: Duration = DAY, between(Duration::ZERO, 90 * DAY);
    "services.restart", services_restart: Mode = Mode::Auto, value::choice;
    "services.never", services_never: Vec<String> = Vec::new(), texts(value::unit_pattern);
    "services.by_reboot", services_by_reboot: Vec<String> = Vec::new(), texts(value::unit_pattern);
    "workloads.ignore", workloads_ignore: Vec<String> = Vec::new(), texts(value::pattern);
    "workloads.resurrected", workloads_resurrected: Resurrected = Resurrected::Report,
        value::choice;
    "workloads.users", workloads_users: Vec<String> = Vec::new(), texts(value::account);
    "containers.pull", containers_pull: Vec<String> = Vec::new(), texts(value::image);
    "containers.update", containers_update: Vec<String> = Vec::new(), texts(value::image);
}

/// Every key there is, in the order of the manual. Those of the lists begin with `window.`, `freeze.`
/// and `probe.`.
pub fn known_keys() -> impl Iterator<Item = &'static str> {
    let lists = [WindowEntry::KEYS, FreezeEntry::KEYS, ProbeEntry::KEYS];
    PATHS.iter().chain(lists.into_iter().flatten()).copied()
}

/// A key with the value the program goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The key; those of a list entry begin with `window[0].` and so on.
    pub key: String,
    /// The value: a string or a list of strings, durations in their shortest form.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

impl Effective {
    pub(super) fn of(key: &str, value: &Located<impl Show>) -> Self {
        Self { key: key.to_owned(), value: value.value.show(), origin: value.origin.clone() }
    }
}

impl Merged {
    /// Every key with value and origin; an empty list is one line.
    pub(super) fn effective(&self) -> Vec<Effective> {
        let mut keys = self.plain_keys();
        for (index, window) in self.windows.value.iter().enumerate() {
            keys.extend(window.effective(&format!("window[{index}]")));
        }
        if self.windows.value.is_empty() {
            keys.push(none("window", &self.windows.origin));
        }
        for (index, freeze) in self.freezes.value.iter().enumerate() {
            keys.extend(freeze.effective(&format!("freeze[{index}]")));
        }
        if self.freezes.value.is_empty() {
            keys.push(none("freeze", &self.freezes.origin));
        }
        for (index, probe) in self.probes.value.iter().enumerate() {
            keys.extend(probe.effective(&format!("probe[{index}]")));
        }
        if self.probes.value.is_empty() {
            keys.push(none("probe", &self.probes.origin));
        }
        keys
    }
}

fn none(key: &str, origin: &Origin) -> Effective {
    Effective { key: key.to_owned(), value: Value::Array(Vec::new()), origin: origin.clone() }
}

fn replace<T>(weaker: &mut Located<T>, stronger: Option<Located<T>>) {
    if let Some(stronger) = stronger {
        *weaker = stronger;
    }
}

/// How a value looks in a configuration file.
pub(super) trait Show {
    fn show(&self) -> Value;
}

impl Show for Duration {
    fn show(&self) -> Value {
        Value::String(duration::format(*self))
    }
}

impl Show for String {
    fn show(&self) -> Value {
        Value::String(self.clone())
    }
}

/// Unset is empty.
impl Show for Option<String> {
    fn show(&self) -> Value {
        Value::String(self.clone().unwrap_or_default())
    }
}

/// Unset is empty. Paths are read from text, so that they are text.
impl Show for Option<PathBuf> {
    fn show(&self) -> Value {
        let text = self.as_ref().map(|path| path.to_string_lossy().into_owned());
        Value::String(text.unwrap_or_default())
    }
}

/// Unset is empty.
impl Show for Option<VersionReq> {
    fn show(&self) -> Value {
        Value::String(self.as_ref().map(ToString::to_string).unwrap_or_default())
    }
}

impl Show for Vec<String> {
    fn show(&self) -> Value {
        self.iter().cloned().map(Value::String).collect()
    }
}

impl Show for u32 {
    fn show(&self) -> Value {
        Value::from(*self)
    }
}

impl Show for bool {
    fn show(&self) -> Value {
        Value::from(*self)
    }
}

impl Show for Origins {
    fn show(&self) -> Value {
        if let Self::Patterns(patterns) = self {
            return patterns.show();
        }
        let word =
            Self::WORDS.into_iter().find_map(|(word, known)| (known == *self).then_some(word));
        Value::from(word)
    }
}

impl<T: Choice> Show for T {
    fn show(&self) -> Value {
        Value::String(self.word().to_owned())
    }
}
