//! `Stage`: everything a plan needs, on this disk, verified.

use crate::{
    adapters::apt::{AptError, Layout, stage as apt},
    core::plan::PlanId,
};

/// Downloads, verifies and publishes the stage of a plan. Idempotent.
pub async fn stage(layout: &Layout, id: &PlanId) -> Result<(), AptError> {
    apt::stage(layout, id).await
}
