//! What the agent shows of itself: made after every step, read by the D-Bus side.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    adapters::slots::{NodeRecord, SlotStore},
    config::settings::Settings,
    core::{
        channel::followed,
        explain::{Explanation, explain},
        gate,
        health::Evidence,
        image,
        plan::PlanId,
        policy::Policy,
        progress::Progress,
        slots::SlotsView,
        stale::Report,
        state::{State, SupplyTask},
        time::Now,
        window::{NotYet, Opening},
    },
    dbus::agent::{LockDoc, LockError, SCHEMA, StatusDoc, SupplyDoc},
};

/// One look at the agent.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// Why things are as they are.
    pub explanation: Explanation,
    /// What the windows say, in words.
    pub window: String,
    /// Strategy word.
    pub strategy: &'static str,
    /// Lock groups.
    pub groups: Vec<String>,
    /// Those, and the group of etcd's members where there may be one.
    pub lock_groups: Vec<String>,
    /// Node id.
    pub node: String,
    /// Host name.
    pub name: String,
    /// Where load balancers reach this node, if the admin says so.
    pub address: Option<String>,
    /// Why a changed configuration is not in force.
    pub config_problem: Option<String>,
    /// The lock store in force.
    pub store: Arc<SlotStore>,
    /// How far staging or installing has come.
    pub progress: Option<Progress>,
}

impl Snapshot {
    /// Takes one.
    pub fn of(
        state: &State,
        policy: &Policy,
        settings: &Settings,
        now: Now,
        config_problem: Option<&str>,
        store: &Arc<SlotStore>,
    ) -> Self {
        Self {
            state: state.clone(),
            explanation: explain(state, policy, now),
            window: window_words(state, policy, now),
            strategy: settings.strategy.name(),
            groups: settings.lock.groups.clone(),
            lock_groups: settings.lock_groups(),
            node: policy.node.clone(),
            name: policy.name.clone(),
            address: settings.balancer.address.clone(),
            config_problem: config_problem.map(str::to_owned),
            store: Arc::clone(store),
            progress: None,
        }
    }

    /// The same, with what is to be said of processes that use old files.
    #[must_use]
    pub fn with_stale(mut self, report: &Report) -> Self {
        self.explanation.also.extend(report.verdicts());
        self
    }

    /// The same, with what has come of pulling images.
    #[must_use]
    pub fn with_images(mut self, report: &image::Report) -> Self {
        self.explanation.also.extend(report.verdicts());
        self
    }

    /// The same, with what the release channel has for this node.
    #[must_use]
    pub fn with_release(mut self, report: &followed::Report) -> Self {
        self.explanation.also.extend(report.verdicts());
        self
    }

    /// The same, with how far work has come.
    #[must_use]
    pub fn with_progress(self, progress: Option<Progress>) -> Self {
        Self { progress, ..self }
    }

    /// What the fleet is told.
    pub fn record(&self) -> NodeRecord {
        NodeRecord {
            name: self.name.clone(),
            phase: self.state.phase.word().to_owned(),
            text: self.explanation.verdict.text.clone(),
            service: self.state.phase.service().to_owned(),
            address: self.address.clone(),
        }
    }

    /// No check or staging is under way.
    pub fn supply_idle(&self) -> bool {
        self.state.supply.task == SupplyTask::Idle
    }

    /// The answer to `Check`.
    pub fn supply_doc(&self) -> SupplyDoc {
        SupplyDoc {
            staged: self.state.staged.as_ref().map(|staged| staged.plan.clone()),
            kept_back: self.state.supply.kept_back.clone(),
            problem: self.state.supply.problem.clone(),
            also: self.explanation.also.clone(),
            details: None,
        }
    }

    /// The answer to `Status`; `nodes` are the records of the fleet, if they could be read.
    pub fn status(&self, nodes: &BTreeMap<String, NodeRecord>) -> StatusDoc {
        StatusDoc {
            schema: SCHEMA,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node.clone(),
            name: self.name.clone(),
            strategy: self.strategy.to_owned(),
            groups: self.groups.clone(),
            phase: self.state.phase.word().to_owned(),
            verdict: self.explanation.verdict.clone(),
            also: self.explanation.also.clone(),
            boot_id: self.state.boot_id.0.clone(),
            staged: self.state.staged.as_ref().map(|staged| staged.plan.clone()),
            kept_back: self.state.supply.kept_back.clone(),
            reboot_needed: match &self.state.reboot_needed {
                Evidence::Yes { reasons } => reasons.clone(),
                Evidence::No | Evidence::Unknown { .. } => Vec::new(),
            },
            reboot_requested: self.state.request.is_some(),
            last_check: self.state.supply.last_ok,
            last_cycle: self.state.last.clone(),
            progress: self.progress.clone(),
            window: self.window.clone(),
            config_problem: self.config_problem.clone(),
            locks: self.locks(nodes),
        }
    }

    fn locks(&self, nodes: &BTreeMap<String, NodeRecord>) -> Vec<LockDoc> {
        let phase = |node: &str| nodes.get(node).map(|r| r.phase.clone()).unwrap_or_default();
        let seen = &self.state.store;
        let error = seen
            .error
            .as_ref()
            .map(|(text, since)| LockError { text: text.clone(), since: Some(*since) });
        let view = |group: &String| seen.view.as_ref().and_then(|views| views.get(group));
        let lock = |group: &String| {
            let doc = match view(group) {
                Some(view) => LockDoc::of(group, view, seen.at, phase),
                None => LockDoc { group: group.clone(), ..LockDoc::default() },
            };
            LockDoc { error: error.clone(), ..doc }
        };
        // The group of etcd's members goes without saying where nobody uses it.
        let used = |group: &&String| {
            self.groups.contains(group) || view(group).is_some_and(|v| *v != SlotsView::default())
        };
        self.lock_groups.iter().filter(used).map(lock).collect()
    }
}

fn window_words(state: &State, policy: &Policy, now: Now) -> String {
    let plan = gate::wanted(state, policy).and_then(|job| job.plan);
    let place = policy.place(plan.as_ref().map_or("", PlanId::as_str));
    let next = |at: Option<jiff::Timestamp>| at.map_or("never".to_owned(), |at| format!("at {at}"));
    match policy.schedule.at(now.wall, place) {
        Opening::Open { closes: None } => "always open".to_owned(),
        Opening::Open { closes: Some(at) } => format!("now, closes at {at}"),
        Opening::OpenButWaiting { why: NotYet::Spread, next: at, .. } => {
            format!("now; this node's turn comes {}", next(at))
        }
        Opening::OpenButWaiting { why: NotYet::TooShort, next: at, .. } => {
            format!("now, but too little is left; next {}", next(at))
        }
        Opening::Closed { next: at } => format!("closed; next {}", next(at)),
        Opening::Frozen { reason, next: at } => format!("frozen ({reason}); next {}", next(at)),
    }
}
