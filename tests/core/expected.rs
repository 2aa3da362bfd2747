//! The rows that matter most, spelled out: blessing the golden record does not change these.

use lockkeeper::core::{resume::resume, step::step};

use crate::{
    events,
    situations::{self, Situation},
    support::{boot, words},
};

/// Situation, event, phase after, effects.
const STEPS: &[(&str, &str, &str, &[&str])] = &[
    // Nothing begins unless something is wanted and allowed.
    ("steady, nothing to do", "tick", "steady", &[]),
    ("steady, plan staged", "tick", "probing", &["probe"]),
    ("steady, plan staged, window closed", "tick", "steady", &[]),
    ("steady, plan staged, window closed", "ask reboot", "steady", &[]),
    ("steady, plan staged, window closed", "ask reboot now", "probing", &["probe"]),
    ("steady, plan staged, strategy off", "tick", "steady", &[]),
    ("steady, plan staged, strategy off", "ask reboot now", "steady", &[]),
    ("steady, plan staged, held off", "tick", "steady", &[]),
    ("steady, plan staged, held off until now", "tick", "probing", &["probe"]),
    ("steady, reboot pending for reasons that it did not help", "tick", "steady", &[]),
    // A denied plan is not staged again.
    ("steady, checking with plan 1 denied", "checked: plan 1", "steady", &[]),
    ("steady, checking", "checked: plan 1", "steady", &["stage"]),
    // Unknown is a no.
    ("probing", "probed: clear", "queued", &["acquire-slot"]),
    ("probing", "probed: inhibited", "steady", &[]),
    // Judged once the slot is held: before, another node may be down in its turn.
    ("probing", "probed: quorum", "queued", &["acquire-slot"]),
    ("probing", "probed: unknown", "steady", &[]),
    ("probing", "failed", "steady", &[]),
    ("preflight", "probed: unknown", "releasing", &["release"]),
    ("preflight", "failed", "releasing", &["release"]),
    ("preflight, window closed since", "probed: clear", "releasing", &["release"]),
    // A hook that says no ends it with nothing disturbed, and what was drained is undrained.
    ("probing", "hook failed", "steady", &[]),
    ("preflight", "hook failed", "releasing", &["release"]),
    ("draining", "hook failed", "returning", &["undrain"]),
    ("draining, failed four times", "failed", "returning", &["undrain"]),
    ("rebooting, first request", "hook failed", "restoring", &["restore"]),
    ("rebooting, second request", "hook failed", "rebooting", &[]),
    ("rebooting to install, first request", "hook failed", "returning", &["undrain"]),
    ("rebooting to install, second request", "hook failed", "rebooting", &[]),
    ("deciding", "evidence: unknown", "restoring", &["restore"]),
    ("deciding", "evidence: none", "restoring", &["restore"]),
    ("deciding", "evidence: reboot", "rebooting", &["reboot"]),
    ("deciding, reboot asked for", "evidence: none", "rebooting", &["reboot"]),
    ("deciding, window closed since", "evidence: reboot", "restoring", &["restore"]),
    // The same reasons do not cause another reboot.
    (
        "deciding after a reboot for the kernel that did not help",
        "evidence: reboot",
        "restoring",
        &["restore"],
    ),
    // A slot that comes while leaving is given back; leaving is never forgotten.
    ("queued, window closed since", "tick", "leaving", &["leave-queue"]),
    ("queued, window closed since", "slot granted", "preflight", &["probe"]),
    ("leaving", "left queue: held", "releasing", &["release"]),
    ("leaving", "left queue", "probing", &["probe"]),
    ("leaving", "failed", "leaving", &[]),
    // An admin may call it off as long as nothing was changed.
    ("draining", "ask cancel", "returning", &["undrain"]),
    // Nothing but an answer ends an apply.
    ("applying, first order", "tick", "applying", &[]),
    ("applying, first order", "ask cancel", "applying", &[]),
    ("applying, window closed since", "tick", "applying", &[]),
    ("applying, first order", "applied", "deciding", &["read-evidence"]),
    ("applying, first order", "apply refused", "returning", &["undrain"]),
    ("applying, second order", "apply refused", "failed", &["halt"]),
    ("applying, first order", "apply failed", "failed", &["halt"]),
    ("applying, first order", "failed", "applying", &[]),
    ("applying, tenth order", "failed", "failed", &["halt"]),
    ("applying, to be ordered again now", "tick", "applying", &["apply"]),
    // A boot that installs is a reboot like any other; what has come of it is asked after it.
    ("recording before a boot that installs", "recorded", "rebooting", &["apply-at-boot"]),
    (
        "recording before a boot that installs, window closed since",
        "recorded",
        "returning",
        &["undrain"],
    ),
    ("rebooting to install, first request", "reboot accepted", "rebooting", &[]),
    ("rebooting to install, first request", "reboot refused", "returning", &["undrain"]),
    ("rebooting to install, first request", "apply refused", "returning", &["undrain"]),
    ("rebooting to install, second request", "reboot refused", "rebooting", &[]),
    ("rebooting to install, second request", "apply refused", "rebooting", &[]),
    ("rebooting to install, overdue after five requests", "tick", "failed", &["halt"]),
    ("booted to install, first order", "applied", "deciding", &["read-evidence"]),
    // The workload may not have come back, whatever became of the packages.
    ("booted to install, first order", "apply refused", "restoring", &["restore"]),
    ("booted to install, second order", "apply refused", "failed", &["halt"]),
    ("booted to install, first order", "apply failed", "failed", &["halt"]),
    // Only the one request there was, known to be refused, is no reboot to wait for.
    ("rebooting, first request", "reboot accepted", "rebooting", &[]),
    ("rebooting, first request", "reboot refused", "restoring", &["restore"]),
    ("rebooting, first request", "failed", "rebooting", &[]),
    ("rebooting, second request", "reboot refused", "rebooting", &[]),
    ("rebooting, accepted, awaited", "tick", "rebooting", &[]),
    ("rebooting, accepted, overdue", "tick", "rebooting", &["reboot"]),
    ("rebooting, overdue, window closed since", "tick", "rebooting", &[]),
    ("rebooting, overdue after five requests", "tick", "failed", &["halt"]),
    // The slot goes back only after the node was healthy for the settle time.
    ("restoring", "failed", "restoring", &[]),
    ("restoring, failed four times", "failed", "verifying", &["verify"]),
    ("verifying", "verified: healthy", "verifying", &[]),
    ("verifying, healthy for 29 s", "verified: healthy", "verifying", &[]),
    ("verifying, healthy for 30 s", "verified: healthy", "confirming", &["confirm"]),
    ("verifying, healthy for 30 s", "verified: failing", "verifying", &[]),
    ("verifying, healthy for 30 s", "failed", "verifying", &[]),
    ("verifying for ten minutes", "verified: failing", "failed", &["halt"]),
    ("verifying for ten minutes", "failed", "failed", &["halt"]),
    ("confirming, failed four times", "failed", "returning", &["undrain"]),
    // An undrain follows every drain, however long it takes, and the slot stays until then.
    ("returning, done", "undrained", "releasing", &["release"]),
    ("returning, gave back", "undrained", "releasing", &["release"]),
    ("returning, rolled back", "undrained", "releasing", &["release"]),
    ("returning, failed ten times", "failed", "returning", &[]),
    ("releasing, done", "failed", "releasing", &[]),
    ("releasing, done", "released", "steady", &[]),
    // What failed keeps the slot until it is healthy, and for a reboot that may come, for ever.
    ("failed, group not halted, to stay so", "failed", "failed", &[]),
    ("failed, group not halted, to stay so", "halted", "failed", &[]),
    // What failed is undone, once, also when the halt cannot be published; a reboot cannot be.
    ("failed, group not halted yet", "halted", "undoing", &["undo"]),
    ("failed, group not halted yet", "failed", "undoing", &["undo"]),
    ("failed to reboot, group not halted yet", "halted", "failed", &[]),
    ("undone, group not halted yet", "halted", "failed", &[]),
    ("undoing, first order", "undone", "deciding", &["read-evidence"]),
    ("undoing, first order", "undo impossible", "failed", &["verify"]),
    ("undoing, first order", "undo failed", "failed", &["verify"]),
    ("undoing, first order", "failed", "undoing", &[]),
    ("undoing, tenth order", "failed", "failed", &["verify"]),
    ("undoing, group not halted yet", "undo failed", "failed", &["halt"]),
    ("undone, not healthy for ten minutes", "verified: failing", "failed", &["verify"]),
    // Nobody goes on before the group is halted.
    ("undone, group not halted, confirming", "confirmed", "failed", &["halt"]),
    ("undone, confirming", "confirmed", "returning", &["undrain"]),
    ("releasing, rolled back", "released", "steady", &[]),
    ("failed, not healthy, group halted", "verified: failing", "failed", &[]),
    ("failed, not healthy, group halted", "ask cancel", "failed", &[]),
    ("failed, healthy for 30 s", "verified: healthy", "confirming", &["confirm"]),
    ("failed to reboot, healthy for 30 s", "verified: healthy", "failed", &[]),
];

