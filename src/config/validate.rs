//! What must hold between values, and the last step to [`Settings`].

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use semver::VersionReq;
use url::Url;

use super::{
    duration,
    entries::{FreezeEntry, WindowEntry},
    error::{ConfigError, Kind},
    keys::Merged,
    origin::{Located, Place},
    probes::ProbeEntry,
    settings::{
        Alerts, Balancer, Blockers, Canary, Channel, Check, Containers, Drain, Etcd, FleetLock,
        Hooks, Lock, Packages, Reboot, Services, Settings, Strategy, Verify, Workloads,
    },
    value::{self, limit_of},
};
use crate::core::window::Schedule;

/// Every pair of values that does not go together. `files` are the layers, the weakest first.
pub(super) fn check(merged: &Merged, files: &[&Path]) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let (interval, spread) = (&merged.check_interval, &merged.check_spread);
    if spread.value > interval.value {
        let (spread, interval) = (("check.spread", spread), ("check.interval", interval));
        errors.extend(conflict(files, spread, "is longer than", interval));
    }
    let (settle, timeout) = (&merged.verify_settle, &merged.verify_timeout);
    if timeout.value <= settle.value {
        let (timeout, settle) = (("verify.timeout", timeout), ("verify.settle", settle));
        errors.extend(conflict(files, timeout, "is not longer than", settle));
    }
    let remaining = &merged.schedule_min_remaining;
    for (index, window) in merged.windows.value.iter().enumerate() {
        if window.length.value <= remaining.value {
            let length = format!("window[{index}].length");
            let remaining = ("schedule.min_remaining", remaining);
            errors.extend(conflict(
                files,
                (&length, &window.length),
                "is not longer than",
                remaining,
            ));
        }
    }
    errors.extend(channel(merged));
    errors.extend(etcd_access(merged));
    errors.extend(fleet_lock(merged));
    errors.extend(alerts(merged));
    errors.extend(canary(merged));
    errors.extend(probes(&merged.probes.value));
    errors
}

/// A channel is somewhere, and is believed because of something.
fn channel(merged: &Merged) -> Vec<ConfigError> {
    let name = set("channel.name", &merged.channel_name);
    let urls = ("channel.urls", merged.channel_urls.origin.place());
    let ca = set("channel.ca_file", &merged.channel_ca_file);
    let (named, some) = (name.1.is_some(), !merged.channel_urls.value.is_empty());
    let mut errors = Vec::new();
    if named && !some {
        let help = "add urls = [\"https://www.example.com/channel\"]";
        errors.extend(lone(name, "needs channel.urls", help));
    }
    if named && merged.channel_root.value.is_none() {
        let root = ("channel.root", merged.channel_root.origin.place());
        errors.extend(lone(root, "is needed", "name the file with the channel's root"));
    }
    if some && !named {
        errors.extend(lone(urls, "needs channel.name", "say which channel, or leave this out"));
    }
    if !value::uses_tls(&merged.channel_urls.value) {
        errors.extend(useless(&[ca], "channel.urls are not https"));
    }
    errors
}

/// Keys of `[etcd]` that need each other, or exclude each other.
fn etcd_access(merged: &Merged) -> Vec<ConfigError> {
    let endpoints = ("etcd.endpoints", merged.etcd_endpoints.origin.place());
    let ca = set("etcd.ca_file", &merged.etcd_ca_file);
    let cert = set("etcd.cert_file", &merged.etcd_cert_file);
    let key = set("etcd.key_file", &merged.etcd_key_file);
    let user = set("etcd.user", &merged.etcd_user);
    let password = set("etcd.password_file", &merged.etcd_password_file);
    let mut errors = together(&[(cert, key), (user, password)]);
    if value::uses_tls(&merged.etcd_endpoints.value) {
        if ca.1.is_none() {
            let help = "name the file with the certificate of the CA that signed etcd's";
            errors.extend(lone(endpoints, "with https needs etcd.ca_file", help));
        }
    } else {
        errors.extend(useless(&[ca, cert], "etcd.endpoints are http"));
    }
    errors
}

/// What `[fleet_lock]` needs, and what goes with its strategy.
fn fleet_lock(merged: &Merged) -> Vec<ConfigError> {
    let url = &merged.fleet_lock_url;
    let cert = set("fleet_lock.cert_file", &merged.fleet_lock_cert_file);
    let key = set("fleet_lock.key_file", &merged.fleet_lock_key_file);
    let ca = set("fleet_lock.ca_file", &merged.fleet_lock_ca_file);
    let mut errors = together(&[(cert, key)]);
    if !url.value.starts_with("https://") {
        errors.extend(useless(&[ca, cert], "fleet_lock.url is not https"));
    }
    if merged.strategy.value == Strategy::FleetLock {
        let strategy = ("strategy", merged.strategy.origin.place());
        if url.value.is_empty() {
            let help = "add [fleet_lock] and url = \"https://lock.example.com\"";
            errors.extend(lone(strategy, "\"fleet-lock\" needs fleet_lock.url", help));
        }
        if merged.lock_group.value.len() > 1 {
            let place = merged.lock_group.origin.place();
            let help = "FleetLock cannot take several slots at once: name one group";
            errors.extend(lone(("lock.group", place), "names several groups", help));
        }
    }
    errors
}

