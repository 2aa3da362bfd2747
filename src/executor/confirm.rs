//! `Confirm`: the node is good on a plan; its archives are no longer needed.

use crate::{
    adapters::packages::{self, Layout, PackageError, plans},
    core::plan::PlanId,
};

/// Removes a plan's stage. Its document, result and log stay as a small record until another plan
/// is staged. A transaction under way keeps its stage. Idempotent.
pub fn confirm(layout: &Layout, id: &PlanId) -> Result<(), PackageError> {
    if plans::is_under_way(layout, id)? {
        return Err(PackageError::Busy(id.clone()));
    }
    if !layout.plan(id).exists() {
        return Ok(());
    }
    packages::of(layout)?.clear(id)
}
