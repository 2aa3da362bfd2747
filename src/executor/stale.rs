//! Services that use files which an update has replaced: shown, restarted, or a reason for a reboot.

use std::{collections::BTreeMap, time::Duration};

use tracing::{info, warn};

use super::{Context, WorkloadError, record};
use crate::{
    adapters::{
        packages::plans::{self, Way},
        stale::{self, restarted},
        systemd::jobs::Started,
    },
    core::{
        health::Evidence,
        plan::PlanId,
        stale::{AGENT, Facts, Fate, MANAGER, Report, Rules},
    },
    observe::logging::chain,
};

/// How long all services together may take to restart.
const RESTARTING: Duration = Duration::from_secs(300);
/// How long systemd may take to execute itself anew.
const REEXECUTING: Duration = Duration::from_secs(60);

/// What uses old files now, and what is to become of it.
pub async fn report(context: &Context) -> Result<Report, WorkloadError> {
    Ok(look(context).await?.0)
}

async fn look(context: &Context) -> Result<(Report, BTreeMap<String, Facts>), WorkloadError> {
    let services = &context.services;
    let rules = Rules {
        mode: services.restart,
        never: services.never.clone(),
        by_reboot: services.by_reboot.clone(),
        ignore: context.ignore.clone(),
    };
    let done = restarted::read(&context.restarted)?;
    Ok(stale::look(&context.systemd, &rules, &done).await?)
}

/// Does a service ask for a reboot because it uses old files and cannot be restarted? A look that
/// failed, or did not see every process, is no reason against one.
#[must_use]
pub fn evidence(report: &Result<Report, WorkloadError>) -> Evidence {
    match report {
        Err(error) => Evidence::Unknown { why: format!("services: {}", chain(error)) },
        Ok(report) => match (report.reasons(), report.hidden) {
            (reasons, _) if !reasons.is_empty() => Evidence::Yes { reasons },
            (_, 0) => Evidence::No,
            (_, hidden) => {
                Evidence::Unknown { why: format!("{hidden} process(es) cannot be looked at") }
            }
        },
    }
}

/// After an update without a reboot: has systemd execute itself anew, and restarts what uses old
/// files and can be restarted; the agent, which waits for the answer, last. What does not come up
/// again is logged, and left to `Verify` to judge. Without an update, or when the node has rebooted
/// since, nothing is done. Answers with what is left.
pub async fn restart(context: &Context, plan: &PlanId) -> Result<Report, WorkloadError> {
    let record = record::load(context)?;
    let boot = context.systemd.this_boot().await?;
    let same_boot = record.is_some_and(|record| record.boot_id == boot.0);
    let begun = plans::attempts(&context.layout, plan, Way::There)? > 0;
    let (report, facts) = look(context).await?;
    if !(same_boot && begun) {
        return Ok(report);
    }
    if report.with(Fate::Reexecute).next().is_some() {
        restarted::note(&context.restarted, &[MANAGER.to_owned()])?;
        info!("systemd uses files that were replaced: it executes itself anew");
        if let Err(error) = context.systemd.reexecute(REEXECUTING).await {
            warn!("systemd did not execute itself anew: {}", chain(&error));
        }
    }
    if facts.values().any(|facts| facts.outdated) {
        context.systemd.reload().await?;
    }
    let due = |agent| move |name: &&str| (*name == AGENT) == agent;
    for agent in [false, true] {
        let names = report.with(Fate::Restart).filter(due(agent)).map(str::to_owned);
        restart_units(context, &names.collect::<Vec<_>>()).await?;
    }
    self::report(context).await
}

/// Restarts units, systemd knowing the order, and waits for each.
async fn restart_units(context: &Context, names: &[String]) -> Result<(), WorkloadError> {
    if names.is_empty() {
        return Ok(());
    }
    restarted::note(&context.restarted, names)?;
    info!("restarting what uses files that were replaced: {}", names.join(", "));
    for (name, end) in context.systemd.restart(names, RESTARTING).await? {
        if end != Started::Done {
            warn!("{name} could not be restarted: {end}");
        }
    }
    Ok(())
}

/// Another set of files is coming: what was restarted for the last one may be restarted for it.
pub fn forget(context: &Context) -> Result<(), WorkloadError> {
    Ok(restarted::forget(&context.restarted)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stale::StaleUnit;

    fn found(fate: Fate, hidden: usize) -> Report {
        let unit = StaleUnit {
            name: "dbus.service".to_owned(),
            processes: vec![7],
            files: vec!["/lib/a".to_owned()],
            fate,
            why: String::new(),
        };
        Report { units: vec![unit], hidden, ..Report::default() }
    }

    #[test]
    fn only_what_cannot_be_restarted_asks_for_a_reboot_and_not_seeing_all_is_unknown() {
        let reasons = vec!["dbus.service still uses files that were replaced".to_owned()];
        assert_eq!(evidence(&Ok(found(Fate::Reboot, 2))), Evidence::Yes { reasons });
        for fate in [Fate::Restart, Fate::Reexecute, Fate::Leave] {
            assert_eq!(evidence(&Ok(found(fate, 0))), Evidence::No);
            let unknown = evidence(&Ok(found(fate, 2)));
            assert!(matches!(&unknown, Evidence::Unknown { why } if why.starts_with("2 ")));
        }
        let nowhere = tempfile::tempdir().unwrap();
        let failed = stale::scan(nowhere.path()).map(|_| Report::default());
        let failed = failed.map_err(|error| WorkloadError::Stale(error.into()));
        assert!(matches!(evidence(&failed), Evidence::Unknown { .. }));
    }
}
