//! A transaction of a plan, there or back, in a transient unit that outlives this process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use zbus::Connection;

use crate::{
    adapters::{
        packages::{
            self, Layout, PackageError,
            plans::{self, Outcome, Way},
        },
        systemd::transient::{self, Started, TransientError, UnitState},
    },
    core::plan::PlanId,
    observe::logging::chain,
};

/// A transaction is started at most this often before it counts as failed.
const ATTEMPTS: u32 = 2;
/// Between two looks at the unit.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks at systemd in a row that may fail: it may be replacing itself.
const LOST: u32 = 120;
/// Looks that may find processes of a cut-off attempt still running: half an hour.
const LEFT_OVER: u32 = 3600;

/// The transaction could not be started, or not be followed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan's files.
    #[error(transparent)]
    Packages(#[from] PackageError),
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

impl Way {
    /// The word the unit's main process is started with.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::There => "run-apply",
            Self::Back => "run-undo",
        }
    }
}

/// The name of a transaction's unit: whoever starts it a second time meets it.
#[must_use]
pub fn unit_name(id: &PlanId, way: Way) -> String {
    let word = match way {
        Way::There => "apply",
        Way::Back => "undo",
    };
    format!("lockkeeper-{word}-{}.service", id.short())
}

/// The path this program was started from, also when an upgrade has replaced the file since.
pub fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// One transaction of one plan, as the executor sees it.
#[derive(Debug)]
pub struct Run<'a> {
    /// Where plans are.
    pub layout: &'a Layout,
    /// The system bus.
    pub bus: &'a Connection,
    /// What the unit runs: [`own_program`].
    pub program: &'a Path,
    /// The plan.
    pub id: &'a PlanId,
    /// There or back.
    pub way: Way,
}

