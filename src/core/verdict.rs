//! Why things are as they are: a stable word for machines, a sentence for people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One reason, as CLI, D-Bus and journal show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verdict {
    /// Stable word (`window-closed`); docs/verdicts.md lists them all.
    pub code: String,
    /// The sentence.
    pub text: String,
    /// Since when, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Verdict {
    /// A verdict without a time.
    #[must_use]
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self { code: code.to_owned(), text: text.into(), since: None }
    }

    /// The same verdict with a time.
    #[must_use]
    pub fn since(mut self, at: Timestamp) -> Self {
        self.since = Some(at);
        self
    }
}
