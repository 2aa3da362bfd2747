//! `Check`: what should this node install, and does it wait for a reboot?

use std::fs;

use super::{Rules, evidence};
use crate::{
    adapters::apt::{
        AptError, Layout, apt_get, plans,
        resolve::{self, Resolved},
        sources,
    },
    config::settings::NewDependencies,
    core::{
        canary::Ripe,
        choice::{self, Distribution},
    },
    dbus::executor::CheckReport,
};

/// Refreshes the private lists, resolves, and writes the plan down so that it can be staged. Of what
/// runs it knows nothing. `verified`: what the canary group allows, where one is followed.
pub async fn check(
    layout: &Layout,
    rules: &Rules,
    verified: Option<Ripe>,
) -> Result<CheckReport, AptError> {
    let chosen_by = choice(layout, rules, verified)
        .map_err(|said| AptError::Said { doing: "choosing packages", said })?;
    sources::refresh(layout).await?;
    let resolved = resolve::resolve(layout, &chosen_by, rules.packages.phased).await;
    apt_get::forget_cache(layout)?;
    let Resolved { plan, kept_back } = resolved?;
    if let Some(plan) = &plan {
        plans::remember(layout, plan)?;
    }
    let reboot = evidence::reboot_evidence(layout).await;
    Ok(CheckReport { plan, kept_back, reboot, choice: rules.choice.clone(), stale: None })
}

/// All that packages are chosen by.
fn choice(layout: &Layout, rules: &Rules, verified: Option<Ripe>) -> Result<choice::Rules, String> {
    let canary = match (&rules.follow, verified) {
        (None, None) => None,
        (Some(group), Some(ripe)) => Some((group.clone(), ripe)),
        (Some(group), None) => return Err(format!("what {group} has verified is not known")),
        (None, Some(_)) => {
            return Err("the agent follows a canary group, and the configuration \
                                       does not: systemctl reload lockkeeperd"
                .to_owned());
        }
    };
    let packages = &rules.packages;
    let mut chosen_by = choice::Rules::of(&packages.origins, distribution(layout))?;
    chosen_by.allow.clone_from(&packages.allow);
    chosen_by.deny.clone_from(&packages.deny);
    chosen_by.new_dependencies = packages.new_dependencies == NewDependencies::Allow;
    chosen_by.canary = canary;
    Ok(chosen_by)
}

/// What runs here, by the places of os-release(5).
fn distribution(layout: &Layout) -> Distribution {
    let read = |path| fs::read_to_string(layout.at(path)).ok();
    let text = read("etc/os-release").or_else(|| read("usr/lib/os-release"));
    Distribution::parse(&text.unwrap_or_default())
}
