//! `Verify`: is the node as good as it was?

use tracing::warn;

use super::{Context, WorkloadError, checks, look::look, record};
use crate::core::{
    check,
    health::HealthReport,
    record::{Unit, ignored},
    standing::{Containers, Restarts, restarted},
    wish::Restore,
};

/// Compares the node with the record. Without a record nobody can tell a new failure from an old
/// one: then only what restarts over and over between two calls is seen, and what the admin's checks say.
pub async fn verify(context: &Context) -> Result<HealthReport, WorkloadError> {
    let Some(record) = record::load(context)? else {
        warn!(
            "there is no record: looked for services that keep restarting, and made the admin's checks"
        );
        let mut failing = unstable(context, &Containers::new(), &[]).await?;
        failing.extend(check::failing(&checks::look(context).await, &[]));
        return Ok(HealthReport { failing });
    };
    let seen = look(context, &record).await?;
    let mut failing = seen.observed.failing(&record);
    let checks = check::failing(&checks::look(context).await, &record.checks);
    // Units that fail now have their sentence, or are excused.
    let mut known = record.failing;
    let lenient = record.units.iter().filter(|unit| unit.restore != Restore::Required);
    known.extend(lenient.map(|unit| unit.name.clone()));
    let mut containers = seen.observed.containers;
    for lenient in record.containers.iter().filter(|c| c.restore != Restore::Required) {
        containers.remove(&(lenient.engine, lenient.name.clone()));
    }
    known.extend(seen.observed.units.into_values().filter(Unit::failing).map(|unit| unit.name));
    failing.extend(unstable(context, &containers, &known).await?);
    failing.extend(checks);
    Ok(HealthReport { failing })
}

/// What was restarted by itself since the last call, but for `known` names.
async fn unstable(
    context: &Context,
    containers: &Containers,
    known: &[String],
) -> Result<Vec<String>, WorkloadError> {
    let mut now: Restarts = context.systemd.restarts().await?;
    now.retain(|name, _| !ignored(&context.ignore, name));
    for ((engine, name), container) in containers {
        now.insert(format!("container {name} ({engine})"), container.restarts);
    }
    let before = context.remember(now.clone());
    Ok(before.map(|before| restarted(&before, &now, known)).unwrap_or_default())
}
