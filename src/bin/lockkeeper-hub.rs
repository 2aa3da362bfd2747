//! The hub: serves the reboot lock over FleetLock.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Parser;
use lockkeeper::{
    config::{
        ConfigErrors, EXIT_CODE,
        hub::{self, Hub},
    },
    hub::{Desk, Limits, Rules, Secrets, Server, store},
    observe::logging,
};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::{error, info, warn};

/// Serves the reboot lock over FleetLock, to nodes such as Zincati's and to lockkeeper's own agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The configuration file.
    #[arg(long, default_value = hub::FILE)]
    config: PathBuf,
    /// Read the configuration and the files it names, say what is wrong, and end.
    #[arg(long)]
    check_config: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = start_logging() {
        eprintln!("lockkeeper-hub: {}", logging::chain(&error));
        return ExitCode::FAILURE;
    }
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ConfigErrors>() => {
            eprintln!("{error}");
            ExitCode::from(EXIT_CODE)
        }
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods)] // the environment is read here
fn start_logging() -> Result<(), logging::LogError> {
    let filter = std::env::var("LOCKKEEPER_LOG").ok();
    logging::init(filter.as_deref(), std::env::var("JOURNAL_STREAM").is_ok())
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let hub = hub::load(&args.config)?;
    let secrets = Secrets::load(&hub)?;
    if args.check_config {
        eprintln!("{} is good", args.config.display());
        return Ok(());
    }
    warn_of_open_doors(&hub);
    let (publish, seen) = watch::channel(Arc::new(secrets));
    let desk = Desk::new(store(&hub).await?, Rules::of(&hub));
    let server = Server::bind(hub.listen, desk, seen, Limits::default()).await;
    let server = server.with_context(|| format!("cannot listen at {}", hub.listen))?;
    let (mut stop, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let reloads = tokio::spawn(reload(args.config.clone(), publish, signal(SignalKind::hangup())?));
    info!("serving FleetLock at {}", server.address()?);
    notify(NotifyState::Ready);
    server
        .run(async {
            tokio::select! {
                _ = stop.recv() => {}
                _ = interrupt.recv() => {}
            }
            notify(NotifyState::Stopping);
        })
        .await;
    reloads.abort();
    Ok(())
}

/// Renewed certificates and tokens are taken at a SIGHUP; the rest needs a restart.
async fn reload(
    config: PathBuf,
    publish: watch::Sender<Arc<Secrets>>,
    mut hangup: tokio::signal::unix::Signal,
) {
    while hangup.recv().await.is_some() {
        let read = hub::load(&config).map_err(anyhow::Error::from);
        match read.and_then(|hub| Ok(Secrets::load(&hub)?)) {
            Ok(secrets) => {
                publish.send_replace(Arc::new(secrets));
                info!("certificates and tokens were read anew; new connections see them");
            }
            Err(error) => error!("not reloaded, the old secrets stay in force: {error:#}"),
        }
    }
}

fn warn_of_open_doors(hub: &Hub) {
    let guarded = hub.token_file.is_some()
        || hub.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    if !guarded && !hub.listen.ip().is_loopback() {
        warn!(
            "whoever reaches {} may take slots: there is neither a token nor a client CA",
            hub.listen
        );
    }
    if hub.token_file.is_some() && hub.tls.is_none() && !hub.listen.ip().is_loopback() {
        warn!("tokens are sent in the clear: there is no [tls]");
    }
}

/// Tells systemd, where there is one to tell.
fn notify(what: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[what]) {
        tracing::debug!("systemd was not told: {error}");
    }
}
