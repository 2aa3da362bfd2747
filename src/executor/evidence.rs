//! `RebootEvidence`: does what is installed wait for a reboot, or another root?

use crate::{
    adapters::packages::{self, Layout, snapshot},
    core::health::Evidence,
    observe::logging::chain,
};

pub use crate::core::health::combine;

/// Asks the system's package manager, and compares the root that is mounted with the one that the next
/// boot starts.
pub async fn reboot_evidence(layout: &Layout) -> Evidence {
    let packages = match packages::of(layout) {
        Ok(manager) => manager.reboot_evidence().await,
        Err(error) => Evidence::Unknown { why: chain(&error) },
    };
    combine([packages, root(layout).await])
}

/// A way back by snapshot is gone with the next boot.
async fn root(layout: &Layout) -> Evidence {
    match snapshot::left_behind(layout).await {
        Ok(None) => Evidence::No,
        Ok(Some(plan)) => Evidence::Yes {
            reasons: vec![format!("the root from before plan {plan} waits for the next boot")],
        },
        Err(error) => Evidence::Unknown { why: chain(&error) },
    }
}
