//! One look at the node: everything the record names, and everything that fails.

use std::{collections::BTreeMap, path::Path};

use super::{Context, WorkloadError};
use crate::{
    adapters::{clock, containers, containers::Client},
    core::{
        record::{Engine, Record, Units, any_matches},
        standing::Observed,
    },
    observe::logging::chain,
};

/// The node as it is now, and a client of each engine that answers.
pub(super) struct Seen {
    pub observed: Observed,
    pub clients: BTreeMap<Engine, Client>,
}

/// Looks at what `record` names. An engine that does not answer is part of the picture, not an error.
pub(super) async fn look(context: &Context, record: &Record) -> Result<Seen, WorkloadError> {
    let mut observed = Observed {
        units: units(context, record).await?,
        files: files(record),
        at: Some(clock::wall()),
        ..Observed::default()
    };
    let mut clients = BTreeMap::new();
    for (engine, client) in containers::connect_all(&record.engines(), &context.systemd).await {
        match client {
            Ok(client) => drop(clients.insert(engine, client)),
            Err(why) => drop(observed.silent.insert(engine, why)),
        }
    }
    for (engine, client) in &clients {
        let recorded = record.containers.iter().filter(|c| c.engine == *engine);
        let names: Vec<&str> = recorded.map(|c| c.name.as_str()).collect();
        match client.inspect_all(&names).await {
            Ok(found) => {
                let seen = found.into_iter().map(|now| ((*engine, now.name.clone()), now));
                observed.containers.extend(seen);
            }
            Err(error) => drop(observed.silent.insert(*engine, chain(&error))),
        }
    }
    Ok(Seen { observed, clients })
}

/// The recorded units, what could start those on demand, and the failing ones.
async fn units(context: &Context, record: &Record) -> Result<Units, WorkloadError> {
    let names: Vec<String> = record.units.iter().map(|u| u.name.clone()).collect();
    let mut units = context.systemd.units(&names).await?;
    let triggers: Vec<String> =
        units.values().flat_map(|unit| unit.triggered_by.iter().cloned()).collect();
    let triggers: Vec<String> = triggers.into_iter().filter(|t| !units.contains_key(t)).collect();
    units.extend(context.systemd.units(&triggers).await?);
    let mut failing = context.systemd.failing().await?;
    failing.retain(|name, _| !any_matches(&context.ignore, name));
    units.extend(failing);
    Ok(units)
}

/// The files of recorded services that are still there.
fn files(record: &Record) -> Vec<String> {
    let services = record.units.iter().filter(|u| u.name.ends_with(".service"));
    services.map(|u| u.file.clone()).filter(|file| Path::new(file).exists()).collect()
}
