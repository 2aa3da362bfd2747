//! The tables.

use std::fmt::Write as _;
use std::time::Duration;

use crate::handoff::Row;
use crate::latency::{Call, Measured};
use crate::meter::Cost;

/// A hand-off among 1000 is to cost at most this many times the floor's.
const AIM: f64 = 1.5;
/// ms per hand-off among 1000, hold 0, of a hand-written watch queue on a machine of two cores.
const PUBLISHED: (f64, f64) = (1.7, 2.1);

/// A lock over `FleetLock` is to cost at most this many compare-and-swaps: 0.8 × airlock's 1.75 ms where
/// one takes 0.35 ms.
const FLEET_LOCK_AIM: f64 = 0.8 * 1.75 / 0.35;

/// Latencies, each beside the first.
pub fn latency(measured: &Measured) -> String {
    let Measured { calls, writes, refused } = measured;
    let mut table = table("| one node, nobody waits | median | p99 | of the compare-and-swap |");
    let floor = quantile(&calls[0].took, 0.5);
    for Call { name, took } in calls {
        let (median, p99) = (quantile(took, 0.5), quantile(took, 0.99));
        let ratio = median / floor;
        line(&mut table, &format!("| {name} | {median:.2} ms | {p99:.2} ms | {ratio:.2}× |"));
    }
    let _ = writeln!(
        table,
        "\nFleetLock: aim for a lock: {FLEET_LOCK_AIM:.1}×; {writes} writes to etcd for {refused} refusals"
    );
    table
}

/// Hand-offs, lock beside floor. What is over N × hold is the price of the hand-offs.
pub fn handoff(rows: &[Row]) -> String {
    let mut table = table(
        "| waiters | hold | total: floor | total: lockkeeper | a hand-off: floor | a hand-off: lockkeeper | ratio of totals | rounds (range of ratios) |",
    );
    for row in rows {
        let (floor, ours) = (seconds(&row.floor), seconds(&row.ours));
        let ratios = ratios(row);
        line(
            &mut table,
            &format!(
                "| {} | {} ms | {floor:.3} s | {ours:.3} s | {:.2} ms | {:.2} ms | {:.2}× | {} ({:.2}–{:.2}) |",
                row.waiters,
                row.hold.as_millis(),
                each(row, floor),
                each(row, ours),
                ours / floor,
                row.ours.len(),
                ratios.first().copied().unwrap_or_default(),
                ratios.last().copied().unwrap_or_default(),
            ),
        );
    }
    table
}

/// Requests and CPU, per node.
pub fn requests(rows: &[Row]) -> String {
    let mut table = table(
        "| waiters | hold | | requests a node | of these | keep-alives a node | CPU a node: etcd | CPU a node: clients |",
    );
    for row in rows {
        for (name, costs) in [("floor", &row.floor), ("lockkeeper", &row.ours)] {
            let nodes = count(row.waiters);
            let cost = middle(costs);
            line(
                &mut table,
                &format!(
                    "| {} | {} ms | {name} | {:.1} | {} | {:.1} | {:.2} ms | {:.2} ms |",
                    row.waiters,
                    row.hold.as_millis(),
                    cost.requests() / nodes,
                    cost.by_method(nodes),
                    cost.keep_alives / nodes,
                    cost.etcd_cpu / nodes * 1e3,
                    cost.own_cpu / nodes * 1e3,
                ),
            );
        }
    }
    table
}

/// How far from the aims.
pub fn aims(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.waiters == 1000 && row.hold.is_zero()) {
        let (floor, ours) = (each(row, seconds(&row.floor)), each(row, seconds(&row.ours)));
        let ratio = ours / floor;
        let (least, most) = (PUBLISHED.0 * AIM, PUBLISHED.1 * AIM);
        let _ = writeln!(
            text,
            "1000 waiters, hold 0: {ours:.2} ms a hand-off, {ratio:.2}× this run's floor; aim: {AIM}×, and {least:.2}–{most:.2} ms"
        );
    }
    for hold in [0, 50] {
        let at = |row: &&Row| row.hold.as_millis() == hold;
        let per_node = |row: &Row| {
            let requests = middle(&row.ours).requests() / count(row.waiters);
            format!("{requests:.1} at {}", row.waiters)
        };
        let all: Vec<_> = rows.iter().filter(at).map(per_node).collect();
        let _ =
            writeln!(text, "requests a node, hold {hold} ms: {}; aim: no growth", all.join(", "));
    }
    text
}

fn table(head: &str) -> String {
    let columns = head.matches('|').count() - 1;
    format!("{head}\n|{}\n", "---|".repeat(columns))
}

fn line(table: &mut String, row: &str) {
    table.push_str(row);
    table.push('\n');
}

/// ms a hand-off takes beside the hold, when all of them take `total` seconds.
fn each(row: &Row, total: f64) -> f64 {
    let nodes = count(row.waiters);
    (total - nodes * row.hold.as_secs_f64()) / nodes * 1e3
}

/// Ratios of lock to floor, round by round, sorted.
fn ratios(row: &Row) -> Vec<f64> {
    let both = row.ours.iter().zip(&row.floor);
    let mut ratios: Vec<_> =
        both.map(|(ours, floor)| ours.took.as_secs_f64() / floor.took.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

fn seconds(costs: &[Cost]) -> f64 {
    middle(costs).took.as_secs_f64()
}

/// The round of median time.
fn middle(costs: &[Cost]) -> Cost {
    let mut sorted = costs.to_vec();
    sorted.sort_by_key(|cost| cost.took);
    sorted.swap_remove(sorted.len() / 2)
}

/// ms.
fn quantile(took: &[Duration], share: f64) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let last = sorted.len() - 1;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let index = (last as f64 * share).round() as usize;
    sorted[index].as_secs_f64() * 1e3
}

/// Few enough for a float.
fn count(nodes: usize) -> f64 {
    u32::try_from(nodes).map_or(f64::INFINITY, f64::from)
}
