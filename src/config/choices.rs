//! Settings that are one word of a few.

/// How far lockkeeper goes with this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Strategy {
    /// Check and stage; never touch the machine. The default.
    Off,
    /// Apply and reboot, one machine on its own (the lock is a local file).
    Reboot,
    /// Apply and reboot under a slot of the group in etcd.
    EtcdLock,
    /// Apply and reboot under a slot that a FleetLock server gives.
    FleetLock,
}

impl Strategy {
    /// Every strategy this version knows, the mildest first.
    pub const ALL: [Self; 4] = [Self::Off, Self::Reboot, Self::EtcdLock, Self::FleetLock];

    /// Its word in configuration files and in `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Reboot => "reboot",
            Self::EtcdLock => "etcd-lock",
            Self::FleetLock => "fleet-lock",
        }
    }
}

/// What a waiter does about a holder that needs longer than it expected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOverdue {
    /// Waits until it is back, or an admin unlocks it. The default.
    Wait,
    /// Goes on without it: that many nodes more may be down at once.
    Quarantine,
}

impl OnOverdue {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Wait, Self::Quarantine];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Quarantine => "quarantine",
        }
    }
}

/// What logged-in users mean to a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// They are told, and have a while. The default.
    Warn,
    /// Nothing is begun while somebody is logged in.
    Wait,
    /// Nothing.
    Ignore,
}

impl Users {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Warn, Self::Wait, Self::Ignore];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Wait => "wait",
            Self::Ignore => "ignore",
        }
    }
}

/// What systemd's own verdict on a boot counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootComplete {
    /// It is not looked at. The default.
    Ignore,
    /// A node on which boot-complete.target is not reached is not healthy.
    Require,
}

impl BootComplete {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Ignore, Self::Require];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Require => "require",
        }
    }
}

/// What becomes of packages that an update would bring anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewDependencies {
    /// They are installed. The default.
    Allow,
    /// What needs them is kept back.
    Refuse,
}

impl NewDependencies {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Allow, Self::Refuse];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
        }
    }
}

/// What becomes of updates that would have an installed package removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removals {
    /// They are kept back. The default.
    Refuse,
    /// They are taken, unless the machine cannot do without that package.
    Allow,
}

impl Removals {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Refuse, Self::Allow];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Allow => "allow",
        }
    }
}

/// What becomes of updates that an archive gives to some machines first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phased {
    /// They are taken when this machine's turn comes, as apt tells it. The default.
    Respect,
    /// They are taken at once.
    Ignore,
}

impl Phased {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Respect, Self::Ignore];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Respect => "respect",
            Self::Ignore => "ignore",
        }
    }
}

/// When staged packages are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// While the services run; a reboot follows only if it is needed. The default.
    Online,
    /// In a boot made for that, before any service starts: systemd.offline-updates(7).
    Offline,
}

impl ApplyMode {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Online, Self::Offline];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// What becomes of a node whose update failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It goes back to the packages from before. The default.
    RollBack,
    /// It stays as it is until an admin mends it.
    Stay,
}

impl OnFailure {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::RollBack, Self::Stay];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RollBack => "roll-back",
            Self::Stay => "stay",
        }
    }
}

/// What becomes of a plan that could not be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutWayBack {
    /// It is staged and applied all the same. The default.
    Allow,
    /// Staging fails, and names the packages.
    Refuse,
}

impl WithoutWayBack {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Allow, Self::Refuse];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
        }
    }
}

/// Whether a snapshot of the root file system is the way back from a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// It is not; the packages from before are. The default.
    Off,
    /// The root is a btrfs subvolume, of which one is taken before each plan.
    Btrfs,
}

impl Snapshot {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Off, Self::Btrfs];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Btrfs => "btrfs",
        }
    }
}

/// What becomes of a stopped container that its engine has started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resurrected {
    /// The journal says so. The default.
    Report,
    /// It is stopped again.
    Stop,
}

impl Resurrected {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Report, Self::Stop];

    /// Its word in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Stop => "stop",
        }
    }
}
