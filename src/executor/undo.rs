//! `Undo`: the way back from a plan that failed.

use super::run::{Run, RunError};
use crate::{
    adapters::packages::plans::{self, Outcome, Way},
    dbus::executor::UndoReport,
    observe::logging::chain,
};

impl From<Outcome> for UndoReport {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Undone,
            Outcome::Refused { reason } => Self::Impossible { reason },
            Outcome::Failed { reason } => Self::Failed { reason },
        }
    }
}

/// Goes back from a plan and waits for the end: see [`Run::to_its_end`]. What still runs of the
/// plan's own transaction is waited for first.
///
/// # Errors
/// When the transaction cannot be started or followed.
pub async fn undo(run: &Run<'_>) -> Result<UndoReport, RunError> {
    if let Err(error) = plans::load(run.layout, run.id) {
        return Ok(UndoReport::Impossible { reason: chain(&error) });
    }
    Run { way: Way::There, ..*run }.rests().await?;
    Ok(run.to_its_end().await?.into())
}
