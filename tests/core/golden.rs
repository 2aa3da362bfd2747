//! The golden record: for each situation, the events with the same result together in one entry.

use std::{fmt::Write, fs, path::PathBuf};

use lockkeeper::core::{
    resume::resume,
    state::{Phase, State, SupplyTask, Task},
    step::{Step, step},
};

use crate::{
    events,
    situations::{self, Situation},
    support::{boot, is_supply},
};

const HEAD: &str = "\
# What each event leads to in each situation (see tests/core_table.rs; BLESS=1 writes this file).
# situation
#     events with one result
#         => phase; orders, each with its number; what the phase waits for; what else changed
";

#[test]
fn the_table_is_as_recorded() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/core/table.txt");
    let table = table();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    if let Some((n, (was, is))) =
        recorded.lines().zip(table.lines()).enumerate().find(|(_, (was, is))| was != is)
    {
        panic!("line {}: recorded {was:?}, is {is:?}; BLESS=1 records what is", n + 1);
    }
    assert_eq!(recorded.lines().count(), table.lines().count(), "BLESS=1 records what is");
}

fn table() -> String {
    let mut text = HEAD.to_owned();
    for row in situations::all() {
        write!(text, "\n{}\n", row.name).unwrap();
        let results = events::all(row.id).into_iter().map(|(name, event)| {
            (name, result(&row, &step(&row.state, &row.policy, row.now, event)))
        });
        let restarts = [("restart", boot(1)), ("reboot", boot(2))].map(|(name, boot)| {
            (name, result(&row, &resume(row.state.clone(), &boot, &row.policy, row.now)))
        });
        for (names, result) in grouped(results.chain(restarts)) {
            for line in wrapped(&names) {
                writeln!(text, "    {line}").unwrap();
            }
            writeln!(text, "        => {result}").unwrap();
        }
    }
    text
}

/// Results in the order they first occur, each with the names of what leads to it.
fn grouped(rows: impl Iterator<Item = (&'static str, String)>) -> Vec<(Vec<&'static str>, String)> {
    let mut groups: Vec<(Vec<&str>, String)> = Vec::new();
    for (name, result) in rows {
        match groups.iter_mut().find(|(_, known)| *known == result) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], result)),
        }
    }
    groups
}

fn wrapped(names: &[&str]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for name in names {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(name);
        } else if line.len() + name.len() < 90 {
            write!(line, ", {name}").unwrap();
        } else {
            line.push(',');
            lines.push((*name).to_owned());
        }
    }
    lines
}

fn result(row: &Situation, step: &Step) -> String {
    let orders = step.effects.iter().map(|(id, effect)| {
        let side = if is_supply(effect) { "" } else { "*" };
        format!("orders {}{side} {}", effect.word(), id.0)
    });
    let mut parts = vec![phase(&step.state.phase)];
    parts.extend(orders);
    parts.push(task(row, &step.state));
    parts.extend(changes(row, &step.state));
    if let Some(reason) = &step.ignored {
        let reason = if reason.contains(" does not answer ") { "does not answer" } else { reason };
        parts.push(format!("ignored: {reason}"));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn phase(phase: &Phase) -> String {
    let word = phase.word();
    match phase {
        Phase::Applying { job, orders } if job.at_boot => {
            format!("{word} (at boot, {orders} ordered)")
        }
        Phase::Applying { orders, .. } => format!("{word} ({orders} ordered)"),
        Phase::Undoing { orders, halted, .. } => {
            let halted = if *halted { "halted" } else { "not halted" };
            format!("{word} ({orders} ordered, {halted})")
        }
        Phase::Rebooting { job, requests, .. } if job.at_boot => {
            format!("{word} (to install, {requests} requested)")
        }
        Phase::Rebooting { requests, .. } => format!("{word} ({requests} requested)"),
        Phase::Verifying { healthy_since: Some(_), .. } => format!("{word} (healthy)"),
        Phase::Verifying { failing, .. } if !failing.is_empty() => format!("{word} (failing)"),
        Phase::Returning { ended, .. } | Phase::Releasing { ended, .. } => {
            format!("{word} ({ended:?})")
        }
        Phase::Failed { cause, halted, healthy_since, .. } => {
            let halted = if *halted { "halted" } else { "not halted" };
            let healthy = if healthy_since.is_some() { ", healthy" } else { "" };
            format!("{word} ({cause:?}, {halted}{healthy})")
        }
        _ => word.to_owned(),
    }
}

fn task(row: &Situation, state: &State) -> String {
    match &state.task {
        Task::Due => String::new(),
        Task::Running { id, tries: 0 } => format!("awaits {}", id.0),
        Task::Running { id, tries } => format!("awaits {} (failed {tries})", id.0),
        Task::Later { at, tries, error, .. } => {
            let secs = at.since(row.now.mono).as_secs_f64();
            let error = if error.contains(" does not answer ") { "not an answer" } else { error };
            let error = if error.is_empty() { String::new() } else { format!(": {error}") };
            let failed = if *tries == 0 { String::new() } else { format!(" (failed {tries})") };
            format!("again in {secs} s{failed}{error}")
        }
    }
}

/// What a step changed beside phase and task.
fn changes(row: &Situation, after: &State) -> Vec<String> {
    let before = &row.state;
    let yes = |option: bool| if option { "some" } else { "none" };
    let mut parts = Vec::new();
    let mut note = |changed: bool, text: String| {
        if changed {
            parts.push(text);
        }
    };
    let supply = match &after.supply.task {
        SupplyTask::Idle => "idle".to_owned(),
        SupplyTask::Checking { id } => format!("checking {}", id.0),
        SupplyTask::Staging { id, .. } => format!("staging {}", id.0),
    };
    note(before.supply.task != after.supply.task, format!("supply {supply}"));
    let next = after.supply.next_check.since(row.now.mono).as_secs();
    note(before.supply.next_check != after.supply.next_check, format!("next check in {next} s"));
    let problem = after.supply.problem.as_ref().map_or("none", |problem| problem.code.as_str());
    note(before.supply.problem != after.supply.problem, format!("problem: {problem}"));
    let packages = after.staged.as_ref().map_or(0, |staged| staged.plan.packages.len());
    note(before.staged != after.staged, format!("staged: {packages} package(s)"));
    let needed = format!("{:?}", after.reboot_needed);
    let needed = needed.split_whitespace().next().unwrap_or_default();
    note(before.reboot_needed != after.reboot_needed, format!("reboot needed: {needed}"));
    let rebooted = after.rebooted_for.join(", ");
    note(before.rebooted_for != after.rebooted_for, format!("rebooted for: [{rebooted}]"));
    note(before.request != after.request, format!("request: {}", yes(after.request.is_some())));
    note(before.denied != after.denied, format!("denied: {}", after.denied.len()));
    let hold_off = after.hold_off.as_ref().map_or("none", |hold_off| hold_off.why.code.as_str());
    note(before.hold_off != after.hold_off, format!("held off: {hold_off}"));
    let last = after.last.as_ref().map(|last| last.ended);
    note(before.last != after.last, format!("last: {last:?}"));
    parts
}
