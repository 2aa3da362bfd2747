//! One machine as the world has it, whatever its agent believes.
#![allow(dead_code)] // each test program uses a part of it

use lockkeeper::core::{
    effect::Effect,
    event::Outcome,
    fast,
    health::{Evidence, HealthReport},
    plan::{Plan, PlanId},
    time::BootId,
};

use crate::support;

/// A plan as it really is.
#[derive(Clone, Debug)]
pub struct Release {
    pub plan: Plan,
    /// Installing it makes a reboot necessary.
    pub reboots: bool,
    /// The node is not healthy on it.
    pub bad: bool,
}

/// The `version`th release, from 1.
pub fn release(version: u32, reboots: bool, bad: bool) -> Release {
    Release { plan: support::plan(version), reboots, bad }
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// Which boot this is.
    pub boot: u32,
    /// How often userspace has started anew in it.
    pub soft: u32,
    /// `CLOCK_BOOTTIME`, in milliseconds.
    pub mono: u64,
    /// The release installed in full.
    pub installed: u32,
    /// The apply unit runs, for this release. It does not end with the agent.
    pub unit: Option<u32>,
    /// The next boot is for installing this release.
    pub ordered: Option<u32>,
    /// This boot is for installing: no agent runs in it, and when the unit has ended comes another.
    pub updating: bool,
    /// A power cut interrupted the unit; it can go on.
    pub cut_short: bool,
    /// The unit ended badly, and says so whenever it is asked.
    pub unit_failed: bool,
    /// The unit of the way back runs. It does not end with the agent either.
    pub undoing: bool,
    /// It ended badly, and says so whenever it is asked.
    pub undo_failed: bool,
    /// It ended well, and the machine is as it was before the last apply.
    pub rolled_back: bool,
    /// The release installed before.
    pub previous: u32,
    /// A bad release was begun here.
    pub tried_bad: bool,
    /// What runs is not what is installed.
    pub needs_reboot: bool,
    /// A reboot was accepted: it happens some time, whatever the agent does meanwhile.
    pub reboot_pending: bool,
    /// The workload was recorded, and is restored by nobody but us.
    pub record: bool,
    /// The workload runs.
    pub up: bool,
    /// Something is not healthy for now.
    pub sick: bool,
    /// An admin has mended what was wrong with a bad release.
    pub mended: bool,
    /// We have disturbed the machine, and not seen it healthy since: it is down.
    pub down: bool,
    /// "Draining" is published.
    pub draining: bool,
    /// Hooks have drained the machine, or have begun to, and nothing has undone that.
    pub drained: bool,
    /// An admin took its slot away: nothing is promised until it has given back what it believes to hold.
    pub forced: bool,
    /// An admin asked for a reboot that has not been made.
    pub asked: bool,
    /// … and the machine has not booted since, for whatever reason.
    pub wish: bool,
}

impl Machine {
    /// A machine that runs release 0 well.
    pub fn new() -> Self {
        Self {
            boot: 1,
            soft: 0,
            mono: 0,
            installed: 0,
            unit: None,
            ordered: None,
            updating: false,
            cut_short: false,
            unit_failed: false,
            undoing: false,
            undo_failed: false,
            rolled_back: false,
            previous: 0,
            tried_bad: false,
            needs_reboot: false,
            reboot_pending: false,
            record: false,
            up: true,
            sick: false,
            mended: false,
            down: false,
            draining: false,
            drained: false,
            forced: false,
            asked: false,
            wish: false,
        }
    }

    /// What is not well, by the record and the plan.
    pub fn failing(&self, releases: &[Release], plan: Option<&PlanId>) -> Vec<String> {
        let on_bad = version_installed(releases, self.installed).is_some_and(|r| r.bad);
        let wrong = [
            (
                "the installation is not complete",
                self.busy() || self.cut_short || self.unit_failed || self.undo_failed,
            ),
            ("the workload does not run", !self.up),
            ("something is not healthy", self.sick || (on_bad && !self.mended)),
            (
                "the plan is not installed",
                plan.is_some_and(|id| self.installed < version(releases, id) && !self.rolled_back),
            ),
        ];
        wrong.iter().filter(|(_, wrong)| *wrong).map(|(what, _)| (*what).to_owned()).collect()
    }

    /// Whether a reboot is needed.
    pub fn evidence(&self) -> Evidence {
        if self.needs_reboot {
            Evidence::Yes { reasons: vec![format!("release {} wants it", self.installed)] }
        } else {
            Evidence::No
        }
    }

    /// A unit runs.
    pub fn busy(&self) -> bool {
        self.unit.is_some() || self.undoing
    }

    /// The next boot, after a reboot or a power cut.
    pub fn boots(&mut self, releases: &[Release]) {
        (self.boot, self.soft) = (self.boot + 1, 0);
        self.mono = 10_000;
        self.cut_short |= self.unit.take().is_some() | std::mem::take(&mut self.undoing);
        self.needs_reboot = false;
        self.reboot_pending = false;
        self.up = !self.record;
        self.wish = false;
        self.updating = false;
        if let Some(version) = self.ordered.take() {
            self.updating = true;
            self.begin(releases, version);
        }
    }

    /// Userspace starts anew; the kernel, its clock, and what only a kernel ends stay.
    pub fn boots_softly(&mut self, helped: bool) {
        self.soft += 1;
        self.needs_reboot &= !helped;
        self.reboot_pending = false;
        self.up = !self.record;
    }

