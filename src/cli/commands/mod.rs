//! One function a command.

mod agent;
mod balancer;
mod doctor;
mod healthy;
mod lock;
mod migrate;
mod reach;
mod stale;
mod unattended;

use std::{
    io::{self, Write},
    path::Path,
};

use crate::adapters::clock;

use super::{
    args::{Args, Command},
    channel, config,
    error::CliError,
    windows,
};

/// Runs `args`.
pub async fn run(args: Args) -> Result<u8, CliError> {
    match args.command {
        Command::Status(args) => lock::status(args).await,
        Command::Explain { json } => agent::explain(json).await,
        Command::Healthy { wait } => healthy::healthy(wait).await,
        Command::Check { json } => agent::check(json).await,
        Command::Watch => agent::watch().await,
        Command::Plan { changelog: None, json } => agent::plan(json).await,
        Command::Plan { changelog: Some(package), json } => agent::changelogs(&package, json).await,
        Command::Stale { names: true, .. } => stale::names(),
        Command::Stale { json, .. } => stale::stale(json).await,
        Command::Workloads { json } => agent::workloads(json).await,
        Command::Reboot { now } => agent::reboot(now).await,
        Command::Cancel => agent::cancel().await,
        Command::SendNeedReboot => agent::reboot(false).await,
        Command::Lock { id, reason, expected, target } => {
            lock::lock(id, reason, expected, target).await
        }
        Command::Unlock { id, reason, target } => lock::unlock(id, reason, target).await,
        Command::SetMax { max, target } => lock::set_max(max, target).await,
        Command::Halt { reason, lasts, target } => lock::halt(reason, lasts, target).await,
        Command::Resume { reason, target } => lock::resume(reason, target).await,
        Command::Queue { json, target } => lock::queue(json, target).await,
        Command::History { json, target } => lock::history(json, target).await,
        Command::Nodes { json, target } => lock::nodes(json, target).await,
        Command::Doctor { json, config_root, apt_config, target } => {
            doctor::doctor(json, &target, &config_root, apt_config.as_deref()).await
        }
        Command::Channel(args) => channel::run(args).await,
        Command::Balancer(args) => balancer::run(&args).await,
        Command::Migrate { from } => migrate::run(&from).await,
        Command::Windows(args) => {
            // Which place in a spread is this node's depends on the release: show the first.
            let here = windows::Here { root: Path::new("/"), now: clock::wall(), place: 0.0 };
            Ok(windows::run(&args, here, &mut io::stdout(), &mut io::stderr())?)
        }
        Command::Config(args) => {
            Ok(config::run(&args, Path::new("/"), &mut io::stdout(), &mut io::stderr())?)
        }
    }
}

/// Prints text as it is.
fn print(text: &str) -> Result<u8, CliError> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

/// Prints a document as JSON.
fn print_json(document: &impl serde::Serialize) -> Result<u8, CliError> {
    print(&(serde_json::to_string_pretty(document)? + "\n"))
}
