//! `Check`: what should this node install, and does it wait for a reboot?

use super::evidence;
use crate::{
    adapters::apt::{AptError, Layout, plans, resolve, sources},
    dbus::executor::CheckReport,
};

/// Refreshes the private lists, resolves, and writes the plan down so that it can be staged.
pub async fn check(layout: &Layout) -> Result<CheckReport, AptError> {
    sources::refresh(layout).await?;
    let plan = resolve::resolve(layout).await?;
    if let Some(plan) = &plan {
        plans::remember(layout, plan)?;
    }
    Ok(CheckReport { plan, reboot: evidence::reboot_evidence(layout).await })
}
