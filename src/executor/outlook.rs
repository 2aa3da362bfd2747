//! `Workloads`: what becomes of everything that runs, if the node reboots now.

use super::{Context, WorkloadError, users};
use crate::{
    adapters::{clock, containers, systemd::boot},
    core::{outlook::Outlook, record::Record},
    observe::logging::chain,
};

/// Looks as for a record, and writes nothing. What would keep a record from being taken is part of the
/// answer.
pub async fn outlook(context: &Context) -> Result<Outlook, WorkloadError> {
    let mut outlook = foresee(context).await?;
    users::foresee(context, &mut outlook).await?;
    Ok(outlook)
}

/// The workloads of the system, or of the user whose process this is.
pub(super) async fn foresee(context: &Context) -> Result<Outlook, WorkloadError> {
    let boot = context.systemd.boot().await?;
    let (containers, silent) = match containers::all(&context.systemd).await {
        Ok((running, _)) => (running, None),
        Err(error) => (Vec::new(), Some(chain(&error))),
    };
    let record = Record::of(boot::boot_id()?, clock::wall(), &boot.units, &containers);
    let mut outlook = Outlook::of(&record.without(&context.ignore), &boot);
    outlook.blocking.extend(silent);
    Ok(outlook)
}
