//! What can go wrong with packages.

use std::{io, path::PathBuf};

use super::snapshot::SnapshotError;
use crate::{
    adapters::{command::CommandError, state_file::StateFileError},
    core::plan::PlanId,
};

/// A step with packages that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A source cannot be read, or is not to be trusted.
    #[error("the package lists cannot be refreshed: {0}")]
    Sources(String),
    /// apt or dpkg said no.
    #[error("{doing}: {said}")]
    Said {
        /// What was being done.
        doing: &'static str,
        /// What it said, short.
        said: String,
    },
    /// A program printed something we do not understand; to guess would be worse.
    #[error("{program} printed a line that makes no sense here: {line}")]
    Output {
        /// Which.
        program: &'static str,
        /// The line.
        line: String,
    },
    /// A source gives no SHA-256 for a package.
    #[error("no source gives a SHA-256 for {package}")]
    NoDigest {
        /// Which.
        package: String,
    },
    /// It cannot be told what to ask for packages.
    #[error("it cannot be told which package manager looks after this system: it has {0}")]
    NoManager(&'static str),
    /// No such plan here.
    #[error("plan {} is not known here (any more); check again", .0.short())]
    NoPlan(PlanId),
    /// A plan's files are not what they should be.
    #[error("the stage of plan {} is damaged: {why}", .id.short())]
    Damaged {
        /// Which.
        id: PlanId,
        /// What is wrong with it.
        why: String,
    },
    /// The stage would not install what the plan says.
    #[error("the stage would not give exactly plan {}: {why}", .id.short())]
    Differs {
        /// Which.
        id: PlanId,
        /// The difference.
        why: String,
    },
    /// The plan could not be undone, and such plans are not wanted.
    #[error(
        "there is no way back from {packages}; \
         packages.without_way_back = \"allow\" takes the update all the same"
    )]
    NoWayBack {
        /// Each package, its version and why it cannot be secured.
        packages: String,
    },
    /// A snapshot of the root.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Nobody would take one.
    #[error("packages.snapshot is not possible with this system's package manager")]
    NoSnapshots,
    /// Nobody knows the way back from them.
    #[error(
        "packages.removals = \"allow\" is not possible with this system's package manager: remove it"
    )]
    NoRemovals,
    /// The plan is being applied; its stage is not to be touched.
    #[error("plan {} is being applied", .0.short())]
    Busy(PlanId),
    /// A file system is too small for the plan.
    #[error(
        "not enough free space on {mount}: {need} bytes are needed, {free} are free ({short} short){}",
        autoremovable(.old_kernels),
        short = .need.saturating_sub(*.free)
    )]
    Space {
        /// Where the file system is mounted.
        mount: PathBuf,
        /// Bytes needed, the margin included.
        need: u64,
        /// Bytes free.
        free: u64,
        /// Kernels that are needed no more, where that would make room.
        old_kernels: Vec<String>,
    },
    /// A file system ran full on the way.
    #[error("the file system {mount} is full")]
    Full {
        /// Where it is mounted.
        mount: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {what} {path}")]
    Io {
        /// `read`, `write`, `remove`, …
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of our documents.
    #[error(transparent)]
    Document(#[from] StateFileError),
    /// A program could not be run, or said no.
    #[error(transparent)]
    Command(#[from] CommandError),
}

fn autoremovable(kernels: &[String]) -> String {
    if kernels.is_empty() {
        return String::new();
    }
    format!("; `apt-get autoremove` would remove {}", kernels.join(", "))
}

impl PackageError {
    /// A stable machine word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sources(_) => "sources",
            Self::Said { .. } => "apt",
            Self::Output { .. } => "output",
            Self::NoDigest { .. } => "no-digest",
            Self::NoManager(_) => "no-manager",
            Self::NoPlan(_) => "no-plan",
            Self::Damaged { .. } => "damaged",
            Self::Differs { .. } => "differs",
            Self::NoWayBack { .. } => "no-way-back",
            Self::Snapshot(_) | Self::NoSnapshots => "snapshot",
            Self::NoRemovals => "removals",
            Self::Busy(_) => "busy",
            Self::Space { .. } | Self::Full { .. } => "space",
            Self::Io { .. } => "io",
            Self::Document(_) => "document",
            Self::Command(_) => "command",
        }
    }

    /// An I/O error with its context; for `map_err`. A full file system gets its own name.
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { mount: super::file_system::mount_point(&path) }
            }
            _ => Self::Io { what, path, source },
        }
    }
}
