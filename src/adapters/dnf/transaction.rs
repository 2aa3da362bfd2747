//! The transaction, there or back: offline, and judged by rpm's own record.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    course::{self, Course},
    installed::{self, Installed},
    program, repair,
    stage::{self, Test},
};
use crate::{
    adapters::{
        command::Command,
        kernel,
        packages::{
            Layout, PackageError, durable, locks,
            log::Log,
            plans::{self, Outcome, Way},
        },
    },
    core::plan::{PackageChange, Plan, PlanId},
    observe::logging::chain,
};

/// Between two looks whether another dnf has ended.
const PAUSE: Duration = Duration::from_secs(1);
/// At most this many complaints are quoted.
const QUOTED: usize = 4;

/// A transaction that may begin: everything has been verified.
struct Ready {
    plan: Plan,
    course: Course,
    /// See [`is_resumed`].
    resumed: bool,
    log: Log,
}

/// One attempt. What an interrupted one has left is finished first. `lock_limit`: how long another dnf
/// is waited for.
pub async fn attempt(layout: &Layout, id: &PlanId, way: Way, lock_limit: Duration) -> Outcome {
    let refused = |reason| Outcome::Refused { reason };
    let deadline = Instant::now() + lock_limit;
    match prepare(layout, id, way, deadline).await {
        Ok(Ok(ready)) => {
            let outcome = go(layout, &ready, deadline).await;
            outcome.unwrap_or_else(|error| Outcome::Failed { reason: chain(&error) })
        }
        Ok(Err(reason)) => refused(reason),
        Err(error) => refused(chain(&error)),
    }
}

/// An error, or a refusal, means that nothing has been changed.
async fn prepare(
    layout: &Layout,
    id: &PlanId,
    way: Way,
    deadline: Instant,
) -> Result<Result<Ready, String>, PackageError> {
    let plan = plans::load(layout, id)?;
    let course = match way {
        Way::There if !plans::is_staged(layout, id) => {
            return Ok(Err(format!("plan {} is not staged", id.short())));
        }
        Way::There => Course::there(layout, &plan),
        Way::Back => match plans::way_back(layout, id)?.filter(|back| back.is_of(&plan)) {
            Some(back) => Course::back(layout, &plan, &back, &kernel::running_release()),
            None => return Ok(Err("the earlier versions were not secured".to_owned())),
        },
    };
    stage::verify(layout, id, &course).await?;
    let log = Log::open(layout.plan(id).join(match way {
        Way::There => "apply.log",
        Way::Back => "undo.log",
    }))?;
    if let Some(held) = await_rpm(layout, deadline).await? {
        return Ok(Err(held));
    }
    let have = installed::query(layout).await?;
    if let Some(why) = moved_on(&plan, &have) {
        return Ok(Err(format!("the system has changed since staging: {why}")));
    }
    for package in plan.packages.iter().filter(|_| way == Way::Back) {
        if course::is_kernel(package, &kernel::running_release()) {
            tracing::warn!("{} stays: it is the kernel that runs", course::name(package));
        }
    }
    if let Some(why) = no_way(&plan, &course, &have) {
        return Ok(Err(why));
    }
    let resumed = is_resumed(layout, id, way)?;
    Ok(Ok(Ready { plan, course, resumed, log }))
}

/// Was there an attempt of which nobody knows how far it came: an earlier one of this way, or of the way
/// there that is gone back from? It may have left a package with files of both versions.
fn is_resumed(layout: &Layout, id: &PlanId, way: Way) -> Result<bool, PackageError> {
    let there = plans::attempts(layout, id, Way::There)? > 0
        && plans::result(layout, id, Way::There)? != Some(Outcome::Complete);
    Ok(plans::attempts(layout, id, way)? > 1 || (way == Way::Back && there))
}

/// Waits until nobody changes rpm's database. Answers with who still does.
async fn await_rpm(layout: &Layout, deadline: Instant) -> Result<Option<String>, PackageError> {
    let paths = ["var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock"].map(|p| layout.at(p));
    for path in paths.iter().filter(|path| path.exists()) {
        while !locks::is_free(path)? {
            if Instant::now() >= deadline {
                return Ok(Some(locks::who_holds(path)));
            }
            sleep(PAUSE).await;
        }
    }
    Ok(None)
}

/// The first package that has neither the version it had when the plan was made nor the plan's.
fn moved_on(plan: &Plan, have: &[Installed]) -> Option<String> {
    plan.packages.iter().find_map(|package| {
        let other =
            |version: &&str| *version != package.to && Some(*version) != package.from.as_deref();
        // Beside a kernel there are others.
        let other =
            installed::versions(have, package).find(other).filter(|_| package.from.is_some());
        let before = package.from.as_deref().unwrap_or_default();
        if let Some(other) = other {
            return Some(format!("{} is at {other}, and was {before}", package.name));
        }
        let gone = package.from.is_some() && installed::versions(have, package).next().is_none();
        gone.then(|| format!("{} {before} is not installed any more", package.name))
    })
}

/// The packages that have changed and that no course leads back for.
fn no_way(plan: &Plan, course: &Course, have: &[Installed]) -> Option<String> {
    // What is new is removed, or stays as the kernel that runs.
    let led = |p: &&PackageChange| {
        p.from.is_none() || course.comes.iter().any(|other| other.name == p.name)
    };
    let changed = |package: &&PackageChange| {
        installed::versions(have, package).any(|version| version == package.to)
    };
    let stuck = plan.packages.iter().filter(|package| !led(package)).filter(changed);
    let names: Vec<String> = stuck.map(course::name).collect();
    (!names.is_empty()).then(|| format!("there is no way back from {}", names.join(", ")))
}

