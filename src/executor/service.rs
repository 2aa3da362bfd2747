//! The D-Bus service `org.lockkeeper1.Executor`: who may call, one verb of a kind at a time, gone when idle.

use std::{fmt::Display, future::Future, path::Path, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};
use tracing::{debug, info, warn};
use zbus::{Connection, fdo, message::Header, proxy::CacheProperties};

use super::{
    Context, Rules, announce, apply, at_boot, channel, check, confirm, describe, evidence, hooks,
    images, outlook, reboot, record, recreate, restore,
    run::{self, Run},
    soft, stage, stale, undo, verify,
};
use crate::{
    adapters::{
        clock, node,
        packages::{PackageError, plans::Way, progress, snapshot},
        systemd::boot,
    },
    core::{
        canary::Ripe, channel::graph::Paced, health::HealthReport, hook::Point, plan::PlanId,
        stale::Report,
    },
    dbus::{
        EXECUTOR_NAME, EXECUTOR_PATH,
        error::Error,
        executor::{ApplyReport, RebootReport},
    },
    observe::logging::chain,
};

/// The service goes away after this long without a call.
pub const IDLE: Duration = Duration::from_secs(30);
/// The longest grace `Restore` accepts.
const LONGEST_GRACE: Duration = Duration::from_secs(3600);
/// How long calls that run already may go on after a request to stop.
const STOPPING: Duration = Duration::from_secs(5);

/// Why the service could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The bus said no.
    #[error("the D-Bus service cannot be set up")]
    Bus(#[from] zbus::Error),
    /// The bus went away.
    #[error("the connection to the bus was closed")]
    Closed,
}

/// The object behind the interface.
struct Executor {
    context: Context,
    /// User ids that may call.
    allowed: Vec<u32>,
    /// Held by a verb about packages.
    packages: Mutex<()>,
    /// Held by a verb about what runs: a long download must not keep a cycle waiting.
    workloads: Mutex<()>,
    /// Held while hooks run: no two of them do at a time.
    hooks: Mutex<hooks::Tried>,
    /// Calls in progress.
    calls: Arc<watch::Sender<usize>>,
}

impl Executor {
    /// Read for each call: the agent may have been told of other rules since this process began.
    fn rules(&self) -> Result<Rules, Error> {
        let unreadable = || {
            let text = "the configuration cannot be read (rebootctl config check says why)";
            Error::Failed(text.to_owned())
        };
        Rules::read(&self.context.config).ok_or_else(unreadable)
    }
}

/// One call in progress.
struct Call(Arc<watch::Sender<usize>>);

impl Call {
    fn begin(calls: &Arc<watch::Sender<usize>>) -> Self {
        calls.send_modify(|count| *count += 1);
        Self(Arc::clone(calls))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Serves on `bus` until nobody has called for `idle`, or `stop` completes. `allowed`: the user ids
/// that may call. The object is there before the name is, so that the call that activated the
/// service finds it.
pub async fn serve(
    bus: &Connection,
    context: Context,
    allowed: Vec<u32>,
    idle: Duration,
    stop: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let calls = Arc::new(watch::Sender::new(0));
    let executor = Executor {
        context,
        allowed,
        packages: Mutex::new(()),
        workloads: Mutex::new(()),
        hooks: Mutex::new(None),
        calls: Arc::clone(&calls),
    };
    bus.object_server().at(EXECUTOR_PATH, executor).await?;
    bus.request_name(EXECUTOR_NAME).await?;
    tokio::select! {
        () = unused(&calls, idle) => debug!("nobody calls: leaving"),
        () = stop => info!("asked to stop"),
        () = bus.closed() => return Err(ServiceError::Closed),
    }
    // From here on the bus starts another process for new calls; those it handed to us are answered.
    bus.release_name(EXECUTOR_NAME).await?;
    if timeout(STOPPING, unused(&calls, Duration::from_millis(100))).await.is_err() {
        warn!("leaving with {} call(s) unanswered", *calls.borrow());
    }
    Ok(())
}

/// Completes when there was no call for `idle`.
async fn unused(calls: &watch::Sender<usize>, idle: Duration) {
    let mut count = calls.subscribe();
    loop {
        // The sender lives as long as this function's argument: neither wait can fail.
        let _ = count.wait_for(|count| *count == 0).await;
        if timeout(idle, count.changed()).await.is_err() {
            return;
        }
    }
}

/// The users that may call: root, and the agent's (`lockkeeper`), when `passwd` has it.
#[must_use]
pub fn callers() -> Vec<u32> {
    std::iter::once(0).chain(node::user_id("lockkeeper")).collect()
}

impl Executor {
    /// Counts the call, if its sender may call at all.
    async fn admit(&self, bus: &Connection, header: &Header<'_>) -> Result<Call, Error> {
        let call = Call::begin(&self.calls);
        let verb = header.member().map(ToString::to_string).unwrap_or_default();
        let denied = |why: &dyn Display| {
            warn!("{verb} refused: {why}");
            Error::AccessDenied(format!("{verb} is not for you: {why}"))
        };
        let sender = header.sender().ok_or_else(|| denied(&"the caller has no name"))?;
        let daemon = fdo::DBusProxy::builder(bus).cache_properties(CacheProperties::No);
        let daemon = daemon.build().await?;
        let user = daemon.get_connection_unix_user(sender.clone().into()).await;
        let user = user.map_err(|error| denied(&error))?;
        if !self.allowed.contains(&user) {
            return Err(denied(&format!("user {user} is neither root nor lockkeeper")));
        }
        debug!("{verb} called by user {user}");
        Ok(call)
    }
}

impl Executor {
    /// What the rules in force have against beginning a plan.
    fn against(&self, id: &PlanId) -> Result<Option<String>, Error> {
        let rules = Rules::read(&self.context.config);
        let choice = rules.as_ref().map(|rules| rules.choice.as_str());
        let follows = rules.as_ref().is_some_and(|rules| rules.channel.is_some());
        let follows = follows.then_some(&self.context.channel);
        packages(apply::against(&self.context.layout, id, choice, follows, clock::wall()))
    }

    fn run<'a>(
        &'a self,
        bus: &'a Connection,
        program: &'a Path,
        id: &'a PlanId,
        way: Way,
    ) -> Run<'a> {
        Run { layout: &self.context.layout, bus, program, id, way }
    }
}

