//! `Stage`: everything a plan needs, on this disk, verified.

use crate::{
    adapters::apt::{AptError, Layout, apt_get, stage as apt},
    config::settings::WithoutWayBack,
    core::plan::PlanId,
};

/// Downloads, verifies and publishes the stage of a plan, and secures the way back from it.
/// Idempotent.
pub async fn stage(layout: &Layout, id: &PlanId, policy: WithoutWayBack) -> Result<(), AptError> {
    let staged = apt::stage(layout, id, policy).await;
    apt_get::forget_cache(layout)?;
    staged
}
