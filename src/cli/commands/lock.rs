//! Commands about the reboot lock: through the agent, or straight to etcd.

use std::{collections::BTreeMap, time::Duration};

use super::{
    agent::{control_proxy, status_proxy},
    print, print_json,
};
use crate::{
    adapters::{
        clock, node,
        slots::{AdminOp, NodeRecord, SlotStore, etcd::EtcdStore},
    },
    cli::{
        args::{Format, StatusArgs, Target},
        error::CliError,
        render,
    },
    core::slots::{Halt, Holder},
    dbus::agent::{LockDoc, StatusDoc},
    observe::logging::chain,
};

/// Deadline of one request to etcd.
const TIMEOUT: Duration = Duration::from_secs(5);

pub async fn status(args: StatusArgs) -> Result<u8, CliError> {
    if let Some(store) = direct(&args.target) {
        let nodes = store.nodes().await?;
        let phase = |id: &str| nodes.get(id).map(|n| n.phase.clone()).unwrap_or_default();
        let doc = LockDoc::of(&store.view().await?, Some(clock::wall()), phase);
        return match args.format {
            Some(Format::Locksmith) => print(&render::locksmith(&doc)),
            None if args.json => print_json(&doc),
            None => print(&render::lock(&doc, clock::wall())),
        };
    }
    let doc: StatusDoc = serde_json::from_str(&status_proxy().await?.status().await?)?;
    match args.format {
        Some(Format::Locksmith) => match doc.lock.error {
            Some(error) => Err(CliError::Store(error.text)),
            None => print(&render::locksmith(&doc.lock)),
        },
        None if args.json => print_json(&doc),
        None => print(&render::status(&doc, clock::wall())),
    }
}

pub async fn lock(id: Option<String>, reason: String, target: Target) -> Result<u8, CliError> {
    let name = if let Some(id) = &id { id.clone() } else { own_name()? };
    let claim = Holder {
        node: id_or_own(id)?,
        name,
        nonce: String::new(),
        since: clock::wall(),
        reason,
        release: None,
        boot_id: String::new(),
    };
    change(AdminOp::Lock(claim), &target).await?;
    Ok(0)
}

pub async fn unlock(id: Option<String>, target: Target) -> Result<u8, CliError> {
    let id = id_or_own(id)?;
    let (before, _) = change(AdminOp::Unlock(id.clone()), &target).await?;
    if before.holders.iter().any(|holder| holder.node == id) {
        return Ok(0);
    }
    print(&format!("{id} held no slot\n"))
}

pub async fn set_max(max: u32, target: Target) -> Result<u8, CliError> {
    let (before, after) = change(AdminOp::SetMax(max), &target).await?;
    print(&format!("Old-Max: {}\nMax: {}\n", before.max, after.max))
}

pub async fn halt(reason: String, target: Target) -> Result<u8, CliError> {
    let by = format!("an admin on {}", own_name()?);
    let halt = Halt { reason, by, since: clock::wall(), release: None };
    change(AdminOp::Halt(halt), &target).await?;
    Ok(0)
}

pub async fn resume(target: Target) -> Result<u8, CliError> {
    change(AdminOp::Resume, &target).await?;
    Ok(0)
}

pub async fn nodes(json: bool, target: Target) -> Result<u8, CliError> {
    let nodes: BTreeMap<String, NodeRecord> = match direct(&target) {
        Some(store) => store.nodes().await?,
        None => serde_json::from_str(&status_proxy().await?.nodes().await?)?,
    };
    if json { print_json(&nodes) } else { print(&render::nodes(&nodes)) }
}

/// Makes a change; answers with the lock before and after.
async fn change(operation: AdminOp, target: &Target) -> Result<(LockDoc, LockDoc), CliError> {
    let Some(store) = direct(target) else {
        let operation = serde_json::to_string(&operation)?;
        return Ok(serde_json::from_str(&control_proxy().await?.admin(&operation).await?)?);
    };
    let before = store.view().await?;
    let after = store.admin(&operation).await?;
    let doc = |view| LockDoc::of(view, Some(clock::wall()), |_| String::new());
    Ok((doc(&before), doc(&after)))
}

fn direct(target: &Target) -> Option<SlotStore> {
    let given = !target.endpoint.is_empty();
    given.then(|| {
        SlotStore::Etcd(EtcdStore::new(&target.endpoint, &target.prefix, &target.group, TIMEOUT))
    })
}

fn id_or_own(id: Option<String>) -> Result<String, CliError> {
    let own = || node::id().map_err(|error| CliError::Failed(chain(&error)));
    id.map_or_else(own, Ok)
}

fn own_name() -> Result<String, CliError> {
    node::name().map_err(|error| CliError::Failed(chain(&error)))
}
