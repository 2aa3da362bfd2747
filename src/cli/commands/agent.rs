//! Commands that ask the agent.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use super::{print, print_json, reach};
use crate::{
    adapters::clock,
    cli::{error::CliError, plans, render},
    core::{explain::Explanation, outlook::Outlook, progress::Progress},
    dbus::{
        agent::{ControlProxy, StatusDoc, StatusProxy, SupplyDoc},
        executor::{Changelog, PlanDetails},
    },
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
    let control = control_proxy().await?;
    let said = tokio::select! {
        said = control.check() => said?,
        never = show_progress() => return never,
    };
    clear_line();
    let doc: SupplyDoc = serde_json::from_str(&said)?;
    let doc = with_details(doc).await;
    if json {
        print_json(&doc)?;
    } else {
        print(&plans::supply(&doc, clock::wall()))?;
    }
    match doc.problem {
        None => Ok(0),
        Some(problem) => Err(CliError::Failed(problem.text)),
    }
}

pub async fn plan(json: bool) -> Result<u8, CliError> {
    let status = reach::status().await?;
    let StatusDoc { staged, kept_back, also, .. } = status;
    let doc = SupplyDoc { staged, kept_back, problem: None, also, details: None };
    let doc = with_details(doc).await;
    if json { print_json(&doc) } else { print(&plans::supply(&doc, clock::wall())) }
}

/// With what is known of the plan besides, if it can be had: the plan is shown all the same.
async fn with_details(doc: SupplyDoc) -> SupplyDoc {
    let Some(plan) = &doc.staged else { return doc };
    let details = async {
        let said = status_proxy().await?.details().await?;
        Ok::<Option<PlanDetails>, CliError>(serde_json::from_str(&said)?)
    };
    let details = details.await.ok().flatten().filter(|details| details.id == plan.id);
    SupplyDoc { details, ..doc }
}

/// What is new in the staged packages, or in `package`.
pub async fn changelogs(package: &str, json: bool) -> Result<u8, CliError> {
    let said = control_proxy().await?.changelogs(package).await?;
    let found: Vec<Changelog> = serde_json::from_str(&said)?;
    if found.is_empty() {
        return Err(CliError::Failed(format!("{package} is not staged")));
    }
    if json { print_json(&found) } else { print(&plans::changelogs(&found)) }
}

/// What becomes of everything that runs in a reboot.
pub async fn workloads(json: bool) -> Result<u8, CliError> {
    let doc: Outlook = serde_json::from_str(&control_proxy().await?.workloads().await?)?;
    if json {
        print_json(&doc)?;
    } else {
        print(&render::outlook(&doc))?;
    }
    Ok(u8::from(!doc.blocking.is_empty()))
}

pub async fn reboot(now: bool) -> Result<u8, CliError> {
    control_proxy().await?.reboot(now).await?;
    print("asked; `rebootctl explain` says what it waits for, `rebootctl cancel` takes it back\n")
}

pub async fn cancel() -> Result<u8, CliError> {
    control_proxy().await?.cancel().await?;
    Ok(0)
}

/// Shows how far work on this machine has come, until it is interrupted.
pub async fn watch() -> Result<u8, CliError> {
    let status = status_proxy().await?;
    let terminal = io::stdout().is_terminal();
    let mut shown = String::new();
    loop {
        let progress: Option<Progress> = serde_json::from_str(&status.progress().await?)?;
        let line = match &progress {
            Some(progress) => render::bar(progress),
            None => "nothing is being staged or installed".to_owned(),
        };
        if line != shown {
            let (start, end) = if terminal { (CLEAR, "") } else { ("", "\n") };
            print(&format!("{start}{line}{end}"))?;
            io::stdout().flush()?;
            shown = line;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Between two looks at how far work has come.
const LOOK: Duration = Duration::from_millis(500);
/// To the beginning of the line, and away with what is there.
const CLEAR: &str = "\r\x1b[K";

/// A bar on a terminal, beside an answer that is waited for. Never ends; does nothing without a terminal,
/// or where the agent does not say.
async fn show_progress() -> Result<u8, CliError> {
    if !io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let status = status_proxy().await?;
    loop {
        let said = status.progress().await.unwrap_or_default();
        if let Ok(Some(progress)) = serde_json::from_str::<Option<Progress>>(&said) {
            let _ = write!(io::stderr(), "{CLEAR}{}", render::bar(&progress));
            let _ = io::stderr().flush();
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn clear_line() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "{CLEAR}");
    }
}
