//! What was running, what runs now, and whether that is good enough to let the next node go.

use serde::{Deserialize, Serialize};

/// Evidence from a probe. *Unknown* never counts as a go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Evidence {
    /// The probe found what it looks for.
    Yes {
        /// What it found, one sentence each, never empty.
        reasons: Vec<String>,
    },
    /// The probe looked and found nothing.
    No,
    /// The probe could not look.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// One look at the node's health.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HealthReport {
    /// What is wrong now, one sentence each (`web.service is failed: exit-code`). Empty = healthy.
    pub failing: Vec<String>,
}

impl HealthReport {
    /// Nothing is wrong.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.failing.is_empty()
    }
}
