//! The command line of lockkeeper.

use std::process::ExitCode;

use clap::Parser;
use lockkeeper::cli::{self, Args};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match cli::run(Args::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("rebootctl: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
