//! `Reboot`: once per boot, and only with nobody against it.

use tracing::{info, warn};

use super::{Context, WorkloadError, soft};
use crate::{
    adapters::systemd::login::Rebooting, core::fast::Way, dbus::executor::RebootReport,
    observe::logging::chain,
};

/// Asks logind to reboot, if `boot_id` is still the running boot: a request that was delayed, or
/// given twice, never reboots the next boot. Softly where that is allowed and enough; `by_hand`: never.
pub async fn reboot(
    context: &Context,
    boot_id: &str,
    by_hand: bool,
) -> Result<RebootReport, WorkloadError> {
    if context.systemd.this_boot().await?.0 != boot_id {
        return Ok(RebootReport::AlreadyHappened);
    }
    Ok(match leave(context, by_hand).await? {
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

async fn leave(context: &Context, by_hand: bool) -> Result<Rebooting, WorkloadError> {
    match soft::way(context, by_hand).await {
        Some((way @ Way::Full { .. }, _)) => info!("{}", way.verdict().text),
        Some((Way::Soft, seen)) => match softly(context, seen).await {
            Ok(answer) => return Ok(answer),
            // Where it is under way all the same, logind says so to the next request.
            Err(error) => warn!("no soft-reboot, so a full one: {}", chain(&error)),
        },
        None => {}
    }
    Ok(context.systemd.reboot().await?)
}

/// That it was asked for is durable before it is.
async fn softly(context: &Context, seen: soft::Seen) -> Result<Rebooting, WorkloadError> {
    let before = soft::note(context, seen).await?;
    info!("asking for a soft-reboot");
    let answer = context.systemd.soft_reboot().await?;
    if matches!(answer, Rebooting::Refused(_)) {
        soft::take_back(context, before.as_ref())?;
    }
    Ok(answer)
}