/// A plan id from outside.
fn plan_id(text: &str) -> Result<PlanId, Error> {
    PlanId::parse(text).map_err(|error| Error::invalid(&error))
}

/// A plan id from outside that may be empty.
fn maybe_plan_id(text: &str) -> Result<Option<PlanId>, Error> {
    if text.is_empty() { Ok(None) } else { plan_id(text).map(Some) }
}

fn valid_boot_id(text: &str) -> Result<&str, Error> {
    let invalid = || Error::InvalidArgument(format!("\"{text}\" is not a boot id"));
    boot::is_boot_id(text).then_some(text).ok_or_else(invalid)
}

/// A document from the agent; empty where there is none.
fn maybe<T: DeserializeOwned>(text: &str) -> Result<Option<T>, Error> {
    let read = || serde_json::from_str(text).map(Some).map_err(|error| Error::invalid(&error));
    if text.is_empty() { Ok(None) } else { read() }
}

fn json(document: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(document).map_err(|error| Error::failed(&error))
}

/// Work is an error with causes, or an answer.
fn done<T, E: std::error::Error + 'static>(result: Result<T, E>) -> Result<T, Error> {
    result.map_err(|error| {
        warn!("{}", chain(&error));
        Error::failed(&error)
    })
}

/// As [`done`], with the kinds of error a caller can act on.
fn packages<T>(result: Result<T, PackageError>) -> Result<T, Error> {
    result.map_err(|error| {
        let text = chain(&error);
        warn!("{text}");
        match error {
            PackageError::NoPlan(_) => Error::UnknownPlan(text),
            PackageError::Damaged { .. } | PackageError::Differs { .. } => Error::NotStaged(text),
            PackageError::Busy(_) => Error::Busy(text),
            _ => Error::Failed(text),
        }
    })
}

#[zbus::interface(name = "org.lockkeeper1.Executor")]
impl Executor {
    async fn check(
        &self,
        verified: &str,
        paced: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let (verified, paced) = (maybe::<Ripe>(verified)?, maybe::<Paced>(paced)?);
        let _turn = self.packages.lock().await;
        let Context { layout, channel: places, .. } = &self.context;
        let rules = self.rules()?;
        let mut following = match &rules.channel {
            Some(channel) => {
                Some(done(channel::follow(places, channel, done(node::id())?, paced).await)?)
            }
            None => None,
        };
        if let Some(following) = &following {
            done(following.note(places))?;
        }
        let report = check::check(layout, &rules, verified, following.as_mut()).await;
        let mut report = packages(report)?;
        if let Some(following) = following {
            report.release = Some(done(following.settled(places, report.plan.as_ref()))?);
        }
        let stale = stale::report(&self.context).await;
        let way = soft::outlook(&self.context, &report.reboot, &stale).await;
        report.reboot = done(soft::evidence(&self.context, report.reboot, &stale).await)?;
        report.stale = stale.ok().map(|stale| Report { way, ..stale });
        json(&report)
    }

    /// Waits for nobody: it changes nothing.
    async fn releases(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        json(&done(self.context.channel.recall())?)
    }

    async fn describe(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        json(&packages(describe::describe(&self.context.layout, &plan_id(plan)?).await)?)
    }

    async fn changelogs(
        &self,
        plan: &str,
        package: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = plan_id(plan)?;
        json(&packages(describe::changelogs(&self.context.layout, &plan, package).await)?)
    }

    async fn stage(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = plan_id(plan)?;
        let _turn = self.packages.lock().await;
        let rules = self.rules()?.packages;
        packages(stage::stage(&self.context.layout, &plan, rules.without_way_back).await)?;
        packages(stage::arrange(&self.context.layout, &plan, rules.snapshot).await)
    }

    async fn pull_images(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let _turn = self.context.moving.lock().await;
        json(&done(images::pull(&self.context, &self.rules()?.containers).await)?)
    }

