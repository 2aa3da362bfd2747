//! What must hold between values, and the last step to [`Settings`].

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    duration,
    entries::{FreezeEntry, WindowEntry},
    error::{ConfigError, Kind},
    keys::Merged,
    origin::Located,
    settings::{Check, Drain, Etcd, Lock, Reboot, Settings, Verify, Workloads},
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
    errors
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
            },
            drain: Drain { wait: self.drain_wait.value },
            reboot: Reboot { timeout: self.reboot_timeout.value },
            verify: Verify {
                grace: self.verify_grace.value,
                settle: self.verify_settle.value,
                timeout: self.verify_timeout.value,
            },
            schedule: Schedule {
                windows: self.windows.value.into_iter().map(WindowEntry::into_window).collect(),
                freezes: self.freezes.value.into_iter().map(FreezeEntry::into_freeze).collect(),
                spread: self.schedule_spread.value,
                min_remaining: self.schedule_min_remaining.value,
            },
            workloads: Workloads { ignore: self.workloads_ignore.value },
        }
    }
}

/// The built-in values: what a machine without any file goes by.
impl Default for Settings {
    fn default() -> Self {
        Merged::built_in().into_settings()
    }
}
