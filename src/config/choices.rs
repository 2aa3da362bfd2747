//! Settings that are one word of a few.

use crate::core::{fast::Fast, stale::Mode};

/// A setting that is one word of a few.
pub(super) trait Choice: Copy + 'static {
    /// What a word is called that is none of them.
    const WHAT: &'static str;
    /// Every choice.
    const EVERY: &'static [Self];

    /// Its word in configuration files.
    fn word(self) -> &'static str;
}

/// Each choice with its word, after what a word is called that is none of them.
macro_rules! choices {
    ($(
        $(#[$about:meta])*
        $name:ident, $what:literal: { $($(#[$means:meta])* $choice:ident = $word:literal,)+ }
    )+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$means])* $choice,)+
        }

        impl $name {
            /// Every choice, in the order of the manual.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$choice,)+];

            /// Its word in configuration files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$choice => $word,)+
                }
            }
        }

        impl Choice for $name {
            const WHAT: &'static str = $what;
            const EVERY: &'static [Self] = &Self::ALL;

            fn word(self) -> &'static str {
                self.name()
            }
        }
    )+};
}

choices! {
    /// How far lockkeeper goes with this machine.
    #[derive(serde::Serialize, serde::Deserialize)]
    Strategy, "strategy": {
        /// Check and stage; never touch the machine. The default.
        Off = "off",
        /// Apply and reboot, one machine on its own (the lock is a local file).
        Reboot = "reboot",
        /// Apply and reboot under a slot of the group in etcd.
        EtcdLock = "etcd-lock",
        /// Apply and reboot under a slot that a FleetLock server gives.
        FleetLock = "fleet-lock",
    }

    /// What a waiter does about a holder that needs longer than it expected to.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    OnOverdue, "answer to an overdue holder": {
        /// Waits until it is back, or an admin unlocks it. The default.
        Wait = "wait",
        /// Goes on without it: that many nodes more may be down at once.
        Quarantine = "quarantine",
    }

    /// What logged-in users mean to a cycle.
    Users, "answer to logged-in users": {
        /// They are told, and have a while. The default.
        Warn = "warn",
        /// Nothing is begun while somebody is logged in.
        Wait = "wait",
        /// Nothing.
        Ignore = "ignore",
    }

    /// What systemd's own verdict on a boot counts for.
    BootComplete, "answer to boot-complete.target": {
        /// It is not looked at. The default.
        Ignore = "ignore",
        /// A node on which boot-complete.target is not reached is not healthy.
        Require = "require",
    }

    /// What becomes of packages that an update would bring anew.
    NewDependencies, "answer to new dependencies": {
        /// They are installed. The default.
        Allow = "allow",
        /// What needs them is kept back.
        Refuse = "refuse",
    }

    /// What becomes of updates that would have an installed package removed.
    Removals, "answer to removals": {
        /// They are kept back. The default.
        Refuse = "refuse",
        /// They are taken, unless the machine cannot do without that package.
        Allow = "allow",
    }

    /// What becomes of updates that an archive gives to some machines first.
    Phased, "answer to phased updates": {
        /// They are taken when this machine's turn comes, as apt tells it. The default.
        Respect = "respect",
        /// They are taken at once.
        Ignore = "ignore",
    }

    /// When staged packages are installed.
    ApplyMode, "way to install updates": {
        /// While the services run; a reboot follows only if it is needed. The default.
        Online = "online",
        /// In a boot made for that, before any service starts: systemd.offline-updates(7).
        Offline = "offline",
    }

    /// What becomes of a node whose update failed.
    OnFailure, "answer to a failed update": {
        /// It goes back to the packages from before. The default.
        RollBack = "roll-back",
        /// It stays as it is until an admin mends it.
        Stay = "stay",
    }

    /// What becomes of a plan that could not be undone.
    WithoutWayBack, "answer to a plan without a way back": {
        /// It is staged and applied all the same. The default.
        Allow = "allow",
        /// Staging fails, and names the packages.
        Refuse = "refuse",
    }

    /// Whether a snapshot of the root file system is the way back from a plan.
    Snapshot, "kind of snapshot": {
        /// It is not; the packages from before are. The default.
        Off = "off",
        /// The root is a btrfs subvolume, of which one is taken before each plan.
        Btrfs = "btrfs",
        /// The root is a thin volume of LVM, of which one is taken before each plan.
        LvmThin = "lvm-thin",
        /// The root is a file system of ZFS, of which one is taken before each plan.
        Zfs = "zfs",
    }

    /// What becomes of a stopped container that its engine has started again.
    Resurrected, "answer to resurrected containers": {
        /// The journal says so. The default.
        Report = "report",
        /// It is stopped again.
        Stop = "stop",
    }
}

impl Choice for Fast {
    const WHAT: &'static str = "short way to reboot";
    const EVERY: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Choice for Mode {
    const WHAT: &'static str = "answer to services on old files";
    const EVERY: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.name()
    }
}
