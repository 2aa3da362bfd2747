//! `RunHooks`: the admin's own programs, at fixed points of the cycle.
//!
//! What a hook is told comes from our own store and from the system; the caller adds words for people.
//! What has been drained, and which hooks are still owed to it, is written down before anything is run.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};
use zbus::Connection;

use super::{Context, WorkloadError};
use crate::{
    adapters::scripts::{self, Found, Order},
    config::{
        self,
        settings::{Hooks, Settings},
    },
    core::hook::Point,
    dbus::executor::{Cycle, HooksReport},
    observe::logging::chain,
};

mod document;
mod mark;

use document::Document;
use mark::Mark;

/// What failed after a boot is tried again no sooner.
const AGAIN: Duration = Duration::from_secs(30);

/// The last try of the hooks after a boot that did not succeed, as long as this process lives.
pub type Tried = Option<(Instant, String)>;

/// Runs the hooks of a point, as far as they are due: what has been done for this cycle is done.
///
/// # Errors
/// When what has been done cannot be read or written, or who this node is not be told.
pub async fn run(
    context: &Context,
    bus: &Connection,
    point: Point,
    cycle: Cycle,
    tried: &mut Tried,
) -> Result<HooksReport, WorkloadError> {
    let cycle = cycle.bounded();
    let mark = Mark::read(&context.hooks);
    let run = Run { context, bus, point, settings: settings(context) };
    match point {
        Point::PreLock | Point::PreReboot => run.all(&cycle).await,
        Point::PreApply => {
            Mark::of_a_drain().write(&context.hooks)?;
            run.all(&cycle).await
        }
        Point::PostBoot => {
            if cycle.restores() {
                mark.after_a_boot().write(&context.hooks)?;
                *tried = None;
            } else if !mark.owes_post_boot() {
                return Ok(HooksReport::Done);
            } else if let Some((_, reason)) = tried.as_ref().filter(|t| t.0.elapsed() < AGAIN) {
                return Ok(HooksReport::Refused { reason: reason.clone() });
            }
            let report = run.all(&cycle).await?;
            match &report {
                HooksReport::Done => Mark::read(&context.hooks).settled().write(&context.hooks)?,
                HooksReport::Refused { reason } => *tried = Some((Instant::now(), reason.clone())),
            }
            Ok(report)
        }
        Point::InService => {
            if !mark.drained {
                return Ok(HooksReport::Done);
            }
            let report = run.all(&cycle).await?;
            if report == HooksReport::Done {
                Mark::default().write(&context.hooks)?;
            }
            Ok(report)
        }
        Point::OnFailure => {
            if mark.has_told(&cycle) {
                return Ok(HooksReport::Done);
            }
            let report = run.all(&cycle).await?;
            Mark::read(&context.hooks).told(&cycle).write(&context.hooks)?;
            Ok(report)
        }
    }
}

/// `[hooks]`. With a configuration that cannot be read the strict side: each has a say.
fn settings(context: &Context) -> Hooks {
    match config::load(&context.config) {
        Ok(loaded) => loaded.settings.hooks,
        Err(errors) => {
            warn!("the configuration is not known, so every hook has a say: {errors}");
            Settings::default().hooks
        }
    }
}

/// The hooks of one point.
struct Run<'a> {
    context: &'a Context,
    bus: &'a Connection,
    point: Point,
    settings: Hooks,
}

impl Run<'_> {
    /// Runs them in the order of their names.
    async fn all(&self, cycle: &Cycle) -> Result<HooksReport, WorkloadError> {
        let set = format!("hooks.d/{}", self.point.word());
        let hooks = scripts::find(&self.context.config, &scripts::folders(&set));
        if hooks.is_empty() {
            return Ok(HooksReport::Done);
        }
        let document = Document::of(self.context, self.point, cycle)?;
        let mut refusals = Vec::new();
        for hook in hooks {
            let Some(why) = self.one(&hook, &document).await else { continue };
            let name = format!("{}/{}", self.point.word(), hook.name);
            let advisory = !self.point.is_asked() || self.settings.is_advisory(&name);
            let why = format!("hook {name} {why}");
            warn!("{why}{}", if advisory { " (advisory)" } else { "" });
            if advisory {
                continue;
            }
            refusals.push(why);
            if self.point.stops_at_a_no() {
                break;
            }
        }
        if refusals.is_empty() {
            return Ok(HooksReport::Done);
        }
        Ok(HooksReport::Refused { reason: refusals.join("; ") })
    }

    /// Runs one; answers with what is wrong.
    async fn one(&self, hook: &Found, document: &Document) -> Option<String> {
        let program = match &hook.program {
            Ok(program) => program,
            Err(why) => return Some(format!("is not run: {why}")),
        };
        let point = self.point.word();
        let unit = format!("lockkeeper-hook-{point}-{}.service", hook.name);
        let description = format!("lockkeeper hook {point}/{}", hook.name);
        let environment = document.environment();
        let order = Order {
            unit: &unit,
            description: &description,
            program,
            arguments: &[],
            environment: &environment.iter().map(String::as_str).collect::<Vec<_>>(),
            input: document.text().as_bytes(),
            limit: self.settings.limit(&format!("{point}/{}", hook.name)),
        };
        info!("running hook {point}/{}", hook.name);
        match scripts::run(self.bus, &order).await {
            Ok(ended) => ended.complaint(),
            Err(error) => Some(format!("cannot be run: {}", chain(&error))),
        }
    }
}
