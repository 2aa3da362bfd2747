//! What a hook is told: one JSON document on its standard input, and the least of it as variables for
//! shells. docs/hooks.md describes both.

use serde::Serialize;

use super::super::{Context, WorkloadError};
use crate::{
    adapters::{node, packages::plans, systemd::boot},
    config,
    core::{hook::Point, plan::PlanId, state::Cause},
    dbus::executor::Cycle,
    observe::logging::chain,
};

/// Format of the document.
const SCHEMA: u32 = 1;

/// One package that changes.
#[derive(Serialize)]
struct Package {
    name: String,
    arch: String,
    from: Option<String>,
    to: String,
}

#[derive(Serialize)]
struct Fields<'a> {
    schema: u32,
    hook: Point,
    node: String,
    name: String,
    groups: Vec<String>,
    boot_id: String,
    phase: &'a str,
    reason: &'a str,
    reboot_expected: bool,
    plan: Option<&'a str>,
    packages: Option<Vec<Package>>,
    cause: Option<Cause>,
    failing: Option<&'a str>,
}

/// The document, written.
pub(super) struct Document {
    text: String,
    environment: Vec<String>,
}

impl Document {
    /// The document of a point: who this node is, and what is in its plan, from our own sources.
    pub fn of(context: &Context, point: Point, cycle: &Cycle) -> Result<Self, WorkloadError> {
        let plan = cycle.plan.as_ref().map(|id| plans::load(&context.layout, id));
        let plan = plan.and_then(|loaded| {
            loaded
                .inspect_err(|error| tracing::warn!("hooks are told no packages: {}", chain(error)))
                .ok()
        });
        let asks = plan.as_ref().is_some_and(|plan| !plan.reboot_expected().is_empty());
        let packages = plan.map(|plan| {
            let one = |p: crate::core::plan::PackageChange| Package {
                name: p.name,
                arch: p.arch,
                from: p.from,
                to: p.to,
            };
            plan.packages.into_iter().map(one).collect()
        });
        let fields = Fields {
            schema: SCHEMA,
            hook: point,
            node: node::id()?,
            name: node::name()?,
            groups: config::load(&context.config)
                .map_or_else(|_| Vec::new(), |l| l.settings.lock.groups),
            boot_id: boot::boot_id()?,
            phase: &cycle.phase,
            reason: &cycle.reason,
            reboot_expected: cycle.reboots || cycle.plan.is_none() || asks,
            plan: cycle.plan.as_ref().map(PlanId::as_str),
            packages,
            cause: cycle.cause,
            failing: cycle.failing.as_deref(),
        };
        let environment = vec![
            format!("LOCKKEEPER_HOOK={}", point.word()),
            format!("LOCKKEEPER_NODE={}", fields.node),
            format!("LOCKKEEPER_NAME={}", fields.name),
            format!("LOCKKEEPER_PLAN={}", fields.plan.unwrap_or_default()),
        ];
        let text = serde_json::to_string_pretty(&fields).map_err(WorkloadError::Document)?;
        Ok(Self { text: text + "\n", environment })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn environment(&self) -> &[String] {
        &self.environment
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_manual_lists_exactly_the_fields() {
        let fields = Fields {
            schema: SCHEMA,
            hook: Point::PreApply,
            node: String::new(),
            name: String::new(),
            groups: Vec::new(),
            boot_id: String::new(),
            phase: "",
            reason: "",
            reboot_expected: false,
            plan: None,
            packages: None,
            cause: Some(Cause::Health),
            failing: None,
        };
        let written = serde_json::to_value(&fields).unwrap();
        assert_eq!((&written["hook"], &written["cause"]), (&"pre-apply".into(), &"health".into()));
        let written: BTreeSet<String> = written.as_object().unwrap().keys().cloned().collect();
        let manual = include_str!("../../../docs/hooks.md");
        let rows = manual.split_once("| field |").unwrap().1.split_once("\n\n").unwrap().0;
        let names = rows.lines().skip(2).filter_map(|row| row.split('|').nth(1));
        let listed: BTreeSet<String> = names
            .flat_map(|names| names.split('`').skip(1).step_by(2))
            .map(str::to_owned)
            .collect();
        assert_eq!(listed, written);
    }
}
