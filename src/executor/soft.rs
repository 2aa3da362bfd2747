//! Which way a reboot takes, and what the last soft-reboot has answered. `/run` outlives it, and with it
//! Debian's flag that asks for a reboot, so what it was made for is written down.

use serde::{Deserialize, Serialize};

use super::{Context, WorkloadError, evidence, kexec, stale};
use crate::{
    adapters::{apt::flag, boot_files, boot_loader::Start, state_file, systemd::boot},
    config,
    core::{
        fast::{self, Fast, Known, Way},
        health::Evidence,
        stale::Report,
        time::BootId,
        verdict::Verdict,
    },
    observe::logging::chain,
};

const SCHEMA: u32 = 1;

/// The last soft-reboot that was asked for.
#[derive(Serialize, Deserialize)]
pub struct Note {
    schema: u32,
    /// The boot it was to end.
    boot: BootId,
    /// What asked for it; empty once it is seen to have helped.
    reasons: Vec<String>,
    /// Debian's flag, as it was.
    flag: Option<String>,
}

impl Note {
    /// It has come: userspace has started anew, and the kernel has not.
    fn has_come(&self, now: &BootId) -> bool {
        self.boot != *now && self.boot.same_kernel(now)
    }
}

/// The note, if it is about this boot of the kernel: a full reboot answers everything.
async fn noted(context: &Context) -> Result<Option<(Note, BootId)>, WorkloadError> {
    let now = context.systemd.this_boot().await?;
    let note: Option<Note> = state_file::read(&context.soft_reboot, SCHEMA)?;
    Ok(note.filter(|note| note.boot.same_kernel(&now)).map(|note| (note, now)))
}

/// Is a reboot needed? `packages`: what packages and the root file system say. A flag that is as it
/// was before a soft-reboot for its sake is answered.
pub async fn evidence(
    context: &Context,
    packages: Evidence,
    stale: &Result<Report, WorkloadError>,
) -> Result<Evidence, WorkloadError> {
    kexec::settle(context)?;
    let packages = unanswered(context, packages).await?;
    let all = evidence::combine([packages, stale::evidence(stale)]);
    if all == Evidence::No
        && let Some((note, now)) = noted(context).await?
        && note.has_come(&now)
        && !note.reasons.is_empty()
    {
        state_file::write(&context.soft_reboot, &Note { reasons: Vec::new(), ..note })?;
    }
    Ok(all)
}

async fn unanswered(context: &Context, packages: Evidence) -> Result<Evidence, WorkloadError> {
    let Evidence::Yes { reasons } = packages else { return Ok(packages) };
    let answered = noted(context).await?.is_some_and(|(note, now)| {
        note.has_come(&now)
            && note.flag.is_some()
            && note.flag == flag::fingerprint(&context.layout)
    });
    let asked = |reason: &String| !(answered && fast::is_of_package(reason));
    let reasons: Vec<String> = reasons.into_iter().filter(asked).collect();
    Ok(if reasons.is_empty() { Evidence::No } else { Evidence::Yes { reasons } })
}

/// What was seen when it was decided how a reboot is made.
pub struct Seen {
    /// All that asks for it.
    reasons: Vec<String>,
    flag: Option<String>,
    /// What kexec is to start, if that is the way.
    pub next: Option<Start>,
}

/// How the reboot is made, and by what that was decided; `None` where there is no choice.
pub async fn way(context: &Context, by_hand: bool) -> Option<(Way, Seen)> {
    if allowed(context) == Fast::Never {
        return None;
    }
    // First: what is added after this look is not answered.
    let flag = flag::fingerprint(&context.layout);
    let stale = stale::report(context).await;
    let packages = evidence::reboot_evidence(&context.layout).await;
    let Decided { way, reasons, next } = decide(context, &packages, &stale, by_hand).await;
    Some((way, Seen { reasons, flag, next }))
}

