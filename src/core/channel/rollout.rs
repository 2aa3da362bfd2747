//! How a release spreads over a fleet: who may have it when.

use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Which share of the nodes a release is offered to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Rollout {
    /// To this share, until somebody says otherwise; 0 is nobody, 1 everybody.
    Share(f64),
    /// To a share that grows evenly up to everybody.
    Ramp {
        /// When it begins; before that, nobody.
        start: Timestamp,
        /// How long until it is everybody.
        seconds: u64,
        /// The share at the beginning.
        #[serde(default)]
        from: f64,
    },
}

impl Rollout {
    /// To everybody.
    pub const EVERYBODY: Self = Self::Share(1.0);

    /// What does not make sense about it.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let (Self::Share(share) | Self::Ramp { from: share, .. }) = self;
        let fits = (0.0..=1.0).contains(share);
        (!fits).then(|| format!("{share} is no share: it is between 0 and 1"))
    }

    /// The share at `now`, between 0 and 1.
    #[must_use]
    pub fn share(&self, now: Timestamp) -> f64 {
        match self {
            Self::Share(share) => share.clamp(0.0, 1.0),
            Self::Ramp { start, seconds, from } => {
                let elapsed = now.duration_since(*start).as_secs_f64();
                if elapsed < 0.0 {
                    return 0.0;
                }
                let done = if *seconds == 0 { 1.0 } else { elapsed / seconds_f64(*seconds) };
                (from + (1.0 - from) * done).clamp(0.0, 1.0)
            }
        }
    }

    /// When it reaches this position; `None` when it will not.
    #[must_use]
    pub fn reaches(&self, position: Position) -> Option<Timestamp> {
        let Self::Ramp { start, seconds, from } = self else { return None };
        let ahead = position.0 - from;
        let wait = if ahead < 0.0 { 0.0 } else { ahead / (1.0 - from) * seconds_f64(*seconds) };
        // Rounded up: a moment too soon is a look in vain.
        let wait = Duration::try_from_secs_f64(wait.ceil() + 1.0).ok()?;
        start.checked_add(wait).ok()
    }

    /// The same rollout, stopped where it is.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Self {
        Self::Share(self.share(now))
    }
}

#[allow(clippy::cast_precision_loss)] // a day more or less in a million years
fn seconds_f64(seconds: u64) -> f64 {
    seconds as f64
}

/// Where a node stands in the order of one release: at least 0, less than 1. Another release has
/// another order, so that it is not always the same nodes that go first.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Position(f64);

impl Position {
    /// Of this node, with this release.
    #[must_use]
    pub fn of(node: &str, release: &Version) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"lockkeeper rollout\0");
        hash.update(release.to_string());
        hash.update([0]);
        hash.update(node);
        let digest = hash.finalize();
        let number = digest[..4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        Self(f64::from(number) / (f64::from(u32::MAX) + 1.0))
    }

    /// Whether a release that is offered to `share` is offered to this node.
    #[must_use]
    pub fn is_within(self, share: f64) -> bool {
        self.0 < share
    }

    /// As a number, at least 0 and less than 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn day(from: f64) -> Rollout {
        Rollout::Ramp { start: at(1000), seconds: 86_400, from }
    }

    #[test]
    fn a_share_grows_evenly_from_its_beginning_to_everybody() {
        for (now, share) in [(999, 0.0), (1000, 0.1), (1000 + 43_200, 0.55), (1000 + 86_400, 1.0)] {
            assert!((day(0.1).share(at(now)) - share).abs() < 1e-9, "{now}");
        }
        assert!((day(0.0).share(at(i64::from(i32::MAX))) - 1.0).abs() < 1e-9);
        let at_once = Rollout::Ramp { start: at(1000), seconds: 0, from: 0.0 };
        assert!(at_once.share(at(999)) < 1e-9 && at_once.share(at(1000)) > 0.999);
    }

    #[test]
    fn a_node_is_within_from_the_moment_that_it_is_told() {
        let version = Version::new(2026, 9, 0);
        for node in 0..200 {
            let position = Position::of(&format!("node-{node}"), &version);
            let moment = day(0.1).reaches(position).unwrap();
            assert!(position.is_within(day(0.1).share(moment)));
            let before = moment - Duration::from_secs(3);
            assert!(!position.is_within(day(0.1).share(before)) || position.is_within(0.1));
        }
        assert_eq!(Rollout::Share(0.4).reaches(Position(0.6)), None);
    }

    #[test]
    fn a_paused_rollout_stays_where_it_is() {
        let paused = day(0.0).paused(at(1000 + 21_600));
        assert_eq!(paused, Rollout::Share(0.25));
        assert!((paused.share(at(1_000_000)) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn every_share_is_between_nobody_and_everybody() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Rollout::Share(wrong).fault().is_some());
            assert!(day(wrong).fault().is_some());
        }
        assert_eq!(day(1.0).fault(), None);
        assert_eq!(day(1.0).reaches(Position(0.9)), Some(at(1001)));
    }
}
