//! Why a channel is not believed, or not to be had: one reason each, and what was said.

use std::{error::Error, fmt};

use tough::error::Error as Tuf;

use crate::observe::logging::chain;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No server answers, or none has it.
    Unreachable,
    /// It comes too slowly to ever end.
    Slow,
    /// A server points to where nobody should go.
    Redirected,
    /// There is more of it than there may be.
    TooLarge,
    /// There is less of it than there should be.
    TooShort,
    /// It is no document of the kind.
    Shape,
    /// Not enough of the channel's keys have signed it.
    Signature,
    /// It is older than what was seen before.
    Rollback,
    /// It is another than what was seen under the same number.
    Equivocation,
    /// It is over.
    Expired,
    /// This machine's clock has gone back.
    Clock,
    /// Its parts do not belong together.
    Mixed,
    /// It is not what was signed.
    Digest,
    /// A name that leads elsewhere.
    Name,
    /// The channel does not have it.
    Missing,
    /// What is written in it cannot be obeyed.
    Document,
    /// What this machine knows of the channel cannot be read or written.
    Store,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "it cannot be fetched",
            Self::Slow => "it comes too slowly",
            Self::Redirected => "its server sends us elsewhere",
            Self::TooLarge => "it is too large",
            Self::TooShort => "it is too short",
            Self::Shape => "it cannot be read",
            Self::Signature => "it is not signed by enough of the channel's keys",
            Self::Rollback => "it is older than what was seen before",
            Self::Equivocation => "it is not what was seen under the same number before",
            Self::Expired => "it has expired",
            Self::Clock => "this machine's clock has gone back",
            Self::Mixed => "its parts do not belong together",
            Self::Digest => "it is not what was signed",
            Self::Name => "it has a name that leads elsewhere",
            Self::Missing => "the channel does not have it",
            Self::Document => "it cannot be obeyed",
            Self::Store => "what is known of the channel cannot be used",
        })
    }
}

/// A channel, or a part of one, that is not used; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason} ({said})")]
pub struct ChannelError {
    /// The part: `timestamp`, `release 2026.9.0`.
    pub what: String,
    /// Why.
    pub reason: Reason,
    /// What was found, for people.
    pub said: String,
}

impl ChannelError {
    pub(super) fn new(what: &str, reason: Reason, said: impl Into<String>) -> Self {
        Self { what: what.to_owned(), reason, said: said.into() }
    }

    /// What `tough` says, sorted.
    pub(super) fn of(what: &str, error: &Tuf) -> Self {
        let said = fetching(error).map_or_else(|| chain(error), |fetch| fetch.said.clone());
        Self::new(what, reason(error), said)
    }
}

/// What went wrong while something was fetched.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{said}")]
pub(super) struct FetchError {
    pub reason: Reason,
    pub said: String,
    /// Who was asked has no such file; everything else is no answer.
    pub absent: bool,
}

impl FetchError {
    pub(super) fn new(reason: Reason, said: impl Into<String>) -> Self {
        Self { reason, said: said.into(), absent: false }
    }

    pub(super) fn absent(said: impl Into<String>) -> Self {
        Self { absent: true, ..Self::new(Reason::Unreachable, said) }
    }
}

fn reason(error: &Tuf) -> Reason {
    match error {
        Tuf::ExpiredMetadata { .. } => Reason::Expired,
        Tuf::OlderMetadata { .. }
        | Tuf::OlderSnapshotInTimestamp { .. }
        | Tuf::SnapshotRoleMissing { .. }
        | Tuf::SnapshotRoleRollback { .. } => Reason::Rollback,
        Tuf::VerifyMetadata { .. }
        | Tuf::VerifyRoleMetadata { .. }
        | Tuf::VerifyTrustedMetadata { .. } => Reason::Signature,
        Tuf::VersionMismatch { .. } => Reason::Mixed,
        Tuf::MaxSizeExceeded { .. } | Tuf::MaxUpdatesExceeded { .. } => Reason::TooLarge,
        Tuf::HashMismatch { .. } => Reason::Digest,
        Tuf::SystemTimeSteppedBackward { .. } => Reason::Clock,
        Tuf::ParseMetadata { .. }
        | Tuf::ParseTrustedMetadata { .. }
        | Tuf::TimestampMetaLength { .. }
        | Tuf::MissingSnapshotMeta { .. }
        | Tuf::SnapshotTargetsMetaMissing { .. }
        | Tuf::MetaMissing { .. } => Reason::Shape,
        Tuf::InvalidTargetName { .. }
        | Tuf::UnsafeTargetNameDotDot { .. }
        | Tuf::UnsafeTargetNameEmpty { .. }
        | Tuf::UnsafeTargetNameSlash { .. }
        | Tuf::SaveTargetUnsafePath { .. } => Reason::Name,
        Tuf::DatastoreInit { .. }
        | Tuf::DatastoreCreate { .. }
        | Tuf::DatastoreOpen { .. }
        | Tuf::DatastoreRemove { .. } => Reason::Store,
        error => inner(error),
    }
}

/// The reason of what caused an error.
fn inner(error: &(dyn Error + 'static)) -> Reason {
    if let Some(fetch) = fetching(error) {
        return fetch.reason;
    }
    causes(error)
        .find_map(|cause| match cause.downcast_ref::<Tuf>() {
            Some(Tuf::MaxSizeExceeded { .. }) => Some(Reason::TooLarge),
            Some(Tuf::HashMismatch { .. }) => Some(Reason::Digest),
            _ => None,
        })
        .unwrap_or(Reason::Unreachable)
}

/// What a transport of ours has said, if it was one.
fn fetching<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a FetchError> {
    causes(error).find_map(|cause| cause.downcast_ref::<FetchError>())
}

fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> + use<'a> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
