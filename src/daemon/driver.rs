//! The driver: one event at a time, durable before it acts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use super::{
    connect,
    publisher::Publisher,
    run_effect::Runner,
    service::{ControlInterface, StatusInterface, signal_progress},
    snapshot::Snapshot,
};
use crate::{
    adapters::{
        clock,
        node::{self, NodeError},
        slots::SlotStore,
        state_file::{self, StateFileError},
        systemd::{
            Systemd,
            boot::{BootError, boot_id},
        },
    },
    config::{
        self,
        settings::{LOCK_SCHEMA, LockChoice, Settings, Strategy},
    },
    core::{
        change::{AdminOp, Change},
        channel::followed,
        event::{Ask, Event},
        fast, image,
        invariants::{self, Broken},
        overdue::Overdue,
        policy::Policy,
        progress::Progress,
        resume::resume,
        slots::Views,
        stale::Report,
        state::{Phase, SCHEMA, State, Task},
        step::{Step, next_wakeup, step},
        time::{Mono, Now},
    },
    dbus,
    observe::logging::chain,
};

/// Between two looks at a fleet's lock store while nothing is queued.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Where things are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Root of the configuration tree (`/`).
    pub config_root: PathBuf,
    /// State directory (`/var/lib/lockkeeper`).
    pub state_dir: PathBuf,
}

