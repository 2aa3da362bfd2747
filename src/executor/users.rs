//! Users who run containers and units without root: those an admin has named (`workloads.users`), as far
//! as they linger. Each is asked by a process of that user; what it answers is the user's word.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{
    Context, WorkloadError,
    as_user::{Answer, Order, Task},
    run,
};
use crate::{
    adapters::{
        as_user::{self, Asked},
        systemd::{jobs::Started, lingering::Lingering},
    },
    config::settings::Resurrected,
    core::{
        outlook::Outlook,
        record::{Record, any_matches},
        rootless::{Judgement, sentences},
    },
    observe::logging::chain,
};

/// So many are asked at once.
const AT_ONCE: usize = 4;
/// Looking takes a user's process this long at most.
const LOOKING: Duration = Duration::from_secs(60);
/// Restoring may take this long beyond its grace.
const RESTORING: Duration = Duration::from_secs(900);
/// How long a user's manager may take to start.
const STARTING: Duration = Duration::from_secs(90);
/// How often it is looked at meanwhile.
const EVERY: Duration = Duration::from_millis(500);

/// The record, with what the users who count run.
pub(super) async fn record(context: &Context, record: Record) -> Result<Record, WorkloadError> {
    if context.users.is_empty() {
        return Ok(record);
    }
    let _turn = context.asking.lock().await;
    let (users, slots) = (counting(context).await?, Semaphore::new(AT_ONCE));
    let asked = users.iter().map(|user| in_turn(&slots, record_of(context, user)));
    let mut record = record;
    for (Lingering { name, .. }, own) in users.iter().zip(join_all(asked).await) {
        match own {
            Ok(Some(own)) => record = record.with_user(name.clone(), own),
            Ok(None) => info!("{name} lingers, and runs nothing"),
            Err(why) => return Err(WorkloadError::User { user: name.clone(), why }),
        }
    }
    Ok(record)
}

/// Does it when a slot is free.
async fn in_turn<T>(slots: &Semaphore, work: impl Future<Output = T>) -> T {
    // Never closed.
    let _slot = slots.acquire().await;
    work.await
}

/// Those who linger and are named. Whoever is named and does not linger has nothing that outlasts a
/// session.
async fn counting(context: &Context) -> Result<Vec<Lingering>, WorkloadError> {
    let (counting, others): (Vec<_>, Vec<_>) = context
        .systemd
        .lingering()
        .await?
        .into_iter()
        .partition(|user| any_matches(&context.users, &user.name));
    for user in others {
        info!("{} lingers, and is not one of workloads.users: not looked at", user.name);
    }
    for name in context.users.iter().filter(|name| !name.contains('*')) {
        if !counting.iter().any(|user| user.name == *name) {
            warn!(
                "{name} is one of workloads.users and does not linger (loginctl enable-linger {name})"
            );
        }
    }
    Ok(counting)
}

/// `None` when nothing runs.
async fn record_of(context: &Context, user: &Lingering) -> Result<Option<Record>, String> {
    if !has_manager(context, user).await? {
        return Ok(None);
    }
    match ask(context, user, "record", Task::Record, LOOKING).await? {
        Answer::Recorded(own) => Ok(Some(*own)),
        other => Err(odd(&other)),
    }
}

/// Without one nothing runs.
async fn has_manager(context: &Context, user: &Lingering) -> Result<bool, String> {
    let manager = context.systemd.unit(&user.manager()).await.map_err(|error| chain(&error))?;
    Ok(!matches!(manager.active.as_str(), "inactive" | "failed"))
}

/// Starts what the recorded users ran and what does not run; answers with what was started. What cannot
/// be done is logged, and left to `Verify` to judge.
pub(super) async fn restore(context: &Context, record: &Record, grace: Duration) -> Vec<String> {
    if record.users.is_empty() {
        return Vec::new();
    }
    let _turn = context.asking.lock().await;
    let users = match found(context).await {
        Ok(users) => users,
        Err(error) => {
            warn!("what users ran cannot be restored: {}", chain(&error));
            return Vec::new();
        }
    };
    let slots = Semaphore::new(AT_ONCE);
    let known = record.users.iter().filter_map(|(name, own)| Some((users.get(name)?, own)));
    let asked = known.map(|(user, own)| in_turn(&slots, restore_of(context, user, own, grace)));
    join_all(asked).await.concat()
}

async fn restore_of(
    context: &Context,
    user: &Lingering,
    own: &Record,
    grace: Duration,
) -> Vec<String> {
    match bring_back(context, user, own, grace).await {
        Ok(started) => sentences(&user.name, started),
        Err(why) => {
            warn!("what {} ran cannot be restored: {why}", user.name);
            Vec::new()
        }
    }
}

async fn bring_back(
    context: &Context,
    user: &Lingering,
    own: &Record,
    grace: Duration,
) -> Result<Vec<String>, String> {
    await_manager(context, user, grace).await?;
    let record = Box::new(own.clone());
    let task = Task::Restore { record, grace_secs: grace.as_secs() };
    match ask(context, user, "restore", task, grace + RESTORING).await? {
        Answer::Restored(started) => Ok(started),
        other => Err(odd(&other)),
    }
}

