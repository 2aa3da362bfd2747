//! The rows of the table: every phase, in each variant that decides differently.

use std::collections::BTreeMap;

use lockkeeper::core::{
    effect::EffectId,
    health::Evidence,
    plan::PlanId,
    policy::Policy,
    state::{
        Cause, Denied, Ended, HoldOff, Job, Phase, Request, Staged, State, SupplyTask, Task, Undone,
    },
    time::{Mono, Now},
    verdict::Verdict,
};

use crate::support::{CHOICE, NIGHT, NOON, boot, job, now, plan, policy, quiet, running, staged};

/// One row's beginning: what the agent knows, what the admin wants, and when it is.
pub struct Situation {
    pub name: &'static str,
    pub state: State,
    pub policy: Policy,
    pub now: Now,
    /// The effect that answers are for.
    pub id: EffectId,
}

/// Mono time of every row; the phases were entered a minute before.
const MONO: u64 = 10_000_000;
const ENTERED: u64 = MONO - 60_000;

fn open() -> Now {
    now(NIGHT, MONO)
}

fn row(name: &'static str, state: State) -> Situation {
    Situation { name, state, policy: policy("web-1"), now: open(), id: EffectId(7) }
}

/// The same outside the window.
fn closed(name: &'static str, state: State) -> Situation {
    Situation { now: now(NOON, MONO), ..row(name, state) }
}

fn entered() -> Now {
    now(NIGHT - 60, ENTERED)
}

/// In `phase`, a plan staged.
fn in_phase(phase: Phase) -> State {
    running(staged(entered()), phase)
}

/// In `phase` with an earlier effect that failed `tries` times.
fn in_phase_after(tries: u32, phase: Phase) -> State {
    State { task: Task::Running { id: EffectId(7), tries }, ..in_phase(phase) }
}

/// Waiting in `phase` until `at`.
fn waiting(at: u64, phase: Phase) -> State {
    let at = Mono(at);
    let since = entered().wall;
    State { task: Task::Later { at, tries: 0, error: String::new(), since }, ..in_phase(phase) }
}

fn p() -> Job {
    job(Some(plan(0).id))
}

fn reboot_only() -> Job {
    job(None)
}

/// The plan is to be installed at boot.
fn at_boot() -> Job {
    Job { at_boot: true, ..p() }
}

fn asked() -> Job {
    Job { always_reboot: true, ..p() }
}

fn request(now: bool) -> Option<Request> {
    Some(Request { at: entered().wall, now })
}

fn rebooting(job: Job, requests: u32) -> Phase {
    Phase::Rebooting { job, boot: boot(1), reasons: vec!["kernel".to_owned()], requests }
}

fn verifying(healthy_since: Option<u64>) -> Phase {
    Phase::Verifying { job: p(), healthy_since: healthy_since.map(Mono), failing: Vec::new() }
}

/// A plan that has failed is denied.
fn denied_here(mut state: State) -> State {
    state.denied = denied(plan(0).id);
    state
}

fn undoing(halted: bool, orders: u32) -> Phase {
    let reason = "web.service is failed".to_owned();
    Phase::Undoing { job: p(), cause: Cause::Health, reason, halted, orders }
}

fn undone(complete: bool, halted: bool) -> Job {
    let reason = "web.service is failed".to_owned();
    Job { undone: Some(Undone { cause: Cause::Health, reason, complete, halted }), ..p() }
}

fn failed(cause: Cause, halted: bool, healthy_since: Option<u64>) -> Phase {
    let reason = "web.service is failed".to_owned();
    Phase::Failed { job: p(), cause, reason, halted, healthy_since: healthy_since.map(Mono) }
}

/// The plan that one of the checks in the table brings, denied.
pub fn denied(id: PlanId) -> BTreeMap<PlanId, Denied> {
    BTreeMap::from([(id, Denied { reason: "it broke".to_owned(), at: entered().wall })])
}

fn checking(mut state: State) -> State {
    state.supply.task = SupplyTask::Checking { id: EffectId(7) };
    state.next_effect = 8;
    state
}

/// The phase's effect where 7 is a check.
fn phase_task() -> Task {
    Task::Running { id: EffectId(6), tries: 0 }
}

