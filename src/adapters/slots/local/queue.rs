//! Who waits in this process, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::slots::{Holder, Refusal, Ticket};

/// Held by a waiter; its ticket is void once all of them are dropped.
pub(super) type Alive = Arc<()>;

/// Everybody who waits, and for how long nobody is admitted to a group.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: Vec<Entry>,
    settle_until: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    groups: Vec<String>,
    waiters: Vec<Weak<()>>,
}

impl Queue {
    /// Makes sure that a ticket for `claim` is in the queues of `groups`, and that `waiter` keeps it
    /// there.
    ///
    /// # Errors
    /// When another installation waits under the same node id.
    pub(super) fn join(
        &mut self,
        groups: &[String],
        claim: &Holder,
        waiter: &Alive,
    ) -> Result<(), Refusal> {
        self.bury();
        let waiter = Arc::downgrade(waiter);
        match self.entries.iter_mut().find(|e| e.ticket.node == claim.node) {
            Some(entry) if entry.ticket.nonce != claim.nonce => Err(Refusal::DuplicateNode {
                node: claim.node.clone(),
                name: entry.ticket.name.clone(),
            }),
            Some(entry) if entry.groups == groups => {
                if !entry.waiters.iter().any(|w| w.ptr_eq(&waiter)) {
                    entry.waiters.push(waiter);
                }
                Ok(())
            }
            // With other groups it queues anew.
            Some(_) | None => {
                self.entries.retain(|e| e.ticket.node != claim.node);
                let (ticket, groups) = (Ticket::of(claim), groups.to_vec());
                self.entries.push(Entry { ticket, groups, waiters: vec![waiter] });
                Ok(())
            }
        }
    }

    /// Takes a ticket out.
    pub(super) fn leave(&mut self, node: &str, nonce: &str) {
        self.entries.retain(|e| e.ticket.node != node || e.ticket.nonce != nonce);
    }

    /// Is nobody before `claim` in any of its queues?
    pub(super) fn is_head(&self, groups: &[String], claim: &Holder) -> bool {
        let shares = |e: &&Entry| e.groups.iter().any(|group| groups.contains(group));
        self.entries.iter().find(shares).is_some_and(|e| e.ticket.node == claim.node)
    }

    /// Nobody is admitted to the group until then.
    pub(super) fn settle(&mut self, group: &str, until: Instant) {
        self.settle_until.insert(group.to_owned(), until);
    }

    /// How long the group still settles.
    pub(super) fn settling(&self, group: &str) -> Option<Duration> {
        let left = self.settle_until.get(group)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn tickets(&mut self, group: &str) -> Vec<Ticket> {
        self.bury();
        let waits = |e: &&Entry| e.groups.iter().any(|name| name == group);
        self.entries.iter().filter(waits).map(|e| e.ticket.clone()).collect()
    }

    /// Groups somebody waits for.
    pub(super) fn groups(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().flat_map(|e| &e.groups)
    }

    /// Forgets tickets whose waiters are gone.
    fn bury(&mut self) {
        for entry in &mut self.entries {
            entry.waiters.retain(|w| w.strong_count() > 0);
        }
        self.entries.retain(|e| !e.waiters.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn claim(node: &str, nonce: &str) -> Holder {
        Holder {
            node: node.into(),
            name: node.into(),
            nonce: nonce.into(),
            since: Timestamp::UNIX_EPOCH,
            reason: "update".into(),
            release: None,
            boot_id: "b".into(),
            expected_secs: 0,
            overdue: false,
        }
    }

    fn group() -> Vec<String> {
        vec!["g".to_owned()]
    }

    #[test]
    fn who_is_the_head_is_told_group_by_group() {
        let (mut queue, waiter) = (Queue::default(), Alive::default());
        let groups = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        queue.join(&groups(&["a", "b"]), &claim("both", "n"), &waiter).unwrap();
        queue.join(&groups(&["b"]), &claim("b", "n"), &waiter).unwrap();
        queue.join(&groups(&["c"]), &claim("c", "n"), &waiter).unwrap();
        assert!(queue.is_head(&groups(&["a", "b"]), &claim("both", "n")));
        assert!(!queue.is_head(&groups(&["b"]), &claim("b", "n")));
        assert!(queue.is_head(&groups(&["c"]), &claim("c", "n")));
    }

    #[test]
    fn a_ticket_lives_as_long_as_one_of_its_waiters() {
        let (mut queue, first, second) = (Queue::default(), Alive::default(), Alive::default());
        queue.join(&group(), &claim("a", "n"), &first).unwrap();
        queue.join(&group(), &claim("a", "n"), &second).unwrap();
        queue.join(&group(), &claim("b", "n"), &Alive::default()).unwrap();
        drop(first);
        assert_eq!(queue.tickets("g").len(), 1, "b's waiter is gone, a has one left");
        assert!(queue.is_head(&group(), &claim("a", "n")));
        drop(second);
        assert!(queue.tickets("g").is_empty());
    }

    #[test]
    fn a_second_installation_under_one_node_id_is_refused() {
        let (mut queue, waiter) = (Queue::default(), Alive::default());
        queue.join(&group(), &claim("a", "n"), &waiter).unwrap();
        assert!(queue.join(&group(), &claim("a", "m"), &Alive::default()).is_err());
        queue.leave("a", "m");
        assert_eq!(
            queue.tickets("g").len(),
            1,
            "the second installation cannot take the ticket away"
        );
    }
}