    /// Its id.
    pub fn boot_id(&self) -> BootId {
        fast::boot(&support::boot(self.boot).0, self.soft.into())
    }

    /// The unit that runs ends. True: the machine boots again after it.
    pub fn unit_ends(&mut self, releases: &[Release], well: bool) -> bool {
        self.end_unit(releases, well);
        std::mem::take(&mut self.updating)
    }

    fn end_unit(&mut self, releases: &[Release], well: bool) {
        if std::mem::take(&mut self.undoing) {
            return self.undo_ends(releases, well);
        }
        let Some(version) = self.unit.take() else { return };
        if well {
            self.previous = std::mem::replace(&mut self.installed, version);
            self.cut_short = false;
            self.needs_reboot |= version_installed(releases, version).is_some_and(|r| r.reboots);
        } else {
            self.unit_failed = true;
        }
    }

    fn undo_ends(&mut self, releases: &[Release], well: bool) {
        if !well {
            self.undo_failed = true;
            return;
        }
        let left = std::mem::replace(&mut self.installed, self.previous);
        self.needs_reboot |= version_installed(releases, left).is_some_and(|r| r.reboots);
        (self.cut_short, self.unit_failed, self.rolled_back) = (false, false, true);
    }

    /// An admin repairs the machine by hand.
    pub fn mend(&mut self, releases: &[Release], plan: Option<&PlanId>) {
        if let Some(id) = plan {
            self.installed = self.installed.max(version(releases, id));
        }
        self.cut_short = false;
        self.unit_failed = false;
        self.undo_failed = false;
        self.sick = false;
        self.up = true;
        self.mended = true;
    }

    /// Carries out what concerns this machine alone, as it should be. `None`: not yet, or not ours.
    pub fn carry_out(&mut self, releases: &[Release], effect: &Effect) -> Option<Outcome> {
        match effect {
            Effect::Stage(_) => Some(Outcome::Staged),
            Effect::Probe => Some(Outcome::Probed {
                inhibitors: Evidence::No,
                quorum: Evidence::No,
                blockers: Vec::new(),
            }),
            Effect::Drain => {
                self.draining = true;
                self.drained = true;
                Some(Outcome::Drained)
            }
            Effect::Record => {
                self.record = true;
                Some(Outcome::Recorded)
            }
            Effect::Apply(plan) => self.apply(releases, version(releases, plan)),
            Effect::Undo(_) => self.undo(),
            Effect::ReadEvidence => Some(Outcome::EvidenceRead(self.evidence())),
            Effect::Reboot(boot) if *boot == self.boot_id() => {
                self.reboot_pending = true;
                Some(Outcome::RebootAccepted)
            }
            Effect::ApplyAtBoot { boot, plan } if *boot == self.boot_id() => {
                self.ordered = Some(version(releases, plan));
                self.reboot_pending = true;
                Some(Outcome::RebootAccepted)
            }
            Effect::Reboot(_) | Effect::ApplyAtBoot { .. } => {
                Some(Outcome::Failed("that boot is over".to_owned()))
            }
            Effect::Finish(plan) => self.finish(releases, version(releases, plan)),
            Effect::Restore => {
                self.up = true;
                Some(Outcome::Restored(Vec::new()))
            }
            Effect::Verify(plan) => {
                let failing = self.failing(releases, plan.as_ref());
                self.down &= !failing.is_empty();
                Some(Outcome::Verified(HealthReport { failing }))
            }
            Effect::Confirm(_) => {
                self.record = false;
                Some(Outcome::Confirmed)
            }
            Effect::Undrain => {
                self.drained = false;
                Some(Outcome::Undrained)
            }
            Effect::Check
            | Effect::AcquireSlot { .. }
            | Effect::LeaveQueue
            | Effect::Release
            | Effect::Halt(_) => None,
        }
    }

    fn apply(&mut self, releases: &[Release], version: u32) -> Option<Outcome> {
        if self.installed >= version {
            return Some(Outcome::Applied);
        }
        if self.unit_failed {
            return Some(Outcome::ApplyFailed("dpkg failed".to_owned()));
        }
        self.begin(releases, version);
        None
    }

    fn begin(&mut self, releases: &[Release], version: u32) {
        self.unit = Some(version);
        self.previous = self.installed;
        self.rolled_back = false;
        self.tried_bad |= version_installed(releases, version).is_some_and(|r| r.bad);
        self.down = true;
    }

    /// What a boot was to install is finished; it is not begun.
    fn finish(&mut self, releases: &[Release], version: u32) -> Option<Outcome> {
        let begun = self.installed >= version || self.unit_failed || self.cut_short;
        if begun || self.busy() {
            return self.apply(releases, version);
        }
        Some(Outcome::ApplyRefused("it was never ordered".to_owned()))
    }

    fn undo(&mut self) -> Option<Outcome> {
        if self.rolled_back {
            return Some(Outcome::Undone);
        }
        if self.undo_failed {
            return Some(Outcome::UndoFailed("dpkg failed".to_owned()));
        }
        self.undoing = true;
        self.down = true;
        None
    }
}

/// The release that a plan is.
pub fn version(releases: &[Release], id: &PlanId) -> u32 {
    let at = releases.iter().position(|release| release.plan.id == *id).unwrap();
    u32::try_from(at + 1).unwrap()
}

/// The release with this number; none for 0.
pub fn version_installed(releases: &[Release], version: u32) -> Option<&Release> {
    releases.get(usize::try_from(version).unwrap().checked_sub(1)?)
}
