//! What hooks have done in this cycle, and which are owed to it. Root's, and durable.

use std::path::Path;

use serde::{Deserialize, Serialize};

use tracing::warn;

use crate::{
    adapters::state_file::{self, StateFileError},
    dbus::executor::Cycle,
    observe::logging::chain,
};

/// Format of the file.
const SCHEMA: u32 = 1;

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    schema: u32,
    /// The node was drained, or that was begun.
    pub(super) drained: bool,
    /// The hooks after a boot are owed.
    post_boot: bool,
    /// The failure that the hooks for it have been told of.
    told: Option<String>,
}

impl Default for Mark {
    fn default() -> Self {
        Self { schema: SCHEMA, drained: false, post_boot: false, told: None }
    }
}

impl Mark {
    /// What cannot be read is taken to owe everything: a hook may run once too often.
    pub fn read(path: &Path) -> Self {
        match state_file::read(path, SCHEMA) {
            Ok(mark) => mark.unwrap_or_default(),
            Err(error) => {
                warn!("which hooks have run is not known: {}", chain(&error));
                Self { drained: true, post_boot: true, ..Self::default() }
            }
        }
    }

    pub fn write(&self, path: &Path) -> Result<(), StateFileError> {
        if path.exists() && *self == Self::read(path) {
            return Ok(());
        }
        state_file::write(path, self)
    }

    /// A cycle begins to disturb the node.
    pub fn of_a_drain() -> Self {
        Self { drained: true, ..Self::default() }
    }

    /// What ran before is running again.
    pub fn after_a_boot(self) -> Self {
        Self { post_boot: true, ..self }
    }

    pub fn owes_post_boot(&self) -> bool {
        self.post_boot
    }

    /// The hooks after a boot have done their part.
    pub fn settled(self) -> Self {
        Self { post_boot: false, ..self }
    }

    pub fn has_told(&self, cycle: &Cycle) -> bool {
        self.told.as_deref() == Some(&*failure(cycle))
    }

    pub fn told(self, cycle: &Cycle) -> Self {
        Self { told: Some(failure(cycle)), ..self }
    }
}

/// Which failure it is: a roll-back that fails, too, is another one.
fn failure(cycle: &Cycle) -> String {
    let plan = cycle.plan.as_ref().map_or("", |plan| plan.as_str());
    format!("{plan} {}", cycle.failing.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(words: &str) -> Cycle {
        Cycle {
            phase: "failed".to_owned(),
            plan: None,
            reason: String::new(),
            reboots: false,
            cause: None,
            failing: Some(words.to_owned()),
        }
    }

    #[test]
    fn a_drain_is_remembered_until_it_is_undone_and_each_failure_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.json");
        assert_eq!(Mark::read(&path), Mark::default());
        Mark::of_a_drain().after_a_boot().told(&failing("a")).write(&path).unwrap();
        let mark = Mark::read(&path);
        assert!(mark.drained && mark.owes_post_boot());
        assert!(mark.has_told(&failing("a")) && !mark.has_told(&failing("b")));
        assert!(!mark.settled().owes_post_boot());
    }

    #[test]
    fn what_cannot_be_read_owes_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.json");
        for text in ["", "{\"schema\": 2}", "[]"] {
            std::fs::write(&path, text).unwrap();
            let mark = Mark::read(&path);
            assert!(mark.drained && mark.owes_post_boot(), "{text}");
        }
        Mark::default().write(&path).unwrap();
        assert_eq!(Mark::read(&path), Mark::default());
    }
}
