//! Commands about the reboot lock.

use std::{collections::BTreeMap, time::Duration};

use super::{
    print, print_json,
    reach::{Reach, status as agent_status},
};
use crate::{
    adapters::{clock, node},
    cli::{
        args::{Format, StatusArgs, Target},
        error::CliError,
        render,
    },
    core::{
        change::{AdminOp, Change},
        slots::{Halt, Holder},
    },
    dbus::agent::LockDoc,
    observe::logging::chain,
};

pub async fn status(args: StatusArgs) -> Result<u8, CliError> {
    let (reach, group) = (Reach::of(&args.target), args.target.group.as_deref());
    if args.format == Some(Format::Locksmith) {
        let lock = reach.lock(group).await?;
        return match lock.error {
            Some(error) => Err(CliError::Store(error.text)),
            None => print(&render::locksmith(&lock)),
        };
    }
    let now = clock::wall();
    match (&reach, group) {
        (Reach::Agent, None) => {
            let doc = agent_status().await?;
            if args.json { print_json(&doc) } else { print(&render::status(&doc, now)) }
        }
        (Reach::Agent | Reach::Store(_), _) => {
            let locks = reach.locks(group).await?;
            if args.json { print_json(&locks) } else { print(&render::locks(&locks, now)) }
        }
    }
}

pub async fn lock(
    id: Option<String>,
    reason: String,
    expected: Option<Duration>,
    target: Target,
) -> Result<u8, CliError> {
    let name = if let Some(id) = &id { id.clone() } else { own_name()? };
    let claim = Holder {
        node: id_or_own(id)?,
        name,
        nonce: String::new(),
        since: clock::wall(),
        reason: reason.clone(),
        release: None,
        boot_id: String::new(),
        expected_secs: expected.map_or(0, |expected| expected.as_secs()),
        overdue: false,
    };
    change(AdminOp::Lock(claim), reason, &target).await?;
    Ok(0)
}

/// Takes a node's slots away: in one group, or in all where it has one.
pub async fn unlock(id: Option<String>, reason: String, target: Target) -> Result<u8, CliError> {
    let id = id_or_own(id)?;
    let reach = Reach::of(&target);
    let unlock = by_admin(AdminOp::Unlock(id.clone()), reason)?;
    let locks = reach.locks(target.group.as_deref()).await?;
    let held: Vec<_> =
        locks.iter().filter(|lock| lock.holders.iter().any(|h| h.node == id)).collect();
    for lock in &held {
        reach.change(Some(&lock.group), &unlock).await?;
    }
    if held.is_empty() { print(&format!("{id} held no slot\n")) } else { Ok(0) }
}

pub async fn set_max(max: u32, target: Target) -> Result<u8, CliError> {
    let (before, after) = change(AdminOp::SetMax(max), String::new(), &target).await?;
    print(&format!("Old-Max: {}\nMax: {}\n", before.max, after.max))
}

pub async fn halt(reason: String, lasts: Option<Duration>, target: Target) -> Result<u8, CliError> {
    let since = clock::wall();
    let for_secs = lasts.map(|lasts| lasts.as_secs().max(1));
    let ends = |secs: u64| {
        let secs = i64::try_from(secs).unwrap_or(i64::MAX);
        since.checked_add(jiff::SignedDuration::from_secs(secs))
    };
    let expires = for_secs.map(ends).transpose().map_err(|error| {
        CliError::Failed(format!("--for is longer than can be counted: {error}"))
    })?;
    let halt = Halt { reason: reason.clone(), by: admin()?, since, release: None, expires };
    let (before, after) = change(AdminOp::Halt { halt, for_secs }, reason, &target).await?;
    match before.halt {
        Some(halt) if after.halt.as_ref() == Some(&halt) => print(&format!(
            "halted already by {}: {}; that halt stays as it is (`rebootctl resume` lifts it)\n",
            halt.by, halt.reason
        )),
        _ => Ok(0),
    }
}

pub async fn resume(reason: String, target: Target) -> Result<u8, CliError> {
    change(AdminOp::Resume, reason, &target).await?;
    Ok(0)
}

pub async fn nodes(json: bool, target: Target) -> Result<u8, CliError> {
    let nodes = Reach::of(&target).nodes().await?;
    if json { print_json(&nodes) } else { print(&render::nodes(&nodes)) }
}

pub async fn queue(json: bool, target: Target) -> Result<u8, CliError> {
    let locks = Reach::of(&target).locks(target.group.as_deref()).await?;
    if let Some(error) = locks.iter().find_map(|lock| lock.error.as_ref()) {
        return Err(CliError::Store(error.text.clone()));
    }
    if json {
        let queue = |lock: LockDoc| (lock.group, lock.queue);
        return print_json(&locks.into_iter().map(queue).collect::<BTreeMap<_, _>>());
    }
    print(&render::queues(&locks))
}

pub async fn history(json: bool, target: Target) -> Result<u8, CliError> {
    let entries = Reach::of(&target).history(target.group.as_deref()).await?;
    if json { print_json(&entries) } else { print(&render::history(&entries)) }
}

/// Makes a change; answers with the lock before and after.
async fn change(
    op: AdminOp,
    reason: String,
    target: &Target,
) -> Result<(LockDoc, LockDoc), CliError> {
    Reach::of(target).change(target.group.as_deref(), &by_admin(op, reason)?).await
}

fn by_admin(op: AdminOp, reason: String) -> Result<Change, CliError> {
    Ok(Change { op, by: admin()?, reason })
}

pub(super) fn admin() -> Result<String, CliError> {
    Ok(format!("an admin on {}", own_name()?))
}

fn id_or_own(id: Option<String>) -> Result<String, CliError> {
    let own = || node::id().map_err(|error| CliError::Failed(chain(&error)));
    id.map_or_else(own, Ok)
}

fn own_name() -> Result<String, CliError> {
    node::name().map_err(|error| CliError::Failed(chain(&error)))
}