fn hold_off(until: u64) -> Option<HoldOff> {
    let why = Verdict::new("inhibited", "shutdown is inhibited: backup").since(entered().wall);
    Some(HoldOff { until: Mono(until), why })
}

/// Every row, in the order of the cycle.
pub fn all() -> Vec<Situation> {
    [supply(), waits(), queue(), held(), reboots(), ends(), failures()]
        .into_iter()
        .flatten()
        .collect()
}

fn supply() -> Vec<Situation> {
    let mut due = quiet(entered());
    due.supply.next_check = open().mono;
    let mut denying = checking(quiet(entered()));
    denying.denied = denied(plan(1).id);
    let mut staging = quiet(entered());
    staging.supply.task =
        SupplyTask::Staging { id: EffectId(7), plan: plan(1), choice: CHOICE.to_owned() };
    staging.next_effect = 8;
    let mut broken = checking(quiet(entered()));
    broken.supply.failures = 3;
    broken.supply.problem =
        Some(Verdict::new("check-failed", "no route to host").since(entered().wall));
    let mut leaving = State { task: phase_task(), ..in_phase(Phase::Leaving) };
    leaving.supply.task = staging.supply.task.clone();
    let queued = State { task: phase_task(), ..in_phase(Phase::Queued { job: p() }) };
    vec![
        row("steady, nothing to do", quiet(entered())),
        row("steady, a check is due", due),
        row("steady, checking", checking(quiet(entered()))),
        row("steady, checking after failures", broken),
        row("steady, checking with plan 1 denied", denying),
        closed("steady, checking with plan 0 staged", checking(staged(entered()))),
        row("steady, staging plan 1", staging),
        row("queued, checking", checking(queued.clone())),
        Situation {
            id: EffectId(6),
            ..row("queued, checking, answers to the acquire", checking(queued))
        },
        Situation {
            id: EffectId(6),
            ..row("leaving, staging, answers to the leave", leaving.clone())
        },
        row("leaving, staging plan 1", leaving),
    ]
}

fn waits() -> Vec<Situation> {
    let mut held_off = staged(entered());
    held_off.hold_off = hold_off(MONO + 1);
    let mut held_off_no_more = staged(entered());
    held_off_no_more.hold_off = hold_off(MONO);
    let mut asked_now = quiet(entered());
    asked_now.request = request(true);
    let mut pending = quiet(entered());
    pending.reboot_needed = Evidence::Yes { reasons: vec!["kernel".to_owned()] };
    let mut useless = pending.clone();
    useless.rebooted_for = vec!["kernel".to_owned()];
    let mut off = row("steady, plan staged, strategy off", staged(entered()));
    off.policy.act = false;
    vec![
        row("steady, plan staged", staged(entered())),
        closed("steady, plan staged, window closed", staged(entered())),
        off,
        row("steady, plan staged, held off", held_off),
        row("steady, plan staged, held off until now", held_off_no_more),
        closed("steady, reboot asked for now, window closed", asked_now),
        row("steady, reboot pending", pending),
        row("steady, reboot pending for reasons that it did not help", useless),
    ]
}

/// In `phase`, with a stage made before the rules were changed.
fn other_rules(phase: Phase) -> State {
    let mut state = in_phase(phase);
    state.staged =
        Some(Staged { plan: plan(0), at: entered().wall, choice: "security".to_owned() });
    state
}

fn queue() -> Vec<Situation> {
    let mut nothing = in_phase(Phase::Queued { job: p() });
    nothing.staged = None;
    let mut newer = in_phase(Phase::Queued { job: p() });
    newer.staged = Some(Staged { plan: plan(1), at: entered().wall, choice: CHOICE.to_owned() });
    let mut off = row("queued, strategy off since", in_phase(Phase::Queued { job: p() }));
    off.policy.act = false;
    let mut asked = in_phase(Phase::Queued { job: asked() });
    asked.request = request(false);
    asked.staged = None;
    vec![
        row("probing", in_phase(Phase::Probing { job: p() })),
        row("queued", in_phase(Phase::Queued { job: p() })),
        closed("queued, window closed since", in_phase(Phase::Queued { job: p() })),
        row("queued, nothing wanted any more", nothing),
        row("queued, a newer plan is staged", newer),
        row(
            "queued, what is staged was chosen by other rules",
            other_rules(Phase::Queued { job: p() }),
        ),
        row("queued for a reboot an admin asked for", asked),
        off,
        row("leaving", in_phase(Phase::Leaving)),
        row("leaving, to be tried again now", waiting(MONO, Phase::Leaving)),
    ]
}

