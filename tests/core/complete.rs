//! A new variant must get its row: each is matched by name here, and each number must occur.

use std::collections::BTreeSet;

use lockkeeper::core::{
    event::{Ask, Event, Outcome},
    state::{Cause, Ended, Phase, SupplyTask, Task},
};

use crate::{events, situations};

fn phase(phase: &Phase) -> usize {
    match phase {
        Phase::Steady => 0,
        Phase::Probing { .. } => 1,
        Phase::Queued { .. } => 2,
        Phase::Leaving => 3,
        Phase::Preflight { .. } => 4,
        Phase::Draining { .. } => 5,
        Phase::Recording { .. } => 6,
        Phase::Applying { .. } => 7,
        Phase::Deciding { .. } => 8,
        Phase::Rebooting { .. } => 9,
        Phase::Restoring { .. } => 10,
        Phase::Verifying { .. } => 11,
        Phase::Confirming { .. } => 12,
        Phase::Releasing { ended: Ended::Done, .. } => 13,
        Phase::Releasing { ended: Ended::GaveBack, .. } => 14,
        Phase::Failed { cause: Cause::Apply, .. } => 15,
        Phase::Failed { cause: Cause::Reboot, .. } => 16,
        Phase::Failed { cause: Cause::Health, halted: false, .. } => 17,
        Phase::Failed { cause: Cause::Health, halted: true, .. } => 18,
        Phase::Undoing { .. } => 19,
        Phase::Releasing { ended: Ended::RolledBack, .. } => 20,
        Phase::Returning { .. } => 21,
    }
}

fn event(event: &Event) -> usize {
    match event {
        Event::Tick => 0,
        Event::PolicyChanged => 1,
        Event::Store(Ok(_)) => 2,
        Event::Store(Err(_)) => 3,
        Event::Ask(Ask::Check) => 4,
        Event::Ask(Ask::Reboot { now: false }) => 5,
        Event::Ask(Ask::Reboot { now: true }) => 6,
        Event::Ask(Ask::Cancel) => 7,
        Event::Done { .. } => 8,
    }
}

fn outcome(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Checked { .. } => 0,
        Outcome::Staged => 1,
        Outcome::Probed { .. } => 2,
        Outcome::SlotGranted => 3,
        Outcome::LeftQueue { held: false } => 4,
        Outcome::LeftQueue { held: true } => 5,
        Outcome::Drained => 6,
        Outcome::Recorded => 7,
        Outcome::Applied => 8,
        Outcome::ApplyRefused(_) => 9,
        Outcome::ApplyFailed(_) => 10,
        Outcome::EvidenceRead(_) => 11,
        Outcome::RebootAccepted => 12,
        Outcome::RebootRefused(_) => 13,
        Outcome::Restored(_) => 14,
        Outcome::Verified(_) => 15,
        Outcome::Confirmed => 16,
        Outcome::Released => 17,
        Outcome::Halted => 18,
        Outcome::Failed(_) => 19,
        Outcome::Undone => 20,
        Outcome::UndoImpossible(_) => 21,
        Outcome::UndoFailed(_) => 22,
        Outcome::Undrained => 23,
        Outcome::HookFailed(_) => 24,
    }
}

fn supply(task: &SupplyTask) -> usize {
    match task {
        SupplyTask::Idle => 0,
        SupplyTask::Checking { .. } => 1,
        SupplyTask::Staging { .. } => 2,
    }
}

fn task(task: &Task) -> usize {
    match task {
        Task::Due => 0,
        Task::Running { .. } => 1,
        Task::Later { .. } => 2,
    }
}

fn occur(what: &str, numbers: impl Iterator<Item = usize>, count: usize) {
    let seen: BTreeSet<usize> = numbers.collect();
    let all: BTreeSet<usize> = (0..count).collect();
    assert_eq!(seen, all, "every {what} has its row");
}

#[test]
fn every_variant_has_its_row() {
    let rows = situations::all();
    occur("phase", rows.iter().map(|row| phase(&row.state.phase)), 22);
    occur("supply task", rows.iter().map(|row| supply(&row.state.supply.task)), 3);
    occur("task", rows.iter().map(|row| task(&row.state.task)), 3);
    occur("event", events::all(events::STALE).iter().map(|(_, e)| event(e)), 9);
    occur("outcome", events::outcomes().iter().map(|(_, o)| outcome(o)), 25);
}
