//! The command line.

use clap::{Parser, Subcommand, ValueEnum};

use super::{config::ConfigArgs, windows::WindowsArgs};

/// See and steer this machine's updates and reboots, and its fleet's reboot lock.
#[derive(Debug, Parser)]
#[command(name = "rebootctl", version, propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The lock, and where this node is in its cycle.
    Status(StatusArgs),
    /// Why this machine is (not) being updated or rebooted.
    Explain {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look for updates now, and stage what is found.
    #[command(visible_alias = "stage")]
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Reboot this machine in its turn: take a slot, apply what is staged, reboot, verify.
    Reboot {
        /// Do not wait for a maintenance window. The lock is taken all the same.
        #[arg(long)]
        now: bool,
    },
    /// Forget an asked-for reboot, as long as nothing was disturbed.
    Cancel,
    /// Take a slot of the reboot lock by hand, for this node or another.
    Lock {
        /// Node id (default: this node).
        id: Option<String>,
        /// Why; shown to everyone who waits.
        #[arg(long, default_value = "locked by an admin")]
        reason: String,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Take a slot away from this node or another, whoever took it. A cycle under way on that node
    /// is not stopped by it: see with `status` that it is down for good, or back.
    Unlock {
        /// Node id (default: this node).
        id: Option<String>,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Change how many nodes may be down at once.
    SetMax {
        /// At least 1.
        max: u32,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Stop the group: nobody is admitted until `resume`.
    Halt {
        /// Why; shown to everyone.
        #[arg(long)]
        reason: String,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Let a halted group go on.
    Resume {
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// All nodes of the fleet and what each does.
    Nodes {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Try a maintenance schedule: open now? until when? when next?
    Windows(WindowsArgs),
    /// Check or show the configuration.
    Config(ConfigArgs),
}

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Print JSON.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Print in another program's format.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The lock to look at.
    #[command(flatten)]
    pub target: Target,
}

/// Formats of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As `locksmithctl status` prints it, byte for byte.
    Locksmith,
}

/// Which lock: the agent's, or one in etcd directly.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// Go straight to etcd here instead of asking the agent (repeatable).
    #[arg(long, value_name = "URL")]
    pub endpoint: Vec<String>,
    /// Lock group, with --endpoint.
    #[arg(long, default_value = "default", requires = "endpoint")]
    pub group: String,
    /// Key prefix, with --endpoint.
    #[arg(long, default_value = "/lockkeeper/v1", requires = "endpoint")]
    pub prefix: String,
}
