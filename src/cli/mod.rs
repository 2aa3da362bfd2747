//! `rebootctl`: local things through the agent's D-Bus; the lock also straight to etcd (`--endpoint`).

pub mod args;
pub mod channel;
mod commands;
pub mod config;
pub mod error;
pub mod plans;
pub mod render;
pub mod windows;

pub use args::Args;
pub use error::CliError;

/// Runs one command and returns the exit code (see [`error`] for the codes of failures).
///
/// # Errors
/// [`CliError`], whose [`CliError::exit_code`] is the program's.
pub async fn run(args: Args) -> Result<u8, CliError> {
    commands::run(args).await
}
