//! Arguments of `rebootctl channel`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use semver::{Version, VersionReq};

use crate::{
    adapters::channel::publisher::Whose,
    cli::args::duration,
    core::channel::{archive::Archive, release::Urgency},
};

/// Make release channels, publish them, and look at those of others.
#[derive(Debug, Args)]
pub struct ChannelArgs {
    /// The channel's folder, with its keys and what is published.
    #[arg(long, short = 'C', value_name = "DIR", default_value = ".", global = true)]
    pub folder: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: ChannelCommand,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// Begin: new keys, and empty channels.
    Init {
        /// The channels, those that are first to get a release first.
        #[arg(default_values_t = ["alpha", "beta", "stable"].map(str::to_owned))]
        channels: Vec<String>,
        /// How many keys the root has.
        #[arg(long, default_value_t = 1)]
        root_keys: usize,
        /// How many of them must sign another root.
        #[arg(long, default_value_t = 1)]
        threshold: u64,
    },
    /// Print the packages of this machine, as a release has them.
    Set,
    /// Put a release into a channel.
    Add(AddArgs),
    /// Put a release of one channel into another, on the same conditions.
    Promote {
        /// Which release.
        #[arg(value_name = "VERSION")]
        release: Version,
        /// The channel that has it.
        #[arg(long, value_name = "CHANNEL")]
        from: String,
        /// The channel that gets it.
        #[arg(long, value_name = "CHANNEL")]
        to: String,
        /// How it spreads there.
        #[command(flatten)]
        pace: PaceArgs,
    },
    /// Stop a rollout, let it go on, or set its share.
    Rollout {
        /// What to do with it.
        #[command(subcommand)]
        change: RolloutChange,
    },
    /// Withdraw a release: nobody begins to install it any more, and what is staged of it is thrown away.
    Recall {
        /// Which release.
        #[arg(value_name = "VERSION")]
        release: Version,
        /// Why; shown on every node.
        #[arg(long)]
        reason: String,
        /// The older release that nodes go back to which run it (default: they stay, until there is
        /// a newer one).
        #[arg(long, value_name = "VERSION")]
        back_to: Option<Version>,
        /// Only in this channel (default: in all that have it).
        #[arg(long)]
        channel: Option<String>,
    },
    /// What the channels have.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign anew that what is published is the newest, before that expires. Needs the online key only.
    Refresh,
    /// Sign another root before this one expires, or with new keys. Nodes that know the old one follow.
    RenewRoot {
        /// Make new keys (repeatable).
        #[arg(long, value_enum, value_name = "WHOSE")]
        replace: Vec<WhoseArg>,
        /// A file with a root key that is not in the folder (repeatable).
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
    },
    /// Fetch a channel and check all of it, as a node would.
    Verify {
        /// Where its folder is: http://, https://, or a path.
        source: String,
        /// The root that is trusted.
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
    },
    /// Copy what is to be published to where it is published from.
    Publish {
        /// A folder, or HOST:FOLDER or rsync://… for rsync.
        target: String,
    },
    /// Copy a channel, checked, for others to fetch from. May be run again and again.
    Mirror {
        /// Where its folder is: http://, https://, or a path.
        source: String,
        /// The folder that gets it.
        target: PathBuf,
        /// The root that is trusted.
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
    },
}

/// A new release.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its version (semver.org).
    #[arg(value_name = "VERSION")]
    pub release: Version,
    /// The channel that gets it.
    #[arg(long = "to", value_name = "CHANNEL")]
    pub channel: String,
    /// What it consists of.
    #[command(flatten)]
    pub source: SetSource,
    /// An archive that nodes ask beside their own, such as a snapshot, as a line of sources.list(5)
    /// (repeatable).
    #[arg(long = "archive", value_name = "LINE", value_parser = Archive::parse)]
    pub archives: Vec<Archive>,
    /// How it spreads.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// What it is about, or where to read that.
    #[arg(long, default_value = "")]
    pub notes: String,
    /// How urgent it is.
    #[arg(long, value_enum, default_value_t = UrgencyArg::Medium)]
    pub urgency: UrgencyArg,
    /// Every node must have run it before it gets a later one; says why.
    #[arg(long, value_name = "WHY")]
    pub barrier: Option<String>,
    /// No update leads away from it; says why.
    #[arg(long, value_name = "WHY")]
    pub dead_end: Option<String>,
    /// What a node must run to be updated to it (">=2026.1").
    #[arg(long = "from", value_name = "RANGE")]
    pub from: Option<VersionReq>,
    /// The oldest lockkeeper that may install it.
    #[arg(long, value_name = "VERSION")]
    pub min_agent: Option<Version>,
    /// Nobody begins to install it from then on.
    #[arg(long, value_name = "RFC3339")]
    pub expires: Option<Timestamp>,
}

/// Where a release's packages are taken from.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SetSource {
    /// Files that `rebootctl channel set` has printed, one for each system.
    #[arg(long = "set", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The packages of this machine.
    #[arg(long)]
    pub from_node: bool,
}

/// How a release spreads.
#[derive(Clone, Copy, Debug, Args)]
pub struct PaceArgs {
    /// How long until everybody may have it ("24h"); at once, if it is not said.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub over: Duration,
    /// When that begins (default: now).
    #[arg(long, value_name = "RFC3339")]
    pub start: Option<Timestamp>,
}

/// What is done with a rollout.
#[derive(Debug, Subcommand)]
pub enum RolloutChange {
    /// It stays where it is.
    Pause(Which),
    /// It goes on from where it is.
    Resume {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// How.
        #[command(flatten)]
        pace: PaceArgs,
    },
    /// It is offered to this share, and to no more by itself.
    Set {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// Per cent of the nodes, 0 to 100.
        #[arg(value_name = "PERCENT")]
        percent: f64,
    },
}

/// A release in a channel.
#[derive(Debug, Args)]
pub struct Which {
    /// The channel.
    pub channel: String,
    /// The release.
    #[arg(value_name = "VERSION")]
    pub release: Version,
}

/// [`Urgency`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum UrgencyArg {
    /// Whenever.
    Low,
    /// As usual.
    Medium,
    /// It mends something that is attacked, or will be.
    High,
    /// It mends something that is being attacked.
    Critical,
}

impl From<UrgencyArg> for Urgency {
    fn from(urgency: UrgencyArg) -> Self {
        match urgency {
            UrgencyArg::Low => Self::Low,
            UrgencyArg::Medium => Self::Medium,
            UrgencyArg::High => Self::High,
            UrgencyArg::Critical => Self::Critical,
        }
    }
}

/// [`Whose`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WhoseArg {
    /// The root's own keys.
    Root,
    /// The key that signs releases.
    Release,
    /// The key that signs what is the newest.
    Online,
}

impl From<WhoseArg> for Whose {
    fn from(whose: WhoseArg) -> Self {
        match whose {
            WhoseArg::Root => Self::Root,
            WhoseArg::Release => Self::Release,
            WhoseArg::Online => Self::Online,
        }
    }
}
