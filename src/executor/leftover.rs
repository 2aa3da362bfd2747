//! Containers that a power cut has left behind, and whose names keep their units from starting.

use tracing::{info, warn};

use super::Context;
use crate::{
    adapters::containers::{self, ContainerError},
    core::{
        record::{Record, Unit},
        wrapped::{self, Named},
    },
    observe::logging::chain,
};

/// Removes what holds the name of a container that `unit` runs, if it is certain that nothing is lost
/// with it; whether something was removed.
pub(super) async fn clear(context: &Context, record: &Record, unit: &Unit) -> bool {
    let mut removed = false;
    for named in unit.starts.iter().filter_map(|command| wrapped::runs(command)) {
        match clear_name(context, record, unit, &named).await {
            Ok(done) => removed |= done,
            Err(error) => {
                warn!("{}: what holds its container's name stays: {}", unit.name, chain(&error));
            }
        }
    }
    removed
}

/// Certain is: it is the very container that ran before, it does not run, and whoever stopped the
/// unit in the usual way would have removed it. Its volumes stay in any case.
async fn clear_name(
    context: &Context,
    record: &Record,
    unit: &Unit,
    named: &Named,
) -> Result<bool, ContainerError> {
    let (engine, name) = named;
    let before = record.containers.iter().find(|c| c.engine == *engine && c.name == *name);
    let Some(before) = before else { return Ok(false) };
    let Some(client) = containers::connect(*engine, &context.systemd).await? else {
        return Ok(false);
    };
    let Some(now) = client.inspect(name).await? else { return Ok(false) };
    let rests = matches!(now.status.as_str(), "created" | "exited" | "stopped" | "dead");
    if before.id.is_empty() || now.id != before.id || now.running || !rests {
        return Ok(false);
    }
    let thrown_away =
        now.removes_itself || unit.ends.iter().any(|command| wrapped::removes(command, named));
    if !thrown_away {
        warn!(
            "{} cannot start: {before} is left from before and has its name. What is in it may be needed: \
             look, and remove it with `{engine} rm {name}`",
            unit.name
        );
        return Ok(false);
    }
    info!("{before} is left from before and keeps {} from starting: removing it", unit.name);
    client.remove(name).await?;
    Ok(true)
}
