//! Starting containers: several at a time, each when those it needs have come far enough.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::look::Seen;
use crate::{
    core::{
        order::{Order, Until},
        record::{Health, Record, RecordedContainer},
        standing::Standing,
        wish::Restore,
    },
    observe::logging::chain,
};

/// So many are started at once: an engine that is at it by itself starts all at once.
const LANES: usize = 12;
/// How long all together may take.
const TOGETHER: Duration = Duration::from_secs(600);
/// How long others wait for a container to be healthy that has no time limit of its own.
const HEALTHY: Duration = Duration::from_secs(120);
/// How often it is looked at meanwhile.
const EVERY: Duration = Duration::from_millis(250);

/// One thing under way.
#[derive(Clone, Copy)]
enum Task {
    Start(usize),
    AwaitHealth(usize),
}

/// Starts what is down, begun in the order of before. What a container needs and does not get holds
/// it up for a time only: then it is started all the same, as its engine would have done. Answers
/// with what was started.
pub(super) async fn bring_up(seen: &Seen, record: &Record) -> Vec<String> {
    let deadline = Instant::now() + TOGETHER;
    let all = &record.containers;
    let order = Order::of(all);
    for doubt in &order.doubts {
        warn!("{doubt}");
    }
    let needed = |at: usize| {
        let mut needs = order.needs.iter().flatten();
        needs.any(|need| need.on == at && need.until == Until::Healthy)
    };
    let mut waiting: Vec<usize> = (0..all.len()).collect();
    let mut reached: Vec<Option<Until>> = vec![None; all.len()];
    let (mut under_way, mut starting, mut started) = (FuturesUnordered::new(), 0, Vec::new());
    loop {
        let ready =
            |at: &usize| order.needs[*at].iter().all(|need| reached[need.on] >= Some(need.until));
        while starting < LANES
            && let Some(place) = waiting.iter().position(ready)
        {
            starting += 1;
            under_way.push(work(seen, all, Task::Start(waiting.remove(place))));
        }
        match timeout_at(deadline, under_way.next()).await {
            Ok(Some((Task::Start(at), up))) => {
                starting -= 1;
                reached[at] = Some(Until::Started);
                started.extend(up.then(|| all[at].to_string()));
                if needed(at) {
                    under_way.push(work(seen, all, Task::AwaitHealth(at)));
                }
            }
            Ok(Some((Task::AwaitHealth(at), _))) => reached[at] = Some(Until::Healthy),
            Ok(None) => return started,
            Err(_) => {
                let late = starting + waiting.len();
                warn!("{late} container(s) were not started within {} s", TOGETHER.as_secs());
                return started;
            }
        }
    }
}

/// Does one thing; with a start, whether it runs now because of that.
async fn work(seen: &Seen, all: &[RecordedContainer], task: Task) -> (Task, bool) {
    let done = match task {
        Task::Start(at) => start(seen, &all[at]).await,
        Task::AwaitHealth(at) => await_health(seen, &all[at]).await,
    };
    (task, done)
}

async fn start(seen: &Seen, recorded: &RecordedContainer) -> bool {
    if recorded.restore == Restore::No {
        return false;
    }
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

/// Waits until a container that others need is healthy, or cannot become it any more.
async fn await_health(seen: &Seen, recorded: &RecordedContainer) -> bool {
    let limit = recorded.health_timeout_secs.map_or(HEALTHY, Duration::from_secs);
    let deadline = Instant::now() + limit;
    let Some(client) = seen.clients.get(&recorded.engine) else { return false };
    loop {
        match client.inspect(&recorded.name).await {
            Ok(Some(now)) if now.running => {
                if matches!(now.health, Health::Healthy | Health::Unchecked) {
                    return true;
                }
            }
            Ok(_) => {
                warn!("{recorded} does not run: what needs it is started all the same");
                return false;
            }
            Err(error) => warn!("{}", chain(&error)),
        }
        if Instant::now() >= deadline {
            let secs = limit.as_secs();
            warn!(
                "{recorded} is not healthy after {secs} s: what needs it is started all the same"
            );
            return false;
        }
        sleep(EVERY).await;
    }
}
