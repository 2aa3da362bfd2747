//! `Check`: what should this node install, and does it wait for a reboot?

use super::{Rules, channel::Following, evidence};
use crate::{
    adapters::packages::{self, Layout, PackageError, Resolved, Wish, plans},
    core::{canary::Ripe, channel::allowed::Allowed},
    dbus::executor::CheckReport,
    observe::logging::chain,
};

/// Refreshes the private lists, resolves, and writes the plan down so that it can be staged. Of what
/// runs it knows nothing. `verified`: what the canary group allows, where one is followed; `following`:
/// what the channel allows, likewise.
pub async fn check(
    layout: &Layout,
    rules: &Rules,
    verified: Option<Ripe>,
    mut following: Option<&mut Following>,
) -> Result<CheckReport, PackageError> {
    let wish = wish(rules, verified, following.as_ref().map(|following| following.allowed.clone()))
        .map_err(|said| PackageError::Said { doing: "choosing packages", said })?;
    let manager = packages::of(layout)?;
    let nothing = wish.release.as_ref().is_some_and(|allowed| allowed.why_nothing().is_some());
    let Resolved { plan, kept_back } = match manager.check(&wish).await {
        Err(error) if nothing => {
            // Whatever the archives say, what is staged must go.
            tracing::warn!("the archives: {}", chain(&error));
            Resolved { plan: None, kept_back: Vec::new() }
        }
        found => found?,
    };
    if let Some(following) = &mut following
        && let Err(error) = following.compare(manager.as_ref(), plan.as_ref(), &kept_back).await
    {
        let why = chain(&error);
        tracing::warn!("whether a release is complete cannot be told: {why}");
        following.report.problem = Some(why);
    }
    if let Some(plan) = &plan {
        let release = following.and_then(|following| following.source().cloned());
        plans::remember(layout, plan, &rules.choice, release.as_ref())?;
    }
    let reboot = evidence::reboot_evidence(layout).await;
    Ok(CheckReport {
        plan,
        kept_back,
        reboot,
        choice: rules.choice.clone(),
        stale: None,
        release: None,
    })
}

/// All that packages are chosen by.
fn wish(rules: &Rules, verified: Option<Ripe>, release: Option<Allowed>) -> Result<Wish, String> {
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
    Ok(Wish { packages: rules.packages.clone(), canary, release })
}
