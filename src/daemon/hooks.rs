//! The hooks of the cycle, as the agent has them run.

use crate::{
    core::{
        hook::Point,
        state::{Cause, Job, Phase, State},
    },
    dbus::executor::{Cycle, ExecutorProxy, HooksReport},
};

use super::run_effect::{parse, said};

/// The cycle, as hooks are told of it.
pub(super) fn cycle(state: &State) -> Cycle {
    let failure = match &state.phase {
        Phase::Failed { cause, reason, .. } | Phase::Undoing { cause, reason, .. } => {
            Some((*cause, reason.clone()))
        }
        _ => None,
    };
    let (cause, failing): (Option<Cause>, Option<String>) = failure.unzip();
    let of = |job: &Job| (job.plan.clone(), job.reason.clone(), job.always_reboot || job.at_boot);
    let (plan, reason, reboots) = state.phase.job().map(of).unwrap_or_default();
    Cycle { phase: state.phase.word().to_owned(), plan, reason, reboots, cause, failing }
}

/// Has the hooks of a point run, to their end: each has its own limit. Answers with why one of them
/// says no.
pub(super) async fn run(
    executor: &ExecutorProxy<'_>,
    point: Point,
    cycle: &Cycle,
) -> Result<Option<String>, String> {
    let cycle = serde_json::to_string(cycle).map_err(|error| error.to_string())?;
    let report = match executor.run_hooks(point.word(), &cycle).await {
        Ok(report) => parse(&report)?,
        // An executor from before an upgrade may not know how, and still be there: it owes none.
        Err(zbus::Error::MethodError(name, ..))
            if point == Point::PostBoot && name.ends_with(".UnknownMethod") =>
        {
            HooksReport::Done
        }
        Err(error) => return Err(said(&error)),
    };
    Ok(match report {
        HooksReport::Done => None,
        HooksReport::Refused { reason } => Some(reason),
    })
}
