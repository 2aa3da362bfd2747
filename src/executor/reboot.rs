//! `Reboot`: once per boot, and only with nobody against it.

use tracing::{info, warn};

use super::{Context, WorkloadError, kexec, soft};
use crate::{
    adapters::{kexec::takes_all_reboots, systemd::login::Rebooting},
    core::fast::Way,
    dbus::executor::RebootReport,
    observe::logging::chain,
};

/// Asks logind to reboot, if `boot_id` is still the running boot: a request that was delayed, or
/// given twice, never reboots the next boot. By a short way where that is allowed and enough; `by_hand`:
/// never.
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
    let short = match soft::way(context, by_hand).await {
        Some((Way::Soft, seen)) => Some(softly(context, seen).await),
        Some((way, seen)) => {
            info!("{}", way.verdict().text);
            match seen.next {
                Some(next) => Some(kexec::leave(context, &next).await),
                None => None,
            }
        }
        None => None,
    };
    match short {
        Some(Ok(answer)) => return Ok(answer),
        // Where it is under way all the same, logind says so to the next request.
        Some(Err(error)) => warn!("no short way, so a full reboot: {}", chain(&error)),
        None => {}
    }
    if takes_all_reboots(&context.layout) {
        warn!("kexec-tools may make it one by kexec: LOAD_KEXEC in /etc/default/kexec");
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
