//! `Restore`: start what ran before and does not run now.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{
    Context, WorkloadError,
    look::{Seen, look},
    record,
};
use crate::{
    adapters::systemd::jobs::Started,
    core::{
        record::{Record, RecordedContainer},
        standing::{Observed, Standing, engine_starts},
    },
    observe::logging::chain,
};

/// How often the node is looked at while others bring things back.
const EVERY: Duration = Duration::from_millis(500);
/// A simple service counts as started before its program is: its state is read this much later.
const SETTLING: Duration = Duration::from_secs(1);
/// How long all units together may take to start.
const STARTING: Duration = Duration::from_secs(180);

/// Lets systemd and the engines do their part, at most for `grace`, then starts what is still down:
/// units first, containers after them in the order they were started in before. Answers with what
/// it started. What cannot be started is logged, and left to `Verify` to judge.
pub async fn restore(context: &Context, grace: Duration) -> Result<Vec<String>, WorkloadError> {
    let Some(record) = record::load(context)? else {
        info!("there is no record: nothing to restore");
        return Ok(Vec::new());
    };
    let seen = await_others(context, &record, Instant::now() + grace).await?;
    let mut started = start_units(context, &record, &seen.observed).await?;
    let seen = look(context, &record).await?;
    report_gone(&record, &seen.observed);
    for container in &record.containers {
        if start_container(&seen, container).await {
            started.push(container.to_string());
        }
    }
    Ok(started)
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
        let seen = look(context, record).await?;
        if !(booting || expecting(record, &seen.observed)) || Instant::now() >= deadline {
            return Ok(seen);
        }
        sleep(EVERY.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

/// Whether systemd or an engine is still going to bring something up.
fn expecting(record: &Record, now: &Observed) -> bool {
    let units = record.units.iter().any(|u| matches!(now.unit(u), Standing::Coming(_)));
    let container = |c: &RecordedContainer| match now.container(c) {
        Standing::Coming(_) => true,
        Standing::Down(_) => {
            now.containers.get(&(c.engine, c.name.clone())).is_some_and(engine_starts)
        }
        Standing::Fine | Standing::Wrong(_) | Standing::Gone(_) => false,
    };
    units || record.containers.iter().any(container)
}

async fn start_units(
    context: &Context,
    record: &Record,
    now: &Observed,
) -> Result<Vec<String>, WorkloadError> {
    let down = |name: &String, standing| match standing {
        Standing::Down(why) => {
            info!("{why}: starting it");
            Some(name.clone())
        }
        _ => None,
    };
    let names: Vec<String> =
        record.units.iter().filter_map(|u| down(&u.name, now.unit(u))).collect();
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

/// Starts one container if it is down; whether it runs now because of that.
async fn start_container(seen: &Seen, recorded: &RecordedContainer) -> bool {
    let Standing::Down(why) = seen.observed.container(recorded) else { return false };
    let Some(client) = seen.clients.get(&recorded.engine) else { return false };
    // A unit started just now, or another container, may have brought it up meanwhile.
    if matches!(client.inspect(&recorded.name).await, Ok(Some(now)) if now.running) {
        return false;
    }
    info!("{why}: starting it");
    if let Err(error) = client.start(&recorded.name).await {
        warn!("{recorded} could not be started: {}", chain(&error));
        return false;
    }
    let now = match client.inspect(&recorded.name).await {
        Ok(Some(now)) if now.running => return true,
        Ok(Some(now)) => format!("{} (exit status {})", now.status, now.exit_code),
        Ok(None) => "gone".to_owned(),
        Err(error) => format!("not to be seen: {}", chain(&error)),
    };
    warn!("{recorded} was started and is {now}");
    false
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
