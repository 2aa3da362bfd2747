//! The way back from a plan, as it was secured while the plan was staged.

use serde::{Deserialize, Serialize};

use super::{Layout, PackageError, plans};
use crate::{
    config::settings::WithoutWayBack,
    core::plan::{PackageChange, Plan, PlanId, Removal},
};

/// What leads back from a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// One for each package of the plan, in its order.
    pub packages: Vec<Earlier>,
    /// One for each package that the plan removes, in its order.
    #[serde(default)]
    pub removed: Vec<Earlier>,
    /// `name:arch` of those of them that had been installed for others only.
    #[serde(default)]
    pub automatic: Vec<String>,
    /// What was broken before the plan, one sentence a package.
    #[serde(default)]
    pub broken: Vec<String>,
    /// Packages whose files the plan's versions of others may take over: the earlier version, unpacked
    /// while such a one is there, goes without them (dpkg's rule for `Replaces`).
    #[serde(default)]
    pub replaced: Vec<String>,
}

/// What was there in place of a package of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Binary package name, without architecture.
    pub name: String,
    /// How to get it back.
    #[serde(flatten)]
    pub how: How,
}

/// How to get back what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum How {
    /// There was nothing: the new package is removed.
    Remove {
        /// With its configuration files: the package manager had known nothing of it.
        purge: bool,
    },
    /// By the archive's own package.
    Archive {
        /// The way from the plan's version to the earlier one.
        package: PackageChange,
    },
    /// By a package made of what was installed: its configuration files are those of that moment.
    Repacked {
        /// The way from the plan's version to the earlier one.
        package: PackageChange,
    },
    /// There is no way.
    Missing {
        /// The version that cannot be had.
        version: String,
        /// Why not.
        why: String,
    },
}

impl Earlier {
    /// The version that was there.
    fn version(&self) -> Option<&String> {
        match &self.how {
            How::Remove { .. } => None,
            How::Archive { package } | How::Repacked { package } => Some(&package.to),
            How::Missing { version, .. } => Some(version),
        }
    }
}

impl WayBack {
    /// The packages there is an archive of.
    #[must_use]
    pub fn changes(&self) -> Vec<PackageChange> {
        let change = |earlier: &Earlier| match &earlier.how {
            How::Archive { package } | How::Repacked { package } => Some(package.clone()),
            How::Remove { .. } | How::Missing { .. } => None,
        };
        self.packages.iter().chain(&self.removed).filter_map(change).collect()
    }

    /// Does it lead back from this plan, to the versions it has replaced?
    #[must_use]
    pub fn is_of(&self, plan: &Plan) -> bool {
        let changed = |(package, earlier): (&PackageChange, &Earlier)| {
            earlier.name == package.name && earlier.version() == package.from.as_ref()
        };
        let removed = |(package, earlier): (&Removal, &Earlier)| {
            earlier.name == package.name && earlier.version() == Some(&package.version)
        };
        self.packages.len() == plan.packages.len()
            && self.removed.len() == plan.removes.len()
            && plan.packages.iter().zip(&self.packages).all(changed)
            && plan.removes.iter().zip(&self.removed).all(removed)
    }

    /// `web 1.0: dpkg-repack is not installed`, for each package there is no way back from.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let missing = |earlier: &Earlier| match &earlier.how {
            How::Missing { version, why } => Some(format!("{} {version}: {why}", earlier.name)),
            How::Remove { .. } | How::Archive { .. } | How::Repacked { .. } => None,
        };
        self.packages.iter().chain(&self.removed).filter_map(missing).collect()
    }
}

/// Refuses a plan with a package that there is no way back from, when such plans are not wanted.
pub fn judge(layout: &Layout, id: &PlanId, policy: WithoutWayBack) -> Result<(), PackageError> {
    let missing = match (policy, plans::way_back(layout, id)?) {
        (WithoutWayBack::Allow, _) | (_, None) => return Ok(()),
        (WithoutWayBack::Refuse, Some(back)) => back.missing(),
    };
    if missing.is_empty() {
        return Ok(());
    }
    Err(PackageError::NoWayBack { packages: missing.join("; ") })
}