/// Why the agent could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration has errors.
    #[error("the configuration has errors")]
    Config(#[source] config::ConfigErrors),
    /// The state file cannot be read or written.
    #[error("the agent's state cannot be kept")]
    State(#[from] StateFileError),
    /// Who this node is cannot be told.
    #[error("this node's identity cannot be read")]
    Node(#[from] NodeError),
    /// The boot id cannot be read.
    #[error("the boot id cannot be read")]
    Boot(#[from] BootError),
    /// The system bus cannot be used.
    #[error("the system bus cannot be used")]
    Bus(#[from] zbus::Error),
    /// The system bus went away; systemd starts the agent again.
    #[error("the connection to the system bus was closed")]
    BusClosed,
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    /// A step would break a promise. Acting on it could take machines down; restarting resumes from
    /// the state before it.
    #[error("a step would break a promise, and is not taken")]
    Promise(#[from] Broken),
}

/// What reaches the driver.
#[derive(Debug)]
pub(super) enum Input {
    /// A fact.
    Event(Event),
    /// The store was looked at for somebody, who is told when the driver knows.
    Look(Result<Views, String>, oneshot::Sender<()>),
    /// What uses files that were replaced, for people to see.
    Stale(Report),
    /// What has come of pulling images.
    Images(image::Report),
    /// What the release channel has for this node.
    Release(followed::Report),
    /// How far an effect has come; `None` when it has ended.
    Progress(Option<Progress>),
    /// An admin's wish; the answer says whether it is taken.
    Ask(Ask, oneshot::Sender<Result<(), String>>),
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    paths: Paths,
    bus: zbus::Connection,
    settings: Settings,
    /// Settings that choose another lock, kept until this node has no slot and no ticket.
    pending: Option<Settings>,
    config_problem: Option<String>,
    policy: Policy,
    state: State,
    store: Arc<SlotStore>,
    last_look: Option<Mono>,
    overdue: Overdue,
    runner: Runner,
    publisher: Publisher,
    stale: Report,
    images: image::Report,
    release: followed::Report,
    progress: Option<Progress>,
    snapshots: watch::Sender<Snapshot>,
    inputs: mpsc::UnboundedReceiver<Input>,
    sender: mpsc::UnboundedSender<Input>,
}

impl Agent {
    /// Reads configuration and state, and takes the agent's name on the bus.
    pub async fn start(paths: Paths) -> Result<Self, AgentError> {
        let loaded = config::load(&paths.config_root).map_err(AgentError::Config)?.settings;
        let (node, name) = (node::id()?, node::name()?);
        let bus = zbus::Connection::system().await?;
        // sd_booted(3): nobody else soft-reboots.
        let boot = match sd_notify::booted() {
            Ok(false) => fast::boot(&boot_id().map_err(BootError::from)?, 0),
            Ok(true) | Err(_) => Systemd::new(bus.clone()).this_boot().await?,
        };
        let now = now();
        let state = match state_file::read::<State>(&state_path(&paths), SCHEMA)? {
            Some(state) => state,
            None => State::new(node::nonce()?, boot.clone(), now),
        };
        let settings = in_force(&paths, &state, loaded.clone())?;
        let pending = (settings != loaded).then_some(loaded);
        let mut policy = connect::policy(&settings, &node, &name);
        policy.act &= pending.is_none();
        let store = Arc::new(connect::store(&settings, &paths.state_dir));
        let (sender, inputs) = mpsc::unbounded_channel();
        let publisher = Publisher::start(node.clone());
        let runner = Runner::new(
            bus.clone(),
            sender.clone(),
            publisher.clone(),
            node,
            name,
            paths.state_dir.clone(),
        );
        let resumed = resume(state.clone(), &boot, &policy, now);
        info!(
            "starting in phase {}, resuming as {}",
            state.phase.word(),
            resumed.state.phase.word()
        );
        let (snapshots, seen) =
            watch::channel(Snapshot::of(&resumed.state, &policy, &settings, now, None, &store));
        let mut agent = Self {
            paths,
            bus: bus.clone(),
            settings,
            pending,
            config_problem: None,
            policy,
            state,
            store,
            last_look: None,
            overdue: Overdue::default(),
            runner,
            publisher,
            stale: Report::default(),
            images: image::Report::default(),
            release: followed::Report::default(),
            progress: None,
            snapshots,
            inputs,
            sender: sender.clone(),
        };
        agent.settle(resumed, now)?;
        serve(&bus, seen, sender).await?;
        Ok(agent)
    }

    /// Runs until it is told to stop. Effects under way are left alone: what they do is found again
    /// by [`resume`].
    pub async fn run(mut self) -> Result<(), AgentError> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut reload = signal(SignalKind::hangup()).map_err(AgentError::Signals)?;
        let mut stop = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signals)?;
        notify(NotifyState::Ready);
        let bus = self.bus.clone();
        loop {
            self.adopt_pending()?;
            let at = now().mono;
            let wake = next_wakeup(&self.state, now()).since(at).max(Duration::from_millis(1));
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(Input::Event(event)) => self.take(event).map(drop)?,
                    Some(Input::Ask(ask, reply)) => {
                        let ignored = self.take(Event::Ask(ask))?;
                        let _ = reply.send(ignored.map_or(Ok(()), Err));
                    }
                    Some(Input::Stale(report)) => {
                        self.stale = report;
                        self.publish(&self.state.clone(), now());
                    }
                    Some(Input::Images(report)) => {
                        self.images = report;
                        self.publish(&self.state.clone(), now());
                    }
                    Some(Input::Release(report)) => {
                        self.release = report;
                        self.publish(&self.state.clone(), now());
                    }
                    Some(Input::Progress(progress)) => {
                        self.progress = progress;
                        self.publish(&self.state.clone(), now());
                    }
                    Some(Input::Look(seen, reply)) => {
                        self.take(Event::Store(seen))?;
                        let _ = reply.send(());
                    }
                    None => return Ok(()),
                },
                () = tokio::time::sleep(wake) => self.take(Event::Tick).map(drop)?,
                _ = reload.recv() => self.reload()?,
                _ = stop.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                () = bus.closed() => return Err(AgentError::BusClosed),
            }
            self.look_at_store();
        }
    }

    /// One step. Answers with why the event was ignored, if it was.
    fn take(&mut self, event: Event) -> Result<Option<String>, AgentError> {
        let now = now();
        if let Event::Store(Ok(views)) = &event {
            self.mark_overdue(views, now.mono);
        }
        let answered = matches!(event, Event::Done { .. });
        let step = step(&self.state, &self.policy, now, event);
        invariants::step_keeps_promises(&self.state, &step, &self.policy, now, answered)?;
        let ignored = step.ignored.clone();
        if let Some(why) = &ignored {
            debug!("event ignored: {why}");
        }
        self.settle(step, now)?;
        Ok(ignored)
    }

    /// Makes a step's state durable, then visible, and only then begins its effects.
    fn settle(&mut self, step: Step, now: Now) -> Result<(), AgentError> {
        let old = std::mem::replace(&mut self.state, step.state);
        if durable(&old) != durable(&self.state) || !state_path(&self.paths).exists() {
            state_file::write(&state_path(&self.paths), &self.state)?;
        }
        self.publish(&old, now);
        for (id, effect) in step.effects {
            debug!("effect {}: {}", id.0, effect.word());
            self.runner.run(id, effect, &self.settings, &self.store, &self.state);
        }
        Ok(())
    }

    fn publish(&mut self, old: &State, now: Now) {
        let problem = self.config_problem.as_deref();
        let snapshot =
            Snapshot::of(&self.state, &self.policy, &self.settings, now, problem, &self.store)
                .with_stale(&self.stale)
                .with_images(&self.images)
                .with_release(&self.release)
                .with_progress(self.progress.clone());
        let before = self.snapshots.borrow().explanation.verdict.clone();
        let verdict = &snapshot.explanation.verdict;
        if old.phase.word() != self.state.phase.word() {
            info!("{} → {}: {}", old.phase.word(), self.state.phase.word(), verdict.text);
        } else if before.code != verdict.code {
            info!("{}: {}", verdict.code, verdict.text);
        }
        for also in &snapshot.explanation.also {
            let known =
                self.snapshots.borrow().explanation.also.iter().any(|a| a.code == also.code);
            if !known {
                warn!("{}: {}", also.code, also.text);
            }
        }
        self.publisher.set(&self.store, snapshot.record());
        notify(NotifyState::Status(&format!("{}: {}", self.state.phase.word(), verdict.text)));
        self.snapshots.send_replace(snapshot);
    }

    /// Looks at a fleet's store now and then, so that trouble is known before the slot is needed.
    fn look_at_store(&mut self) {
        let at = now().mono;
        let due = self.last_look.is_none_or(|last| at.since(last) >= LOOK_EVERY);
        if self.settings.strategy == Strategy::EtcdLock && due {
            self.last_look = Some(at);
            let (store, sender) = (Arc::clone(&self.store), self.sender.clone());
            let groups = self.settings.lock_groups();
            tokio::spawn(async move {
                let seen = store.view(&groups).await.map_err(|error| chain(&error));
                let _ = sender.send(Input::Event(Event::Store(seen)));
            });
        }
    }

    /// Marks holders that need longer than they expected to, for everyone to see.
    fn mark_overdue(&mut self, views: &Views, now: Mono) {
        for (group, holder) in self.overdue.look(views, now) {
            let (name, secs) = (&holder.name, holder.expected_secs);
            warn!("{name} holds its slot of group {group} for more than the {secs} s it expected");
            let change = Change {
                op: AdminOp::MarkOverdue { node: holder.node, nonce: holder.nonce },
                by: self.policy.name.clone(),
                reason: format!("expected to need {secs} s"),
            };
            let store = Arc::clone(&self.store);
            tokio::spawn(async move {
                if let Err(error) = store.admin(&group, &change).await {
                    debug!("an overdue holder could not be marked: {}", chain(&error));
                }
            });
        }
    }

    /// Takes a changed configuration, or keeps the old one and says why.
    fn reload(&mut self) -> Result<(), AgentError> {
        match config::load(&self.paths.config_root) {
            Ok(loaded) => {
                self.config_problem = None;
                if loaded.settings.lock_choice() == self.settings.lock_choice() {
                    self.pending = None;
                    return self.adopt(loaded.settings);
                }
                let waits = !self.may_adopt(&loaded.settings);
                self.pending = Some(loaded.settings);
                if waits {
                    // A waiter leaves the queue; a cycle under way ends with the lock it began with.
                    self.policy.act = false;
                    let why = "another lock is configured: in force once this node has no slot";
                    info!("{why}");
                    self.config_problem = Some(why.to_owned());
                }
                self.take(Event::PolicyChanged).map(drop)
            }
            Err(errors) => self.refuse_reload(chain(&errors)),
        }
    }

    /// Whether these settings, which differ in the lock or in how it is reached, may come into force.
    /// A holder takes another way to its lock at once: the old way may be what keeps it from giving
    /// the slot back. A waiter leaves the queue first, since its wait goes on by the old way.
    fn may_adopt(&self, settings: &Settings) -> bool {
        let same = || settings.lock_choice().is_same_lock(&self.settings.lock_choice());
        without_lock(&self.state) || (self.state.phase.held().is_some() && same())
    }

    /// Changes the lock as soon as that is safe.
    fn adopt_pending(&mut self) -> Result<(), AgentError> {
        match self.pending.take() {
            Some(settings) if self.may_adopt(&settings) => {
                self.config_problem = None;
                state_file::write(&lock_path(&self.paths), &settings.lock_choice())?;
                self.store = Arc::new(connect::store(&settings, &self.paths.state_dir));
                self.state.store = crate::core::state::StoreSeen::default();
                self.last_look = None;
                self.adopt(settings)
            }
            pending => {
                self.pending = pending;
                Ok(())
            }
        }
    }

    fn adopt(&mut self, settings: Settings) -> Result<(), AgentError> {
        self.settings = settings;
        self.policy = connect::policy(&self.settings, &self.policy.node, &self.policy.name);
        info!("the configuration was reloaded");
        self.take(Event::PolicyChanged).map(drop)
    }

    fn refuse_reload(&mut self, why: String) -> Result<(), AgentError> {
        error!("the configuration is not reloaded, the old one stays in force: {why}");
        self.config_problem = Some(why);
        self.take(Event::PolicyChanged).map(drop)
    }
}

async fn serve(
    bus: &zbus::Connection,
    snapshots: watch::Receiver<Snapshot>,
    inputs: mpsc::UnboundedSender<Input>,
) -> Result<(), zbus::Error> {
    let seen = snapshots.clone();
    let status = StatusInterface::new(snapshots.clone(), inputs.clone());
    let control = ControlInterface::new(snapshots, inputs);
    bus.object_server().at(dbus::AGENT_PATH, status).await?;
    bus.object_server().at(dbus::AGENT_PATH, control).await?;
    tokio::spawn(signal_progress(bus.clone(), seen));
    bus.request_name(dbus::AGENT_NAME).await
}

/// Tries to take a ticket back before a store that cannot be reached is left behind.
const LEAVE_TRIES: u32 = 3;

/// No slot is held in this state, and no ticket that would not expire by itself.
fn without_lock(state: &State) -> bool {
    match (&state.phase, &state.task) {
        (Phase::Steady | Phase::Probing { .. }, _) => true,
        // The store is gone or was never one: its ticket ends with its lease. Should a slot have
        // been granted unseen, it stays taken there until an admin unlocks it: safe, and loud.
        (Phase::Leaving, Task::Later { tries, .. }) => *tries >= LEAVE_TRIES,
        _ => false,
    }
}

/// The settings to begin with: the loaded ones, but with the lock that a slot or a ticket, which may
/// be held from before, is of.
fn in_force(paths: &Paths, state: &State, loaded: Settings) -> Result<Settings, AgentError> {
    let choice = if without_lock(state) {
        None
    } else {
        state_file::read::<LockChoice>(&lock_path(paths), LOCK_SCHEMA)?
    };
    if let Some(choice) = choice.filter(|choice| !choice.is_same_lock(&loaded.lock_choice())) {
        return Ok(loaded.with_lock(choice));
    }
    state_file::write(&lock_path(paths), &loaded.lock_choice())?;
    Ok(loaded)
}

fn lock_path(paths: &Paths) -> PathBuf {
    Path::join(&paths.state_dir, "lock.json")
}

/// Both clocks, read.
pub(super) fn now() -> Now {
    let since_boot = clock::since_boot();
    let mono = Mono(u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX));
    Now { wall: clock::wall(), mono }
}

/// Tells systemd, where there is one to tell.
fn notify(what: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[what]) {
        debug!("systemd was not told: {error}");
    }
}

fn state_path(paths: &Paths) -> PathBuf {
    Path::join(&paths.state_dir, "state.json")
}

/// The part of the state that must survive.
fn durable(state: &State) -> State {
    State { store: crate::core::state::StoreSeen::default(), ..state.clone() }
}
