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

/// The transaction could not be started, or not be followed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The plan's files.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The unit.
    #[error(transparent)]
    Unit(#[from] TransientError),
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
        let reason = chain(&error);
        // What cannot be read may have been begun.
        let under_way = plans::is_under_way(layout, id).unwrap_or(true);
        return Ok(if under_way {
            ApplyReport::Failed { reason }
        } else {
            ApplyReport::Refused { reason }
        });
    }
    let unit = unit_name(id);
    if matches!(plans::result(layout, id)?, Some(Outcome::Refused { .. })) {
        wait(bus, &unit).await?;
        plans::forget_result(layout, id)?;
    }
    loop {
        wait(bus, &unit).await?;
        if let Some(outcome) = plans::result(layout, id)? {
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

/// Waits until the unit has ended and none of its processes is left.
async fn wait(bus: &Connection, unit: &str) -> Result<(), TransientError> {
    let mut lost = 0;
    loop {
        match transient::state(bus, unit).await {
            Ok(UnitState::Gone) => return Ok(()),
            Ok(UnitState::Running | UnitState::Ended) => lost = 0,
            Err(error) if lost >= LOST => return Err(error),
            Err(error) => {
                lost += 1;
                tracing::debug!(error = chain(&error), "systemd does not answer");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
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

/// What this node lacks of a plan, one sentence a package; empty = fully installed. For `Verify`.
pub async fn verify_installed(layout: &Layout, id: &PlanId) -> Result<Vec<String>, AptError> {
    let plan = plans::load(layout, id)?;
    Ok(installed::lacks(&plan, &installed::query(layout).await?))
}
