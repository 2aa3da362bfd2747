//! `RebootEvidence`: does what is installed wait for a reboot?

use crate::{
    adapters::packages::{self, Layout},
    core::health::Evidence,
    observe::logging::chain,
};

pub use crate::core::health::combine;

/// Asks the system's package manager.
pub async fn reboot_evidence(layout: &Layout) -> Evidence {
    match packages::of(layout) {
        Ok(manager) => manager.reboot_evidence().await,
        Err(error) => Evidence::Unknown { why: chain(&error) },
    }
}
