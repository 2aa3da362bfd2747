//! The root side of lockkeeper: a D-Bus service, or the main process of one package transaction.

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use lockkeeper::{
    adapters::{
        self,
        packages::{
            Layout,
            plans::{Outcome, Way},
        },
        systemd::Systemd,
    },
    config::{
        self,
        settings::{Services, Settings, Workloads},
    },
    core::{plan::PlanId, stale::Mode},
    executor::{self, Context, Rules, as_user, at_boot, run, service},
    observe::logging,
};
use tokio::signal::unix::{SignalKind, signal};

/// The root of the configuration.
const ROOT: &str = "/";
/// A call to systemd, logind or the bus takes this long at most.
const ANSWER: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Err(error) = start_logging() {
        eprintln!("lockkeeper-executor: {}", logging::chain(&error));
        return ExitCode::from(2);
    }
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods)] // the environment is read here
fn start_logging() -> Result<(), logging::LogError> {
    let filter = std::env::var("LOCKKEEPER_LOG").ok();
    logging::init(filter.as_deref(), std::env::var("JOURNAL_STREAM").is_ok())
}

fn run(args: &[String]) -> anyhow::Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args[..] {
        [] => runtime.block_on(serve()),
        [verb, plan] if verb == Way::There.verb() => {
            runtime.block_on(transact(&PlanId::parse(plan)?, Way::There))
        }
        [verb, plan] if verb == Way::Back.verb() => {
            runtime.block_on(transact(&PlanId::parse(plan)?, Way::Back))
        }
        [verb] if verb == adapters::as_user::VERB => Ok(runtime.block_on(as_user::main())?),
        ["link-update"] => Ok(at_boot::link(&layout())?),
        ["unlink-update"] => Ok(at_boot::unlink(&layout())?),
        ["system-update"] => Ok(runtime.block_on(at_boot::main(&layout(), lock_wait()))?),
        _ => bail!(
            "usage: lockkeeper-executor [run-apply PLAN | run-undo PLAN | system-update | link-update | \
             unlink-update | as-user] (started by D-Bus and systemd)"
        ),
    }
}

async fn serve() -> anyhow::Result<()> {
    let bus = zbus::connection::Builder::system().method_timeout(ANSWER).build().await;
    let bus = bus.context("cannot reach the system bus")?;
    let mut stop = signal(SignalKind::terminate())?;
    let state = Path::new(executor::STATE);
    let (workloads, services) = settings();
    let context = Context::new(state, Systemd::new(bus.clone()), Vec::new(), ROOT.as_ref());
    let context = context.with_services(services).with_workloads(workloads);
    let stop = async move {
        stop.recv().await;
    };
    service::serve(&bus, context, service::callers(), service::IDLE, stop).await?;
    Ok(())
}

/// `[workloads]` and `[services]`. With a configuration that cannot be read the strict side: nothing is
/// ignored, and nothing stopped or restarted.
fn settings() -> (Workloads, Services) {
    match config::load(ROOT.as_ref()) {
        Ok(loaded) => (loaded.settings.workloads, loaded.settings.services),
        Err(errors) => {
            tracing::warn!("the configuration is not known, so the strict side is taken: {errors}");
            let Settings { workloads, services, .. } = Settings::default();
            (workloads, Services { restart: Mode::List, ..services })
        }
    }
}

async fn transact(plan: &PlanId, way: Way) -> anyhow::Result<()> {
    match run::main(&layout(), plan, way, lock_wait()).await? {
        Outcome::Complete => Ok(()),
        Outcome::Refused { reason } => bail!("plan {} is refused: {reason}", plan.short()),
        Outcome::Failed { reason } => bail!("plan {} failed: {reason}", plan.short()),
    }
}

fn layout() -> Layout {
    Layout::system(Path::new(executor::STATE))
}

/// What was decided is carried out, also when the configuration was broken since.
fn lock_wait() -> Duration {
    let packages = Rules::read(ROOT.as_ref())
        .map_or_else(|| Settings::default().packages, |rules| rules.packages);
    packages.lock_wait
}
