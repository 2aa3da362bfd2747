//! Documents as text for people: pure.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;

use crate::{
    adapters::slots::NodeRecord,
    core::{
        doctor::{Finding, Severity},
        explain::Explanation,
        history::Entry,
        outlook::{Comes, Outlook},
        progress::Progress,
        stale::{Fate, Report},
        verdict::Verdict,
    },
    dbus::agent::{LockDoc, QueuedDoc, StatusDoc},
};

/// `locksmithctl status`, byte for byte.
#[must_use]
pub fn locksmith(lock: &LockDoc) -> String {
    let mut text = format!("Available: {}\nMax: {}\n", lock.available, lock.max);
    if !lock.holders.is_empty() {
        text.push_str("\nMACHINE ID\n");
        for holder in &lock.holders {
            text.push_str(&holder.node);
            text.push('\n');
        }
    }
    text
}

/// The lock, as `status` begins.
#[must_use]
pub fn lock(lock: &LockDoc, now: Timestamp) -> String {
    let mut text = match (&lock.error, lock.seen) {
        (Some(_), None) => "Available: unknown\nMax: unknown\n".to_owned(),
        _ => format!("Available: {}\nMax: {}\n", lock.available, lock.max),
    };
    if !lock.holders.is_empty() {
        let rows = lock.holders.iter().map(|h| {
            let phase = if h.overdue {
                format!("{} (overdue)", or_dash(&h.phase))
            } else {
                h.phase.clone()
            };
            [h.node.as_str(), &h.name, &ago(h.since, now), or_dash(&phase), &h.reason]
                .map(str::to_owned)
        });
        text.push('\n');
        text.push_str(&table(["MACHINE ID", "NODE", "SINCE", "PHASE", "REASON"], rows));
    }
    if !lock.queue.is_empty() {
        let names: Vec<&str> = lock.queue.iter().map(|ticket| ticket.name.as_str()).collect();
        let _ = write!(text, "\nQueue: {}\n", names.join(", "));
    }
    if let Some(halt) = &lock.halt {
        let _ = write!(
            text,
            "\nHALTED by {} {}: {}\n  nobody is admitted until {}`rebootctl resume`\n",
            halt.by,
            ago(halt.since, now),
            halt.reason,
            halt.expires.map(|at| format!("{at} or ")).unwrap_or_default(),
        );
    }
    if let Some(error) = &lock.error {
        let since = error.since.map(|at| format!(" since {}", ago(at, now))).unwrap_or_default();
        let seen = lock.seen.map_or("never".to_owned(), |at| ago(at, now));
        let _ = write!(
            text,
            "\nThe lock store cannot be reached{since}: {}\n  above is what was last seen: {seen}\n",
            error.text
        );
    }
    text
}

