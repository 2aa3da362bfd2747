//! What an admin does not want to be disturbed: a *yes* keeps a cycle from going on.

use serde::{Deserialize, Serialize};

use super::{health::Evidence, state::Job, verdict::Verdict};

/// What kind of blocker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody is logged in. A reboot that was asked for with "now" does not wait for them.
    Users,
    /// A unit of `blockers.units` runs.
    Units,
    /// Alerts fire.
    Alerts,
}

impl Kind {
    fn blocks(self, text: String) -> Verdict {
        match self {
            Self::Users => Verdict::new("users-logged-in", text),
            Self::Units => Verdict::new("unit-running", text),
            Self::Alerts => Verdict::new("alerts-firing", text),
        }
    }

    fn is_unknown(self, why: &str) -> Verdict {
        let what = match self {
            Self::Users => "who is logged in",
            Self::Units => "which units run",
            Self::Alerts => "which alerts fire",
        };
        Verdict::new("probe-unknown", format!("{what} cannot be told: {why}"))
    }
}

/// One look at one kind of blocker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blocker {
    /// Which.
    pub kind: Kind,
    /// *Yes* = it blocks; each reason is a sentence.
    pub evidence: Evidence,
}

impl Blocker {
    /// What was seen of one kind.
    #[must_use]
    pub fn new(kind: Kind, evidence: Evidence) -> Self {
        Self { kind, evidence }
    }
}

/// May a job go on, by these? Unknown is a no.
///
/// # Errors
/// The verdict of the first that forbids it.
pub fn clear(job: &Job, blockers: &[Blocker]) -> Result<(), Verdict> {
    // Who asks for a reboot now is usually logged in.
    let counts = |blocker: &&Blocker| !(job.now && blocker.kind == Kind::Users);
    blockers.iter().filter(counts).try_for_each(|blocker| match &blocker.evidence {
        Evidence::No => Ok(()),
        Evidence::Yes { reasons } => Err(blocker.kind.blocks(reasons.join("; "))),
        Evidence::Unknown { why } => Err(blocker.kind.is_unknown(why)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_blocks_by_its_word_and_only_users_give_way_to_now() {
        let job = |now| Job {
            plan: None,
            reason: String::new(),
            always_reboot: true,
            now,
            at_boot: false,
            undone: None,
        };
        let yes = || Evidence::Yes { reasons: vec!["anna is logged in".into()] };
        let unknown = || Evidence::Unknown { why: "no answer".into() };
        let code = |now, blockers: &[Blocker]| clear(&job(now), blockers).map_err(|v| v.code);
        assert_eq!(code(false, &[]), Ok(()));
        assert_eq!(code(false, &[Blocker::new(Kind::Users, Evidence::No)]), Ok(()));
        assert_eq!(code(false, &[Blocker::new(Kind::Users, yes())]), Err("users-logged-in".into()));
        assert_eq!(
            code(false, &[Blocker::new(Kind::Users, unknown())]),
            Err("probe-unknown".into())
        );
        for (kind, evidence, expected) in [
            (Kind::Users, yes(), Ok(())),
            (Kind::Users, unknown(), Ok(())),
            (Kind::Units, yes(), Err("unit-running".to_owned())),
            (Kind::Alerts, unknown(), Err("probe-unknown".to_owned())),
        ] {
            assert_eq!(code(true, &[Blocker::new(kind, evidence)]), expected, "{kind:?}");
        }
    }
}
