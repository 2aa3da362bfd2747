//! `Stage`: everything a plan needs, on this disk, verified.

use crate::{
    adapters::packages::{self, Layout, PackageError},
    config::settings::WithoutWayBack,
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