/// dnf, on its way through a course.
pub(super) fn command(layout: &Layout, course: &Course) -> Result<Command, PackageError> {
    let dnf = program::offline(layout);
    let files = course.comes.iter().map(|package| course.file(package));
    match course.way {
        Way::There => Ok(dnf.arg("upgrade").args(files)),
        Way::Back => {
            // Of two lines of files dnf would take the first only.
            let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
            let names: Vec<String> = course.goes.iter().map(course::name).collect();
            let line = |verb: &str, what: &[String]| match what {
                [] => String::new(),
                _ => format!("{verb} {}\n", what.join(" ")),
            };
            let script = [line("downgrade", &files), line("remove", &names), "run\n".to_owned()];
            let script = script.concat();
            let path = course.dir.join("script");
            durable::write(&path, &script)?;
            Ok(dnf.arg("shell").arg(path))
        }
    }
}

/// Goes through a course, after what an earlier attempt has left. An error means that something may have
/// been changed.
async fn go(layout: &Layout, ready: &Ready, deadline: Instant) -> Result<Outcome, PackageError> {
    let Ready { course, log, .. } = ready;
    let mut touched = finish(layout, ready, ready.resumed).await?;
    let before = installed::query(layout).await?;
    if let Some(reason) = obstacle(layout, &course.rest(&before), deadline).await? {
        let failed = Outcome::Failed { reason: reason.clone() };
        return Ok(if touched { failed } else { Outcome::Refused { reason } });
    }
    let mut after = before.clone();
    let mut killed = false;
    loop {
        let rest = course.rest(&after);
        if rest.is_empty() {
            break;
        }
        let status = command(layout, &rest)?.run_apart(&log.file).await?;
        if status.code().is_none() && !killed {
            tracing::warn!(%status, "dnf did not end by itself; finishing what it had begun");
            killed = true;
            finish(layout, ready, true).await?;
        } else if status.code() == Some(program::LOCKED) && Instant::now() < deadline {
            sleep(PAUSE).await;
        } else {
            after = installed::query(layout).await?;
            break;
        }
        after = installed::query(layout).await?;
    }
    let wrong = installed::differences(&course.expected(&before), &after);
    let said = log.read()?;
    // Files may have changed where the record has not.
    touched |= killed || said.lines().any(|line| line.trim() == "Running transaction");
    Ok(judge(course.way, wrong, !touched && before == after, &said))
}

async fn finish(layout: &Layout, ready: &Ready, resumed: bool) -> Result<bool, PackageError> {
    let Ready { plan, course, log, .. } = ready;
    if resumed {
        let there = Course::there(layout, plan);
        let files = there.comes.iter().map(|package| there.file(package));
        let files = files.chain(course.comes.iter().map(|package| course.file(package)));
        repair::sweep(layout, &files.collect::<Vec<_>>()).await?;
    }
    repair::repair(layout, course, &installed::query(layout).await?, resumed, log).await
}

/// What keeps dnf from doing exactly that; another dnf is waited for until `deadline`.
async fn obstacle(
    layout: &Layout,
    course: &Course,
    deadline: Instant,
) -> Result<Option<String>, PackageError> {
    loop {
        match stage::test(layout, course).await? {
            Test::Exact => return Ok(None),
            Test::Differs(why) => {
                return Ok(Some(format!("the system has changed since staging: {why}")));
            }
            Test::Locked if Instant::now() >= deadline => {
                return Ok(Some("another dnf is at work".to_owned()));
            }
            Test::Locked => sleep(PAUSE).await,
        }
    }
}

/// `untouched`: nothing was begun.
fn judge(way: Way, mut wrong: Vec<String>, untouched: bool, log: &str) -> Outcome {
    let said = complaints(log);
    if wrong.is_empty() {
        let failed: Vec<&str> = log.lines().filter(|line| is_failed_script(line)).collect();
        // Of a version that is being left, or come back to, the record is all there is.
        if way == Way::Back || failed.is_empty() {
            return Outcome::Complete;
        }
        return Outcome::Failed { reason: said };
    }
    if untouched {
        let reason = if said.is_empty() { "dnf changed nothing".to_owned() } else { said };
        return Outcome::Refused { reason };
    }
    wrong.truncate(QUOTED);
    let mut reason = wrong.join("; ");
    if !said.is_empty() {
        reason = format!("{reason} ({said})");
    }
    Outcome::Failed { reason }
}

/// `Error in POSTIN scriptlet in rpm package web` (dnf), `warning: %post(web-2-1.noarch) scriptlet
/// failed, exit status 1` (rpm)
fn is_failed_script(line: &str) -> bool {
    (line.starts_with("Error in ") && line.contains(" scriptlet in rpm package "))
        || line.contains(" scriptlet failed")
}

/// What dnf and rpm complained of.
fn complaints(log: &str) -> String {
    let mut said: Vec<&str> = Vec::new();
    for line in log.lines() {
        let error = line.strip_prefix("Error: ").or_else(|| line.strip_prefix("error: "));
        let text = error.or_else(|| is_failed_script(line).then_some(line));
        said.extend(text.filter(|text| !said.contains(text)));
    }
    said.truncate(QUOTED);
    said.join("; ")
}
