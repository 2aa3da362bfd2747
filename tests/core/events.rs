//! The columns of the table: every event and every answer, in each variant that matters.

use lockkeeper::core::{
    effect::EffectId,
    event::{Again, Ask, Event, Outcome},
    health::{Evidence, HealthReport},
    plan::Plan,
    slots::{Slots, SlotsView},
};

use crate::support::{CHOICE, done, plan};

/// The id of an effect that nobody waits for.
pub const STALE: EffectId = EffectId(3);

fn yes(reason: &str) -> Evidence {
    Evidence::Yes { reasons: vec![reason.to_owned()] }
}

fn unknown() -> Evidence {
    Evidence::Unknown { why: "the probe broke".to_owned() }
}

fn probed(inhibitors: Evidence, quorum: Evidence) -> Outcome {
    Outcome::Probed { inhibitors, quorum, blockers: Vec::new() }
}

/// What happens without an effect.
pub fn facts() -> Vec<(&'static str, Event)> {
    let view = SlotsView { slots: Slots::default(), queue: Vec::new(), settling: false };
    vec![
        ("tick", Event::Tick),
        ("policy changed", Event::PolicyChanged),
        ("store seen", Event::Store(Ok([("default".to_owned(), view)].into()))),
        ("store gone", Event::Store(Err("connection refused".to_owned()))),
        ("ask check", Event::Ask(Ask::Check)),
        ("ask reboot", Event::Ask(Ask::Reboot { now: false })),
        ("ask reboot now", Event::Ask(Ask::Reboot { now: true })),
        ("ask cancel", Event::Ask(Ask::Cancel)),
        ("stale drained", done(STALE, Outcome::Drained)),
    ]
}

fn checked(plan: Option<Plan>, reboot: Evidence) -> Outcome {
    Outcome::Checked {
        plan,
        kept_back: Vec::new(),
        reboot,
        choice: CHOICE.to_owned(),
        again: Again::default(),
    }
}

/// Every answer.
pub fn outcomes() -> Vec<(&'static str, Outcome)> {
    let text = |text: &str| text.to_owned();
    let sick = HealthReport { failing: vec![text("web.service is failed")] };
    vec![
        ("checked: nothing", checked(None, Evidence::No)),
        ("checked: reboot", checked(None, yes("kernel"))),
        ("checked: plan 0", checked(Some(plan(0)), Evidence::No)),
        ("checked: plan 1", checked(Some(plan(1)), unknown())),
        ("staged", Outcome::Staged),
        ("probed: clear", probed(Evidence::No, Evidence::No)),
        ("probed: inhibited", probed(yes("backup"), Evidence::No)),
        ("probed: quorum", probed(Evidence::No, yes("member etcd-2 is ill"))),
        ("probed: unknown", probed(unknown(), Evidence::No)),
        ("slot granted", Outcome::SlotGranted),
        ("left queue", Outcome::LeftQueue { held: false }),
        ("left queue: held", Outcome::LeftQueue { held: true }),
        ("drained", Outcome::Drained),
        ("recorded", Outcome::Recorded),
        ("applied", Outcome::Applied),
        ("apply refused", Outcome::ApplyRefused(text("the stage is damaged"))),
        ("apply failed", Outcome::ApplyFailed(text("dpkg failed"))),
        ("undone", Outcome::Undone),
        ("undo impossible", Outcome::UndoImpossible(text("web 1 cannot be had"))),
        ("undo failed", Outcome::UndoFailed(text("dpkg failed again"))),
        ("evidence: reboot", Outcome::EvidenceRead(yes("kernel"))),
        ("evidence: none", Outcome::EvidenceRead(Evidence::No)),
        ("evidence: unknown", Outcome::EvidenceRead(unknown())),
        ("reboot accepted", Outcome::RebootAccepted),
        ("reboot refused", Outcome::RebootRefused(text("inhibited by backup"))),
        ("restored", Outcome::Restored(vec![text("web.service")])),
        ("verified: healthy", Outcome::Verified(HealthReport { failing: Vec::new() })),
        ("verified: failing", Outcome::Verified(sick)),
        ("confirmed", Outcome::Confirmed),
        ("undrained", Outcome::Undrained),
        ("released", Outcome::Released),
        ("halted", Outcome::Halted),
        ("hook failed", Outcome::HookFailed(text("hook 10-pool of pre-apply said no"))),
        ("failed", Outcome::Failed(text("timed out"))),
    ]
}

/// All columns, with answers to `id`.
pub fn all(id: EffectId) -> Vec<(&'static str, Event)> {
    let answers = outcomes().into_iter().map(|(name, outcome)| (name, done(id, outcome)));
    facts().into_iter().chain(answers).collect()
}
