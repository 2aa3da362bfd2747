//! `Apply`: the transaction of a staged plan.

use jiff::Timestamp;

use super::{
    channel,
    run::{Run, RunError},
};
use crate::{
    adapters::packages::{
        self, Layout, PackageError,
        plans::{self, Outcome, Way},
        snapshot,
    },
    core::plan::PlanId,
    dbus::executor::ApplyReport,
    observe::logging::chain,
};

impl From<Outcome> for ApplyReport {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Applied,
            Outcome::Refused { reason } => Self::Refused { reason },
            Outcome::Failed { reason } => Self::Failed { reason },
        }
    }
}

/// What the rules in force have against beginning a plan: that it was chosen by others, or that its
/// release is not believed any more. The agent looks at the first itself; whoever calls in its place has
/// to keep to them, too. What has been begun is finished. `follows`: where a channel is followed, what is
/// remembered of it; `choice`: the identity of the rules in force; `None` when they cannot be read.
///
/// # Errors
/// When the plan's files cannot be read.
pub fn against(
    layout: &Layout,
    id: &PlanId,
    choice: Option<&str>,
    follows: Option<&channel::Places>,
    now: Timestamp,
) -> Result<Option<String>, PackageError> {
    let result = plans::result(layout, id, Way::There)?;
    let ended = matches!(result, Some(Outcome::Complete | Outcome::Failed { .. }));
    if ended || plans::is_under_way(layout, id)? {
        return Ok(None);
    }
    let Some(choice) = choice else {
        let why = "the configuration cannot be read (rebootctl config check says why)";
        return Ok(Some(why.to_owned()));
    };
    if plans::choice(layout, id)?.as_deref() == Some(choice) {
        return follows.map_or(Ok(None), |places| channel::against(places, layout, id, now));
    }
    let short = id.short();
    Ok(Some(format!(
        "plan {short} was not chosen by the rules in force (after a change of the configuration: \
         systemctl reload lockkeeperd)"
    )))
}

/// Applies a staged plan and waits for its end: see [`Run::to_its_end`]. One that was gone back from
/// must be staged again first.
///
/// # Errors
/// When the transaction cannot be started or followed.
pub async fn apply(run: &Run<'_>) -> Result<ApplyReport, RunError> {
    if let Err(error) = plans::load(run.layout, run.id) {
        return Ok(unreadable(run.layout, run.id, &error));
    }
    if plans::is_gone_back_from(run.layout, run.id)? {
        let id = run.id.short();
        let reason = format!("plan {id} was undone; to try it again, stage it again");
        return Ok(ApplyReport::Refused { reason });
    }
    Ok(run.to_its_end().await?.into())
}

/// What is said of a plan whose document cannot be read: it may have been begun.
pub(super) fn unreadable(layout: &Layout, id: &PlanId, error: &PackageError) -> ApplyReport {
    let reason = chain(error);
    if plans::is_under_way(layout, id).unwrap_or(true) {
        ApplyReport::Failed { reason }
    } else {
        ApplyReport::Refused { reason }
    }
}

/// What ails the packages of a plan, one sentence each. For `Verify`: that the plan was installed
/// exactly, the transaction has judged.
/// `or_undone`: a plan that was undone as a whole is well, too.
pub async fn verify_installed(
    layout: &Layout,
    id: &PlanId,
    or_undone: bool,
) -> Result<Vec<String>, PackageError> {
    let plan = plans::load(layout, id)?;
    if let Some(left) = snapshot::left_behind(layout).await? {
        let why = "the node still runs on the root that was gone back from, and has to reboot";
        return Ok(vec![format!("plan {left}: {why}")]);
    }
    packages::of(layout)?.ails(&plan, or_undone).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout, PlanId) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::system(dir.path());
        let id = PlanId::parse(&"ab".repeat(32)).unwrap();
        std::fs::create_dir_all(layout.plan(&id)).unwrap();
        (dir, layout, id)
    }

    #[test]
    fn a_plan_that_cannot_be_read_is_refused_only_when_it_was_never_begun() {
        let (_dir, layout, id) = layout();
        let error = plans::load(&layout, &id).unwrap_err();
        let refused = unreadable(&layout, &id, &error);
        assert!(matches!(refused, ApplyReport::Refused { .. }), "{refused:?}");
        plans::count_attempts(&layout, &id, Way::There, 1).unwrap();
        let failed = unreadable(&layout, &id, &error);
        assert!(matches!(failed, ApplyReport::Failed { .. }), "{failed:?}");
    }
}
