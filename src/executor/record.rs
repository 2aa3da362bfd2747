//! `Record`: write down what is running, before it is disturbed.

use tracing::{info, warn};

use super::{Context, WorkloadError, checks, stale, users};
use crate::{
    adapters::{clock, containers, state_file},
    core::{
        check,
        record::{Engine, Record, SCHEMA},
        rootless::sentences,
    },
};

/// Writes the record durably; it replaces the last one. Nothing is written unless everything could
/// be seen.
pub async fn record(context: &Context) -> Result<(), WorkloadError> {
    let record = users::record(context, observe(context).await?).await?;
    for machine in context.systemd.machines_by_hand().await? {
        warn!("machine {machine} was started by hand (systemd-nspawn): nothing brings it back");
    }
    let record = Record { checks: failing_checks(context).await?, ..record };
    // A cycle begins: what an earlier one has restarted may be restarted again.
    stale::forget(context)?;
    state_file::write(&context.record, &record)?;
    let own = |(user, own): (&String, &Record)| sentences(user, own.doubts.clone());
    for doubt in record.doubts.iter().cloned().chain(record.users.iter().flat_map(own)) {
        warn!("{doubt}");
    }
    for (user, own) in &record.users {
        info!(user, units = own.units.len(), containers = own.containers.len(), "recorded");
    }
    info!(
        units = record.units.len(),
        containers = record.containers.len(),
        failing = record.failing.len(),
        failing_checks = record.checks.len(),
        "recorded what is running"
    );
    Ok(())
}

/// What runs, of the system or of the user whose process this is.
pub(super) async fn observe(context: &Context) -> Result<Record, WorkloadError> {
    // Units first: looking at Podman's containers starts its socket.
    let units = context.systemd.workloads().await?;
    let (containers, stopped) = containers::all(&context.systemd).await?;
    let record =
        Record::of(context.systemd.this_boot().await?.0, clock::wall(), &units, &containers);
    Ok(record.with_stopped(stopped))
}

/// The names of the admin's checks that fail before anything is done.
async fn failing_checks(context: &Context) -> Result<Vec<String>, WorkloadError> {
    let findings = checks::look(context).await;
    let failing =
        check::beforehand(&findings).map_err(|unable| WorkloadError::Checks(unable.join("; ")))?;
    for (_, sentence) in &failing {
        warn!("{sentence}; as it fails before the update, it is not held against it");
    }
    Ok(failing.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// The record, without what is to be ignored; `None` when there is none.
pub(super) fn load(context: &Context) -> Result<Option<Record>, WorkloadError> {
    let record: Option<Record> = state_file::read(&context.record, SCHEMA)?;
    Ok(record.map(|record| record.without(&context.ignore).of_users(&context.users)))
}

/// Notes that containers were made anew: what is left of one after a power cut is known by its id.
pub(super) fn note_ids(
    context: &Context,
    engine: Engine,
    ids: &[(&str, &str)],
) -> Result<(), WorkloadError> {
    let Some(mut record) = state_file::read::<Record>(&context.record, SCHEMA)? else {
        return Ok(());
    };
    for container in record.containers.iter_mut().filter(|c| c.engine == engine) {
        if let Some((_, id)) = ids.iter().find(|(name, _)| *name == container.name) {
            (*id).clone_into(&mut container.id);
        }
    }
    Ok(state_file::write(&context.record, &record)?)
}

/// Removes the record; there need not be one.
pub(super) fn forget(context: &Context) -> Result<(), WorkloadError> {
    Ok(state_file::remove(&context.record)?)
}