fn held() -> Vec<Situation> {
    let recording = |job| in_phase(Phase::Recording { job });
    vec![
        row("preflight", in_phase(Phase::Preflight { job: p() })),
        closed("preflight, window closed since", in_phase(Phase::Preflight { job: p() })),
        row("draining", in_phase(Phase::Draining { job: p() })),
        row("draining, failed four times", in_phase_after(4, Phase::Draining { job: p() })),
        row("recording before a plan", recording(p())),
        row("recording before a reboot", recording(reboot_only())),
        row("recording before a boot that installs", recording(at_boot())),
        closed("recording before a boot that installs, window closed since", recording(at_boot())),
        row("recording, failed four times", in_phase_after(4, Phase::Recording { job: p() })),
        row("applying, first order", in_phase(Phase::Applying { job: p(), orders: 1 })),
        row("applying, second order", in_phase(Phase::Applying { job: p(), orders: 2 })),
        row("applying, tenth order", in_phase_after(9, Phase::Applying { job: p(), orders: 10 })),
        row("applying, to be ordered again now", {
            waiting(MONO, Phase::Applying { job: p(), orders: 10 })
        }),
        row("booted to install, first order", {
            in_phase(Phase::Applying { job: at_boot(), orders: 1 })
        }),
        row("booted to install, second order", {
            in_phase(Phase::Applying { job: at_boot(), orders: 2 })
        }),
        closed("applying, window closed since", in_phase(Phase::Applying { job: p(), orders: 1 })),
    ]
}

fn reboots() -> Vec<Situation> {
    let mut again = in_phase(Phase::Deciding { job: p() });
    again.rebooted_for = vec!["kernel".to_owned()];
    again.reboot_needed = Evidence::Yes { reasons: vec!["kernel".to_owned()] };
    let mut with_request = in_phase(Phase::Deciding { job: asked() });
    with_request.request = request(false);
    let mut asked_reboot = in_phase(rebooting(asked(), 1));
    asked_reboot.request = request(false);
    let asked_at_boot = Job { always_reboot: true, ..at_boot() };
    let mut asked_boot = in_phase(rebooting(asked_at_boot, 1));
    asked_boot.request = request(false);
    vec![
        row("deciding", in_phase(Phase::Deciding { job: p() })),
        closed("deciding, window closed since", in_phase(Phase::Deciding { job: p() })),
        row("deciding, reboot asked for", with_request),
        row("deciding after a reboot for the kernel that did not help", again),
        row("deciding, failed four times", in_phase_after(4, Phase::Deciding { job: p() })),
        row("rebooting, first request", in_phase(rebooting(p(), 1))),
        row("rebooting, second request", in_phase(rebooting(p(), 2))),
        row("rebooting, fifth request", in_phase(rebooting(p(), 5))),
        row("rebooting, asked for, first request", asked_reboot),
        row("rebooting to install, first request", in_phase(rebooting(at_boot(), 1))),
        row("rebooting to install, second request", in_phase(rebooting(at_boot(), 2))),
        row("rebooting to install, overdue after five requests", {
            waiting(MONO, rebooting(at_boot(), 5))
        }),
        row("rebooting to install, reboot asked for", asked_boot),
        row("rebooting, accepted, awaited", waiting(MONO + 1, rebooting(p(), 1))),
        row("rebooting, accepted, overdue", waiting(MONO, rebooting(p(), 1))),
        closed("rebooting, overdue, window closed since", waiting(MONO, rebooting(p(), 1))),
        row("rebooting, overdue after five requests", waiting(MONO, rebooting(p(), 5))),
    ]
}

