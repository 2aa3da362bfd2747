//! `Stage`: everything a plan needs, on this disk, verified.

use crate::{
    adapters::packages::{self, Layout, PackageError},
    config::settings::{Snapshot, WithoutWayBack},
    core::plan::PlanId,
};

/// Downloads, verifies and publishes the stage of a plan, and secures the way back from it.
/// Idempotent.
pub async fn stage(
    layout: &Layout,
    id: &PlanId,
    policy: WithoutWayBack,
) -> Result<(), PackageError> {
    let manager = packages::of(layout)?;
    packages::stage::stage(manager.as_ref(), layout, id, policy).await
}

/// Arranges for the snapshot that a staged plan begins with, if one is configured. Where it cannot be
/// made, or not be gone back to, the plan is not staged.
pub async fn arrange(layout: &Layout, id: &PlanId, choice: Snapshot) -> Result<(), PackageError> {
    let manager = packages::of(layout)?;
    let arranged = manager.arrange(id, choice).await;
    if arranged.is_err() {
        manager.clear(id)?;
    }
    arranged
}
