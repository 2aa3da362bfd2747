//! Staging, whatever the package manager: what is staged, what is kept, and what is made anew.

use super::{
    Layout, PackageError, PackageManager,
    plans::{self, Way},
    way_back,
};
use crate::{
    config::settings::WithoutWayBack,
    core::plan::{Plan, PlanId},
};

/// Publishes the stage of a plan that a check has written down. A good stage is left as it is, a
/// damaged one is made anew; a failed one leaves nothing. Older plans are removed, but not one whose
/// transaction is under way. `policy`: what becomes of a plan that could not be undone.
pub async fn stage(
    manager: &dyn PackageManager,
    layout: &Layout,
    id: &PlanId,
    policy: WithoutWayBack,
) -> Result<(), PackageError> {
    let plan = plans::load(layout, id)?;
    let good = plans::is_staged(layout, id) && manager.is_good(&plan).await;
    if plans::is_under_way(layout, id)? {
        return if good { Ok(()) } else { Err(PackageError::Busy(id.clone())) };
    }
    // Who stages it again means to try it again.
    plans::forget_result(layout, id, Way::There)?;
    plans::forget_result(layout, id, Way::Back)?;
    if good {
        manager.prove(&plan).await?;
        if let Err(error) = way_back::judge(layout, id, policy) {
            manager.clear(id)?;
            return Err(error);
        }
        return plans::prune(layout, id);
    }
    manager.clear(id)?;
    if let Err(error) = make(manager, layout, &plan, policy).await {
        manager.clear(id)?;
        return Err(error);
    }
    // The older stage stays until there is a newer one: a cycle may be about to apply it.
    plans::prune(layout, id)
}

async fn make(
    manager: &dyn PackageManager,
    layout: &Layout,
    plan: &Plan,
    policy: WithoutWayBack,
) -> Result<(), PackageError> {
    manager.fill(plan).await?;
    way_back::judge(layout, &plan.id, policy)?;
    plans::publish(layout, &plan.id)
}
