//! The way back: from a plan to exactly what was installed before, offline.

use std::{fs, time::Duration};

use super::{
    AptError, Layout, apt_get, durable,
    installed::{self, Installed},
    locks::{self, DailyLock},
    plans, repair,
    repository::{self, Repository},
    space,
    transaction::{Log, Outcome, reasons},
    way_back::{Earlier, How, WayBack},
};
use crate::core::plan::{PackageChange, Plan, PlanId};

/// A way back that may be gone: everything has been verified, and other package managers wait.
#[derive(Debug)]
pub struct Ready {
    plan: Plan,
    back: WayBack,
    earlier: Repository,
    log: Log,
    _lock: DailyLock,
}

/// Verifies the way back from a plan, and waits for other package managers (for `lock_limit` in all).
///
/// An error, or a refusal, means that nothing has been changed.
pub async fn prepare(
    layout: &Layout,
    id: &PlanId,
    lock_limit: Duration,
) -> Result<Result<Ready, String>, AptError> {
    let plan = plans::load(layout, id)?;
    let Some(back) = plans::way_back(layout, id)? else {
        return Ok(Err("the earlier versions were not secured".to_owned()));
    };
    let missing = wanting(&plan, &back, &installed::query(layout).await?);
    if !missing.is_empty() {
        return Ok(Err(missing.join("; ")));
    }
    let earlier = Repository::back(layout, id, back.changes());
    repository::verify(&earlier).await?;
    let log = Log::open(layout.plan(id).join("undo.log"))?;
    let lock = locks::take(layout, lock_limit).await?;
    Ok(lock.map(|lock| Ready { plan, back, earlier, log, _lock: lock }).map_err(|held| held.text))
}

/// Goes back, however far the plan's own transaction has come.
pub async fn go(layout: &Layout, ready: &Ready) -> Result<Outcome, AptError> {
    let Ready { plan, back, earlier, log, .. } = ready;
    let held = installed::held(layout).await?;
    finish(layout, log).await?;
    downgrade(layout, earlier, log).await?;
    force(layout, plan, earlier, log).await?;
    remove(layout, plan, back, log).await?;
    // What triggers and dependants had to wait for.
    finish(layout, log).await?;
    hold(layout, earlier, &held).await?;
    let mut left = left(plan, back, &installed::query(layout).await?);
    if repair::journal_is_dirty(layout)? {
        left.push("dpkg was interrupted".to_owned());
    }
    if left.is_empty() {
        return Ok(Outcome::Complete);
    }
    let said = reasons(&log.read()?);
    let said = if said.is_empty() { said } else { format!(" ({said})") };
    Ok(Outcome::Failed { reason: format!("{}{said}", left.join("; ")) })
}

async fn finish(layout: &Layout, log: &Log) -> Result<(), AptError> {
    if repair::is_needed(layout).await? {
        repair::configure(layout, &log.file).await?;
    }
    Ok(())
}

