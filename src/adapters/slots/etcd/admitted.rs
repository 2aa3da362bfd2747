//! Semaphores as our last admissions left them, so that a slot can be given back in one request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use etcd_client::{Compare, CompareOp};

use super::Seen;
use super::keys::Keys;
use crate::core::slots::Slots;

/// The values this process wrote last when it took slots, by group, with their revisions. Only a
/// guess: a change built on one fails when anybody has changed the group since.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<BTreeMap<String, (Slots, i64)>>);

impl Admitted {
    /// These were written at `revision`.
    pub(super) fn keep(&self, groups: BTreeMap<String, Slots>, revision: i64) {
        let groups = groups.into_iter().map(|(name, slots)| (name, (slots, revision)));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(groups);
    }

    /// What `node` was admitted to, if that is the last known of all `groups`.
    pub(super) fn take(
        &self,
        keys: &Keys,
        groups: &[String],
        node: &str,
        nonce: &str,
    ) -> Option<Seen> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let take = |group: &String| {
            let kept = known.remove(group).filter(|(slots, _)| slots.held_by(node, nonce))?;
            Some((group.clone(), kept))
        };
        let groups: BTreeMap<_, _> = groups.iter().map(take).collect::<Option<_>>()?;
        // In an etcd that was restored from a backup, another value may have this revision.
        let held =
            |group: &String| Compare::value(keys.holder(group, node), CompareOp::Equal, nonce);
        Some(Seen {
            revision: groups.values().map(|(_, revision)| *revision).max()?,
            also: groups.keys().map(held).collect(),
            groups,
        })
    }
}
