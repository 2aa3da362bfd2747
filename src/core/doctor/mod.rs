//! What is wrong with the lock, its etcd and this machine's part in it, and what mends it.
//!
//! Facts in, findings out; `rebootctl doctor` gathers the one and prints the other. docs/doctor.md
//! lists every finding.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{quorum::Cluster, slots::SlotsView};

mod etcd;
mod lock;
mod machine;
mod neighbours;

pub use neighbours::{CronApt, Neighbours, PackageKit, Unattended};

/// How bad a finding is; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It was looked at and is as it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, but it will not for ever, or not after the next failure.
    Warning,
    /// Nodes cannot take their turn, or will not be safe when they do.
    Trouble,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable word (`quorum-lost`).
    pub code: String,
    /// What is found and what follows from it.
    pub text: String,
    /// What mends it, in order; shell lines, each with a comment where it needs one.
    pub commands: Vec<String>,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This machine's own part; `None` when a lock is examined from somewhere else.
    pub machine: Option<Machine>,
    /// The fleet's lock; `None` when this machine takes part in none.
    pub store: Option<Store>,
}

/// This machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How far lockkeeper goes here, or what is wrong with the configuration.
    pub mode: Result<Mode, String>,
    /// The agent, or why it does not answer.
    pub agent: Result<Agent, String>,
    /// Whether the clock is synchronised, or why that is not known.
    pub clock: Result<bool, String>,
    /// Other programs here that update or reboot, or why that is not known.
    pub neighbours: Result<Neighbours, String>,
    /// The admin's checks that cannot be run: a sentence each.
    pub checks: Vec<String>,
}

/// The strategy, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is ever touched.
    Off,
    /// Without a fleet.
    Alone,
    /// Under the fleet's lock.
    Fleet,
}

/// A running agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// Why a changed configuration is not in force.
    pub config_problem: Option<String>,
}

/// The lock store of a fleet.
#[derive(Clone, Debug)]
pub struct Store {
    /// How to call `etcdctl` for this cluster (`etcdctl --endpoints=…`).
    pub etcdctl: String,
    /// What `rebootctl` needs to come to the same store (` --endpoint …`); empty on a node.
    pub target: String,
    /// Prefix of all keys.
    pub prefix: String,
    /// The members, or why not even one can be asked.
    pub cluster: Result<Cluster, String>,
    /// Each group's lock, or why it cannot be read.
    pub groups: BTreeMap<String, Result<SlotsView, String>>,
    /// Every node that has told of itself, by node id, or why they cannot be read.
    pub nodes: Result<BTreeMap<String, Node>, String>,
}

/// What the fleet knows of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Host name.
    pub name: String,
    /// Where it was in its cycle when it last said so.
    pub phase: String,
    /// Its agent has been heard within the last minute.
    pub alive: bool,
}

impl Finding {
    fn new(severity: Severity, code: &str, text: impl Into<String>) -> Self {
        Self { severity, code: code.to_owned(), text: text.into(), commands: Vec::new() }
    }

    fn mend(mut self, commands: impl IntoIterator<Item = String>) -> Self {
        self.commands.extend(commands);
        self
    }
}

fn trouble(code: &str, text: impl Into<String>) -> Finding {
    Finding::new(Severity::Trouble, code, text)
}

fn warning(code: &str, text: impl Into<String>) -> Finding {
    Finding::new(Severity::Warning, code, text)
}

fn note(code: &str, text: impl Into<String>) -> Finding {
    Finding::new(Severity::Note, code, text)
}

fn well(code: &str, text: impl Into<String>) -> Finding {
    Finding::new(Severity::Ok, code, text)
}

/// What `facts` mean, the worst first.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(store) = &facts.store {
        findings.extend(etcd::examine(store, facts.machine.is_some()));
        findings.extend(lock::examine(store));
    }
    if let Some(machine) = &facts.machine {
        findings.extend(machine::examine(machine));
    }
    // Stable: what belongs together stays together.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Something must be done.
#[must_use]
pub fn in_trouble(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Trouble)
}
