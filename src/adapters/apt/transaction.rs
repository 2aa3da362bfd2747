//! The transaction: installs a staged plan, offline, and judges the result by dpkg's own record.

use std::time::Duration;

use super::{
    AptError, Layout, apt_get, installed,
    locks::{self, DailyLock},
    plans::{self, Outcome},
    removals, repair,
    repair::Snapshot,
    repository::{self, Repository},
    simulation::Simulation,
    stage,
};
use crate::{
    adapters::packages::log::Log,
    core::plan::{PackageChange, Plan, PlanId, Removal},
};

/// A transaction that may begin: everything has been verified, and other package managers wait.
#[derive(Debug)]
pub struct Ready {
    plan: Plan,
    before: Snapshot,
    log: Log,
    _lock: DailyLock,
}

/// Verifies the stage, waits for other package managers (for `lock_limit` in all), finishes what an
/// interrupted dpkg left behind, and makes apt show that exactly the rest of the plan comes next.
///
/// An error, or a refusal, means that the plan has not been begun.
pub async fn prepare(
    layout: &Layout,
    id: &PlanId,
    lock_limit: Duration,
) -> Result<Result<Ready, String>, AptError> {
    let plan = plans::load(layout, id)?;
    if !plans::is_staged(layout, id) {
        return Ok(Err(format!("plan {} is not staged", id.short())));
    }
    let stage = Repository::stage(layout, &plan);
    repository::verify(&stage).await?;
    let lock = match locks::take(layout, lock_limit).await? {
        Ok(lock) => lock,
        Err(held) => return Ok(Err(held.text)),
    };
    let log = Log::open(layout.plan(id).join("apply.log"))?;
    if repair::is_needed(layout).await? {
        repair::unpack_damaged(layout, &stage, &log.file).await?;
        repair::configure(layout, &log.file).await?;
    }
    repository::build(layout, &stage).await?;
    let simulation = repository::simulate(layout, &stage).await?;
    let have = installed::query(layout).await?;
    if let Some(why) = moved_on(&plan, &have) {
        return Ok(Err(format!("the system has changed since staging: {why}")));
    }
    if let Some(why) = surprise(&plan, &have, simulation) {
        let cause = cause(&plan, &have, &installed::held(layout).await?);
        return Ok(Err(format!("the system has changed since staging: {cause}apt would go {why}")));
    }
    let before = repair::snapshot(layout).await?;
    Ok(Ok(Ready { plan, before, log, _lock: lock }))
}

/// How often apt is run in one attempt: a dpkg that was killed leaves a package half unpacked, which
/// only its archive repairs.
const ROUNDS: u32 = 2;

/// Installs. What apt's exit code says is no more than a hint.
pub async fn install(layout: &Layout, ready: Ready) -> Result<Outcome, AptError> {
    let stage = Repository::stage(layout, &ready.plan);
    for round in 1..=ROUNDS {
        let upgrade = apt_get::for_real(repository::upgrade(layout, &stage).await?);
        let status = upgrade.run_apart(&ready.log.file).await?;
        if status.success() || repair::snapshot(layout).await? == ready.before {
            break;
        }
        tracing::warn!(%status, round, "apt-get did not finish; finishing what can be");
        repair::unpack_damaged(layout, &stage, &ready.log.file).await?;
        repair::configure(layout, &ready.log.file).await?;
        let next = repository::simulate(layout, &stage).await;
        if next.is_ok_and(|next| next.installs.is_empty() && next.removes.is_empty()) {
            break;
        }
    }
    let lacks = installed::lacks(&ready.plan, &installed::query(layout).await?);
    let after = repair::snapshot(layout).await?;
    Ok(judge(lacks, &ready.before, &after, &reasons(&ready.log.read()?)))
}

/// The first package that has neither the version it had when the plan was made nor the plan's: the
/// way back would not lead to what was there before. One that is not complete is none of them.
fn moved_on(plan: &Plan, have: &[installed::Installed]) -> Option<String> {
    let mut removes = plan.removes.iter().filter_map(|going| {
        let now = removals::there(have, going).filter(|have| have.is_complete())?;
        let text = || format!("{} is at {}, and was {}", now.name, now.version, going.version);
        (now.version != going.version).then(text)
    });
    let changed = plan.packages.iter().find_map(|wanted| {
        let now = installed::find(have, wanted).filter(|have| have.is_complete())?;
        let expected = [Some(&wanted.to), wanted.from.as_ref()].contains(&Some(&now.version));
        let before = wanted.from.as_deref().unwrap_or("not installed");
        (!expected).then(|| format!("{} is at {}, and was {before}", wanted.name, now.version))
    });
    changed.or_else(|| removes.next())
}

/// What an admin has done since, as far as it can be seen in dpkg's record.
fn cause(plan: &Plan, have: &[installed::Installed], held: &[String]) -> String {
    let of = |package: &PackageChange| {
        let found = installed::find(have, package).filter(|have| !have.is_gone());
        let is_held =
            found.is_some_and(|have| held.contains(&format!("{}:{}", have.name, have.arch)));
        match (found, package.from.is_some()) {
            (None, true) => Some(format!("{} was removed; ", package.name)),
            (Some(_), true) if is_held => Some(format!("{} is on hold; ", package.name)),
            _ => None,
        }
    };
    plan.packages.iter().find_map(of).unwrap_or_default()
}