/// Waits for the user's manager, which logind starts; starts it when nobody does.
async fn await_manager(context: &Context, user: &Lingering, grace: Duration) -> Result<(), String> {
    let (name, deadline) = (user.manager(), Instant::now() + grace + STARTING);
    let mut started = false;
    loop {
        let unit = context.systemd.unit(&name).await.map_err(|error| chain(&error))?;
        match unit.active.as_str() {
            "active" => return Ok(()),
            "inactive" | "failed" if !unit.busy && !started => {
                info!("{name} is {}: starting it", unit.active);
                started = true;
                let ends = context.systemd.start(std::slice::from_ref(&name), STARTING).await;
                let ends = ends.map_err(|error| chain(&error))?;
                if let Some(end) = ends.get(&name).filter(|end| **end != Started::Done) {
                    return Err(format!("{name} could not be started: {end}"));
                }
            }
            active if Instant::now() >= deadline => return Err(format!("{name} is {active}")),
            _ => sleep(EVERY).await,
        }
    }
}

/// Adds what is wrong with what the recorded users ran.
pub(super) async fn verify(
    context: &Context,
    record: &Record,
    all: &mut Judgement,
) -> Result<(), WorkloadError> {
    if record.users.is_empty() {
        return Ok(());
    }
    let _turn = context.asking.lock().await;
    let (users, slots) = (found(context).await?, Semaphore::new(AT_ONCE));
    let asked = record.users.iter();
    let asked = asked.map(|(name, own)| in_turn(&slots, judge(context, users.get(name), own)));
    for (name, said) in record.users.keys().zip(join_all(asked).await) {
        match said {
            Ok(said) => all.add(name, said),
            Err(why) => all.failing.push(format!("what {name} ran cannot be seen: {why}")),
        }
    }
    Ok(())
}

async fn judge(
    context: &Context,
    user: Option<&Lingering>,
    own: &Record,
) -> Result<Judgement, String> {
    let Some(user) = user else {
        return Err(
            "there is no such user any more who lingers (loginctl enable-linger)".to_owned()
        );
    };
    let manager = user.manager();
    let unit = context.systemd.unit(&manager).await.map_err(|error| chain(&error))?;
    if unit.active != "active" {
        return Err(format!("{manager} is {} ({})", unit.active, unit.result));
    }
    let task = Task::Verify { record: Box::new(own.clone()) };
    match ask(context, user, "verify", task, LOOKING).await? {
        Answer::Judged(said) => Ok(said),
        other => Err(odd(&other)),
    }
}

/// Adds what is to be expected of what the users who count run. One who does not answer would keep a
/// record from being taken.
pub(super) async fn foresee(context: &Context, all: &mut Outlook) -> Result<(), WorkloadError> {
    if context.users.is_empty() {
        return Ok(());
    }
    let _turn = context.asking.lock().await;
    let (users, slots) = (counting(context).await?, Semaphore::new(AT_ONCE));
    let asked = users.iter().map(|user| in_turn(&slots, foresee_of(context, user)));
    for (Lingering { name, .. }, said) in users.iter().zip(join_all(asked).await) {
        match said {
            Ok(said) => all.add(name, said),
            Err(why) => {
                let error = WorkloadError::User { user: name.clone(), why };
                all.blocking.push(error.to_string());
            }
        }
    }
    Ok(())
}

async fn foresee_of(context: &Context, user: &Lingering) -> Result<Outlook, String> {
    if !has_manager(context, user).await? {
        return Ok(Outlook::default());
    }
    match ask(context, user, "outlook", Task::Foresee, LOOKING).await? {
        Answer::Foreseen(outlook) => Ok(*outlook),
        other => Err(odd(&other)),
    }
}

/// Users who linger now, by name.
async fn found(context: &Context) -> Result<BTreeMap<String, Lingering>, WorkloadError> {
    let users = context.systemd.lingering().await?;
    Ok(users.into_iter().map(|user| (user.name.clone(), user)).collect())
}

async fn ask(
    context: &Context,
    user: &Lingering,
    word: &str,
    task: Task,
    limit: Duration,
) -> Result<Answer, String> {
    let order = Order {
        task,
        ignore: context.ignore.clone(),
        stop_resurrected: context.resurrected == Resurrected::Stop,
    };
    let order = serde_json::to_vec(&order).map_err(|error| chain(&error))?;
    let program = run::own_program().map_err(|error| chain(&error))?;
    let unit = format!("lockkeeper-user-{}-{word}.service", user.uid);
    let asked = Asked { unit: &unit, program: &program, uid: user.uid, limit };
    let answer = as_user::ask(context.systemd.bus(), &asked, &order).await;
    let answer = answer.map_err(|error| chain(&error))?;
    serde_json::from_str(&answer).map_err(|_| format!("the answer of {unit} is no such document"))
}

fn odd(answer: &Answer) -> String {
    let word = match answer {
        Answer::Recorded(_) => "a record",
        Answer::Restored(_) => "a list of what was started",
        Answer::Judged(_) => "a judgement",
        Answer::Foreseen(_) => "an outlook",
    };
    format!("the answer is {word}, which is not what was asked for")
}
