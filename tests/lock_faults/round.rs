//! One round: everybody and everything at once, then the judgement.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{DeleteOptions, Txn, TxnOp};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::admin::Admin;
use crate::agent::{Agent, name};
use crate::lane::Lane;
use crate::plan::{Fate, Plan};
use crate::proxy::Proxy;
use crate::scribe::Raw;
use crate::tally::{Sound, Tally};
use crate::trace::{Checked, Rules, Trace, check, told};

/// Everybody must have had its turns this long after the last accident has ended: far more than any
/// pause between two attempts, and less than the time after which a waiter looks again unasked.
const BOUND: Duration = Duration::from_secs(40);

/// Where a round takes place.
pub struct Scene {
    pub plan: Plan,
    pub prefix: String,
    pub raw: Arc<Raw>,
    pub endpoints: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub tally: Tally,
}

/// How somebody's part ends: with the ways to etcd that stay until the round is over.
pub type Done = Result<Vec<Proxy>, String>;

/// Runs the round of this seed.
///
/// # Errors
/// What went wrong, with all there is to find out why.
pub async fn run(lane: &mut Lane, seed: u64) -> Result<(), String> {
    let plan = Plan::draw(seed);
    let scene = Arc::new(Scene {
        plan: plan.clone(),
        prefix: format!("/round/{seed}"),
        raw: lane.raw.clone(),
        endpoints: lane.endpoints.clone(),
        addresses: lane.addresses.clone(),
        tally: lane.tally.clone(),
    });
    let mut roads = Vec::new();
    let lived = timeout(BOUND * 2, live(lane, &scene, &mut roads)).await.unwrap_or_else(|_| {
        Err(format!("the accidents do not end: not everything was mended {:?} later", BOUND * 2))
    });
    let trace = whole_trace(lane, &scene.prefix).await;
    drop(roads);
    let judged =
        lived.and_then(|afterwards| judge(&scene, &trace).map(|sound| (afterwards, sound)));
    let (afterwards, sound) =
        judged.map_err(|why| format!("{why}\n{plan:#?}\n{}", told(&trace)))?;
    lane.tally.sound(&Sound {
        admissions: sound.admissions.len(),
        lost_tickets: sound.lost_tickets,
        revisions: trace.len(),
        afterwards,
    });
    Ok(())
}

/// Lets it all happen; how long it went on after the last accident.
async fn live(
    lane: &mut Lane,
    scene: &Arc<Scene>,
    roads: &mut Vec<Proxy>,
) -> Result<Duration, String> {
    let mut admin = Admin::new(scene.clone());
    for (group, max) in &scene.plan.groups {
        admin.set_max(group, *max).await?;
    }
    let mut all: JoinSet<Done> = JoinSet::new();
    for (index, life) in scene.plan.agents.iter().enumerate() {
        let agent = Agent::new(scene.clone(), index).await;
        all.spawn(agent.live(life.clone()));
    }
    all.spawn(admin.act(scene.plan.admin.clone()));
    lane.accidents(&scene.prefix, &scene.plan.accidents).await;
    let mended = Instant::now();
    let everybody = async {
        while let Some(done) = all.join_next().await {
            roads.extend(done.map_err(|e| format!("a task panicked: {e}"))??);
        }
        Ok(())
    };
    timeout(BOUND, everybody)
        .await
        .unwrap_or_else(|_| Err(format!("somebody still waits {BOUND:?} after all is mended")))?;
    let afterwards = mended.elapsed();
    lane.cluster.ready().await;
    Ok(afterwards)
}

/// Everything that happened under `prefix`; removes it from etcd.
async fn whole_trace(lane: &mut Lane, prefix: &str) -> Trace {
    let end = Txn::new().and_then([TxnOp::put(format!("{prefix}/end"), "", None)]);
    let end = lane.raw.txn(end).await.header().unwrap().revision();
    lane.observer.until(end).await;
    let mut trace = lane.observer.take(prefix);
    trace.retain(|revision, _| *revision < end);
    let all = DeleteOptions::new().with_prefix();
    lane.raw.txn(Txn::new().and_then([TxnOp::delete(prefix, Some(all))])).await;
    trace
}

fn judge(scene: &Scene, trace: &Trace) -> Result<Checked, String> {
    let plan = &scene.plan;
    let rules = Rules { intents: true, calm: plan.calm(), quarantine: 0 };
    let sound = check(&scene.prefix, trace, rules)
        .map_err(|broken| format!("at revision {}: {}", broken.revision, broken.what))?;
    for (index, life) in plan.agents.iter().enumerate() {
        let had = sound.admissions.iter().filter(|a| a.node == name(index)).count();
        let full = life
            .turns
            .iter()
            .all(|turn| turn.killed.as_ref().is_none_or(|(_, fate)| *fate == Fate::Again));
        let more = had > life.turns.len() && !plan.unlocks(index);
        if more || (full && had < life.turns.len()) {
            return Err(format!("n{index} wanted {} turns and had {had}", life.turns.len()));
        }
    }
    let gone = |agent: &str| {
        let index: usize = agent[1..].parse().unwrap();
        plan.agents[index].turns.iter().any(|turn| turn.killed.is_some())
    };
    for (name, group) in &sound.fleet.groups {
        if !group.slots.holders.is_empty() {
            return Err(format!("in the end {:?} hold {name}", group.slots.holders));
        }
        if let Some(left) = group.tickets.keys().find(|agent| !gone(agent)) {
            return Err(format!("in the end the ticket of {left} in {name} is left"));
        }
    }
    Ok(sound)
}