/// What goes with a server that is asked for alerts.
fn alerts(merged: &Merged) -> Vec<ConfigError> {
    let url = &merged.blockers_alerts_url.value;
    let ca = set("blockers.alerts_ca_file", &merged.blockers_alerts_ca_file);
    let token = set("blockers.alerts_token_file", &merged.blockers_alerts_token_file);
    if url.is_empty() {
        useless(&[ca, token], "blockers.alerts_url is empty").collect()
    } else if url.starts_with("https://") {
        Vec::new()
    } else {
        useless(&[ca], "blockers.alerts_url is not https").collect()
    }
}

/// Canaries are known only by a lock in etcd, and nobody is a canary of its own.
fn canary(merged: &Merged) -> Vec<ConfigError> {
    let follow = set("canary.follow", &merged.canary_follow);
    let publish = merged.canary_publish.value;
    let publish = ("canary.publish", merged.canary_publish.origin.place().filter(|_| publish));
    let mut errors = Vec::new();
    if merged.strategy.value != Strategy::EtcdLock {
        let help = "canaries tell what they have verified in etcd: set strategy = \"etcd-lock\"";
        let lone = |key| lone(key, "needs another strategy", help);
        errors.extend([follow, publish].into_iter().filter_map(lone));
    }
    let group = merged.canary_follow.value.as_ref();
    if group.is_some_and(|group| merged.lock_group.value.contains(group)) {
        let help = "a node of that group would wait for itself: follow another, or leave this out";
        errors.extend(lone(follow, "is a group this node is in", help));
    }
    errors
}

/// Each probe has a name of its own: it is told apart by it, also from one boot to the next.
fn probes(probes: &[ProbeEntry]) -> Vec<ConfigError> {
    let taken = |(index, probe): &(usize, &ProbeEntry)| {
        probes[..*index].iter().any(|other| other.name.value == probe.name.value)
    };
    let twice = probes.iter().enumerate().filter(taken);
    let error = |(index, probe): (usize, &ProbeEntry)| {
        let key = format!("probe[{index}].name");
        let problem = format!("{:?} is the name of another probe, too", probe.name.value);
        lone((&key, probe.name.origin.place()), &problem, "give each a name of its own")
    };
    twice.filter_map(error).collect()
}

/// Keys of which one is set without the other.
fn together(pairs: &[(Placed<'_>, Placed<'_>)]) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for (one, other) in pairs.iter().flat_map(|&(one, other)| [(one, other), (other, one)]) {
        if one.1.is_some() && other.1.is_none() {
            errors.extend(lone(one, &format!("needs {} beside it", other.0), "set both, or none"));
        }
    }
    errors
}

/// Files for TLS that are set although it is not spoken: `why`.
fn useless<'a>(files: &'a [Placed<'a>], why: &'a str) -> impl Iterator<Item = ConfigError> + 'a {
    let problem = format!("is of no use while {why}");
    files
        .iter()
        .filter_map(move |file| lone(*file, &problem, "write https:// there, or leave this out"))
}

type Placed<'a> = (&'a str, Option<&'a Place>);

/// A key with its place in a file, if it is set there to something.
fn set<'a, T>(key: &'a str, value: &'a Located<Option<T>>) -> Placed<'a> {
    (key, value.value.as_ref().and(value.origin.place()))
}

/// The error about one key, at its place; none without a place, for what is built in is good.
fn lone((key, place): Placed<'_>, problem: &str, help: &str) -> Option<ConfigError> {
    let place = place?.clone();
    Some(ConfigError {
        file: Arc::clone(&place.file),
        place: Some(place),
        key: key.to_owned(),
        kind: Kind::Conflict,
        problem: problem.to_owned(),
        help: Some(help.to_owned()),
    })
}

type Named<'a> = (&'a str, &'a Located<Duration>);

/// The error that names both values, at the one from the stronger layer: that is the one somebody
/// changed last. The built-in values go together, so at least one is from a file.
fn conflict(
    files: &[&Path],
    one: Named<'_>,
    relation: &str,
    other: Named<'_>,
) -> Option<ConfigError> {
    let strength = |(_, value): &Named<'_>| {
        let place = value.origin.place()?;
        files.iter().position(|file| *file == &*place.file)
    };
    let (key, value) = if strength(&one) >= strength(&other) { one } else { other };
    let place = value.origin.place()?.clone();
    let show = |(key, value): Named<'_>| {
        format!("{key} ({}, {})", duration::format(value.value), value.origin)
    };
    Some(ConfigError {
        file: Arc::clone(&place.file),
        place: Some(place),
        key: key.to_owned(),
        kind: Kind::Conflict,
        problem: format!("{} {relation} {}", show(one), show(other)),
        help: Some("change one of the two".to_owned()),
    })
}