/// Situation, boot (1 = the same), phase after, effects.
const RESTARTS: &[(&str, u32, &str, &[&str])] = &[
    ("steady, nothing to do", 1, "steady", &[]),
    ("probing", 1, "probing", &["probe"]),
    ("queued", 1, "queued", &["acquire-slot"]),
    ("queued", 2, "queued", &["acquire-slot"]),
    ("queued, window closed since", 1, "leaving", &["leave-queue"]),
    ("leaving", 2, "leaving", &["leave-queue"]),
    ("preflight", 1, "preflight", &["probe"]),
    ("preflight", 2, "releasing", &["release"]),
    ("draining", 1, "draining", &["drain"]),
    ("draining", 2, "returning", &["undrain"]),
    ("recording before a plan", 1, "recording", &["record"]),
    ("recording before a plan", 2, "returning", &["undrain"]),
    ("applying, first order", 1, "applying", &["apply"]),
    ("applying, first order", 2, "applying", &["apply"]),
    ("applying, tenth order", 1, "applying", &["apply"]),
    ("applying, tenth order", 2, "failed", &["halt"]),
    ("deciding", 1, "deciding", &["read-evidence"]),
    ("deciding", 2, "restoring", &["restore"]),
    ("rebooting, first request", 1, "rebooting", &["reboot"]),
    ("rebooting, first request", 2, "restoring", &["restore"]),
    ("rebooting, overdue, window closed since", 1, "rebooting", &[]),
    ("rebooting, fifth request", 1, "failed", &["halt"]),
    ("rebooting, fifth request", 2, "restoring", &["restore"]),
    ("rebooting to install, first request", 1, "rebooting", &["apply-at-boot"]),
    ("rebooting to install, first request", 2, "applying", &["finish"]),
    ("rebooting to install, reboot asked for", 2, "applying", &["finish"]),
    ("booted to install, first order", 1, "applying", &["finish"]),
    ("failed to reboot to install", 1, "failed", &["verify"]),
    ("failed to reboot to install", 2, "applying", &["finish"]),
    ("restoring", 1, "restoring", &["restore"]),
    ("restoring", 2, "restoring", &["restore"]),
    ("verifying, healthy for 30 s", 1, "verifying", &["verify"]),
    ("verifying, healthy for 30 s", 2, "restoring", &["restore"]),
    ("confirming", 1, "confirming", &["confirm"]),
    ("confirming", 2, "restoring", &["restore"]),
    ("returning, done", 1, "returning", &["undrain"]),
    ("returning, done", 2, "restoring", &["restore"]),
    ("returning, gave back", 2, "returning", &["undrain"]),
    ("releasing, done", 1, "releasing", &["release"]),
    ("releasing, gave back", 2, "releasing", &["release"]),
    ("failed, group not halted yet", 1, "failed", &["halt"]),
    ("undoing, first order", 1, "undoing", &["undo"]),
    ("undoing, first order", 2, "undoing", &["undo"]),
    ("undoing, tenth order", 2, "failed", &["verify"]),
    ("failed, not healthy, group halted", 1, "failed", &["verify"]),
    ("failed to reboot, healthy for 30 s", 1, "failed", &["verify"]),
    ("failed to reboot, healthy for 30 s", 2, "restoring", &["restore"]),
];

fn situation(name: &str) -> Situation {
    situations::all().into_iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}?"))
}

#[test]
fn the_steps_that_matter_most_are_these() {
    for (name, event_name, phase, effects) in STEPS {
        let row = situation(name);
        let (_, event) =
            events::all(row.id).into_iter().find(|(name, _)| name == event_name).unwrap();
        let result = step(&row.state, &row.policy, row.now, event);
        assert_eq!(
            (result.state.phase.word(), words(&result).as_slice()),
            (*phase, *effects),
            "{name} × {event_name}"
        );
    }
}

#[test]
fn the_restarts_that_matter_most_are_these() {
    for (name, n, phase, effects) in RESTARTS {
        let row = situation(name);
        let result = resume(row.state, &boot(*n), &row.policy, row.now);
        assert_eq!(
            (result.state.phase.word(), words(&result).as_slice()),
            (*phase, *effects),
            "{name} × restart in boot {n}"
        );
    }
}
