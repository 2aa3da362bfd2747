//! `Apply`: the transaction of a staged plan, in a transient unit that outlives this process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use zbus::Connection;

use crate::{
    adapters::{
        apt::{
            AptError, Layout, installed, plans,
            transaction::{self, Outcome},
        },
        systemd::transient::{self, Started, TransientError, UnitState},
    },
    core::plan::PlanId,
    dbus::executor::ApplyReport,
    observe::logging::chain,
};

/// A transaction is started at most this often before it counts as failed.
const ATTEMPTS: u32 = 2;
/// How long another package manager is waited for, before the plan is refused.
const LOCK_LIMIT: Duration = Duration::from_secs(5 * 60);
/// Between two looks at the unit.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks at systemd in a row that may fail: it may be replacing itself.
const LOST: u32 = 120;
/// Looks that may find processes of a cut-off attempt still running: half an hour.
const LEFT_OVER: u32 = 3600;

/// The transaction could not be started, or not be followed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The plan's files.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The unit.
    #[error(transparent)]
    Unit(#[from] TransientError),
    /// The transaction was cut off, and processes it had started do not end.
    #[error("processes of a cut-off transaction are still running in {unit}")]
    LeftOver {
        /// Which unit.
        unit: String,
    },
    /// The signal handlers.
    #[error("cannot hold off signals")]
    Signals(#[source] std::io::Error),
}

impl From<Outcome> for ApplyReport {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied => Self::Applied,
            Outcome::Refused { reason } => Self::Refused { reason },
            Outcome::Failed { reason } => Self::Failed { reason },
        }
    }
}

/// The name of a plan's unit: whoever starts the plan a second time meets it.
#[must_use]
pub fn unit_name(id: &PlanId) -> String {
    format!("lockkeeper-apply-{}.service", id.short())
}

