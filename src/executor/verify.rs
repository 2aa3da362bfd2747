//! `Verify`: is the node as good as it was?

use tracing::warn;

use super::{Context, WorkloadError, checks, look::look, record, users};
use crate::core::{
    check,
    health::HealthReport,
    record::{Record, Unit, any_matches},
    rootless::Judgement,
    standing::{Containers, Restarts, restarted},
    wish::Restore,
};

/// Compares the node with the record. Without a record nobody can tell a new failure from an old
/// one: then only what restarts over and over between two calls is seen, and what the admin's checks say.
pub async fn verify(context: &Context) -> Result<HealthReport, WorkloadError> {
    let record = record::load(context)?;
    let (mut all, known) = if let Some(record) = record {
        let mut all = judge(context, &record).await?;
        users::verify(context, &record, &mut all).await?;
        (all, record.checks)
    } else {
        warn!(
            "there is no record: looked for services that keep restarting, and made the admin's checks"
        );
        let restarts = restarts(context, Containers::new()).await?;
        (Judgement { restarts, ..Judgement::default() }, Vec::new())
    };
    let checks = check::failing(&checks::look(context).await, &known);
    let before = context.remember(all.restarts.clone());
    if let Some(before) = before {
        all.failing.extend(restarted(&before, &all.restarts, &all.known));
    }
    all.failing.extend(checks);
    Ok(HealthReport { failing: all.failing })
}

/// What is wrong with the workloads of the system, or of the user whose process this is.
pub(super) async fn judge(context: &Context, record: &Record) -> Result<Judgement, WorkloadError> {
    let seen = look(context, record).await?;
    let failing = seen.observed.failing(record);
    // Units that fail now have their sentence, or are excused.
    let mut known = record.failing.clone();
    let lenient = record.units.iter().filter(|unit| unit.restore != Restore::Required);
    known.extend(lenient.map(|unit| unit.name.clone()));
    let mut containers = seen.observed.containers;
    for lenient in record.containers.iter().filter(|c| c.restore != Restore::Required) {
        containers.remove(&(lenient.engine, lenient.name.clone()));
    }
    known.extend(seen.observed.units.into_values().filter(Unit::failing).map(|unit| unit.name));
    Ok(Judgement { failing, restarts: restarts(context, containers).await?, known })
}

/// How often each of what runs was restarted by itself.
async fn restarts(context: &Context, containers: Containers) -> Result<Restarts, WorkloadError> {
    let mut now: Restarts = context.systemd.restarts().await?;
    now.retain(|name, _| !any_matches(&context.ignore, name));
    for ((engine, name), container) in containers {
        now.insert(format!("container {name} ({engine})"), container.restarts);
    }
    Ok(now)
}
