//! `Reboot`: once per boot, and only with nobody against it.

use tracing::{info, warn};

use super::{Context, WorkloadError};
use crate::{
    adapters::systemd::{boot, login::Rebooting},
    dbus::executor::RebootReport,
};

/// Asks logind to reboot, if `boot_id` is still the running boot: a request that was delayed, or
/// given twice, never reboots the next boot.
pub async fn reboot(context: &Context, boot_id: &str) -> Result<RebootReport, WorkloadError> {
    if boot::boot_id()? != boot_id {
        return Ok(RebootReport::AlreadyHappened);
    }
    Ok(match context.systemd.reboot().await? {
        Rebooting::Accepted => {
            info!("logind accepted the reboot");
            RebootReport::Accepted
        }
        Rebooting::Refused(reason) => {
            warn!("the reboot is refused: {reason}");
            RebootReport::Refused { reason }
        }
    })
}
