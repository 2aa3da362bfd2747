//! Follow the canary: take only what another group of nodes has tried, some time ago.
//!
//! A node of the canary group publishes what it has installed once it has proved itself healthy with
//! it ([`Verified`]). A follower may install a version of a package when some canary has it, and has
//! had it for the soak time; that time is the follower's own since it first saw the version there
//! ([`Soaking`]), so no clocks are compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Format of [`Verified`] and [`Soaking`].
pub const SCHEMA: u32 = 1;

/// What one canary has installed and is healthy with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Host name of the canary.
    pub name: String,
    /// Version by `name:arch`.
    pub packages: BTreeMap<String, String>,
}

/// The versions that may be installed, by `name:arch`.
pub type Allowed = BTreeMap<String, BTreeSet<String>>;

/// Since when a follower has seen each version at some canary. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soaking {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The canary group this is of.
    pub group: String,
    /// `name:arch` → version → when it was seen first, by this node's clock.
    pub since: BTreeMap<String, BTreeMap<String, Timestamp>>,
}

/// What a look at the canary group allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ripe {
    /// Versions that have soaked for long enough.
    pub allowed: Allowed,
    /// Versions that have not: when they will have.
    pub later: BTreeMap<String, BTreeMap<String, Timestamp>>,
    /// Why the canary group is halted, if it is: then nothing is allowed.
    pub halted: Option<String>,
}

impl Soaking {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(group: &str) -> Self {
        Self { schema: SCHEMA, group: group.to_owned(), since: BTreeMap::new() }
    }

    /// Takes a look at `verified`: what is new begins to soak, and what no canary has any more is
    /// forgotten. A time that lies in the future (the clock was set back) becomes `now`.
    pub fn look<'a>(&mut self, verified: impl IntoIterator<Item = &'a Verified>, now: Timestamp) {
        let mut seen: BTreeMap<String, BTreeMap<String, Timestamp>> = BTreeMap::new();
        for (package, version) in verified.into_iter().flat_map(|canary| &canary.packages) {
            let known = self.since.get(package).and_then(|versions| versions.get(version));
            let since = known.map_or(now, |known| (*known).min(now));
            seen.entry(package.clone()).or_default().insert(version.clone(), since);
        }
        self.since = seen;
    }

    /// What may be installed `now`, when versions soak for `soak`.
    #[must_use]
    pub fn ripe(&self, soak: Duration, now: Timestamp) -> Ripe {
        let mut ripe = Ripe::default();
        for (package, versions) in &self.since {
            for (version, since) in versions {
                // A sum that no calendar has never comes.
                let at = since.checked_add(soak).unwrap_or(Timestamp::MAX);
                if at <= now {
                    ripe.allowed.entry(package.clone()).or_default().insert(version.clone());
                } else {
                    ripe.later.entry(package.clone()).or_default().insert(version.clone(), at);
                }
            }
        }
        ripe
    }
}

impl Ripe {
    /// Nothing, while the canary group is halted.
    #[must_use]
    pub fn halted(why: String) -> Self {
        Self { halted: Some(why), ..Self::default() }
    }

    /// Why `version` of `package` (`name:arch`) may not be installed; `None` when it may.
    #[must_use]
    pub fn objection(&self, group: &str, package: &str, version: &str) -> Option<String> {
        if let Some(why) = &self.halted {
            return Some(format!("{group} is halted: {why}"));
        }
        if self.allowed.get(package).is_some_and(|versions| versions.contains(version)) {
            return None;
        }
        let at = self.later.get(package).and_then(|versions| versions.get(version));
        Some(match at {
            Some(at) => format!("{group} has verified {version}; it may be installed at {at}"),
            None => format!("no node of {group} has verified {version}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn canary(packages: &[(&str, &str)]) -> Verified {
        let packages = packages.iter().map(|(p, v)| ((*p).to_owned(), (*v).to_owned())).collect();
        Verified { schema: SCHEMA, name: "canary-1".into(), packages }
    }

    fn may(ripe: &Ripe, version: &str) -> bool {
        ripe.objection("canary", "a:all", version).is_none()
    }

    #[test]
    fn a_version_is_allowed_once_it_has_soaked_and_not_before() {
        let mut soaking = Soaking::new("canary");
        soaking.look([&canary(&[("a:all", "1")])], at(0));
        soaking.look([&canary(&[("a:all", "1")])], at(23));
        let early = soaking.ripe(DAY, at(23));
        assert!(!may(&early, "1"));
        let said = early.objection("canary", "a:all", "1").unwrap();
        assert_eq!(said, "canary has verified 1; it may be installed at 1970-01-02T00:00:00Z");
        let ripe = soaking.ripe(DAY, at(24));
        assert!(may(&ripe, "1") && !may(&ripe, "2"));
        assert_eq!(
            ripe.objection("canary", "b:all", "1").unwrap(),
            "no node of canary has verified 1"
        );
        assert!(may(&soaking.ripe(Duration::ZERO, at(0)), "1"), "without a soak time at once");
    }

    #[test]
    fn a_halted_canary_group_allows_nothing() {
        let ripe = Ripe::halted("app-2 does not start (canary-1)".into());
        let said = ripe.objection("canary", "a:all", "1").unwrap();
        assert_eq!(said, "canary is halted: app-2 does not start (canary-1)");
    }

    #[test]
    fn one_canary_is_enough_and_two_versions_soak_apart() {
        let mut soaking = Soaking::new("canary");
        soaking.look([&canary(&[("a:all", "1")])], at(0));
        let two = [canary(&[("a:all", "1")]), canary(&[("a:all", "2")])];
        soaking.look(&two, at(20));
        let ripe = soaking.ripe(DAY, at(30));
        assert!(may(&ripe, "1") && !may(&ripe, "2"));
        let ripe = soaking.ripe(DAY, at(44));
        assert!(may(&ripe, "1") && may(&ripe, "2"));
    }

    #[test]
    fn what_no_canary_has_any_more_starts_over() {
        let mut soaking = Soaking::new("canary");
        soaking.look([&canary(&[("a:all", "2")])], at(0));
        soaking.look([&canary(&[("a:all", "1")])], at(20));
        assert!(!may(&soaking.ripe(DAY, at(30)), "2"), "it was gone back from");
        soaking.look([&canary(&[("a:all", "2")])], at(30));
        assert!(!may(&soaking.ripe(DAY, at(53)), "2"));
        assert!(may(&soaking.ripe(DAY, at(54)), "2"));
    }

    #[test]
    fn a_clock_that_was_set_back_never_shortens_the_wait() {
        let mut soaking = Soaking::new("canary");
        soaking.look([&canary(&[("a:all", "1")])], at(100));
        soaking.look([&canary(&[("a:all", "1")])], at(10));
        assert!(!may(&soaking.ripe(DAY, at(33)), "1"));
        assert!(may(&soaking.ripe(DAY, at(34)), "1"));
        assert!(!may(&soaking.ripe(Duration::MAX, at(1_000_000)), "1"));
    }
}
