//! The root side of lockkeeper: a D-Bus service, or the main process of one package transaction.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use lockkeeper::{
    adapters::systemd::Systemd,
    core::plan::PlanId,
    executor::{Context, Dirs, service},
    observe::logging,
};
use tokio::signal::unix::{SignalKind, signal};

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
        ["run-apply", plan] => runtime.block_on(apply(PlanId::parse(plan)?)),
        _ => bail!("usage: lockkeeper-executor [run-apply PLAN] (started by D-Bus and systemd)"),
    }
}

async fn serve() -> anyhow::Result<()> {
    let bus = zbus::connection::Builder::system().method_timeout(ANSWER).build().await;
    let bus = bus.context("cannot reach the system bus")?;
    let mut stop = signal(SignalKind::terminate())?;
    // MERGE: the globs of workloads.ignore from the configuration
    let context = Context::new(Dirs::system(), Systemd::new(bus.clone()), Vec::new());
    let stop = async move { drop(stop.recv().await) };
    service::serve(&bus, context, service::callers(), service::IDLE, stop).await?;
    Ok(())
}

async fn apply(plan: PlanId) -> anyhow::Result<()> {
    // MERGE: lockkeeper::executor::apply::run_apply
    bail!("not connected: run-apply {plan}")
}
