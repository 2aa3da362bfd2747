//! The transaction, there or back: offline, and judged by rpm's own record.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    course::{self, Course},
    installed::{self, Installed},
    program,
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
    course: Course,
    before: Vec<Installed>,
    log: Log,
}

/// One attempt. What an interrupted one has left is finished first. `lock_limit`: how long another dnf
/// is waited for.
pub async fn attempt(layout: &Layout, id: &PlanId, way: Way, lock_limit: Duration) -> Outcome {
    let refused = |reason| Outcome::Refused { reason };
    match prepare(layout, id, way, lock_limit).await {
        Ok(Ok(ready)) => {
            let outcome = go(layout, &ready, lock_limit).await;
            outcome.unwrap_or_else(|error| Outcome::Failed { reason: chain(&error) })
        }
        Ok(Err(reason)) => refused(reason),
        Err(error) => refused(chain(&error)),
    }
}

/// An error, or a refusal, means that the plan has not been begun, or not been gone on with.
async fn prepare(
    layout: &Layout,
    id: &PlanId,
    way: Way,
    lock_limit: Duration,
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
    let deadline = Instant::now() + lock_limit;
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
    // One attempt has been counted before this one, and nobody knows how far it came.
    repair(layout, &course, &have, plans::attempts(layout, id, way)? > 1, &log).await?;
    let before = installed::query(layout).await?;
    let rest = course.rest(&before);
    loop {
        match stage::test(layout, &rest).await? {
            Test::Exact => return Ok(Ok(Ready { course, before, log })),
            Test::Differs(why) => {
                return Ok(Err(format!("the system has changed since staging: {why}")));
            }
            Test::Locked if Instant::now() >= deadline => {
                return Ok(Err("another dnf is at work".to_owned()));
            }
            Test::Locked => sleep(PAUSE).await,
        }
    }
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

/// Finishes what a transaction that was cut off has begun: a package that is there beside the version
/// it replaces is installed once more, and rpm erases the other one. `resumed`: so is whatever is
/// there already, since nobody can tell which of its scripts have run.
async fn repair(
    layout: &Layout,
    course: &Course,
    have: &[Installed],
    resumed: bool,
    log: &Log,
) -> Result<(), PackageError> {
    for package in &course.comes {
        let mut versions = installed::versions(have, package);
        if !versions.any(|version| version == package.to) {
            continue;
        }
        if !resumed && installed::has_come(have, package) {
            continue;
        }
        tracing::warn!("finishing {}, which was cut off", course::name(package));
        let mode = if package.from.is_some() { "-U" } else { "-i" };
        let rpm = program::rpm(layout, "rpm").args([mode, "--replacepkgs", "--oldpackage"]);
        // What it needs comes with the rest.
        let rpm = rpm.args(["--nodeps", "-v"]).arg(course.file(package));
        let status = rpm.run_apart(&log.file).await?;
        if !status.success() {
            tracing::warn!(%status, "rpm could not finish {}", course::name(package));
        }
    }
    Ok(())
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

async fn go(layout: &Layout, ready: &Ready, lock_limit: Duration) -> Result<Outcome, PackageError> {
    let Ready { course, before, log } = ready;
    let deadline = Instant::now() + lock_limit;
    let mut after = before.clone();
    let mut killed = 0;
    loop {
        let rest = course.rest(&after);
        if rest.is_empty() {
            break;
        }
        let status = command(layout, &rest)?.run_apart(&log.file).await?;
        after = installed::query(layout).await?;
        if status.code().is_none() && killed == 0 {
            tracing::warn!(%status, "dnf did not end by itself; finishing what it had begun");
            killed += 1;
            repair(layout, course, &after, true, log).await?;
            after = installed::query(layout).await?;
        } else if status.code() == Some(program::LOCKED) && Instant::now() < deadline {
            sleep(PAUSE).await;
        } else {
            break;
        }
    }
    let wrong = installed::differences(&course.expected(before), &after);
    Ok(judge(course.way, wrong, *before == after, &log.read()?))
}

/// `untouched`: rpm's record is what it was.
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
