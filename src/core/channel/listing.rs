//! A channel's listing: which releases it has, and on what conditions a node may have each.

use std::collections::BTreeSet;

use jiff::Timestamp;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::{
    document::{self, DocumentError, Others},
    rollout::Rollout,
};

/// Format of a [`Listing`].
pub const SCHEMA: u32 = 1;

/// What a channel has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The channel's name: `stable`.
    pub channel: String,
    /// How long nodes should wait between two looks, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_seconds: Option<u64>,
    /// Its releases, in any order.
    pub releases: Vec<Offer>,
    #[serde(flatten)]
    others: Others,
}

/// A release in a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Which one.
    pub version: Version,
    /// Whom it is offered to.
    pub rollout: Rollout,
    /// Every node must have run this one before it may have a later one; says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barrier: Option<String>,
    /// No update leads away from it; says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_end: Option<String>,
    /// It is withdrawn; says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<String>,
    /// Nodes that run a recalled release go back to this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub downgrade: bool,
    /// What a node must run to be updated to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<VersionReq>,
    /// The oldest lockkeeper that may install it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_agent: Option<Version>,
    /// Nobody begins to install it from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    #[serde(flatten)]
    others: Others,
}

impl Offer {
    /// A release without further conditions.
    #[must_use]
    pub fn new(version: Version, rollout: Rollout) -> Self {
        Self {
            version,
            rollout,
            barrier: None,
            dead_end: None,
            recalled: None,
            downgrade: false,
            from: None,
            min_agent: None,
            expires: None,
            others: Others::new(),
        }
    }
}

impl Listing {
    /// A channel without releases.
    #[must_use]
    pub fn new(channel: &str) -> Self {
        Self {
            schema: SCHEMA,
            channel: channel.to_owned(),
            poll_seconds: None,
            releases: Vec::new(),
            others: Others::new(),
        }
    }

    /// Reads the listing of `channel`. One condition that is not understood is one too many: the
    /// whole listing is refused, since what is left might lead past a barrier.
    ///
    /// # Errors
    /// When it is not one, or another channel's, or has what is not known here.
    pub fn parse(text: &[u8], channel: &str) -> Result<Self, DocumentError> {
        let listing: Self = document::read(text)?;
        document::schema(listing.schema, SCHEMA)?;
        document::known("the listing", &listing.others)?;
        if listing.channel != channel {
            let text = format!("it is the listing of {:?}, not of {channel:?}", listing.channel);
            return Err(DocumentError::Value(text));
        }
        let mut seen = BTreeSet::new();
        for offer in &listing.releases {
            document::known(&format!("release {}", offer.version), &offer.others)?;
            if let Some(fault) = offer.rollout.fault() {
                let text = format!("the rollout of {}: {fault}", offer.version);
                return Err(DocumentError::Value(text));
            }
            if !seen.insert(&offer.version) {
                let text = format!("release {} is there twice", offer.version);
                return Err(DocumentError::Value(text));
            }
        }
        Ok(listing)
    }

    /// The release of this version.
    #[must_use]
    pub fn offer(&self, version: &Version) -> Option<&Offer> {
        self.releases.iter().find(|offer| offer.version == *version)
    }

    /// The same, to change it.
    pub fn offer_mut(&mut self, version: &Version) -> Option<&mut Offer> {
        self.releases.iter_mut().find(|offer| offer.version == *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let mut listing = Listing::new("stable");
        listing.releases.push(Offer::new(Version::new(2026, 9, 0), Rollout::EVERYBODY));
        listing
    }

    fn refused(change: impl FnOnce(&mut String, &mut Listing)) -> String {
        let mut listing = listing();
        let mut text = serde_json::to_string(&listing).unwrap();
        let before = text.clone();
        change(&mut text, &mut listing);
        if text == before {
            text = serde_json::to_string(&listing).unwrap();
        }
        Listing::parse(text.as_bytes(), "stable").unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = serde_json::to_string(&listing()).unwrap();
        assert_eq!(Listing::parse(text.as_bytes(), "stable").unwrap(), listing());
    }

    #[test]
    fn what_is_not_understood_is_not_obeyed() {
        assert_eq!(
            refused(|text, _| *text = text.replace("\"rollout\"", "\"moon\":1,\"rollout\"")),
            "release 2026.9.0 has \"moon\", which this version of lockkeeper does not know"
        );
        assert!(refused(|text, _| *text = text.replace("share", "phase")).contains("`phase`"));
        let wrong = refused(|_, listing| listing.releases[0].rollout = Rollout::Share(1.5));
        assert!(wrong.starts_with("the rollout of 2026.9.0: 1.5 is no share"), "{wrong}");
        assert_eq!(
            refused(|_, listing| listing.channel = "alpha".to_owned()),
            "it is the listing of \"alpha\", not of \"stable\""
        );
        assert_eq!(
            refused(|_, listing| listing.releases.push(listing.releases[0].clone())),
            "release 2026.9.0 is there twice"
        );
    }
}
