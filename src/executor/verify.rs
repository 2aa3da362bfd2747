//! `Verify`: is the node as good as it was?

use tracing::warn;

use super::{Context, WorkloadError, look::look, record};
use crate::core::{
    health::HealthReport,
    record::ignored,
    standing::{Observed, Restarts, restarted},
};

/// Compares the node with the record. Without a record nobody can tell a new failure from an old
/// one: then only what restarts over and over between two calls is seen.
pub async fn verify(context: &Context) -> Result<HealthReport, WorkloadError> {
    let Some(record) = record::load(context)? else {
        warn!("there is no record: looked for services that keep restarting, and for nothing else");
        let failing = unstable(context, &Observed::default(), &[]).await?;
        return Ok(HealthReport { failing });
    };
    let seen = look(context, &record).await?;
    let mut failing = seen.observed.failing(&record);
    failing.extend(unstable(context, &seen.observed, &record.failing).await?);
    Ok(HealthReport { failing })
}

/// What was restarted by itself since the last call.
async fn unstable(
    context: &Context,
    observed: &Observed,
    excused: &[String],
) -> Result<Vec<String>, WorkloadError> {
    let mut now: Restarts = context.systemd.restarts().await?;
    now.retain(|name, _| !ignored(&context.ignore, name));
    for ((engine, name), container) in &observed.containers {
        now.insert(format!("container {name} ({engine})"), container.restarts);
    }
    let before = context.remember(now.clone());
    Ok(before.map(|before| restarted(&before, &now, excused)).unwrap_or_default())
}
