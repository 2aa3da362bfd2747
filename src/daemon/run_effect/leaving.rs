//! Before the node is disturbed: what forbids it, and how the node leaves service and comes back.

use std::time::Duration;

use tracing::{info, warn};

use super::{Answer, Context, QUICK, flushed, still_held, within};
use crate::{
    adapters::{alerts, node, slots::SlotStore, systemd::Systemd},
    config::settings::{Blockers, Users},
    core::{
        blocker::{self, Blocker, Kind},
        event::Outcome,
        health::Evidence,
        hook::Point,
        quorum::Aside,
        state::Job,
    },
    observe::logging::chain,
};

/// The last time that logged-in users are told.
const LAST_CALL: Duration = Duration::from_secs(10);

/// Looks for what forbids a disturbance.
pub(super) async fn probe(context: Context, wish: Blockers, job: Option<Job>) -> Answer {
    let systemd = Systemd::new(context.bus.clone());
    let inhibitors = systemd.inhibitors().await;
    let blockers = blockers(&systemd, &wish).await;
    let may = job.is_none_or(|job| blocker::clear(&job, &blockers).is_ok());
    // Last, and only where nothing else is against it: they may have work to do.
    if inhibitors == Evidence::No
        && may
        && let Some(why) = context.hooks(Point::PreLock).await?
    {
        return Ok(Outcome::HookFailed(why));
    }
    let quorum = match node::addresses() {
        Ok(addresses) => context.store.quorum_risk(&addresses).await,
        Err(error) => Evidence::Unknown { why: chain(&error) },
    };
    Ok(Outcome::Probed { inhibitors, quorum, blockers })
}

/// What of `[blockers]` is seen now.
async fn blockers(systemd: &Systemd, wish: &Blockers) -> Vec<Blocker> {
    let mut seen = vec![Blocker::new(Kind::Units, systemd.busy(&wish.units).await)];
    if wish.users == Users::Wait {
        seen.push(Blocker::new(Kind::Users, systemd.logged_in().await));
    }
    if let Some(alerts) = &wish.alerts {
        seen.push(Blocker::new(Kind::Alerts, alerts::firing(alerts).await));
    }
    seen
}

/// Takes the node out of service.
pub(super) async fn drain(context: Context, wish: Blockers, wait: Duration) -> Answer {
    flushed(&context.publisher).await?;
    still_held(&context).await?;
    step_aside(&context.store).await;
    // Load balancers notice meanwhile.
    let noticed = async {
        if wish.users == Users::Warn { give_notice(&context, wish.notice).await } else { Ok(()) }
    };
    let ((), told) = tokio::join!(tokio::time::sleep(wait), noticed);
    told?;
    Ok(match context.hooks(Point::PreApply).await? {
        Some(why) => Outcome::HookFailed(why),
        None => Outcome::Drained,
    })
}

/// Where it was not drained, there is nothing to do.
pub(super) async fn undrain(context: Context) -> Answer {
    match context.hooks(Point::InService).await? {
        Some(why) => Err(why),
        None => Ok(Outcome::Undrained),
    }
}

/// Tells whoever is logged in, and gives them a while. Where nobody is, nobody is waited for.
async fn give_notice(context: &Context, notice: Duration) -> Result<(), String> {
    let systemd = Systemd::new(context.bus.clone());
    let mut left = notice;
    while !left.is_zero() {
        match systemd.logged_in().await {
            Evidence::No => return Ok(()),
            Evidence::Yes { .. } => {}
            // They would be told nothing, and have their while all the same.
            Evidence::Unknown { why } => warn!("it is not known who is logged in: {why}"),
        }
        let executor = context.executor().await?;
        within(QUICK, executor.announce(left.as_secs())).await?;
        let pause = if left > LAST_CALL { left.div_f32(2.0).max(LAST_CALL) } else { left };
        tokio::time::sleep(pause).await;
        left = left.saturating_sub(pause);
    }
    Ok(())
}

/// Hands etcd's leadership to another machine. Nothing depends on it: without, etcd elects a leader
/// anew when this machine is gone.
async fn step_aside(store: &SlotStore) {
    let aside = match node::addresses() {
        Ok(addresses) => store.step_aside(&addresses).await,
        Err(error) => Err(chain(&error)),
    };
    match aside {
        Err(why) => warn!("etcd's leadership is not handed over: {why}"),
        Ok(Aside { handed_to, warning }) => {
            if let Some(name) = handed_to {
                info!("etcd's leadership was handed to member {name}");
            }
            if let Some(text) = warning {
                warn!("{text}");
            }
        }
    }
}
