//! The agent: asks the channel, stages, and takes this node through its update when its turn comes.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use lockkeeper::{
    daemon::{Agent, AgentError, Paths},
    observe::logging,
};

/// The lockkeeper agent. systemd starts it; `rebootctl` talks to it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Root of the configuration tree.
    #[arg(long, default_value = "/", hide = true)]
    config_root: PathBuf,
    /// Where the agent keeps its state.
    #[arg(long, default_value = "/var/lib/lockkeeper")]
    state_dir: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = start_logging() {
        eprintln!("lockkeeperd: {}", logging::chain(&error));
        return ExitCode::FAILURE;
    }
    let paths = Paths { config_root: args.config_root, state_dir: args.state_dir };
    match run(paths).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AgentError::Config(_)) => {
            tracing::error!("{}", logging::chain(&error));
            ExitCode::from(3)
        }
        Err(error) => {
            tracing::error!("{}", logging::chain(&error));
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods)] // the environment is read here
fn start_logging() -> Result<(), logging::LogError> {
    let filter = std::env::var("LOCKKEEPER_LOG").ok();
    logging::init(filter.as_deref(), std::env::var("JOURNAL_STREAM").is_ok())
}

async fn run(paths: Paths) -> Result<(), AgentError> {
    Agent::start(paths).await?.run().await
}