fn ends() -> Vec<Situation> {
    let mut overdue = in_phase(verifying(None));
    overdue.entered = now(NIGHT - 600, MONO - 600_000);
    let releasing = |ended| in_phase(Phase::Releasing { job: p(), ended });
    let returning = |ended| Phase::Returning { job: p(), ended };
    let mut asked_done = in_phase(Phase::Releasing { job: asked(), ended: Ended::Done });
    asked_done.request = request(false);
    vec![
        row("restoring", in_phase(Phase::Restoring { job: p() })),
        row("restoring, failed four times", in_phase_after(4, Phase::Restoring { job: p() })),
        row("verifying", in_phase(verifying(None))),
        row("verifying, healthy for 29 s", in_phase(verifying(Some(MONO - 29_999)))),
        row("verifying, healthy for 30 s", in_phase(verifying(Some(MONO - 30_000)))),
        row("verifying for ten minutes", overdue),
        row("confirming", in_phase(Phase::Confirming { job: p() })),
        row("confirming, failed four times", in_phase_after(4, Phase::Confirming { job: p() })),
        row("returning, done", in_phase(returning(Ended::Done))),
        row("returning, gave back", in_phase(returning(Ended::GaveBack))),
        row("returning, failed ten times", in_phase_after(10, returning(Ended::Done))),
        row("releasing, done", releasing(Ended::Done)),
        row("releasing, done, reboot asked for", asked_done),
        row("releasing, gave back", releasing(Ended::GaveBack)),
    ]
}

fn failures() -> Vec<Situation> {
    let failed_after = |job, halted| {
        let reason = "web.service is failed".to_owned();
        Phase::Failed { job, cause: Cause::Health, reason, halted, healthy_since: None }
    };
    let stay =
        |row: Situation| Situation { policy: Policy { roll_back: false, ..row.policy }, ..row };
    let mut overdue = in_phase(Phase::Verifying {
        job: undone(true, true),
        healthy_since: None,
        failing: Vec::new(),
    });
    overdue.entered = now(NIGHT - 600, MONO - 600_000);
    let releasing = |job, ended| in_phase(Phase::Releasing { job, ended });
    let rows = vec![
        row("undoing, first order", in_phase(undoing(true, 1))),
        row("undoing, group not halted yet", in_phase(undoing(false, 1))),
        row("undoing, tenth order", in_phase_after(9, undoing(true, 10))),
        row("undone, deciding", in_phase(Phase::Deciding { job: undone(true, true) })),
        row("undone, not healthy for ten minutes", overdue),
        row("undone, confirming", in_phase(Phase::Confirming { job: undone(true, true) })),
        row("undone, group not halted, confirming", {
            in_phase(Phase::Confirming { job: undone(true, false) })
        }),
        row("not undone, confirming", in_phase(Phase::Confirming { job: undone(false, true) })),
        row("returning, rolled back", {
            in_phase(Phase::Returning { job: undone(true, true), ended: Ended::RolledBack })
        }),
        row("releasing, rolled back", releasing(undone(true, true), Ended::RolledBack)),
        row("undone, group not halted yet", in_phase(failed_after(undone(true, false), false))),
        row("not undone, group halted", in_phase(failed_after(undone(false, true), true))),
        stay(row("failed, group not halted, to stay so", {
            in_phase(failed(Cause::Health, false, None))
        })),
        row("failed to reboot, group not halted yet", {
            in_phase(failed(Cause::Reboot, false, None))
        }),
        row("failed, group not halted yet", in_phase(failed(Cause::Health, false, None))),
        row("failed to apply, group halted", in_phase(failed(Cause::Apply, true, None))),
        row("failed, not healthy, group halted", in_phase(failed(Cause::Health, true, None))),
        row("failed, healthy for 30 s", in_phase(failed(Cause::Health, true, Some(MONO - 30_000)))),
        row("failed to reboot, healthy for 30 s", {
            in_phase(failed(Cause::Reboot, true, Some(MONO - 30_000)))
        }),
        row("failed to reboot to install", {
            let reason = "the reboot did not come".to_owned();
            let (job, cause) = (at_boot(), Cause::Reboot);
            in_phase(Phase::Failed { job, cause, reason, halted: true, healthy_since: None })
        }),
    ];
    let deny = |row: Situation| Situation { state: denied_here(row.state), ..row };
    rows.into_iter().map(deny).collect()
}
