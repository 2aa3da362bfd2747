//! How far long work has come, for people who watch.

use serde::{Deserialize, Serialize};

/// How far one piece of work has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `staging`, `installing`, `going back`.
    pub doing: String,
    /// Of a hundred.
    pub percent: u8,
    /// The step at work (`Unpacking bash (amd64)`).
    pub step: String,
}
