//! Carries out effects: each in a task of its own, each ending in one `Done` event.

use std::{collections::BTreeMap, future::Future, path::PathBuf, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::{
    sync::{Mutex, mpsc::UnboundedSender},
    task::{AbortHandle, JoinHandle},
};
use tracing::warn;

mod channel;
mod images;
mod leaving;

use super::{
    canary::{self, Told},
    driver::Input,
    hooks,
    publisher::Publisher,
};
use crate::{
    adapters::{
        clock, node,
        slots::{SlotStore, StoreError},
        systemd::Systemd,
    },
    config::settings::{Canary, Channel, Settings},
    core::{
        change::{AdminOp, Change},
        effect::{Effect, EffectId},
        event::{Event, Outcome},
        health::HealthReport,
        hook::Point,
        plan::PlanId,
        slots::{Halt, Holder, Views},
        stale::Report,
        state::{Ended, Phase, State},
    },
    dbus::{
        error::reply,
        executor::{ApplyReport, CheckReport, Cycle, ExecutorProxy, RebootReport, UndoReport},
    },
    observe::logging::chain,
};

/// Deadline of a look at the node's health: the admin's checks take five minutes at most.
const HEALTH: Duration = Duration::from_secs(600);
/// Deadline of the quick verbs.
const QUICK: Duration = Duration::from_secs(120);
/// Deadline of verifying a stage and asking for a reboot (a whole point release on a slow disk).
const READY: Duration = Duration::from_secs(600);
/// Deadline of a check (a slow mirror, all lists new).
const CHECK: Duration = Duration::from_secs(1800);
/// Deadline of restarting services.
const RESTART: Duration = Duration::from_secs(900);
/// Deadline of a staging (a slow mirror, a whole point release).
const STAGE: Duration = Duration::from_secs(6 * 3600);

/// Between two looks at how far work has come.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries to learn whether a member of etcd runs on this node.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Runs effects.
#[derive(Debug)]
pub struct Runner {
    bus: zbus::Connection,
    inputs: UnboundedSender<Input>,
    publisher: Publisher,
    node: String,
    name: String,
    /// Where the agent remembers things.
    state_dir: PathBuf,
    told: Told,
    /// Held while images are pulled.
    pulling: Arc<Mutex<()>>,
    acquire: Option<JoinHandle<()>>,
    running: BTreeMap<&'static str, AbortHandle>,
}

/// What every effect may use.
struct Context {
    bus: zbus::Connection,
    inputs: UnboundedSender<Input>,
    publisher: Publisher,
    store: Arc<SlotStore>,
    node: String,
    name: String,
    nonce: String,
    canary: Canary,
    channel: Option<Channel>,
    state_dir: PathBuf,
    told: Told,
    /// Whether images are to be pulled.
    pull: bool,
    /// Held while they are.
    pulling: Arc<Mutex<()>>,
    /// What hooks are told.
    cycle: Cycle,
    /// The groups this node is in.
    groups: Vec<String>,
    /// Every group this node may hold a slot of.
    lock_groups: Vec<String>,
}

impl Runner {
    /// A runner that reports to `inputs`.
    pub fn new(
        bus: zbus::Connection,
        inputs: UnboundedSender<Input>,
        publisher: Publisher,
        node: String,
        name: String,
        state_dir: PathBuf,
    ) -> Self {
        Self {
            bus,
            inputs,
            publisher,
            node,
            name,
            state_dir,
            told: Told::default(),
            pulling: Arc::default(),
            acquire: None,
            running: BTreeMap::new(),
        }
    }

    /// Begins one effect.
    pub fn run(
        &mut self,
        id: EffectId,
        effect: Effect,
        settings: &Settings,
        store: &Arc<SlotStore>,
        state: &State,
    ) {
        let context = Context {
            bus: self.bus.clone(),
            inputs: self.inputs.clone(),
            publisher: self.publisher.clone(),
            store: Arc::clone(store),
            node: self.node.clone(),
            name: self.name.clone(),
            nonce: state.nonce.clone(),
            canary: settings.canary.clone(),
            channel: settings.channel.clone(),
            state_dir: self.state_dir.clone(),
            told: self.told.clone(),
            pull: !settings.containers.pulled().is_empty(),
            pulling: Arc::clone(&self.pulling),
            cycle: hooks::cycle(state),
            groups: settings.lock.groups.clone(),
            lock_groups: settings.lock_groups(),
        };
        let word = effect.word();
        match effect {
            Effect::AcquireSlot { reason, release } => {
                let claim = self.claim(state, settings, reason, release);
                self.start_acquire(id, context, claim);
            }
            Effect::LeaveQueue => {
                let waiting = self.acquire.take();
                self.spawn(word, id, leave(context, waiting));
            }
            Effect::Check => self.spawn(word, id, check(context)),
            Effect::Stage(plan) => self.spawn(word, id, stage(context, plan)),
            Effect::Probe => {
                let job = state.phase.job().cloned();
                self.spawn(word, id, leaving::probe(context, settings.blockers.clone(), job));
            }
            Effect::Drain => {
                let notice = settings.blockers.clone();
                self.spawn(word, id, leaving::drain(context, notice, settings.drain.wait));
            }
            Effect::Record => self.spawn(word, id, record(context)),
            Effect::Apply(plan) => self.spawn(word, id, apply(context, plan)),
            Effect::Undo(plan) => self.spawn(word, id, undo(context, plan)),
            Effect::ReadEvidence => self.spawn(word, id, evidence(context)),
            Effect::Reboot(boot) => {
                let by_hand = state.phase.held().is_none_or(|job| job.always_reboot);
                self.spawn(word, id, reboot(context, boot.0, None, by_hand));
            }
            Effect::ApplyAtBoot { boot, plan } => {
                self.spawn(word, id, reboot(context, boot.0, Some(plan), true));
            }
            Effect::Finish(plan) => self.spawn(word, id, finish(context, plan)),
            Effect::Restore => {
                let plan = state.phase.held().and_then(|job| job.plan.clone());
                self.spawn(word, id, restore(context, plan, settings.verify.grace));
            }
            Effect::Verify(plan) => {
                let undone = state.phase.held().is_some_and(|job| job.undone.is_some());
                let failed = undone || matches!(state.phase, Phase::Failed { .. });
                let fails = matches!(state.phase, Phase::Failed { .. });
                self.spawn(word, id, verify(context, plan, failed, fails));
            }
            Effect::Confirm(plan) => self.spawn(word, id, confirm(context, plan)),
            Effect::Undrain => self.spawn(word, id, leaving::undrain(context)),
            Effect::Release => {
                let was_down =
                    !matches!(state.phase, Phase::Releasing { ended: Ended::GaveBack, .. });
                self.spawn(word, id, release(context, settings.lock.settle, was_down));
            }
            Effect::Halt(halt) => self.spawn(word, id, publish_halt(context, halt)),
        }
    }

    fn claim(
        &self,
        state: &State,
        settings: &Settings,
        reason: String,
        release: Option<PlanId>,
    ) -> Holder {
        Holder {
            node: self.node.clone(),
            name: self.name.clone(),
            nonce: state.nonce.clone(),
            since: clock::wall(),
            reason,
            release: release.map(String::from),
            boot_id: state.boot_id.0.clone(),
            expected_secs: settings.lock.expected.as_secs(),
            overdue: false,
        }
    }

    fn start_acquire(&mut self, id: EffectId, context: Context, claim: Holder) {
        if let Some(old) = self.acquire.take() {
            old.abort();
        }
        let inputs = self.inputs.clone();
        self.acquire = Some(tokio::spawn(async move {
            let seen = |view: Result<_, StoreError>| {
                let view = view.map_err(|error| chain(&error));
                let _ = inputs.send(Input::Event(Event::Store(view)));
            };
            let groups = context.turn_groups(&seen).await;
            let outcome = match context.store.acquire(&groups, &claim, seen).await {
                Ok(_token) => Outcome::SlotGranted,
                Err(error) => Outcome::Failed(chain(&error)),
            };
            let _ = inputs.send(Input::Event(Event::Done { id, outcome }));
        }));
    }

    /// Runs `effort` and reports. A predecessor of the same kind is no longer waited for by anybody.
    fn spawn(
        &mut self,
        word: &'static str,
        id: EffectId,
        effort: impl Future<Output = Result<Outcome, String>> + Send + 'static,
    ) {
        let sender = self.inputs.clone();
        let task = tokio::spawn(async move {
            let outcome = effort.await.unwrap_or_else(Outcome::Failed);
            let _ = sender.send(Input::Event(Event::Done { id, outcome }));
        });
        if let Some(old) = self.running.insert(word, task.abort_handle()) {
            old.abort();
        }
    }
}

type Answer = Result<Outcome, String>;

impl Context {
    /// The groups in which this node waits for its turn: its own, and that of etcd's members if it
    /// carries one. While that cannot be told it does not queue; `seen` hears why.
    async fn turn_groups(&self, seen: &impl Fn(Result<Views, StoreError>)) -> Vec<String> {
        loop {
            let here = match node::addresses() {
                Ok(addresses) => self.store.member_here(&addresses).await,
                Err(error) => Err(chain(&error)),
            };
            match here {
                Ok(true) => return self.lock_groups.clone(),
                Ok(false) => return self.groups.clone(),
                Err(what) => seen(Err(StoreError::Unreachable { what })),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Where this node is a canary.
    async fn tell_followers(&self) {
        if self.canary.publish {
            let systemd = Systemd::new(self.bus.clone());
            let who = (self.node.as_str(), self.name.as_str());
            self.told.tell(&self.store, &systemd, &self.groups, who).await;
        }
    }

    /// What uses old files is shown; nothing is decided by it here.
    fn show(&self, stale: Option<Report>) {
        if let Some(report) = stale {
            let _ = self.inputs.send(Input::Stale(report));
        }
    }

    /// Does work on a plan, while people can see how far it has come. What cannot be seen is left out.
    async fn watched<T>(
        &self,
        executor: &ExecutorProxy<'_>,
        plan: &PlanId,
        work: impl Future<Output = T>,
    ) -> T {
        let watch = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let said = executor.progress(plan.as_str()).await.unwrap_or_default();
                if let Ok(progress) = serde_json::from_str(&said) {
                    let _ = self.inputs.send(Input::Progress(progress));
                }
            }
        };
        let done = tokio::select! {
            done = work => done,
            never = watch => never,
        };
        let _ = self.inputs.send(Input::Progress(None));
        done
    }

    /// Has the hooks of a point run; answers with why one of them says no.
    async fn hooks(&self, point: Point) -> Result<Option<String>, String> {
        hooks::run(&self.executor().await?, point, &self.cycle).await
    }

    /// Hooks may tell people, or collect what they find. Nothing depends on them.
    async fn tell_of_failure(&self) {
        if let Err(why) = self.hooks(Point::OnFailure).await {
            warn!("the hooks for a failure are not run: {why}");
        }
    }

    async fn executor(&self) -> Result<ExecutorProxy<'static>, String> {
        ExecutorProxy::new(&self.bus).await.map_err(|error| chain(&error))
    }
}

async fn check(context: Context) -> Answer {
    context.tell_followers().await;
    let verified = match canary::ripe(&context.store, &context.canary, &context.state_dir).await? {
        Some(ripe) => serde_json::to_string(&ripe).map_err(|error| chain(&error))?,
        None => String::new(),
    };
    let executor = context.executor().await?;
    let (paced, unseen) = match channel::fetch(&context, &executor).await {
        Ok(paced) => (paced, None),
        Err(why) => (String::new(), Some(why)),
    };
    let answer = within(CHECK, executor.check(&verified, &paced)).await;
    let answer = answer.map_err(|error| match &unseen {
        // What is not there was not brought.
        Some(why) => format!("{error} (the channel could not be seen: {why})"),
        None => error,
    });
    let CheckReport { plan, kept_back, reboot, choice, stale, release } = parse(&answer?)?;
    context.show(stale);
    let again = channel::show(&context, release, unseen);
    images::begin(&context, executor);
    Ok(Outcome::Checked { plan, kept_back, reboot, choice, again })
}

async fn stage(context: Context, plan: PlanId) -> Answer {
    let executor = context.executor().await?;
    let staging = within(STAGE, executor.stage(plan.as_str()));
    context.watched(&executor, &plan, staging).await?;
    Ok(Outcome::Staged)
}

async fn leave(context: Context, waiting: Option<JoinHandle<()>>) -> Answer {
    if let Some(waiting) = waiting {
        waiting.abort();
        // Ended by the abort or by itself: either way it does nothing any more.
        let _ = waiting.await;
    }
    let left = context.store.leave(&context.lock_groups, &context.node, &context.nonce).await;
    left.map(|token| Outcome::LeftQueue { held: token.is_some() }).map_err(|error| chain(&error))
}

/// An admin may have taken the slot away. A store that cannot be asked changes nothing: what it
/// granted outlives its own absence. FleetLock has no way to ask.
async fn still_held(context: &Context) -> Result<(), String> {
    if matches!(*context.store, SlotStore::FleetLock(_)) {
        return Ok(());
    }
    match context.store.held(&context.groups, &context.node, &context.nonce).await {
        Ok(Some(_)) | Err(StoreError::Unreachable { .. }) => Ok(()),
        Ok(None) => Err("the slot was taken away (rebootctl unlock)".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

async fn record(context: Context) -> Answer {
    within(HEALTH, context.executor().await?.record()).await?;
    Ok(Outcome::Recorded)
}

/// No deadline: an apply is never given up half-way.
async fn apply(context: Context, plan: PlanId) -> Answer {
    let executor = context.executor().await?;
    applied(context.watched(&executor, &plan, executor.apply(plan.as_str())).await)
}

/// No deadline: a boot that was cut off while it installed may have left everything to do.
async fn finish(context: Context, plan: PlanId) -> Answer {
    let executor = context.executor().await?;
    applied(context.watched(&executor, &plan, executor.finish(plan.as_str())).await)
}

fn applied(answer: zbus::Result<String>) -> Answer {
    let report: ApplyReport = parse(&answer.map_err(|error| said(&error))?)?;
    Ok(match report {
        ApplyReport::Applied => Outcome::Applied,
        ApplyReport::Refused { reason } => Outcome::ApplyRefused(reason),
        ApplyReport::Failed { reason } => Outcome::ApplyFailed(reason),
    })
}

/// No deadline either.
async fn undo(context: Context, plan: PlanId) -> Answer {
    let executor = context.executor().await?;
    let answer = context.watched(&executor, &plan, executor.undo(plan.as_str())).await;
    let report: UndoReport = parse(&answer.map_err(|error| said(&error))?)?;
    Ok(match report {
        UndoReport::Undone => Outcome::Undone,
        UndoReport::Impossible { reason } => Outcome::UndoImpossible(reason),
        UndoReport::Failed { reason } => Outcome::UndoFailed(reason),
    })
}

async fn evidence(context: Context) -> Answer {
    let answer = within(QUICK, context.executor().await?.reboot_evidence()).await?;
    Ok(Outcome::EvidenceRead(parse(&answer)?))
}

/// `installs`: the plan that the boot is for, if it is for one. `by_hand`: an admin asks for it.
async fn reboot(context: Context, boot: String, installs: Option<PlanId>, by_hand: bool) -> Answer {
    if let Some(why) = context.hooks(Point::PreReboot).await? {
        return Ok(Outcome::HookFailed(why));
    }
    if let Err(why) = still_held(&context).await {
        return Ok(Outcome::RebootRefused(why));
    }
    let executor = context.executor().await?;
    let said = match &installs {
        None => within(QUICK, executor.reboot(&boot, by_hand)).await?,
        Some(plan) => within(READY, executor.apply_at_boot(plan.as_str(), &boot)).await?,
    };
    let report: RebootReport = parse(&said)?;
    match report {
        RebootReport::NotReady { reason } => Ok(Outcome::ApplyRefused(reason)),
        RebootReport::Accepted => Ok(Outcome::RebootAccepted),
        RebootReport::Refused { reason } => Ok(Outcome::RebootRefused(reason)),
        RebootReport::AlreadyHappened => Err("the boot to leave is not the running one".to_owned()),
    }
}

/// What an update without a reboot has left running on old files first: what does not come up again
/// can still be started then.
async fn restore(context: Context, plan: Option<PlanId>, grace: Duration) -> Answer {
    let executor = context.executor().await?;
    if let Some(plan) = plan {
        context.show(restart_stale(&executor, &plan).await?);
    }
    // Units, containers, the time these may take to become healthy, and newer images of theirs.
    let limit = grace + Duration::from_secs(3600);
    let restored = parse(&within(limit, executor.restore(grace.as_secs())).await?)?;
    // Those that fail are owed, and keep the node from being healthy.
    context.hooks(Point::PostBoot).await?;
    Ok(Outcome::Restored(restored))
}

/// An executor from before an upgrade may not know how, and still be there.
async fn restart_stale(
    executor: &ExecutorProxy<'_>,
    plan: &PlanId,
) -> Result<Option<Report>, String> {
    let call = tokio::time::timeout(RESTART, executor.restart_stale(plan.as_str())).await;
    match call {
        Err(_) => Err(format!("the executor did not answer within {} s", RESTART.as_secs())),
        Ok(Err(zbus::Error::MethodError(name, ..))) if name.ends_with(".UnknownMethod") => Ok(None),
        Ok(answer) => parse(&answer.map_err(|error| said(&error))?).map(Some),
    }
}

/// `failed`: the update has failed here; undoing it is a way to mend the node. `fails`: it is not being
/// undone (any more).
async fn verify(context: Context, plan: Option<PlanId>, failed: bool, fails: bool) -> Answer {
    if fails {
        context.tell_of_failure().await;
    }
    let plan = plan.as_ref().map_or("", PlanId::as_str);
    let mut report: HealthReport =
        parse(&within(HEALTH, context.executor().await?.verify(plan, failed)).await?)?;
    report.failing.extend(context.hooks(Point::PostBoot).await?);
    Ok(Outcome::Verified(report))
}

async fn confirm(context: Context, plan: Option<PlanId>) -> Answer {
    let plan = plan.as_ref().map_or("", PlanId::as_str);
    within(QUICK, context.executor().await?.confirm(plan)).await?;
    context.tell_followers().await;
    Ok(Outcome::Confirmed)
}

/// In service first, then the slot: the next node drains only after this one is back, and with it
/// the member of etcd it carries. One that was never down has no member to wait for.
async fn release(context: Context, settle: Duration, was_down: bool) -> Answer {
    flushed(&context.publisher).await?;
    if was_down {
        let addresses = node::addresses().map_err(|error| chain(&error))?;
        context.store.all_well(&addresses).await?;
    }
    let (groups, node, nonce) = (&context.lock_groups, &context.node, &context.nonce);
    let released = context.store.release(groups, node, nonce, settle).await;
    released.map(|()| Outcome::Released).map_err(|error| chain(&error))
}

async fn publish_halt(context: Context, halt: Halt) -> Answer {
    let (by, reason) = (halt.by.clone(), halt.reason.clone());
    let change = Change { op: AdminOp::Halt { halt, for_secs: None }, by, reason };
    let mut halted = Ok(Outcome::Halted);
    for group in &context.groups {
        if let Err(error) = context.store.admin(group, &change).await {
            halted = Err(chain(&error));
            break;
        }
    }
    context.tell_of_failure().await;
    halted
}

async fn flushed(publisher: &Publisher) -> Result<(), String> {
    tokio::time::timeout(Duration::from_secs(15), publisher.flushed())
        .await
        .map_err(|_| "this node's record could not be published in the lock store".to_owned())
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| said(&error)),
        Err(_) => Err(format!("the executor did not answer within {} s", limit.as_secs())),
    }
}

/// What an error reply says; its own text is enough.
pub(super) fn said(error: &zbus::Error) -> String {
    reply(error).map_or_else(|| chain(error), |(_, text)| text)
}

pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("the executor's answer is not understood: {error}"))
}