    /// Waits for nobody: it is asked while another verb works.
    async fn progress(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        json(&progress::of(&self.context.layout, &plan_id(plan)?))
    }

    async fn apply(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = plan_id(plan)?;
        let _turn = self.packages.lock().await;
        if let Some(reason) = self.against(&plan)? {
            return json(&ApplyReport::Refused { reason });
        }
        let program = done(run::own_program())?;
        json(&done(apply::apply(&self.run(bus, &program, &plan, Way::There)).await)?)
    }

    async fn apply_at_boot(
        &self,
        plan: &str,
        boot_id: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let (plan, boot_id) = (plan_id(plan)?, valid_boot_id(boot_id)?);
        let _turn = self.packages.lock().await;
        let program = done(run::own_program())?;
        let run = self.run(bus, &program, &plan, Way::There);
        if let Some(reason) = self.against(&plan)? {
            return json(&RebootReport::NotReady { reason });
        }
        json(&done(at_boot::reboot(&self.context, &run, boot_id).await)?)
    }

    async fn finish(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = plan_id(plan)?;
        let _turn = self.packages.lock().await;
        let program = done(run::own_program())?;
        json(&done(at_boot::finish(&self.run(bus, &program, &plan, Way::There)).await)?)
    }

    async fn undo(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = plan_id(plan)?;
        let _turn = self.packages.lock().await;
        let program = done(run::own_program())?;
        // Nothing that is to be remembered stands in front of the way back.
        let denied = done(channel::deny(&self.context.channel, &self.context.layout, &plan));
        // What cannot be gone back from now keeps the node from being healthy, not the packages from going back.
        let _ = done(recreate::verify(&self.context, true).await);
        let report = done(undo::undo(&self.run(bus, &program, &plan, Way::Back)).await)?;
        done(stale::forget(&self.context))?;
        denied?;
        json(&report)
    }

    async fn reboot_evidence(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let stale = stale::report(&self.context).await;
        let rest = evidence::reboot_evidence(&self.context.layout).await;
        json(&done(soft::evidence(&self.context, rest, &stale).await)?)
    }

    async fn announce(
        &self,
        secs: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let _call = self.admit(bus, &header).await?;
        done(announce::announce(&self.context, Duration::from_secs(secs)).await)
    }

    async fn record(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let _call = self.admit(bus, &header).await?;
        let _turn = self.workloads.lock().await;
        done(record::record(&self.context).await)
    }

    /// Waits for nobody: it changes nothing.
    async fn workloads(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        json(&done(outlook::outlook(&self.context).await)?)
    }

    async fn run_hooks(
        &self,
        point: &str,
        cycle: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let unknown = || Error::InvalidArgument(format!("there is no point {point:?} for hooks"));
        let point = Point::named(point).ok_or_else(unknown)?;
        let cycle = serde_json::from_str(cycle).map_err(|error| Error::invalid(&error))?;
        let mut tried = self.hooks.lock().await;
        json(&done(hooks::run(&self.context, bus, point, cycle, &mut tried).await)?)
    }

    async fn restart_stale(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = plan_id(plan)?;
        let _turn = self.workloads.lock().await;
        json(&done(stale::restart(&self.context, &plan).await)?)
    }

    async fn restore(
        &self,
        grace_secs: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let grace = Duration::from_secs(grace_secs);
        if grace > LONGEST_GRACE {
            return Err(Error::InvalidArgument(format!("a grace of {grace_secs} s is too long")));
        }
        let _turn = self.workloads.lock().await;
        let mut restored = done(restore::restore(&self.context, grace).await)?;
        restored.extend(done(recreate::after_restore(&self.context).await)?);
        json(&restored)
    }

    async fn verify(
        &self,
        plan: &str,
        or_undone: bool,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = maybe_plan_id(plan)?;
        // First: what is gone back to is to be looked at.
        let recreated = done(recreate::verify(&self.context, or_undone).await)?;
        let HealthReport { mut failing } = done(verify::verify(&self.context).await)?;
        failing.extend(recreated);
        if let Some(plan) = plan {
            failing.extend(packages(
                apply::verify_installed(&self.context.layout, &plan, or_undone).await,
            )?);
        }
        json(&HealthReport { failing })
    }

    async fn confirm(
        &self,
        plan: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let _call = self.admit(bus, &header).await?;
        let plan = maybe_plan_id(plan)?;
        let _turn = self.packages.lock().await;
        if let Some(plan) = plan {
            // Before the plan forgets that it has one.
            snapshot::free(&self.context.layout, &plan).await;
            packages(confirm::confirm(&self.context.layout, &plan))?;
            done(channel::confirmed(&self.context.channel, &self.context.layout, &plan))?;
        }
        done(recreate::settle(&self.context))?;
        done(record::forget(&self.context))
    }

    async fn reboot(
        &self,
        boot_id: &str,
        by_hand: bool,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let _call = self.admit(bus, &header).await?;
        let boot_id = valid_boot_id(boot_id)?;
        let _turn = self.workloads.lock().await;
        json(&done(reboot::reboot(&self.context, boot_id, by_hand).await)?)
    }
}