/// The locks of some groups, each under its name if there are several.
#[must_use]
pub fn locks(locks: &[LockDoc], now: Timestamp) -> String {
    match locks {
        [] => "no group has been used yet\n".to_owned(),
        [one] => lock(one, now),
        several => several
            .iter()
            .map(|one| format!("Group: {}\n{}", one.group, lock(one, now)))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// `workloads`.
#[must_use]
pub fn outlook(outlook: &Outlook) -> String {
    let rows = outlook.workloads.iter().map(|row| {
        let user = row.user.as_ref().map(|user| format!("{user}: ")).unwrap_or_default();
        let name = format!("{user}{}", row.name);
        let restore = match row.comes {
            Comes::Lost => "-",
            _ => row.restore.name(),
        };
        [name.as_str(), row.comes.words(), &row.why, restore].map(str::to_owned)
    });
    let mut text = if outlook.workloads.is_empty() {
        "nothing runs that would be missed\n".to_owned()
    } else {
        table(["WORKLOAD", "COMES BACK", "BY, OR WHY", "RESTORE"], rows)
    };
    for (title, lines) in [
        ("Fails already, so nobody is blamed for it", &outlook.failing),
        ("Not understood", &outlook.doubts),
        ("Keeps an update from beginning", &outlook.blocking),
    ] {
        if !lines.is_empty() {
            let _ = write!(text, "\n{title}:\n  {}\n", lines.join("\n  "));
        }
    }
    text
}

/// `queue`.
#[must_use]
pub fn queues(locks: &[LockDoc]) -> String {
    let rows = locks.iter().flat_map(|lock| {
        let row = |(place, ticket): (usize, &QueuedDoc)| {
            [&lock.group, &(place + 1).to_string(), &ticket.node, &ticket.name, &ticket.reason]
                .map(String::clone)
        };
        lock.queue.iter().enumerate().map(row).collect::<Vec<_>>()
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return "nobody waits\n".to_owned();
    }
    table(["GROUP", "PLACE", "MACHINE ID", "NODE", "REASON"], rows.into_iter())
}

/// `history`.
#[must_use]
pub fn history(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "nothing has happened yet\n".to_owned();
    }
    let rows = entries.iter().map(|entry| {
        let at = entry.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let release = entry.release.as_deref().map(|id| id.get(..12).unwrap_or(id));
        let why = match release {
            Some(release) if entry.reason.is_empty() => release.to_owned(),
            Some(release) => format!("{} ({release})", entry.reason),
            None => entry.reason.clone(),
        };
        [&at, entry.what.word(), or_dash(&entry.name), or_dash(&entry.by), &why].map(str::to_owned)
    });
    table(["WHEN", "WHAT", "NODE", "BY", "WHY"], rows)
}

/// `status`, whole.
#[must_use]
pub fn status(doc: &StatusDoc, now: Timestamp) -> String {
    let mut text = locks(&doc.locks, now);
    let _ = write!(
        text,
        "\nThis node: {} (group {}, strategy {}), {}: {}\n",
        doc.name,
        doc.groups.join("+"),
        doc.strategy,
        doc.phase,
        line(&doc.verdict, now)
    );
    for lock in &doc.locks {
        if let Some(place) = lock.queue.iter().position(|ticket| ticket.node == doc.node) {
            let _ = writeln!(text, "  place in the queue of {}: {}", lock.group, place + 1);
        }
    }
    let staged = doc.staged.as_ref().map_or("nothing staged".to_owned(), |plan| {
        format!("staged {} ({} package(s))", plan.id.short(), plan.packages.len())
    });
    let reboot = match doc.reboot_needed.as_slice() {
        [] => "no reboot pending".to_owned(),
        reasons => format!("reboot pending: {}", reasons.join(", ")),
    };
    let checked = doc.last_check.map_or("never".to_owned(), |at| ago(at, now));
    let _ = writeln!(text, "  {staged}; {reboot}; last check: {checked}");
    if let Some(progress) = &doc.progress {
        let _ = writeln!(text, "  {}", bar(progress));
    }
    if !doc.kept_back.is_empty() {
        let count = doc.kept_back.len();
        let _ = writeln!(text, "  kept back: {count} package(s); `rebootctl plan` says why");
    }
    let _ = writeln!(text, "  window: {}", doc.window);
    for also in &doc.also {
        let _ = writeln!(text, "  note: {}: {}", also.code, line(also, now));
    }
    if let Some(problem) = &doc.config_problem {
        let _ = writeln!(text, "  the changed configuration is not in force: {problem}");
    }
    text
}

/// `explain`.
#[must_use]
pub fn explain(doc: &Explanation, now: Timestamp) -> String {
    let mut text = format!("{}: {}\n", doc.verdict.code, line(&doc.verdict, now));
    for also in &doc.also {
        let _ = writeln!(text, "also {}: {}", also.code, line(also, now));
    }
    text
}

/// `stale`.
#[must_use]
pub fn stale(report: &Report) -> String {
    let mut text = if report.units.is_empty() {
        "nothing runs on files that were deleted or replaced\n".to_owned()
    } else {
        let rows = report.units.iter().map(|unit| {
            let fate = match unit.fate {
                Fate::Restart => "restart",
                Fate::Reexecute => "execute anew",
                Fate::Reboot => "reboot",
                Fate::Leave => "-",
            };
            let file = match unit.files.as_slice() {
                [] => String::new(),
                [one] => one.clone(),
                [first, more @ ..] => format!("{first} (+{})", more.len()),
            };
            let processes = unit.processes.len().to_string();
            [unit.name.clone(), processes, fate.to_owned(), file, unit.why.clone()]
        });
        table(["UNIT", "PROCESSES", "NEEDS", "OLD FILE", "WHY"], rows)
    };
    if report.elsewhere > 0 {
        let _ = writeln!(text, "{} process(es) of containers were left out", report.elsewhere);
    }
    if report.hidden > 0 {
        let _ = writeln!(text, "{} process(es) cannot be looked at: ask as root", report.hidden);
    }
    text
}

/// `[#####---------------]  25 %  installing: Unpacking bash (amd64)`, in at most 79 columns.
#[must_use]
pub fn bar(progress: &Progress) -> String {
    let Progress { doing, percent, step } = progress;
    let full = usize::from((*percent).min(100)) / 5;
    let bar = format!("[{}{}]", "#".repeat(full), "-".repeat(20 - full));
    let line = format!("{bar} {percent:>3} %  {doing}: {step}");
    line.chars().filter(|letter| !letter.is_control()).take(79).collect()
}

/// `nodes`.
#[must_use]
pub fn nodes(nodes: &BTreeMap<String, NodeRecord>) -> String {
    let rows = nodes.iter().map(|(id, record)| {
        [id.as_str(), &record.name, &record.service, &record.phase, &record.text].map(str::to_owned)
    });
    table(["MACHINE ID", "NODE", "SERVICE", "PHASE", "WHY"], rows)
}

/// `doctor`: each finding, and under it what mends it.
#[must_use]
pub fn doctor(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { severity, code, text: said, commands } in findings {
        let word = match severity {
            Severity::Trouble => "TROUBLE",
            Severity::Warning => "warning",
            Severity::Note => "note   ",
            Severity::Ok => "ok     ",
        };
        let _ = writeln!(text, "{word}  {code}: {said}");
        for command in commands {
            let _ = writeln!(text, "           {command}");
        }
    }
    text
}

pub(super) fn line(verdict: &Verdict, now: Timestamp) -> String {
    match verdict.since {
        Some(at) => format!("{} (since {})", verdict.text, ago(at, now)),
        None => verdict.text.clone(),
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// `3m ago`; the instant itself when it is in the future (another machine's clock).
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let secs = now.as_second() - at.as_second();
    match secs {
        i64::MIN..=-5 => at.to_string(),
        -4..=4 => "just now".to_owned(),
        5..=59 => format!("{secs}s ago"),
        60..=3599 => format!("{}m ago", secs / 60),
        3600..=86_399 => format!("{}h {}m ago", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {}h ago", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// Left-aligned columns, two spaces apart, no trailing blanks.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{outlook::Row, stale::StaleUnit, wish::Restore};
    use crate::dbus::agent::{HolderDoc, LockError};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn held() -> LockDoc {
        let holder = |node: &str, name: &str| HolderDoc {
            node: node.to_owned(),
            name: name.to_owned(),
            since: at("2026-11-23T10:00:00Z"),
            reason: "kernel".to_owned(),
            phase: "verifying".to_owned(),
            release: None,
            overdue: false,
        };
        LockDoc {
            available: 0,
            max: 2,
            holders: vec![
                holder("0e9f8f6e0f5b4a3b9c1d2e3f4a5b6c7d", "web-2"),
                holder("69d27b356a94476da859461d3a3bc6fd", "web-10"),
            ],
            seen: Some(at("2026-11-23T10:03:00Z")),
            ..LockDoc::default()
        }
    }

    #[test]
    fn an_outlook_is_a_table_and_what_is_wrong_below_it() {
        let row = |user: Option<&str>, name: &str, comes, why: &str| Row {
            user: user.map(str::to_owned),
            name: name.to_owned(),
            comes,
            why: why.to_owned(),
            restore: Restore::Required,
        };
        let doc = Outlook {
            workloads: vec![
                row(None, "web.service", Comes::ByItself, "multi-user.target"),
                row(Some("alice"), "container db (podman)", Comes::Started, "restart policy no"),
                row(None, "run-u7.service", Comes::Lost, "made by systemd-run"),
            ],
            blocking: vec!["docker does not answer".to_owned()],
            ..Outlook::default()
        };
        assert_eq!(
            outlook(&doc),
            "WORKLOAD                      COMES BACK  BY, OR WHY           RESTORE\n\
             web.service                   by itself   multi-user.target    required\n\
             alice: container db (podman)  lockkeeper  restart policy no    required\n\
             run-u7.service                LOST        made by systemd-run  -\n\n\
             Keeps an update from beginning:\n  docker does not answer\n"
        );
        let nothing = "nothing runs that would be missed\n";
        assert_eq!(outlook(&Outlook::default()), nothing);
    }

    #[test]
    fn locksmith_format_is_byte_exact() {
        assert_eq!(
            locksmith(&held()),
            "Available: 0\nMax: 2\n\nMACHINE ID\n0e9f8f6e0f5b4a3b9c1d2e3f4a5b6c7d\n69d27b356a94476da859461d3a3bc6fd\n"
        );
        let free = LockDoc { available: 1, max: 1, ..LockDoc::default() };
        assert_eq!(locksmith(&free), "Available: 1\nMax: 1\n");
    }

    #[test]
    fn status_begins_with_the_block_of_locksmith_and_lines_up_its_columns() {
        let text = lock(&held(), at("2026-11-23T10:03:00Z"));
        assert_eq!(
            text,
            "Available: 0\nMax: 2\n\n\
             MACHINE ID                        NODE    SINCE   PHASE      REASON\n\
             0e9f8f6e0f5b4a3b9c1d2e3f4a5b6c7d  web-2   3m ago  verifying  kernel\n\
             69d27b356a94476da859461d3a3bc6fd  web-10  3m ago  verifying  kernel\n"
        );
    }

    #[test]
    fn a_store_that_cannot_be_seen_is_said_with_its_age() {
        let error =
            LockError { text: "no leader".to_owned(), since: Some(at("2026-11-23T10:01:00Z")) };
        let text = lock(&LockDoc { error: Some(error), ..held() }, at("2026-11-23T10:03:00Z"));
        assert!(text.contains("cannot be reached since 2m ago: no leader"), "{text}");
        assert!(text.contains("last seen: just now"), "{text}");
        let error = LockError { text: "refused".to_owned(), since: None };
        let never = LockDoc { error: Some(error), ..LockDoc::default() };
        assert!(lock(&never, at("2026-11-23T10:03:00Z")).starts_with("Available: unknown\n"));
    }

    #[test]
    fn what_runs_on_old_files_is_one_line_a_unit_with_what_it_needs() {
        let unit = |name: &str, fate, files: &[&str], why: &str| StaleUnit {
            name: name.to_owned(),
            processes: vec![7; files.len()],
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            fate,
            why: why.to_owned(),
        };
        let units = vec![
            unit("dbus.service", Fate::Reboot, &["/lib/a"], "everybody is on it"),
            unit("init.scope", Fate::Reexecute, &["/lib/a"], ""),
            unit("web.service", Fate::Restart, &["/lib/a", "/lib/b"], ""),
        ];
        let report = Report { units, elsewhere: 3, hidden: 1, ..Report::default() };
        assert_eq!(
            stale(&report),
            "UNIT          PROCESSES  NEEDS         OLD FILE     WHY\n\
             dbus.service  1          reboot        /lib/a       everybody is on it\n\
             init.scope    1          execute anew  /lib/a\n\
             web.service   2          restart       /lib/a (+1)\n\
             3 process(es) of containers were left out\n\
             1 process(es) cannot be looked at: ask as root\n"
        );
        let nothing = stale(&Report::default());
        assert_eq!(nothing, "nothing runs on files that were deleted or replaced\n");
    }

    #[test]
    fn ages_read_like_speech() {
        let now = at("2026-11-23T10:00:00Z");
        for (then, said) in [
            ("2026-11-23T09:59:58Z", "just now"),
            ("2026-11-23T09:59:30Z", "30s ago"),
            ("2026-11-23T09:00:00Z", "1h 0m ago"),
            ("2026-11-20T08:00:00Z", "3d 2h ago"),
            ("2026-11-23T11:00:00Z", "2026-11-23T11:00:00Z"),
        ] {
            assert_eq!(ago(at(then), now), said);
        }
    }
}
