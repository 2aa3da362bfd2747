//! What an admin does to a channel's listing.

use std::time::Duration;

use jiff::Timestamp;
use semver::Version;

use super::{
    listing::{Listing, Offer},
    rollout::Rollout,
};

/// How a release is to spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// When it begins.
    pub start: Timestamp,
    /// How long until everybody may have it; zero: at once.
    pub over: Duration,
}

impl Pace {
    /// From nobody, or from `share`, to everybody.
    #[must_use]
    pub fn rollout(self, share: f64) -> Rollout {
        Rollout::Ramp { start: self.start, seconds: self.over.as_secs(), from: share }
    }
}

/// What cannot be done, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The channel does not have the release.
    #[error("{channel} has no release {version}")]
    NotThere {
        /// The channel.
        channel: String,
        /// The release.
        version: Version,
    },
    /// The channel has it already.
    #[error("{channel} has release {version} already")]
    There {
        /// The channel.
        channel: String,
        /// The release.
        version: Version,
    },
    /// It was withdrawn.
    #[error("release {version} was recalled: {why}")]
    Recalled {
        /// The release.
        version: Version,
        /// Why it was.
        why: String,
    },
    /// It is not what was asked for.
    #[error("{0}")]
    Refused(String),
}

impl Listing {
    /// Puts a release in.
    ///
    /// # Errors
    /// When it is there already.
    pub fn add(&mut self, offer: Offer) -> Result<(), EditError> {
        if self.offer(&offer.version).is_some() {
            let (channel, version) = (self.channel.clone(), offer.version);
            return Err(EditError::There { channel, version });
        }
        self.releases.push(offer);
        self.releases.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(())
    }

    /// Puts a release of another channel in, on the same conditions, at a pace of its own.
    ///
    /// # Errors
    /// When the other one does not have it or has recalled it, or this one has it.
    pub fn promote(
        &mut self,
        from: &Self,
        version: &Version,
        rollout: Rollout,
    ) -> Result<(), EditError> {
        let Some(offer) = from.offer(version) else { return Err(from.not_there(version)) };
        not_recalled(offer)?;
        let mut promoted = offer.clone();
        promoted.rollout = rollout;
        self.add(promoted)
    }

    /// Stops a rollout where it is; answers with the share that has it on offer.
    ///
    /// # Errors
    /// When the release is not there, or does not spread.
    pub fn pause(&mut self, version: &Version, now: Timestamp) -> Result<f64, EditError> {
        let offer = self.offered(version)?;
        if matches!(offer.rollout, Rollout::Share(_)) {
            let said = format!("the rollout of {version} stands still");
            return Err(EditError::Refused(said));
        }
        offer.rollout = offer.rollout.paused(now);
        Ok(offer.rollout.share(now))
    }

    /// Lets a rollout go on from the share that it has reached.
    ///
    /// # Errors
    /// When the release is not there or was recalled, or everybody has it on offer.
    pub fn resume(&mut self, version: &Version, pace: Pace) -> Result<f64, EditError> {
        let offer = self.offered(version)?;
        not_recalled(offer)?;
        let share = offer.rollout.share(pace.start);
        if share >= 1.0 {
            let said = format!("{version} is offered to everybody");
            return Err(EditError::Refused(said));
        }
        offer.rollout = pace.rollout(share);
        Ok(share)
    }

    /// Offers a release to this share, and to no more by itself.
    ///
    /// # Errors
    /// When the release is not there or was recalled, or it is no share.
    pub fn set_share(&mut self, version: &Version, share: f64) -> Result<(), EditError> {
        let offer = self.offered(version)?;
        not_recalled(offer)?;
        let rollout = Rollout::Share(share);
        if let Some(fault) = rollout.fault() {
            return Err(EditError::Refused(fault));
        }
        offer.rollout = rollout;
        Ok(())
    }

    /// Withdraws a release. `back_to`: where nodes that run it go.
    ///
    /// # Errors
    /// When one of the two is not there, or the second is not older and good.
    pub fn recall(
        &mut self,
        version: &Version,
        why: &str,
        back_to: Option<&Version>,
    ) -> Result<(), EditError> {
        if self.offer(version).is_none() {
            return Err(self.not_there(version));
        }
        if let Some(back) = back_to {
            if back >= version {
                return Err(EditError::Refused(format!("{back} is not older than {version}")));
            }
            let offer = self.offered(back)?;
            not_recalled(offer)?;
            offer.downgrade = true;
        }
        self.offered(version)?.recalled = Some(why.to_owned());
        Ok(())
    }

