//! Reboots by kexec: what would be started, and how it went the last time. A kernel that was started so
//! and did not come up is not started so again, so that is written down before the request.

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Context, WorkloadError};
use crate::{
    adapters::{
        boot_loader::{self, Start},
        kexec, state_file,
        systemd::{boot, login::Rebooting},
    },
    core::time::BootId,
    observe::logging::chain,
};

const SCHEMA: u32 = 1;

/// The last reboot by kexec that was asked for, until it is seen to have come.
#[derive(Clone, Serialize, Deserialize)]
struct Note {
    schema: u32,
    /// The kernel's id of the boot it was to end.
    boot: BootId,
    /// The file of the kernel that was to be started.
    kernel: String,
    /// What came after that boot was not started by kexec.
    failed: bool,
}

/// The note, if it is still to be heeded. What has become of a request is told by the boot after it.
fn noted(context: &Context) -> Result<Option<(Note, BootId)>, WorkloadError> {
    let now = BootId(boot::boot_id()?);
    let note: Option<Note> = state_file::read(&context.kexec, SCHEMA)?;
    let Some(note) = note else { return Ok(None) };
    if note.failed || note.boot == now {
        return Ok(Some((note, now)));
    }
    if kexec::has_started_this(&context.layout) {
        state_file::remove(&context.kexec)?;
        return Ok(None);
    }
    let note = Note { failed: true, ..note };
    state_file::write(&context.kexec, &note)?;
    Ok(Some((note, now)))
}

/// What would be started; an error says in words why nothing may be.
pub fn next(context: &Context) -> Result<Start, String> {
    if let Some(why) = kexec::obstacle(&context.layout) {
        return Err(why);
    }
    let next = boot_loader::next_start(&context.layout)?;
    match noted(context).map_err(|error| chain(&error))? {
        Some((note, now)) if note.boot == now => {
            Err("a reboot by kexec was asked for in this boot, and did not come".to_owned())
        }
        Some((note, _)) if note.kernel == next.kernel.to_string_lossy() => {
            Err(format!("{} did not come up by kexec the last time", note.kernel))
        }
        _ => Ok(next),
    }
}

/// Sees what has become of the last one.
pub fn settle(context: &Context) -> Result<(), WorkloadError> {
    noted(context).map(drop)
}

/// Loads the kernel and asks logind for the reboot. That it was asked for is durable before it is.
pub async fn leave(context: &Context, next: &Start) -> Result<Rebooting, WorkloadError> {
    let before: Option<Note> = state_file::read(&context.kexec, SCHEMA)?;
    let (boot, kernel) = (BootId(boot::boot_id()?), next.kernel.display().to_string());
    let note = Note { schema: SCHEMA, boot, kernel, failed: false };
    state_file::write(&context.kexec, &note)?;
    let answer = ask(context, next).await;
    if !matches!(answer, Ok(Rebooting::Accepted)) {
        // Whoever asks for a reboot next does not mean this kernel.
        if let Err(error) = kexec::unload(context.systemd.bus(), &context.layout).await {
            warn!("the kernel stays loaded: {}", chain(&error));
        }
        take_back(context, before.as_ref())?;
    }
    answer
}

async fn ask(context: &Context, next: &Start) -> Result<Rebooting, WorkloadError> {
    kexec::load(context.systemd.bus(), &context.layout, next).await?;
    info!("asking for a reboot by kexec of {}: {}", next.kernel.display(), next.options);
    Ok(context.systemd.reboot_by_kexec().await?)
}

/// Nothing was asked for: what an earlier one has come to still counts.
fn take_back(context: &Context, before: Option<&Note>) -> Result<(), WorkloadError> {
    match before {
        Some(note) => state_file::write(&context.kexec, note)?,
        None => state_file::remove(&context.kexec)?,
    }
    Ok(())
}