impl Merged {
    /// What the program relies on. Total: every value was checked when it was read.
    pub(super) fn into_settings(self) -> Settings {
        Settings {
            strategy: self.strategy.value,
            check: Check {
                first: self.check_first.value,
                interval: self.check_interval.value,
                spread: self.check_spread.value,
            },
            channel: channel_of(
                self.channel_name.value,
                &self.channel_urls.value,
                self.channel_root.value,
                self.channel_ca_file.value,
                &self.channel_graph_url.value,
                self.channel_within.value,
            ),
            lock: Lock {
                groups: self.lock_group.value,
                settle: self.lock_settle.value,
                expected: self.lock_expected.value,
                on_overdue: self.lock_on_overdue.value,
                max_quarantined: self.lock_max_quarantined.value,
            },
            etcd: Etcd {
                endpoints: self.etcd_endpoints.value,
                prefix: self.etcd_prefix.value,
                timeout: self.etcd_timeout.value,
                ca_file: self.etcd_ca_file.value,
                cert_file: self.etcd_cert_file.value,
                key_file: self.etcd_key_file.value,
                user: self.etcd_user.value,
                password_file: self.etcd_password_file.value,
            },
            fleet_lock: FleetLock {
                url: self.fleet_lock_url.value,
                token_file: self.fleet_lock_token_file.value,
                ca_file: self.fleet_lock_ca_file.value,
                cert_file: self.fleet_lock_cert_file.value,
                key_file: self.fleet_lock_key_file.value,
                interval: self.fleet_lock_interval.value,
                timeout: self.fleet_lock_timeout.value,
            },
            blockers: Blockers {
                users: self.blockers_users.value,
                notice: self.blockers_notice.value,
                units: self.blockers_units.value,
                alerts: Some(self.blockers_alerts_url.value).filter(|url| !url.is_empty()).map(
                    |url| Alerts {
                        url,
                        ignore: self.blockers_alerts_ignore.value,
                        ca_file: self.blockers_alerts_ca_file.value,
                        token_file: self.blockers_alerts_token_file.value,
                    },
                ),
            },
            drain: Drain { wait: self.drain_wait.value },
            balancer: Balancer { address: self.balancer_address.value.clone() },
            hooks: Hooks {
                timeout: self.hooks_timeout.value,
                timeouts: self.hooks_timeouts.value.iter().filter_map(|t| limit_of(t)).collect(),
                advisory: self.hooks_advisory.value,
            },
            reboot: Reboot { fast: self.reboot_fast.value, timeout: self.reboot_timeout.value },
            verify: Verify {
                grace: self.verify_grace.value,
                settle: self.verify_settle.value,
                timeout: self.verify_timeout.value,
                check_timeout: self.verify_check_timeout.value,
                foreign_checks: self.verify_foreign_checks.value,
                boot_complete: self.verify_boot_complete.value,
            },
            probes: self.probes.value.into_iter().map(ProbeEntry::into_probe).collect(),
            schedule: Schedule {
                windows: self.windows.value.into_iter().map(WindowEntry::into_window).collect(),
                freezes: self.freezes.value.into_iter().map(FreezeEntry::into_freeze).collect(),
                spread: self.schedule_spread.value,
                min_remaining: self.schedule_min_remaining.value,
            },
            packages: Packages {
                origins: self.packages_origins.value.clone(),
                allow: self.packages_allow.value.clone(),
                deny: self.packages_deny.value.clone(),
                new_dependencies: self.packages_new_dependencies.value,
                removals: self.packages_removals.value,
                phased: self.packages_phased.value,
                apply: self.packages_apply.value,
                on_failure: self.packages_on_failure.value,
                without_way_back: self.packages_without_way_back.value,
                snapshot: self.packages_snapshot.value,
                lock_wait: self.packages_lock_wait.value,
            },
            canary: Canary {
                publish: self.canary_publish.value,
                follow: self.canary_follow.value.clone(),
                soak: self.canary_soak.value,
            },
            services: Services {
                restart: self.services_restart.value,
                never: self.services_never.value,
                by_reboot: self.services_by_reboot.value,
            },
            workloads: Workloads {
                ignore: self.workloads_ignore.value,
                resurrected: self.workloads_resurrected.value,
                users: self.workloads_users.value,
            },
            containers: Containers {
                pull: self.containers_pull.value,
                update: self.containers_update.value,
            },
        }
    }
}

/// The channel that is followed, if one is. Each address was read before.
fn channel_of(
    name: Option<String>,
    urls: &[String],
    root: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    graph_url: &str,
    within: Option<VersionReq>,
) -> Option<Channel> {
    let graph_url = Url::parse(graph_url).ok();
    let urls = urls.iter().filter_map(|url| Url::parse(url).ok()).collect();
    Some(Channel { name: name?, urls, root: root?, ca_file, graph_url, within })
}

/// The built-in values: what a machine without any file goes by.
impl Default for Settings {
    fn default() -> Self {
        Merged::built_in().into_settings()
    }
}
