//! Commands that ask the agent.

use super::{print, print_json, reach};
use crate::{
    adapters::clock,
    cli::{error::CliError, render},
    core::explain::Explanation,
    dbus::agent::{ControlProxy, StatusDoc, StatusProxy, SupplyDoc},
};

/// The agent, for everyone.
pub async fn status_proxy() -> Result<StatusProxy<'static>, CliError> {
    Ok(StatusProxy::new(&zbus::Connection::system().await?).await?)
}

/// The agent, for admins.
pub async fn control_proxy() -> Result<ControlProxy<'static>, CliError> {
    Ok(ControlProxy::new(&zbus::Connection::system().await?).await?)
}

pub async fn explain(json: bool) -> Result<u8, CliError> {
    let doc: Explanation = serde_json::from_str(&status_proxy().await?.explain().await?)?;
    if json { print_json(&doc) } else { print(&render::explain(&doc, clock::wall())) }
}

pub async fn check(json: bool) -> Result<u8, CliError> {
    let doc: SupplyDoc = serde_json::from_str(&control_proxy().await?.check().await?)?;
    if json {
        print_json(&doc)?;
    } else {
        print(&render::supply(&doc, clock::wall()))?;
    }
    match doc.problem {
        None => Ok(0),
        Some(problem) => Err(CliError::Failed(problem.text)),
    }
}

pub async fn plan(json: bool) -> Result<u8, CliError> {
    let status = reach::status().await?;
    let StatusDoc { staged, kept_back, also, .. } = status;
    let doc = SupplyDoc { staged, kept_back, problem: None, also };
    if json { print_json(&doc) } else { print(&render::supply(&doc, clock::wall())) }
}

pub async fn reboot(now: bool) -> Result<u8, CliError> {
    control_proxy().await?.reboot(now).await?;
    print("asked; `rebootctl explain` says what it waits for, `rebootctl cancel` takes it back\n")
}

pub async fn cancel() -> Result<u8, CliError> {
    control_proxy().await?.cancel().await?;
    Ok(0)
}
