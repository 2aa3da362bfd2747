//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use super::{channel::args::ChannelArgs, config::ConfigArgs, windows::WindowsArgs};
use crate::config::duration;

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
    /// Whether this machine has proved itself healthy since lockkeeper last disturbed it. Ends with 0 when
    /// it has, or was not disturbed; with 1 and what fails when it has not.
    Healthy {
        /// Wait at most so long until it has, or has failed to ("10m").
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
        wait: Duration,
    },
    /// Look for updates now, and stage what is found.
    #[command(visible_alias = "stage")]
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What is staged, what is kept back and why, as the last check found it.
    Plan {
        /// What is new in the staged packages since the versions installed, or in this one.
        #[arg(long, value_name = "PACKAGE", num_args = 0..=1, default_missing_value = "")]
        changelog: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What still runs on files that were deleted or replaced, and what becomes of it. Looks for itself,
    /// without the agent; only root sees all processes.
    Stale {
        /// Print JSON.
        #[arg(long, conflicts_with = "names")]
        json: bool,
        /// Print the names of the units only, one a line; systemd is not asked what they are.
        #[arg(long)]
        names: bool,
    },
    /// What becomes of everything that runs in a reboot: what comes back by itself, what lockkeeper starts,
    /// what is lost, and what would keep an update from beginning. Ends with 1 where something would.
    Workloads {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// How far staging or installing has come, until interrupted.
    Watch,
    /// Reboot this machine in its turn: take a slot, apply what is staged, reboot, verify.
    Reboot {
        /// Do not wait for a maintenance window. The lock is taken all the same.
        #[arg(long)]
        now: bool,
    },
    /// Forget an asked-for reboot, as long as nothing was disturbed.
    Cancel,
    /// As if an update had asked for a reboot: try the whole cycle, in this node's turn and window.
    SendNeedReboot,
    /// Take a slot of the reboot lock by hand, for this node or another.
    Lock {
        /// Node id (default: this node).
        id: Option<String>,
        /// Why; shown to everyone who waits.
        #[arg(long, default_value = "locked by an admin")]
        reason: String,
        /// How long the slot should be needed ("2h"): it is marked as overdue after that.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expected: Option<Duration>,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Take the slots away from this node or another, whoever took them: in every group where it has
    /// one, or in one group. Installing under way on that node is not stopped by it, but it reboots
    /// no more: see with `status` that it is down for good, or back.
    Unlock {
        /// Node id (default: this node).
        id: Option<String>,
        /// Why, for the history.
        #[arg(long, default_value = "")]
        reason: String,
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
        /// End the halt by itself after this time ("2d"), by the lock store's clock.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        lasts: Option<Duration>,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Let a halted group go on.
    Resume {
        /// Why, for the history.
        #[arg(long, default_value = "")]
        reason: String,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Who waits for a slot, first in line first.
    Queue {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Which lock.
        #[command(flatten)]
        target: Target,
    },
    /// Who locked, unlocked, forced or halted what, and why.
    History {
        /// Print JSON.
        #[arg(long)]
        json: bool,
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
    /// What is wrong with the lock, its etcd and this machine's part in it, and what mends it. Ends
    /// with 6 when something must be done.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Root of the configuration tree, and of the system that is looked at.
        #[arg(long, default_value = "/", hide = true)]
        config_root: PathBuf,
        /// What apt reads before anything else.
        #[arg(long, value_name = "FILE", hide = true)]
        apt_config: Option<PathBuf>,
        /// Which lock (default: this machine's, as configured).
        #[command(flatten)]
        target: Target,
    },
    /// Carry another program's reboot lock over into the one this machine is configured for: max and
    /// holders of each group. Where a group is not understood or does not fit, nothing of it is
    /// changed. May be run again.
    Migrate {
        /// Which program.
        #[command(subcommand)]
        from: Migration,
    },
    /// Keep the configuration of a load balancer up to date with the nodes' keys in etcd, as confd does
    /// and by confd's files: nodes that leave service are left out of it. Runs until it is ended.
    Balancer(BalancerArgs),
    /// Make release channels, publish them, and look at those of others.
    Channel(ChannelArgs),
    /// Try a maintenance schedule: open now? until when? when next?
    Windows(WindowsArgs),
    /// Check or show the configuration.
    Config(ConfigArgs),
}

impl Command {
    /// Whether it runs on and on, and logs what it does.
    #[must_use]
    pub const fn is_a_service(&self) -> bool {
        matches!(self, Self::Balancer(_))
    }
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
    /// Go straight to etcd here instead of asking the agent (repeatable): http://HOST:PORT, or
    /// https://HOST:PORT with --cacert.
    #[arg(long, value_name = "URL")]
    pub endpoint: Vec<String>,
    /// Lock group (default: this node's first, or "default" with --endpoint).
    #[arg(long)]
    pub group: Option<String>,
    /// Key prefix, with --endpoint.
    #[arg(long, default_value = "/lockkeeper/v1", requires = "endpoint")]
    pub prefix: String,
    /// TLS and user.
    #[command(flatten)]
    pub papers: Papers,
}

/// How etcd at `--endpoint` is shown who we are, and who it is.
#[derive(Debug, clap::Args)]
pub struct Papers {
    /// Certificate of the CA that signed etcd's, for https endpoints.
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    pub cacert: Option<PathBuf>,
    /// Client certificate, if etcd wants one.
    #[arg(long, value_name = "FILE", requires_all = ["endpoint", "key"])]
    pub cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", requires_all = ["endpoint", "cert"])]
    pub key: Option<PathBuf>,
    /// User of etcd.
    #[arg(long, value_name = "NAME", requires_all = ["endpoint", "password_file"])]
    pub user: Option<String>,
    /// File with the user's password.
    #[arg(long, value_name = "FILE", requires_all = ["endpoint", "user"])]
    pub password_file: Option<PathBuf>,
}

/// Where another program's lock is read from.
#[derive(Debug, Subcommand)]
pub enum Migration {
    /// From locksmith (Flatcar's reboot manager): etcd's v2 API. Stop every locksmithd first.
    Locksmith(SourceArgs),
    /// From airlock: etcd's v3 API. Stop airlock first.
    Airlock(SourceArgs),
    /// From unattended-upgrades: writes what its configuration means as a file in
    /// /etc/lockkeeper/conf.d, and lists what has no equivalent.
    UnattendedUpgrades(UnattendedArgs),
}

/// unattended-upgrades on this machine.
#[derive(Debug, clap::Args)]
pub struct UnattendedArgs {
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Then put unattended-upgrades out of work, by a file in apt.conf.d that can be removed again.
    #[arg(long)]
    pub switch_over: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Root of the configuration tree.
    #[arg(long, default_value = "/", hide = true)]
    pub config_root: PathBuf,
    /// What apt reads before anything else.
    #[arg(long, value_name = "FILE", hide = true)]
    pub apt_config: Option<PathBuf>,
}

/// The other program's lock.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// The etcd of the other program (repeatable). It is only read.
    #[arg(long, value_name = "URL", required = true)]
    pub endpoint: Vec<String>,
    /// Only this group (the one without a name is "default").
    #[arg(long)]
    pub group: Option<String>,
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// TLS and user.
    #[command(flatten)]
    pub papers: Papers,
    /// Root of the configuration tree.
    #[arg(long, default_value = "/", hide = true)]
    pub config_root: PathBuf,
}

/// Which files are made, and of which keys.
#[derive(Debug, clap::Args)]
pub struct BalancerArgs {
    /// Folder with conf.d/*.toml and templates/.
    #[arg(long, value_name = "DIR", default_value = "/etc/confd")]
    pub confdir: PathBuf,
    /// Bring the files up to date once; ends with 1 if one of them could not be.
    #[arg(long)]
    pub onetime: bool,
    /// Take values that are no plain words. Whoever may write such keys may then write anything into
    /// the files.
    #[arg(long)]
    pub any_values: bool,
    /// Key prefix, instead of what each resource says.
    #[arg(long)]
    pub prefix: Option<String>,
    /// The etcd to read (repeatable; default: the one in this machine's configuration).
    #[arg(long, value_name = "URL")]
    pub endpoint: Vec<String>,
    /// TLS and user.
    #[command(flatten)]
    pub papers: Papers,
    /// Root of the configuration tree.
    #[arg(long, default_value = "/", hide = true)]
    pub config_root: PathBuf,
}

/// A duration as in configuration files.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| format!("{error}; {}", error.help()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    #[test]
    fn the_commands_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