/// Is apt about to do anything but the rest of the plan?
fn surprise(plan: &Plan, have: &[installed::Installed], mut next: Simulation) -> Option<String> {
    let at_version = |p: &PackageChange| {
        installed::find(have, p).is_some_and(|have| have.version == p.to && !have.reinstall)
    };
    let (there, missing): (Vec<_>, Vec<_>) = plan.packages.iter().cloned().partition(at_version);
    // What is unpacked already may be unpacked again; that changes no version.
    next.installs.retain(|install| {
        !there
            .iter()
            .any(|p| (&p.name, &p.arch, &p.to) == (&install.name, &install.arch, &install.to))
    });
    let still = plan.removes.iter().filter(|going| removals::there(have, going).is_some());
    let still: Vec<Removal> = still.cloned().collect();
    stage::difference(&missing, &still, &next)
}

fn judge(lacks: Vec<String>, before: &Snapshot, after: &Snapshot, said: &str) -> Outcome {
    let mut wrong = lacks;
    let newly = |text: &&String| !before.broken.contains(text) && !wrong.contains(text);
    let newly: Vec<String> = after.broken.iter().filter(newly).cloned().collect();
    wrong.extend(newly);
    if after.journal {
        wrong.push("dpkg was interrupted".to_owned());
    }
    if wrong.is_empty() {
        return Outcome::Complete;
    }
    if before == after {
        let reason = if said.is_empty() { "apt changed nothing" } else { said };
        return Outcome::Refused { reason: reason.to_owned() };
    }
    let mut reason = wrong.join("; ");
    if !said.is_empty() {
        reason = format!("{reason} ({said})");
    }
    Outcome::Failed { reason }
}

/// At most this many complaints are quoted.
const QUOTED: usize = 4;

/// What apt and dpkg complained of: `E:` lines, and dpkg's errors with the line that explains them.
pub(super) fn reasons(log: &str) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let text = if let Some(text) = line.strip_prefix("E: ") {
            text.to_owned()
        } else if let Some(text) = line.strip_prefix("dpkg: error ") {
            let detail = lines.next_if(|next| next.starts_with(' ')).unwrap_or_default();
            format!("{text} {}", detail.trim()).trim_end().to_owned()
        } else {
            continue;
        };
        if !said.contains(&text) {
            said.push(text);
        }
    }
    // That dpkg failed is known.
    said.retain(|text| !text.starts_with("Sub-process "));
    said.truncate(QUOTED);
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::apt::simulation;

    fn snapshot(mark: u64, broken: &[&str]) -> Snapshot {
        Snapshot::of((mark, 0, 0), false, broken.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn complete_is_applied_whatever_else_was_broken_before() {
        let broken = snapshot(1, &["old 1 is half-configured"]);
        let after = snapshot(2, &["old 1 is half-configured"]);
        assert_eq!(judge(vec![], &broken, &after, "old fails"), Outcome::Complete);
    }

    #[test]
    fn a_package_outside_the_plan_that_broke_is_a_failure() {
        let after = snapshot(2, &["other 1 is triggers-pending"]);
        let Outcome::Failed { reason } = judge(vec![], &snapshot(1, &[]), &after, "") else {
            panic!("not failed");
        };
        assert_eq!(reason, "other 1 is triggers-pending");
    }

    #[test]
    fn only_an_untouched_dpkg_makes_a_refusal() {
        let lacks = || vec!["a is at 1, not 2".to_owned()];
        let same = judge(lacks(), &snapshot(1, &[]), &snapshot(1, &[]), "locked");
        assert_eq!(same, Outcome::Refused { reason: "locked".into() });
        let touched = judge(lacks(), &snapshot(1, &[]), &snapshot(2, &[]), "preinst failed");
        assert_eq!(touched, Outcome::Failed { reason: "a is at 1, not 2 (preinst failed)".into() });
    }

    #[test]
    fn an_interrupted_dpkg_is_never_a_success() {
        let after = Snapshot::of((2, 0, 0), true, vec![]);
        assert!(matches!(judge(vec![], &snapshot(1, &[]), &after, ""), Outcome::Failed { .. }));
    }

    #[test]
    fn the_reasons_are_apts_and_dpkgs_errors_with_their_explanations() {
        let log = include_str!("../../../tests/fixtures/apt/debian-12/failing-postinst.txt");
        assert_eq!(
            reasons(log),
            "processing package alpha (--configure): installed alpha package post-installation \
             script subprocess returned error exit status 1"
        );
        assert_eq!(reasons("Setting up x ...\n"), "");
    }

    #[test]
    fn a_resumed_plan_expects_only_its_rest() {
        let change = |name: &str| PackageChange {
            name: name.into(),
            arch: "all".into(),
            from: Some("1".into()),
            to: "2".into(),
            sha256: "0".repeat(64),
            size: 1,
            origin: String::new(),
        };
        let plan = Plan::new(vec![change("a"), change("b")]).unwrap();
        let have = "a\tall\t2\tinstalled\tok\t1\nb\tall\t1\tinstalled\tok\t1\n";
        let have = installed::parse(have).unwrap();
        let next = |text| simulation::parse(text).unwrap();
        assert_eq!(surprise(&plan, &have, next("Inst b [1] (2 s [all])")), None);
        let twice = "Inst b [1] (2 s [all])\nInst a [2] (2 s [all])";
        assert_eq!(surprise(&plan, &have, next(twice)), None);
        let nothing = surprise(&plan, &have, next("")).unwrap();
        assert_eq!(nothing, "without b:all=2");
        let more = surprise(&plan, &have, next("Inst b [1] (2 s [all])\nRemv c [1]")).unwrap();
        assert_eq!(more, "removing c");
    }
}