/// dpkg forgets the hold of a package that it unpacks all the same.
async fn hold(layout: &Layout, earlier: &Repository, held: &[String]) -> Result<(), AptError> {
    let names = earlier.packages().iter().map(|p| p.name.clone());
    let names: Vec<String> = names.filter(|name| held.contains(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mark = apt_get::with_stage(layout, earlier.dir(), "apt-mark").arg("hold").args(names);
    Ok(mark.output().await.map(|_| ())?)
}

/// By apt, which sees to the order.
async fn downgrade(layout: &Layout, earlier: &Repository, log: &Log) -> Result<(), AptError> {
    if earlier.packages().is_empty() {
        return Ok(());
    }
    repository::build(layout, earlier).await?;
    let upgrade = apt_get::for_real(apt_get::with_stage(layout, earlier.dir(), "apt-get"));
    // A hold that came later must not keep the node on what does not work.
    let options = ["--allow-downgrades", "--ignore-hold", "upgrade"];
    let status = upgrade.args(options).run_apart(&log.file).await?;
    if !status.success() {
        tracing::warn!(%status, "apt-get did not go all the way back");
    }
    Ok(())
}

/// By dpkg, where apt finds no way: what it left is unpacked over whatever state the plan's version is
/// in. When a script of that version will not have it, then without the script.
async fn force(
    layout: &Layout,
    plan: &Plan,
    earlier: &Repository,
    log: &Log,
) -> Result<(), AptError> {
    for round in 0..2 {
        let have = installed::query(layout).await?;
        let open = |wanted: &&PackageChange| !installed::is_done(&have, wanted);
        let open: Vec<_> = earlier.packages().iter().filter(open).collect();
        if open.is_empty() {
            return Ok(());
        }
        if round > 0 {
            set_scripts_aside(layout, &plan.id, &open)?;
        }
        let debs = open.iter().map(|wanted| repository::deb_path(earlier.dir(), wanted));
        let options = ["--force-downgrade", "--force-confdef", "--force-confold", "--force-hold"];
        let install = apt_get::dpkg(layout).args(options).arg("--install").args(debs);
        let status = install.run_apart(&log.file).await?;
        if !status.success() {
            tracing::warn!(%status, round, "dpkg did not go all the way back");
        }
    }
    Ok(())
}

/// Takes the scripts that dpkg runs to leave a version out of its reach; they are kept beside the
/// plan.
fn set_scripts_aside(
    layout: &Layout,
    id: &PlanId,
    packages: &[&PackageChange],
) -> Result<(), AptError> {
    let aside = layout.plan(id).join("scripts");
    durable::folder(&aside)?;
    for package in packages {
        for script in ["prerm", "postrm"] {
            // A package that is there for several architectures has its own name in dpkg's folder.
            for name in [package.name.clone(), format!("{}:{}", package.name, package.arch)] {
                let file = format!("{name}.{script}");
                let path = layout.at("var/lib/dpkg/info").join(&file);
                if !path.exists() {
                    continue;
                }
                tracing::warn!(file, "a script of the failed version is set aside");
                fs::rename(&path, aside.join(&file))
                    .or_else(|_| fs::copy(&path, aside.join(&file)).and(fs::remove_file(&path)))
                    .map_err(AptError::io("move", &path))?;
            }
        }
    }
    Ok(())
}

/// What the plan has brought anew goes, but not the kernel that runs.
async fn remove(layout: &Layout, plan: &Plan, back: &WayBack, log: &Log) -> Result<(), AptError> {
    let have = installed::query(layout).await?;
    for purge in [true, false] {
        let names = new(plan, back, &have).filter(|(_, _, with_files)| *with_files == purge);
        let names: Vec<String> = names
            .filter(|(package, ..)| !stays(package))
            .map(|(_, have, _)| format!("{}:{}", have.name, have.arch))
            .collect();
        if names.is_empty() {
            continue;
        }
        let how = if purge { "--purge" } else { "--remove" };
        let status = apt_get::dpkg(layout).arg(how).args(names).run_apart(&log.file).await?;
        if !status.success() {
            tracing::warn!(%status, "dpkg did not remove all that was new");
        }
    }
    Ok(())
}

/// The new packages of the plan that dpkg has, with whether dpkg had known them before.
fn new<'a>(
    plan: &'a Plan,
    back: &'a WayBack,
    have: &'a [Installed],
) -> impl Iterator<Item = (&'a PackageChange, &'a Installed, bool)> {
    pairs(plan, back).filter_map(|(package, earlier)| match earlier.how {
        How::Remove { purge } => {
            let have = installed::find(have, package)?;
            let gone = have.status == "not-installed" || have.status == "config-files";
            (!gone).then_some((package, have, purge))
        }
        How::Archive { .. } | How::Repacked { .. } | How::Missing { .. } => None,
    })
}

fn pairs<'a>(
    plan: &'a Plan,
    back: &'a WayBack,
) -> impl Iterator<Item = (&'a PackageChange, &'a Earlier)> {
    plan.packages.iter().filter_map(|package| {
        let earlier = back.packages.iter().find(|earlier| earlier.name == package.name)?;
        Some((package, earlier))
    })
}

/// A new kernel may be the one that runs: it stays, beside the one from before.
fn stays(package: &PackageChange) -> bool {
    space::is_kernel(package)
}

/// What cannot be had and is not as it was.
fn wanting(plan: &Plan, back: &WayBack, have: &[Installed]) -> Vec<String> {
    let mut wanting = Vec::new();
    for (package, earlier) in pairs(plan, back) {
        if let How::Missing { version, why } = &earlier.how
            && installed::find(have, package).is_none_or(|p| p.version != *version)
        {
            wanting.push(format!("{} {version}: {why}", package.name));
        }
    }
    wanting
}

/// What is not as it was before the plan.
fn left(plan: &Plan, back: &WayBack, have: &[Installed]) -> Vec<String> {
    let mut left = Vec::new();
    for (package, earlier) in pairs(plan, back) {
        let now = installed::find(have, package);
        let wrong = match &earlier.how {
            How::Remove { .. } => new(plan, back, have)
                .find(|(new, ..)| new.name == package.name)
                .filter(|(new, have, _)| have.is_broken() || !stays(new))
                .map(|(_, have, _)| format!("{} {} is still there", have.name, have.version)),
            How::Archive { .. } | How::Repacked { .. } | How::Missing { .. } => match now {
                None => Some(format!("{} is gone", package.name)),
                Some(now) if now.is_broken() => Some(now.sentence()),
                Some(now) if Some(&now.version) != package.from.as_ref() => {
                    Some(format!("{} is at {}", now.name, now.version))
                }
                Some(_) => None,
            },
        };
        left.extend(wrong);
    }
    left
}
