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

/// What several probes say together: one good reason is enough; without one, all must have been able to look.
#[must_use]
pub fn combine(answers: impl IntoIterator<Item = Evidence>) -> Evidence {
    let (mut found, mut unknown) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Evidence::Yes { reasons } => found.extend(reasons),
            Evidence::No => {}
            Evidence::Unknown { why } => unknown = unknown.or(Some(why)),
        }
    }
    match (found.is_empty(), unknown) {
        (false, _) => Evidence::Yes { reasons: found },
        (true, Some(why)) => Evidence::Unknown { why },
        (true, None) => Evidence::No,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(reasons: &[&str]) -> Evidence {
        Evidence::Yes { reasons: reasons.iter().map(|r| (*r).to_owned()).collect() }
    }

    #[test]
    fn a_reason_outweighs_what_is_unknown_and_unknown_outweighs_no() {
        let unknown = || Evidence::Unknown { why: "x".into() };
        assert_eq!(combine([unknown(), yes(&["a"])]), yes(&["a"]));
        assert_eq!(combine([yes(&["a"]), yes(&["b"])]), yes(&["a", "b"]));
        assert_eq!(combine([Evidence::No, unknown()]), unknown());
        assert_eq!(combine([Evidence::No, Evidence::No]), Evidence::No);
    }
}