    fn offered(&mut self, version: &Version) -> Result<&mut Offer, EditError> {
        let missing = self.not_there(version);
        self.offer_mut(version).ok_or(missing)
    }

    fn not_there(&self, version: &Version) -> EditError {
        EditError::NotThere { channel: self.channel.clone(), version: version.clone() }
    }
}

fn not_recalled(offer: &Offer) -> Result<(), EditError> {
    match &offer.recalled {
        None => Ok(()),
        Some(why) => Err(EditError::Recalled { version: offer.version.clone(), why: why.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn version(minor: u64) -> Version {
        Version::new(1, minor, 0)
    }

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn listing(minors: &[u64]) -> Listing {
        let mut listing = Listing::new("alpha");
        for minor in minors {
            listing.add(Offer::new(version(*minor), Rollout::EVERYBODY)).unwrap();
        }
        listing
    }

    fn said<T: std::fmt::Debug>(result: Result<T, EditError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_promoted_release_keeps_its_conditions_and_gets_its_own_pace() {
        let mut alpha = listing(&[0, 1]);
        alpha.offer_mut(&version(1)).unwrap().barrier = Some("new format".to_owned());
        let mut beta = Listing::new("beta");
        let pace = Pace { start: start(), over: 24 * HOUR };
        beta.promote(&alpha, &version(1), pace.rollout(0.0)).unwrap();
        let promoted = beta.offer(&version(1)).unwrap();
        assert_eq!(promoted.barrier.as_deref(), Some("new format"));
        assert_eq!(promoted.rollout, Rollout::Ramp { start: start(), seconds: 86_400, from: 0.0 });
        let again = beta.promote(&alpha, &version(1), Rollout::EVERYBODY);
        assert_eq!(said(again), "beta has release 1.1.0 already");
        let missing = beta.promote(&alpha, &version(7), Rollout::EVERYBODY);
        assert_eq!(said(missing), "alpha has no release 1.7.0");
        alpha.recall(&version(0), "broken", None).unwrap();
        let recalled = beta.promote(&alpha, &version(0), Rollout::EVERYBODY);
        assert_eq!(said(recalled), "release 1.0.0 was recalled: broken");
    }

    #[test]
    fn a_paused_rollout_goes_on_from_where_it_was() {
        let mut listing = listing(&[0]);
        let pace = Pace { start: start(), over: 10 * HOUR };
        listing.offer_mut(&version(0)).unwrap().rollout = pace.rollout(0.0);
        let share = listing.pause(&version(0), start() + 4 * HOUR).unwrap();
        assert!((share - 0.4).abs() < 1e-9);
        let twice = listing.pause(&version(0), start() + 5 * HOUR);
        assert_eq!(said(twice), "the rollout of 1.0.0 stands still");
        let pace = Pace { start: start() + 8 * HOUR, over: 6 * HOUR };
        listing.resume(&version(0), pace).unwrap();
        let rollout = &listing.offer(&version(0)).unwrap().rollout;
        assert!((rollout.share(start() + 8 * HOUR) - 0.4).abs() < 1e-9);
        assert!((rollout.share(start() + 11 * HOUR) - 0.7).abs() < 1e-9);
        listing.set_share(&version(0), 1.0).unwrap();
        assert_eq!(said(listing.resume(&version(0), pace)), "1.0.0 is offered to everybody");
        assert!(said(listing.set_share(&version(0), 40.0)).starts_with("40 is no share"));
    }

    #[test]
    fn a_recalled_release_stays_recalled_and_leads_back_to_a_good_one() {
        let mut listing = listing(&[0, 1, 2]);
        let newer = listing.recall(&version(1), "broken", Some(&version(2)));
        assert_eq!(said(newer), "1.2.0 is not older than 1.1.0");
        listing.recall(&version(2), "broken", Some(&version(1))).unwrap();
        assert!(listing.offer(&version(1)).unwrap().downgrade);
        assert_eq!(listing.offer(&version(2)).unwrap().recalled.as_deref(), Some("broken"));
        let resumed = listing.set_share(&version(2), 1.0);
        assert_eq!(said(resumed), "release 1.2.0 was recalled: broken");
        assert_eq!(said(listing.recall(&version(9), "x", None)), "alpha has no release 1.9.0");
    }
}
