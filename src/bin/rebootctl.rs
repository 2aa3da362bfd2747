//! The command line of lockkeeper.

use std::process::ExitCode;

use clap::Parser;
use lockkeeper::{
    cli::{self, Args},
    observe::logging,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    if args.command.is_a_service()
        && let Err(error) = start_logging()
    {
        eprintln!("rebootctl: {}", logging::chain(&error));
        return ExitCode::FAILURE;
    }
    match cli::run(args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("rebootctl: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

#[allow(clippy::disallowed_methods)] // the environment is read here
fn start_logging() -> Result<(), logging::LogError> {
    let filter = std::env::var("LOCKKEEPER_LOG").ok();
    logging::init(filter.as_deref(), std::env::var("JOURNAL_STREAM").is_ok())
}
