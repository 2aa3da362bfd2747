//! `Restore`: start what ran before and does not run now.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{
    Context, WorkloadError,
    bring_up::bring_up,
    leftover,
    look::{Seen, look},
    record, resurrected, users,
};
use crate::{
    adapters::systemd::jobs::Started,
    core::{
        record::{Record, RecordedContainer},
        standing::{Observed, Standing, engine_starts},
        wish::{LONGEST_HEALTH_TIMEOUT, Restore},
    },
};

/// How often the node is looked at while others bring things back.
const EVERY: Duration = Duration::from_millis(500);
/// How often systemd is asked whether the boot is over.
const BOOTING: Duration = Duration::from_millis(100);
/// A simple service counts as started before its program is: its state is read this much later.
const SETTLING: Duration = Duration::from_secs(1);
/// How long all units together may take to start.
const STARTING: Duration = Duration::from_secs(180);

/// Lets systemd and the engines do their part, at most for `grace`, then starts what is still down:
/// units first, containers after them, and gives those with a time limit of their own the time to
/// become healthy. Answers with what it started. What cannot be started is logged, and left to
/// `Verify` to judge.
pub async fn restore(context: &Context, grace: Duration) -> Result<Vec<String>, WorkloadError> {
    let Some(record) = record::load(context)? else {
        info!("there is no record: nothing to restore");
        return Ok(Vec::new());
    };
    by(context, &record, grace).await
}

/// The same by a given record: the system's, or that of the user whose process this is.
pub(super) async fn by(
    context: &Context,
    record: &Record,
    grace: Duration,
) -> Result<Vec<String>, WorkloadError> {
    let mut seen = await_others(context, record, Instant::now() + grace).await?;
    let mut started = Vec::new();
    let down = units_down(record, &seen.observed);
    if !down.is_empty() {
        started.extend(start_all(context, down).await?);
        seen = look(context, record).await?;
    }
    let cleared = clear_leftovers(context, record, &seen.observed).await;
    if !cleared.is_empty() {
        started.extend(start_all(context, cleared).await?);
        seen = look(context, record).await?;
    }
    report_gone(record, &seen.observed);
    resurrected::see_to(context, record).await;
    // What users run may need the system's units, and goes its way beside the containers.
    let containers = async {
        let started = bring_up(&seen, record).await;
        await_health(context, record).await.map(|seen| (started, seen))
    };
    let (containers, of_users) = join(containers, users::restore(context, record, grace)).await;
    let (of_engines, seen) = containers?;
    started.extend(of_engines.into_iter().chain(of_users));
    for text in seen.observed.missed(record, Restore::BestEffort) {
        warn!("{text}: it need not be back, so the node does not fail for it");
    }
    Ok(started)
}

/// Looks until every container that may take its time is healthy, or its time is over.
async fn await_health(context: &Context, record: &Record) -> Result<Seen, WorkloadError> {
    let deadline = Instant::now() + LONGEST_HEALTH_TIMEOUT;
    loop {
        let seen = look(context, record).await?;
        let patient = |c: &&RecordedContainer| {
            c.restore == Restore::Required && seen.observed.may_become_healthy(c)
        };
        if record.containers.iter().find(patient).is_none() || Instant::now() >= deadline {
            return Ok(seen);
        }
        sleep(EVERY).await;
    }
}

/// Looks until nothing more is to be expected from others, or until `deadline`.
async fn await_others(
    context: &Context,
    record: &Record,
    deadline: Instant,
) -> Result<Seen, WorkloadError> {
    loop {
        let state = context.systemd.state().await?;
        let booting = matches!(state.as_str(), "initializing" | "starting");
        let late = Instant::now() >= deadline;
        // A boot has other things to do than to be looked at.
        if !booting || late {
            let seen = look(context, record).await?;
            if late || !expecting(record, &seen.observed) {
                return Ok(seen);
            }
        }
        let pause = if booting { BOOTING } else { EVERY };
        sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

/// Whether systemd or an engine is still going to bring something up.
fn expecting(record: &Record, now: &Observed) -> bool {
    let units = record.units.iter().filter(|u| u.restore != Restore::No);
    let mut units = units.map(|u| now.unit(u));
    let container = |c: &RecordedContainer| match now.container(c) {
        Standing::Coming(_) => true,
        Standing::Down(_) => {
            now.containers.get(&(c.engine, c.name.clone())).is_some_and(engine_starts)
        }
        Standing::Fine | Standing::Wrong(_) | Standing::Gone(_) => false,
    };
    let mut containers = record.containers.iter().filter(|c| c.restore != Restore::No);
    units.any(|standing| matches!(standing, Standing::Coming(_))) || containers.any(container)
}

/// The units that nobody is going to start.
fn units_down(record: &Record, now: &Observed) -> Vec<String> {
    let down = |name: &String, standing| match standing {
        Standing::Down(why) => {
            info!("{why}: starting it");
            Some(name.clone())
        }
        _ => None,
    };
    let wanted = record.units.iter().filter(|u| u.restore != Restore::No);
    wanted.filter_map(|u| down(&u.name, now.unit(u))).collect()
}

/// The units that may start now, since what was left of their containers is removed.
async fn clear_leftovers(context: &Context, record: &Record, now: &Observed) -> Vec<String> {
    let mut cleared = Vec::new();
    for recorded in record.units.iter().filter(|u| u.restore != Restore::No) {
        let Some(unit) = now.units.get(&recorded.name).filter(|unit| unit.failing()) else {
            continue;
        };
        if leftover::clear(context, record, unit).await {
            cleared.push(unit.name.clone());
        }
    }
    cleared
}

async fn start_all(context: &Context, names: Vec<String>) -> Result<Vec<String>, WorkloadError> {
    if names.is_empty() {
        return Ok(names);
    }
    let ends = context.systemd.start(&names, STARTING).await?;
    sleep(SETTLING).await;
    let units = context.systemd.units(&names).await?;
    let mut started = Vec::new();
    for name in names {
        let end = ends.get(&name).unwrap_or(&Started::Late);
        let active = units.get(&name).map(|unit| unit.active.as_str()).unwrap_or_default();
        if matches!(active, "active" | "activating" | "reloading") {
            started.push(name);
        } else {
            warn!("{name} could not be started: {end}, and it is {active}");
        }
    }
    Ok(started)
}

fn report_gone(record: &Record, now: &Observed) {
    let units = record.units.iter().map(|u| now.unit(u));
    let containers = record.containers.iter().map(|c| now.container(c));
    for standing in units.chain(containers) {
        if let Standing::Gone(text) = standing {
            warn!("{text}: it ran before and is not missed");
        }
    }
}