impl Run<'_> {
    /// Runs it to its end, in its unit, however long that takes. Attaches to the unit when it runs;
    /// answers again when the transaction has ended. One that was refused has not been begun: it is
    /// tried afresh.
    ///
    /// # Errors
    /// When it cannot be started or followed; it may be running.
    pub async fn to_its_end(&self) -> Result<Outcome, RunError> {
        let (layout, id) = (self.layout, self.id);
        let unit = unit_name(id, self.way);
        let attached = transient::state(self.bus, &unit).await? == UnitState::Running;
        let before = plans::result(layout, id, self.way)?;
        if !attached && matches!(before, Some(Outcome::Refused { .. })) {
            plans::forget_result(layout, id, self.way)?;
        }
        loop {
            if let Some(outcome) = self.follow(&unit).await? {
                return Ok(outcome);
            }
            if let Some(outcome) = begin(layout, id, self.way)? {
                return Ok(outcome);
            }
            let what = match self.way {
                Way::There => "Install lockkeeper plan",
                Way::Back => "Go back from lockkeeper plan",
            };
            let description = format!("{what} {}", id.short());
            let arguments = [self.way.verb(), id.as_str()];
            match transient::start(self.bus, &unit, &description, self.program, &arguments).await {
                Ok(Started::New) => tracing::info!(%unit, "transaction started"),
                Ok(Started::AlreadyThere) => uncount(layout, id, self.way)?,
                // The reply may be lost and the unit running: the count stands.
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits while the unit's main process runs, and for what a cut-off one has left running. Answers
    /// with the result, or nothing when the way is free for another attempt.
    async fn follow(&self, unit: &str) -> Result<Option<Outcome>, RunError> {
        let result = || plans::result(self.layout, self.id, self.way);
        let (mut lost, mut left_over) = (0, 0);
        loop {
            match transient::state(self.bus, unit).await {
                Ok(UnitState::Gone) => return Ok(result()?),
                Ok(UnitState::Running) => lost = 0,
                // A maintainer script may leave a process for ever; the transaction itself has ended.
                Ok(UnitState::Ended) => match result()? {
                    Some(outcome) => return Ok(Some(outcome)),
                    None if left_over >= LEFT_OVER => {
                        return Err(RunError::LeftOver { unit: unit.to_owned() });
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

    /// Waits until nothing of it runs any more, whatever came of it.
    ///
    /// # Errors
    /// When that cannot be told, or does not come.
    pub async fn rests(&self) -> Result<(), RunError> {
        self.follow(&unit_name(self.id, self.way)).await.map(|_| ())
    }
}

/// Counts the next attempt; answers with the failure when there have been enough.
pub(super) fn begin(
    layout: &Layout,
    id: &PlanId,
    way: Way,
) -> Result<Option<Outcome>, PackageError> {
    let started = plans::attempts(layout, id, way)?;
    if started < ATTEMPTS {
        plans::count_attempts(layout, id, way, started + 1)?;
        return Ok(None);
    }
    let reason = format!("the transaction was cut off {started} times");
    let failed = Outcome::Failed { reason };
    plans::set_result(layout, id, way, &failed)?;
    Ok(Some(failed))
}

fn uncount(layout: &Layout, id: &PlanId, way: Way) -> Result<(), PackageError> {
    let started = plans::attempts(layout, id, way)?.saturating_sub(1);
    plans::count_attempts(layout, id, way, started)
}

/// The main process of the unit. Holds off the signals of a stop: systemd waits, and so does a
/// shutdown. `lock_limit`: how long other package managers are waited for.
///
/// # Errors
/// When the plan's files cannot be read or written.
pub async fn main(
    layout: &Layout,
    id: &PlanId,
    way: Way,
    lock_limit: Duration,
) -> Result<Outcome, RunError> {
    let mut held = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        held.push(signal(kind).map_err(RunError::Signals)?);
    }
    let outcome = transact(layout, id, way, lock_limit).await?;
    drop(held);
    Ok(outcome)
}

/// One attempt, and its result written down. `lock_limit`: how long other package managers are
/// waited for.
///
/// # Errors
/// When the plan's files cannot be read or written.
pub async fn transact(
    layout: &Layout,
    id: &PlanId,
    way: Way,
    lock_limit: Duration,
) -> Result<Outcome, PackageError> {
    if let Some(outcome) = plans::result(layout, id, way)? {
        return Ok(outcome);
    }
    if way == Way::Back {
        give_up(layout, id)?;
    }
    let first = plans::attempts(layout, id, way)? <= 1;
    let outcome = match attempt(layout, id, way, lock_limit).await {
        // What an earlier attempt has done is not undone by refusing to go on.
        Outcome::Refused { reason } if !first => Outcome::Failed { reason },
        outcome => outcome,
    };
    tracing::info!(plan = id.short(), ?way, ?outcome, "transaction ended");
    plans::set_result(layout, id, way, &outcome)?;
    Ok(outcome)
}

/// A plan that is gone back from is not tried any more, though its own transaction was cut off.
fn give_up(layout: &Layout, id: &PlanId) -> Result<(), PackageError> {
    let begun = plans::attempts(layout, id, Way::There)? > 0;
    if begun && plans::result(layout, id, Way::There)?.is_none() {
        let reason = "the transaction was cut off, and not tried again".to_owned();
        plans::set_result(layout, id, Way::There, &Outcome::Failed { reason })?;
    }
    Ok(())
}

async fn attempt(layout: &Layout, id: &PlanId, way: Way, lock_limit: Duration) -> Outcome {
    let refused = |reason| Outcome::Refused { reason };
    let may_begin = match way {
        Way::There => may_go_back(layout, id),
        // What is wrong with the way back itself its own transaction says.
        Way::Back => Ok(true),
    };
    match (may_begin, packages::of(layout)) {
        (Ok(true), Ok(manager)) => manager.attempt(id, way, lock_limit).await,
        (Ok(false), _) => refused(
            "its way back leads to other versions than it would replace: it is to be staged anew"
                .to_owned(),
        ),
        (Err(error), _) | (_, Err(error)) => refused(chain(&error)),
    }
}

/// Does the way back, if there is one, lead to what the plan replaces? The same set may be found again
/// from other versions, and its id does not say from which.
fn may_go_back(layout: &Layout, id: &PlanId) -> Result<bool, PackageError> {
    let plan = plans::load(layout, id)?;
    Ok(plans::way_back(layout, id)?.is_none_or(|back| back.is_of(&plan)))
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
            assert_eq!(begin(&layout, &id, Way::There).unwrap(), None);
            assert_eq!(plans::attempts(&layout, &id, Way::There).unwrap(), started);
        }
        let reason = "the transaction was cut off 2 times".to_owned();
        let failed = Some(Outcome::Failed { reason });
        assert_eq!(begin(&layout, &id, Way::There).unwrap(), failed);
        assert_eq!(plans::result(&layout, &id, Way::There).unwrap(), failed);
    }

    #[test]
    fn meeting_a_unit_that_runs_already_is_no_attempt() {
        let (_dir, layout, id) = layout();
        begin(&layout, &id, Way::There).unwrap();
        begin(&layout, &id, Way::There).unwrap();
        uncount(&layout, &id, Way::There).unwrap();
        assert_eq!(begin(&layout, &id, Way::There).unwrap(), None);
    }

    #[test]
    fn a_plan_has_one_unit_name_for_each_way() {
        let (_dir, _, id) = layout();
        assert_eq!(unit_name(&id, Way::There), "lockkeeper-apply-abababababab.service");
        assert_eq!(unit_name(&id, Way::Back), "lockkeeper-undo-abababababab.service");
    }
}
