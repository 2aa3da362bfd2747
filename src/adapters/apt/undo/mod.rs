//! The way back: from a plan to exactly what was installed before, offline.
//!
//! apt goes it where it can, since it sees to the order. What it leaves is dpkg's, in rounds that
//! spare less and less. Nothing of the plan's versions is configured on the way: a script that has
//! not run yet must not convert data for a version that is about to go.

mod obstacle;
mod rounds;

use std::time::Duration;

use super::{
    AptError, Layout, apt_get,
    installed::{self, Installed},
    locks::{self, DailyLock},
    plans::{self, Outcome},
    removals, repair,
    repository::{self, Repository},
    transaction::reasons,
};
use crate::{
    adapters::{
        kernel,
        packages::{
            log::Log,
            way_back::{Earlier, How, WayBack},
        },
    },
    core::plan::{PackageChange, Plan, PlanId},
};

/// A way back that may be gone: everything has been verified, and other package managers wait.
#[derive(Debug)]
pub struct Ready {
    plan: Plan,
    back: WayBack,
    earlier: Repository,
    log: Log,
    _lock: DailyLock,
}

/// Verifies the way back from a plan, waits for other package managers (for `lock_limit` in all),
/// and makes apt show where it leads, as far as the system's state lets apt say anything.
///
/// An error, or a refusal, means that no package has been changed.
pub async fn prepare(
    layout: &Layout,
    id: &PlanId,
    lock_limit: Duration,
) -> Result<Result<Ready, String>, AptError> {
    let plan = plans::load(layout, id)?;
    let Some(back) = plans::way_back(layout, id)? else {
        return Ok(Err("the earlier versions were not secured".to_owned()));
    };
    if !back.is_of(&plan) {
        return Ok(Err("what was secured is not what the plan has replaced".to_owned()));
    }
    let earlier = Repository::back(layout, id, back.changes());
    repository::verify(&earlier).await?;
    let log = Log::open(layout.plan(id).join("undo.log"))?;
    let lock = match locks::take(layout, lock_limit).await? {
        Ok(lock) => lock,
        Err(held) => return Ok(Err(held.text)),
    };
    repair::merge_journal(layout).await?;
    let missing = wanting(&plan, &back, &installed::query(layout).await?);
    if !missing.is_empty() {
        return Ok(Err(missing.join("; ")));
    }
    repository::build(layout, &earlier).await?;
    let ready = Ready { plan, back, earlier, log, _lock: lock };
    Ok(match obstacle::find(layout, &ready).await? {
        None => Ok(ready),
        Some(why) => Err(why),
    })
}

/// Goes back, however far the plan's own transaction has come.
pub async fn go(layout: &Layout, ready: &Ready) -> Result<Outcome, AptError> {
    let held = holds(layout, ready).await?;
    mark(layout, &ready.earlier, "unhold", &held).await?;
    rounds::by_apt(layout, ready).await?;
    rounds::by_dpkg(layout, ready).await?;
    // What triggers and dependants had to wait for.
    if repair::is_needed(layout).await? {
        repair::configure(layout, &ready.log.file).await?;
    }
    mark(layout, &ready.earlier, "hold", &held).await?;
    mark(layout, &ready.earlier, "auto", &ready.back.automatic).await?;
    let left = obstacle::left(layout, ready).await?;
    if left.is_empty() {
        return Ok(Outcome::Complete);
    }
    let said = reasons(&ready.log.read()?);
    let said = if said.is_empty() { said } else { format!(" ({said})") };
    Ok(Outcome::Failed { reason: format!("{}{said}", left.join("; ")) })
}

/// The packages that go back and are held by the admin, written down before the first attempt. A hold
/// must not keep the node on what does not work: it is lifted, and put back at the end.
async fn holds(layout: &Layout, ready: &Ready) -> Result<Vec<String>, AptError> {
    if let Some(held) = plans::holds(layout, &ready.plan.id)? {
        return Ok(held);
    }
    let mut held = installed::held(layout).await?;
    let goes_back = |name: &String| {
        ready.earlier.packages().iter().any(|p| format!("{}:{}", p.name, p.arch) == *name)
    };
    held.retain(goes_back);
    plans::set_holds(layout, &ready.plan.id, &held)?;
    Ok(held)
}

async fn mark(
    layout: &Layout,
    earlier: &Repository,
    how: &str,
    names: &[String],
) -> Result<(), AptError> {
    if names.is_empty() {
        return Ok(());
    }
    let mark = apt_get::with_stage(layout, earlier.dir(), "apt-mark").arg(how).args(names);
    Ok(mark.output().await.map(|_| ())?)
}

/// A package that the plan has brought anew, as dpkg has it.
struct Going<'a> {
    package: &'a PackageChange,
    have: &'a Installed,
    /// With its configuration files.
    purge: bool,
}

impl Ready {
    /// The earlier packages that are not there.
    fn open(&self, have: &[Installed]) -> Vec<&PackageChange> {
        self.earlier.packages().iter().filter(|wanted| !installed::is_done(have, wanted)).collect()
    }

    /// The packages that the plan has removed, and that are not there.
    fn removed(&self, have: &[Installed]) -> Vec<&PackageChange> {
        let was = |p: &&&PackageChange| self.back.removed.iter().any(|r| r.name == p.name);
        self.open(have).iter().filter(was).copied().collect()
    }

    /// The new packages that are there and go.
    fn going<'a>(&'a self, have: &'a [Installed]) -> Vec<Going<'a>> {
        let pairs = self.plan.packages.iter().zip(&self.back.packages);
        let going = pairs.filter_map(|(package, earlier)| {
            let How::Remove { purge } = earlier.how else { return None };
            let have = installed::find(have, package)?;
            let gone = match have.status.as_str() {
                "not-installed" => true,
                "config-files" => !purge,
                _ => false,
            };
            (!gone && !stays(package)).then_some(Going { package, have, purge })
        });
        going.collect()
    }
}

/// A kernel that is new and runs stays, with its modules, beside the one from before: a machine
/// cannot do without it until it has booted another.
fn stays(package: &PackageChange) -> bool {
    kernel::is_part_of(&package.name, &kernel::running_release())
}

/// What cannot be had and is not as it was.
fn wanting(plan: &Plan, back: &WayBack, have: &[Installed]) -> Vec<String> {
    let mut wanting = Vec::new();
    let changed = plan.packages.iter().zip(&back.packages);
    let changed = changed.map(|(package, earlier)| (installed::find(have, package), earlier));
    let removed = plan.removes.iter().zip(&back.removed);
    let removed = removed.map(|(going, earlier)| (removals::there(have, going), earlier));
    for (now, Earlier { name, how }) in changed.chain(removed) {
        if let How::Missing { version, why } = how
            && now.is_none_or(|p| p.version != *version)
        {
            wanting.push(format!("{name} {version}: {why}"));
        }
    }
    wanting
}