/// What people should know of the reboot that is asked for, where there is a choice.
pub async fn outlook(
    context: &Context,
    packages: &Evidence,
    stale: &Result<Report, WorkloadError>,
) -> Option<Verdict> {
    if allowed(context) == Fast::Never {
        return None;
    }
    let packages = unanswered(context, packages.clone()).await.ok()?;
    let asked = evidence::combine([packages.clone(), stale::evidence(stale)]);
    if !matches!(asked, Evidence::Yes { .. }) {
        return None;
    }
    Some(decide(context, &packages, stale, false).await.way.verdict())
}

/// What root's configuration allows; one that cannot be read allows nothing.
fn allowed(context: &Context) -> Fast {
    config::load(&context.config).map_or(Fast::Never, |loaded| loaded.settings.reboot.fast)
}

/// A way, all that asks for the reboot, and what kexec is to start if that is the way.
struct Decided {
    way: Way,
    reasons: Vec<String>,
    next: Option<Start>,
}

async fn decide(
    context: &Context,
    packages: &Evidence,
    stale: &Result<Report, WorkloadError>,
    by_hand: bool,
) -> Decided {
    let decided = async {
        let packages = unanswered(context, packages.clone()).await?;
        let tried = noted(context).await?.map_or_else(Vec::new, |(note, _)| note.reasons);
        let services = stale::evidence(stale);
        let known = Known { packages: &packages, services: &services, tried: &tried, by_hand };
        let (mut way, mut next) = (fast::way(&known, obstacle(context).await), None);
        if allowed(context) == Fast::Kexec && way != Way::Soft {
            let found = kexec::next(context);
            let kernel = found.as_ref().map(|next| next.kernel.display().to_string());
            way = fast::by_kexec(way, &known, kernel.map_err(Clone::clone));
            next = found.ok().filter(|_| matches!(way, Way::Kexec { .. }));
        }
        Ok::<_, WorkloadError>(Decided { way, reasons: fast::reasons(&known), next })
    };
    decided.await.unwrap_or_else(|error: WorkloadError| Decided {
        way: Way::Full { why: chain(&error) },
        reasons: Vec::new(),
        next: None,
    })
}

/// What of the machine is against a soft-reboot.
async fn obstacle(context: &Context) -> Option<String> {
    match context.systemd.soft_reboots().await {
        Ok(Some(_)) => {}
        Ok(None) => return Some("the running systemd does not count soft-reboots".to_owned()),
        Err(error) => return Some(chain(&error)),
    }
    match context.layout.at("run/nextroot").try_exists() {
        Ok(false) => {}
        Ok(true) => return Some("/run/nextroot is there, and would become the root".to_owned()),
        Err(error) => return Some(format!("/run/nextroot cannot be looked at: {error}")),
    }
    let since = boot::kernel_started();
    match since.and_then(|since| boot_files::changed_since(&context.layout.at("boot"), since)) {
        Ok(None) => None,
        Ok(Some(file)) => Some(format!("{file} was changed since the kernel was started")),
        Err(error) => Some(format!("/boot cannot be looked at: {error}")),
    }
}

/// Writes down durably that a soft-reboot is asked for, and because of what. Answers with what was
/// written down before.
pub async fn note(context: &Context, seen: Seen) -> Result<Option<Note>, WorkloadError> {
    let before = state_file::read(&context.soft_reboot, SCHEMA)?;
    let boot = context.systemd.this_boot().await?;
    let note = Note { schema: SCHEMA, boot, reasons: seen.reasons, flag: seen.flag };
    state_file::write(&context.soft_reboot, &note)?;
    Ok(before)
}

/// It was refused, so nothing was asked for: what an earlier one has answered still counts.
pub fn take_back(context: &Context, before: Option<&Note>) -> Result<(), WorkloadError> {
    match before {
        Some(note) => state_file::write(&context.soft_reboot, note)?,
        None => state_file::remove(&context.soft_reboot)?,
    }
    Ok(())
}
