//! `rebootctl healthy`: has this machine proved itself healthy since it was last disturbed?

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{print, reach};
use crate::{cli::error::CliError, dbus::agent::StatusDoc};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What a phase says of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// It is as it was before, or as good.
    Given,
    /// It was disturbed, and is being looked at, or not yet.
    Awaited,
    /// It failed.
    Failed,
}

/// Waits at most for `limit` until it has, or has failed to. An agent that does not answer may yet.
pub async fn healthy(limit: Duration) -> Result<u8, CliError> {
    let deadline = Instant::now() + limit;
    loop {
        let last = Instant::now() >= deadline;
        match reach::status().await {
            Ok(status) => match proof(&status.phase) {
                Proof::Given => return print("healthy\n"),
                Proof::Failed => return Err(not(&status)),
                Proof::Awaited if last => return Err(not(&status)),
                Proof::Awaited => {}
            },
            Err(error) if last => return Err(error),
            Err(_) => {}
        }
        sleep(LOOK.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

fn not(status: &StatusDoc) -> CliError {
    CliError::Failed(format!("{}: {}", status.phase, status.verdict.text))
}

fn proof(phase: &str) -> Proof {
    match phase {
        "steady" | "probing" | "queued" | "leaving" | "preflight" | "draining" | "recording"
        | "releasing" => Proof::Given,
        "failed" | "undoing" => Proof::Failed,
        _ => Proof::Awaited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_disturbed_has_to_prove_itself() {
        let awaited = ["applying", "deciding", "rebooting", "restoring", "verifying", "confirming"];
        for phase in awaited.into_iter().chain(["unheard-of"]) {
            assert_eq!(proof(phase), Proof::Awaited, "{phase}");
        }
        assert_eq!(proof("steady"), Proof::Given);
        assert_eq!(proof("releasing"), Proof::Given);
        assert_eq!(proof("failed"), Proof::Failed);
    }
}
