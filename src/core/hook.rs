//! Hooks: the admin's own programs, at fixed points of the cycle.

use serde::{Deserialize, Serialize};

/// Where in the cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// May this node be disturbed? Before it queues, and again when it has the slot.
    PreLock,
    /// Drain it: the slot is held, nothing is changed yet.
    PreApply,
    /// Directly before the reboot is requested.
    PreReboot,
    /// What ran before is started again; before the node's health is looked at.
    PostBoot,
    /// Undo the drain: the slot is about to be given back.
    InService,
    /// The update failed.
    OnFailure,
}

impl Point {
    /// Every point, in the order of the cycle.
    pub const ALL: [Self; 6] = [
        Self::PreLock,
        Self::PreApply,
        Self::PreReboot,
        Self::PostBoot,
        Self::InService,
        Self::OnFailure,
    ];

    /// Its word: the name of its folder.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::PreLock => "pre-lock",
            Self::PreApply => "pre-apply",
            Self::PreReboot => "pre-reboot",
            Self::PostBoot => "post-boot",
            Self::InService => "in-service",
            Self::OnFailure => "on-failure",
        }
    }

    /// The point of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.word() == word)
    }

    /// Whether a hook has a say here at all.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        !matches!(self, Self::OnFailure)
    }

    /// Whether the first that says no is the last one that is run. After the disturbance each has its
    /// part to do, whatever became of the others.
    #[must_use]
    pub const fn stops_at_a_no(self) -> bool {
        matches!(self, Self::PreLock | Self::PreApply | Self::PreReboot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_is_known_by_its_word_alone() {
        for point in Point::ALL {
            assert_eq!(Point::named(point.word()), Some(point));
            assert_eq!(serde_json::to_value(point).unwrap(), point.word());
        }
        assert_eq!(Point::named("pre-boot"), None);
    }
}
