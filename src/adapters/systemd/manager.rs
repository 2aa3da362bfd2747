//! systemd itself: reading its unit files anew, and executing itself anew.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Systemd, SystemdError, failed, says};

/// How often it is asked whether it is back.
const EVERY: Duration = Duration::from_millis(100);

impl Systemd {
    /// Has systemd read all unit files anew (`systemctl daemon-reload`).
    pub async fn reload(&self) -> Result<(), SystemdError> {
        self.manager().await?.reload().await.map_err(failed("Reload"))
    }

    /// Has systemd execute itself anew (`systemctl daemon-reexec`), and waits until it answers
    /// again, at most for `limit`. It keeps its state: no unit notices.
    pub async fn reexecute(&self, limit: Duration) -> Result<(), SystemdError> {
        let deadline = Instant::now() + limit;
        match self.manager().await?.reexecute().await {
            Err(error) if says(&error, "NoReply") || says(&error, "Disconnected") => {}
            // It goes without an answer, as its manual says.
            other => other.map_err(failed("Reexecute"))?,
        }
        loop {
            match self.state().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => sleep(EVERY).await,
            }
        }
    }
}
