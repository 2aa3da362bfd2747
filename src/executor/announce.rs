//! `Announce`: whoever is logged in is told what is about to happen.

use std::time::Duration;

use tracing::info;

use super::{Context, WorkloadError};
use crate::{
    adapters::{node, systemd::sessions},
    config::duration,
};

/// Writes to every terminal that somebody is logged in on.
pub async fn announce(context: &Context, left: Duration) -> Result<(), WorkloadError> {
    let sessions = context.systemd.sessions().await?;
    // It is for people: a machine without a readable name is told of all the same.
    let name = node::name().unwrap_or_else(|_| "this machine".to_owned());
    let left = duration::format(left);
    info!(sessions = sessions.len(), "telling who is logged in: updates begin in {left}");
    let text = format!(
        "\r\n{name} is taken out of service for updates in {left}, and may reboot.\r\n\
         An administrator can call it off: rebootctl cancel\r\n"
    );
    // It waits for no terminal.
    sessions::tell(&sessions, &text);
    Ok(())
}