/// The path this program was started from, also when an upgrade has replaced the file since.
pub fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// Applies a staged plan, in its unit, and waits for its end however long that takes. Attaches to
/// the unit when it runs; answers again when the plan has been applied, or has failed. A plan that
/// was refused has not been begun: it is tried afresh.
pub async fn apply(
    layout: &Layout,
    bus: &Connection,
    program: &Path,
    id: &PlanId,
) -> Result<ApplyReport, ApplyError> {
    if let Err(error) = plans::load(layout, id) {
        return Ok(unreadable(layout, id, &error));
    }
    let unit = unit_name(id);
    let attached = transient::state(bus, &unit).await? == UnitState::Running;
    if !attached && matches!(plans::result(layout, id)?, Some(Outcome::Refused { .. })) {
        plans::forget_result(layout, id)?;
    }
    loop {
        if let Some(outcome) = follow(layout, bus, &unit, id).await? {
            return Ok(outcome.into());
        }
        if let Some(outcome) = begin(layout, id)? {
            return Ok(outcome.into());
        }
        let description = format!("Install lockkeeper plan {}", id.short());
        let arguments = ["run-apply", id.as_str()];
        match transient::start(bus, &unit, &description, program, &arguments).await {
            Ok(Started::New) => tracing::info!(%unit, "transaction started"),
            Ok(Started::AlreadyThere) => uncount(layout, id)?,
            // The reply may be lost and the unit running: the count stands.
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is said of a plan whose document cannot be read: it may have been begun.
fn unreadable(layout: &Layout, id: &PlanId, error: &AptError) -> ApplyReport {
    let reason = chain(error);
    if plans::is_under_way(layout, id).unwrap_or(true) {
        ApplyReport::Failed { reason }
    } else {
        ApplyReport::Refused { reason }
    }
}

/// Waits while the unit's main process runs, and for what a cut-off one has left running. Answers
/// with the result, or nothing when the way is free for another attempt.
async fn follow(
    layout: &Layout,
    bus: &Connection,
    unit: &str,
    id: &PlanId,
) -> Result<Option<Outcome>, ApplyError> {
    let (mut lost, mut left_over) = (0, 0);
    loop {
        match transient::state(bus, unit).await {
            Ok(UnitState::Gone) => return Ok(plans::result(layout, id)?),
            Ok(UnitState::Running) => lost = 0,
            // A maintainer script may leave a process for ever; the transaction itself has ended.
            Ok(UnitState::Ended) => match plans::result(layout, id)? {
                Some(outcome) => return Ok(Some(outcome)),
                None if left_over >= LEFT_OVER => {
                    return Err(ApplyError::LeftOver { unit: unit.to_owned() });
                }
                None => left_over += 1,
            },
            Err(error) if lost >= LOST => return Err(error.into()),
            Err(error) => {
                lost += 1;
                tracing::debug!(error = chain(&error), "systemd does not answer");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Counts the next attempt; answers with the failure when there have been enough.
fn begin(layout: &Layout, id: &PlanId) -> Result<Option<Outcome>, AptError> {
    let started = plans::attempts(layout, id)?;
    if started < ATTEMPTS {
        plans::count_attempts(layout, id, started + 1)?;
        return Ok(None);
    }
    let reason = format!("the transaction was cut off {started} times");
    let failed = Outcome::Failed { reason };
    plans::set_result(layout, id, &failed)?;
    Ok(Some(failed))
}

fn uncount(layout: &Layout, id: &PlanId) -> Result<(), AptError> {
    plans::count_attempts(layout, id, plans::attempts(layout, id)?.saturating_sub(1))
}

/// The main process of the unit. Holds off the signals of a stop: systemd waits, and so does a
/// shutdown.
pub async fn run_apply(layout: &Layout, id: &PlanId) -> Result<ApplyReport, ApplyError> {
    let mut held = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        held.push(signal(kind).map_err(ApplyError::Signals)?);
    }
    let report = transact(layout, id, LOCK_LIMIT).await?;
    drop(held);
    Ok(report)
}

/// One attempt, and its result written down. `lock_limit`: how long other package managers are
/// waited for.
pub async fn transact(
    layout: &Layout,
    id: &PlanId,
    lock_limit: Duration,
) -> Result<ApplyReport, ApplyError> {
    if let Some(outcome) = plans::result(layout, id)? {
        return Ok(outcome.into());
    }
    let first = plans::attempts(layout, id)? <= 1;
    let outcome = match attempt(layout, id, lock_limit).await {
        // What an earlier attempt has done is not undone by refusing to go on.
        Outcome::Refused { reason } if !first => Outcome::Failed { reason },
        outcome => outcome,
    };
    tracing::info!(plan = id.short(), ?outcome, "transaction ended");
    plans::set_result(layout, id, &outcome)?;
    Ok(outcome.into())
}

async fn attempt(layout: &Layout, id: &PlanId, lock_limit: Duration) -> Outcome {
    let ready = match transaction::prepare(layout, id, lock_limit).await {
        Ok(Ok(ready)) => ready,
        Ok(Err(reason)) => return Outcome::Refused { reason },
        Err(error) => return Outcome::Refused { reason: chain(&error) },
    };
    match transaction::install(layout, ready).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed { reason: chain(&error) },
    }
}

/// What ails the packages of a plan, one sentence each. For `Verify`: that the plan was installed
/// exactly, the transaction has judged.
/// `or_undone`: a plan that was undone as a whole is well, too.
pub async fn verify_installed(
    layout: &Layout,
    id: &PlanId,
    or_undone: bool,
) -> Result<Vec<String>, AptError> {
    let plan = plans::load(layout, id)?;
    Ok(installed::ails(&plan, &installed::query(layout).await?, or_undone))
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
    fn a_transaction_is_started_twice_at_most_and_then_has_failed_for_good() {
        let (_dir, layout, id) = layout();
        for started in 1..=2 {
            assert_eq!(begin(&layout, &id).unwrap(), None);
            assert_eq!(plans::attempts(&layout, &id).unwrap(), started);
        }
        let reason = "the transaction was cut off 2 times".to_owned();
        let failed = Some(Outcome::Failed { reason });
        assert_eq!(begin(&layout, &id).unwrap(), failed);
        assert_eq!(plans::result(&layout, &id).unwrap(), failed);
    }

    #[test]
    fn meeting_a_unit_that_runs_already_is_no_attempt() {
        let (_dir, layout, id) = layout();
        begin(&layout, &id).unwrap();
        begin(&layout, &id).unwrap();
        uncount(&layout, &id).unwrap();
        assert_eq!(begin(&layout, &id).unwrap(), None);
    }

    #[test]
    fn a_plan_that_cannot_be_read_is_refused_only_when_it_was_never_begun() {
        let (_dir, layout, id) = layout();
        let error = plans::load(&layout, &id).unwrap_err();
        let refused = unreadable(&layout, &id, &error);
        assert!(matches!(refused, ApplyReport::Refused { .. }), "{refused:?}");
        plans::count_attempts(&layout, &id, 1).unwrap();
        let failed = unreadable(&layout, &id, &error);
        assert!(matches!(failed, ApplyReport::Failed { .. }), "{failed:?}");
    }

    #[test]
    fn a_plan_has_one_unit_name() {
        let (_dir, _, id) = layout();
        assert_eq!(unit_name(&id), "lockkeeper-apply-abababababab.service");
    }
}
