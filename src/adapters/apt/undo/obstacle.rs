//! What keeps a system from going back, and what was not gone back on.

use super::{
    Ready,
    rounds::{downgrade, removes},
    stays,
};
use crate::{
    adapters::{
        apt::{
            AptError, Layout, apt_get, durable,
            installed::{self, Installed},
            removals, repair, resolve,
            simulation::{self, Install, Simulation},
            sources, status,
        },
        packages::way_back::How,
    },
    core::plan::PackageChange,
};

/// What keeps a system that is in order from going back: something installed since then needs what
/// the plan has brought. Of one that is not in order apt can say nothing.
pub(super) async fn find(layout: &Layout, ready: &Ready) -> Result<Option<String>, AptError> {
    if repair::is_needed(layout).await? {
        return Ok(None);
    }
    let have = installed::query(layout).await?;
    let status = without_holds(layout, ready)?;
    let done = downgrade(layout, ready, &have).args(["-s", "-o", &status]).finish().await?;
    if done.status.success() {
        let Some(difference) = difference(ready, &have, &simulation::parse(&done.stdout)?) else {
            return Ok(None);
        };
        let who = who(layout, ready, &have, &status).await?;
        let who = if who.is_empty() { String::new() } else { format!(" by {}", who.join(", ")) };
        return Ok(Some(format!("{SINCE}{who}: apt would go back {difference}")));
    }
    let unmet = unmet(&done.stdout);
    if unmet.is_empty() {
        return Ok(Some(format!("apt does not go back: {}", sources::complaint(done.said()))));
    }
    Ok(Some(format!("{SINCE}: {}", unmet.join("; "))))
}

const SINCE: &str = "what the update has brought is needed";

/// Who needs it: the packages apt would remove for the earlier ones, if it were let.
async fn who(
    layout: &Layout,
    ready: &Ready,
    have: &[Installed],
    status: &str,
) -> Result<Vec<String>, AptError> {
    let exact = ready.open(have).into_iter().map(resolve::exact_name);
    let options = ["-s", "-o", status, "install", "--allow-downgrades"];
    let install = apt_get::with_stage(layout, ready.earlier.dir(), "apt-get").args(options);
    let done = install.args(exact).args(removes(ready, have)).finish().await?;
    let mut names = simulation::parse(&done.stdout)?.removes;
    let going = ready.going(have);
    names.retain(|name| !going.iter().any(|going| going.have.is_called(name)));
    Ok(names)
}

/// An option that shows apt the system without holds: they are lifted only when the way back is gone.
/// (Its own option to pass them over does nothing from apt 3.2 on.)
fn without_holds(layout: &Layout, ready: &Ready) -> Result<String, AptError> {
    let copy = ready.earlier.dir().join("status");
    durable::write(&copy, &status::without_holds(layout)?)?;
    Ok(format!("Dir::State::status={}", copy.display()))
}

/// apt's explanations, ` own : Depends: alpha (>= 1.1) but 1.0 is to be installed`.
fn unmet(said: &str) -> Vec<String> {
    let lines = said.lines().filter(|line| line.starts_with(' ') && line.contains(" : "));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What apt would do and the way back does not have: it may do less, and never more.
pub(super) fn surprise(ready: &Ready, have: &[Installed], next: &Simulation) -> Option<String> {
    let mine = |install: &&Install| {
        let same = |p: &PackageChange| (&p.name, &p.to) == (&install.name, &install.to);
        !ready.earlier.packages().iter().any(same)
    };
    let going = ready.going(have);
    let stays = |name: &&String| !going.iter().any(|going| going.have.is_called(name));
    let with =
        next.installs.iter().filter(mine).map(|p| format!("it would install {} {}", p.name, p.to));
    let without = next.removes.iter().filter(stays).map(|name| format!("it would remove {name}"));
    let parts: Vec<String> = with.chain(without).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// How what apt would do differs from the way back.
fn difference(ready: &Ready, have: &[Installed], next: &Simulation) -> Option<String> {
    let back = ready.open(have).into_iter().map(resolve::exact_name).collect();
    let going = ready.going(have);
    let goes: Vec<(&str, &str)> =
        going.iter().map(|going| (going.have.name.as_str(), going.have.arch.as_str())).collect();
    next.difference(&back, &goes, true)
}

/// What is wrong with a package that is there and was at `version` before.
fn astray(now: &Installed, version: Option<&str>) -> Option<String> {
    if now.is_broken() {
        return Some(now.sentence());
    }
    (Some(now.version.as_str()) != version).then(|| format!("{} is at {}", now.name, now.version))
}

/// What is not as it was before the plan.
pub(super) async fn left(layout: &Layout, ready: &Ready) -> Result<Vec<String>, AptError> {
    let have = installed::query(layout).await?;
    let mut left = Vec::new();
    for (package, earlier) in ready.plan.packages.iter().zip(&ready.back.packages) {
        let Some(now) = installed::find(&have, package) else {
            left.extend(package.from.as_ref().map(|_| format!("{} is gone", package.name)));
            continue;
        };
        match &earlier.how {
            How::Remove { .. } if stays(package) => {
                tracing::warn!(
                    "{} runs, so it stays installed: boot the earlier kernel to be rid of it",
                    now.name
                );
            }
            How::Remove { .. } => {}
            _ => left.extend(astray(now, package.from.as_deref())),
        }
    }
    for going in &ready.plan.removes {
        match removals::there(&have, going) {
            None => left.push(format!("{} is gone", going.name)),
            Some(now) => left.extend(astray(now, Some(&going.version))),
        }
    }
    let going = ready.going(&have);
    left.extend(going.iter().map(|g| format!("{} {} is still there", g.have.name, g.have.version)));
    let others = have.iter().filter(|p| p.is_broken()).map(Installed::sentence);
    let others: Vec<String> =
        others.filter(|text| !ready.back.broken.contains(text) && !left.contains(text)).collect();
    left.extend(others);
    if repair::journal_is_dirty(layout)? {
        left.push("dpkg was interrupted".to_owned());
    }
    let check = apt_get::with_stage(layout, ready.earlier.dir(), "apt-get").args(["-qq", "check"]);
    let check = check.finish().await?;
    if !check.status.success() {
        left.push(format!("apt-get check: {}", sources::complaint(check.said())));
    }
    Ok(left)
}
