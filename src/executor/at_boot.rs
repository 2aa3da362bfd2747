//! `ApplyAtBoot` and `Finish`: a plan is installed in a boot made for that, before any service runs:
//! systemd.offline-updates(7).
//!
//! The next boot is one for updates when the link is there ([`update_link`]); which plan, our own file
//! says. The executor may not write in the root directory, so that each end of the link is a transient
//! unit's. In that boot the link goes first, whatever comes after, so that no boot for updates ever
//! follows another by itself.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Context, WorkloadError, apply,
    run::{self, Run, RunError},
};
use crate::{
    adapters::{
        command::{Command, CommandError},
        packages::{
            self, Layout, PackageError,
            plans::{self, Outcome, Way},
        },
        state_file::{self, StateFileError},
        systemd::{
            login::Rebooting,
            transient::{self, TransientError, UnitState},
            update_link::{self, Whose},
        },
    },
    core::plan::PlanId,
    dbus::executor::{ApplyReport, RebootReport},
    observe::logging::chain,
};

const SCHEMA: u32 = 1;
/// Whoever makes or removes the link a second time meets the unit.
const LINK_UNIT: &str = "lockkeeper-update-link.service";
/// Looks at the unit that makes or removes the link: half a minute.
const LOOKS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// A boot for updates could not be arranged, or not be gone through.
#[derive(Debug, thiserror::Error)]
pub enum AtBootError {
    /// The plan's files.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// Our own file.
    #[error(transparent)]
    Order(#[from] StateFileError),
    /// The boot, or logind.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The unit of the link.
    #[error(transparent)]
    Unit(#[from] TransientError),
    /// The link.
    #[error("cannot {what} the link /system-update")]
    Link {
        /// `see`, `make`, `remove`.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The unit of the link has not done what it is for.
    #[error("{LINK_UNIT} did not {what} the link /system-update: see its journal")]
    LinkUnit {
        /// `make`, `remove`.
        what: &'static str,
    },
    /// The transaction.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The boot for updates cannot be left by itself.
    #[error(transparent)]
    Reboot(#[from] CommandError),
    /// The plan of a boot for updates is not known.
    #[error("the next boot was for updates, and no plan is noted for it")]
    NoOrder,
}

/// Which plan the next boot for updates installs.
#[derive(Serialize, Deserialize)]
struct Order {
    schema: u32,
    plan: PlanId,
}

fn order_file(layout: &Layout) -> PathBuf {
    layout.state().join("at-boot.json")
}

fn ordered(layout: &Layout) -> Result<Option<PlanId>, StateFileError> {
    let order: Option<Order> = state_file::read(&order_file(layout), SCHEMA)?;
    Ok(order.map(|order| order.plan))
}

fn link_error(what: &'static str) -> impl FnOnce(std::io::Error) -> AtBootError {
    move |source| AtBootError::Link { what, source }
}

fn whose(layout: &Layout) -> Result<Whose, AtBootError> {
    update_link::look(layout.root(), layout.state()).map_err(link_error("see"))
}

/// Asks logind for a reboot into a boot that installs the plan, if `boot_id` is still the running
/// boot. Where the answer is no, nothing of it is left.
///
/// # Errors
/// When it cannot be arranged; the reboot may be under way.
pub async fn reboot(
    context: &Context,
    run: &Run<'_>,
    boot_id: &str,
) -> Result<RebootReport, AtBootError> {
    if context.systemd.this_boot().await.map_err(WorkloadError::from)?.0 != boot_id {
        return Ok(RebootReport::AlreadyHappened);
    }
    if let Some(reason) = unready(run.layout, run.id).await {
        return Ok(RebootReport::NotReady { reason });
    }
    if let Whose::Others { target } = whose(run.layout)? {
        let reason = format!("the next boot is for another program's updates ({target})");
        return Ok(RebootReport::Refused { reason });
    }
    let order = Order { schema: SCHEMA, plan: run.id.clone() };
    state_file::write(&order_file(run.layout), &order)?;
    set_link(run, true).await?;
    match context.systemd.reboot().await.map_err(WorkloadError::from)? {
        Rebooting::Accepted => {
            tracing::info!(plan = run.id.short(), "logind accepted the reboot for updates");
            Ok(RebootReport::Accepted)
        }
        Rebooting::Refused(reason) => {
            tracing::warn!("the reboot for updates is refused: {reason}");
            set_link(run, false).await?;
            state_file::remove(&order_file(run.layout))?;
            Ok(RebootReport::Refused { reason })
        }
    }
}

/// Why the plan cannot be installed as it lies there.
async fn unready(layout: &Layout, id: &PlanId) -> Option<String> {
    match readiness(layout, id).await {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(error) => Some(chain(&error)),
    }
}

async fn readiness(layout: &Layout, id: &PlanId) -> Result<Result<(), String>, PackageError> {
    let plan = plans::load(layout, id)?;
    let short = id.short();
    if has_ended(layout, id)? {
        return Ok(Err(format!(
            "plan {short} was installed already; to try again, stage it again"
        )));
    }
    if !plans::is_staged(layout, id) {
        return Ok(Err(format!("plan {short} is not staged")));
    }
    if !packages::of(layout)?.is_good(&plan).await {
        return Ok(Err(format!("the stage of plan {short} is not what it was")));
    }
    Ok(Ok(()))
}

/// Has the plan's transaction ended, however, or been gone back from?
fn has_ended(layout: &Layout, id: &PlanId) -> Result<bool, PackageError> {
    Ok(plans::result(layout, id, Way::There)?.is_some() || plans::is_gone_back_from(layout, id)?)
}

/// Makes the link, or removes it, in a unit that may; waits until it is seen to be so.
async fn set_link(run: &Run<'_>, wanted: bool) -> Result<(), AtBootError> {
    let (what, verb) = if wanted { ("make", "link-update") } else { ("remove", "unlink-update") };
    let is_so = || Ok::<_, AtBootError>((whose(run.layout)? == Whose::Ours) == wanted);
    let description = format!("{what} the link of lockkeeper's offline update");
    for look in 0..LOOKS {
        if is_so()? {
            return Ok(());
        }
        let state = transient::state(run.bus, LINK_UNIT).await?;
        if look == 0 && state != UnitState::Running {
            transient::start(run.bus, LINK_UNIT, &description, run.program, &[verb]).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(AtBootError::LinkUnit { what })
}

/// The main process of the link's unit: makes it.
///
/// # Errors
/// When it cannot be made.
pub fn link(layout: &Layout) -> Result<(), AtBootError> {
    update_link::make(layout.root(), layout.state()).map_err(link_error("make"))
}

/// The main process of the link's unit: removes it.
///
/// # Errors
/// When it cannot be removed.
pub fn unlink(layout: &Layout) -> Result<(), AtBootError> {
    update_link::remove(layout.root(), layout.state()).map_err(link_error("remove"))
}

/// The boot for updates: installs the plan that was ordered, and reboots. Does nothing where the boot
/// is for others' updates.
///
/// # Errors
/// When the plan's files cannot be read or written. systemd then reboots.
pub async fn main(layout: &Layout, lock_limit: Duration) -> Result<(), AtBootError> {
    if whose(layout)? != Whose::Ours {
        tracing::info!("this boot is not for our updates");
        return Ok(());
    }
    install(&layout.clone().without_services(), lock_limit).await?;
    Command::new("systemctl").args(["--no-block", "reboot"]).output().await?;
    Ok(())
}

/// Counts the attempt before the link goes: a boot that is cut off in between counts, too.
async fn install(layout: &Layout, lock_limit: Duration) -> Result<(), AtBootError> {
    let begun = begin(layout);
    unlink(layout)?;
    let Some(id) = begun? else { return Ok(()) };
    run::transact(layout, &id, Way::There, lock_limit).await?;
    Ok(())
}

/// The plan to install; none where that has ended, however.
fn begin(layout: &Layout) -> Result<Option<PlanId>, AtBootError> {
    let id = ordered(layout)?.ok_or(AtBootError::NoOrder)?;
    if has_ended(layout, &id)? {
        return Ok(None);
    }
    let failed = run::begin(layout, &id, Way::There)?;
    Ok(failed.is_none().then_some(id))
}

/// What has come of a plan that a boot was to install. Where that boot was cut off, it is finished
/// here; where it was never begun, it is not begun here: what was wanted is a boot for it.
///
/// # Errors
/// When that cannot be told, or the transaction cannot be started or followed.
pub async fn finish(run: &Run<'_>) -> Result<ApplyReport, AtBootError> {
    let (layout, id) = (run.layout, run.id);
    if let Err(error) = plans::load(layout, id) {
        return Ok(apply::unreadable(layout, id, &error));
    }
    let was_ordered = ordered(layout)?.as_ref() == Some(id);
    if whose(layout)? == Whose::Ours {
        set_link(run, false).await?;
    }
    let result = plans::result(layout, id, Way::There)?;
    let begun = plans::attempts(layout, id, Way::There)? > 0;
    Ok(match result {
        None if begun => refused_has_failed(run.to_its_end().await?),
        None => unbegun(was_ordered),
        Some(outcome) => refused_has_failed(outcome),
    })
}

/// Tried afresh, it would have the machine reboot each time.
fn refused_has_failed(outcome: Outcome) -> ApplyReport {
    match outcome.into() {
        ApplyReport::Refused { reason } => ApplyReport::Failed { reason },
        other => other,
    }
}

fn unbegun(was_ordered: bool) -> ApplyReport {
    if was_ordered {
        let reason = "the machine was rebooted to install the update, and did not: is \
                      lockkeeper-system-update.service or system-update.target masked?";
        return ApplyReport::Failed { reason: reason.to_owned() };
    }
    // Cut off before anything was arranged: another try costs no more than this one.
    let reason = "the machine was rebooted before the update was handed to its boot";
    ApplyReport::Refused { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::core::plan::{PackageChange, Plan};

    /// A system in a directory, with a plan that is written down and not staged.
    fn system() -> (tempfile::TempDir, Layout, PlanId) {
        let dir = tempfile::tempdir().unwrap();
        let layout =
            Layout::rooted(&dir.path().join("state"), dir.path(), Path::new("/nowhere/apt.conf"));
        let package = PackageChange {
            name: "web".into(),
            arch: "all".into(),
            from: Some("1".into()),
            to: "2".into(),
            sha256: "0".repeat(64),
            size: 1,
            origin: String::new(),
        };
        let plan = Plan::new(vec![package]).unwrap();
        fs::create_dir_all(layout.plans()).unwrap();
        fs::create_dir_all(layout.at("var/lib/dpkg")).unwrap();
        fs::write(layout.at("var/lib/dpkg/status"), "").unwrap();
        plans::remember(&layout, &plan, "", None).unwrap();
        (dir, layout, plan.id)
    }

    fn order(layout: &Layout, plan: &PlanId) {
        let order = Order { schema: SCHEMA, plan: plan.clone() };
        state_file::write(&order_file(layout), &order).unwrap();
        link(layout).unwrap();
    }

    fn attempts(layout: &Layout, id: &PlanId) -> u32 {
        plans::attempts(layout, id, Way::There).unwrap()
    }

    #[tokio::test]
    async fn a_boot_for_updates_counts_its_attempt_and_is_followed_by_an_ordinary_one() {
        let (_dir, layout, id) = system();
        order(&layout, &id);
        install(&layout, Duration::ZERO).await.unwrap();
        assert_eq!(whose(&layout).unwrap(), Whose::Nobodys);
        assert_eq!(attempts(&layout, &id), 1);
        // Nothing was staged.
        let result = plans::result(&layout, &id, Way::There).unwrap().unwrap();
        assert!(matches!(&result, Outcome::Refused { reason } if reason.contains("not staged")));
        // A second one has nothing to do.
        order(&layout, &id);
        install(&layout, Duration::ZERO).await.unwrap();
        assert_eq!((whose(&layout).unwrap(), attempts(&layout, &id)), (Whose::Nobodys, 1));
    }

    #[tokio::test]
    async fn no_boot_for_updates_follows_another_whatever_goes_wrong() {
        let (_dir, layout, id) = system();
        link(&layout).unwrap();
        let error = install(&layout, Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, AtBootError::NoOrder), "{error}");
        assert_eq!(whose(&layout).unwrap(), Whose::Nobodys);
        order(&layout, &id);
        fs::write(order_file(&layout), "{").unwrap();
        install(&layout, Duration::ZERO).await.unwrap_err();
        assert_eq!(whose(&layout).unwrap(), Whose::Nobodys);
        // Cut off twice already.
        order(&layout, &id);
        plans::count_attempts(&layout, &id, Way::There, 2).unwrap();
        install(&layout, Duration::ZERO).await.unwrap();
        assert_eq!(whose(&layout).unwrap(), Whose::Nobodys);
        let result = plans::result(&layout, &id, Way::There).unwrap();
        assert!(matches!(result, Some(Outcome::Failed { .. })), "{result:?}");
    }

    #[tokio::test]
    async fn a_boot_for_the_updates_of_others_is_left_alone() {
        let (dir, layout, _) = system();
        let link = dir.path().join("system-update");
        std::os::unix::fs::symlink("/var/lib/PackageKit", &link).unwrap();
        main(&layout, Duration::ZERO).await.unwrap();
        assert!(link.is_symlink());
    }

    #[tokio::test]
    async fn only_what_is_staged_and_was_not_installed_is_ready() {
        let (_dir, layout, id) = system();
        assert!(unready(&layout, &id).await.unwrap().contains("not staged"));
        let failed = Outcome::Failed { reason: "x".to_owned() };
        plans::set_result(&layout, &id, Way::There, &failed).unwrap();
        assert!(unready(&layout, &id).await.unwrap().contains("installed already"));
        let unknown = PlanId::parse(&"ab".repeat(32)).unwrap();
        assert!(unready(&layout, &unknown).await.is_some());
    }

    #[test]
    fn what_a_boot_refused_or_left_out_does_not_lead_to_another_boot() {
        let refused = Outcome::Refused { reason: "x".to_owned() };
        assert!(matches!(refused_has_failed(refused), ApplyReport::Failed { .. }));
        assert!(matches!(refused_has_failed(Outcome::Complete), ApplyReport::Applied));
        assert!(matches!(unbegun(true), ApplyReport::Failed { .. }));
        assert!(matches!(unbegun(false), ApplyReport::Refused { .. }));
    }
}
