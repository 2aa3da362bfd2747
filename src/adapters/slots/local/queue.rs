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
    /// Without waiters, the ticket is good until then: it is of somebody who polls.
    until: Option<Instant>,
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
                self.entries.push(Entry { ticket, groups, waiters: vec![waiter], until: None });
                Ok(())
            }
        }
    }

    /// Makes sure that `ticket` is in the queue of `group`, and stays there `until` then.
    ///
    /// # Errors
    /// When another installation waits under the same node id.
    pub(super) fn join_until(
        &mut self,
        group: &str,
        ticket: Ticket,
        until: Instant,
    ) -> Result<(), Refusal> {
        self.bury();
        let here = |e: &&mut Entry| {
            e.ticket.node == ticket.node && e.groups.iter().any(|name| name == group)
        };
        match self.entries.iter_mut().find(here) {
            Some(entry) if entry.ticket.nonce != ticket.nonce => {
                Err(Refusal::DuplicateNode { node: ticket.node, name: entry.ticket.name.clone() })
            }
            Some(entry) => {
                entry.until = Some(until);
                Ok(())
            }
            None => {
                let (groups, until) = (vec![group.to_owned()], Some(until));
                self.entries.push(Entry { ticket, groups, waiters: Vec::new(), until });
                Ok(())
            }
        }
    }

    /// Those who poll, each with its group, in order.
    pub(super) fn pollers(&mut self) -> Vec<(String, Ticket)> {
        self.bury();
        let polls = |e: &&Entry| e.until.is_some() && e.waiters.is_empty();
        let of = |e: &Entry| Some((e.groups.first()?.clone(), e.ticket.clone()));
        self.entries.iter().filter(polls).filter_map(of).collect()
    }

    /// Takes a ticket out of one group; whether there was one.
    pub(super) fn leave_group(&mut self, group: &str, node: &str, nonce: &str) -> bool {
        let before = self.entries.len();
        let own = |e: &Entry| e.ticket.node == node && e.ticket.nonce == nonce;
        self.entries.retain(|e| !own(e) || e.groups != [group]);
        self.entries.len() < before
    }

    /// Takes a ticket out.
    pub(super) fn leave(&mut self, node: &str, nonce: &str) {
        self.entries.retain(|e| e.ticket.node != node || e.ticket.nonce != nonce);
    }

    /// `claim` has its slots: its tickets for these groups go.
    pub(super) fn admitted(&mut self, groups: &[String], claim: &Holder) {
        self.entries.retain(|e| {
            e.ticket.node != claim.node || e.ticket.nonce != claim.nonce || e.groups != groups
        });
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
        let now = Instant::now();
        self.entries.retain(|e| !e.waiters.is_empty() || e.until.is_some_and(|until| now < until));
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
    fn who_polls_stays_until_its_time_is_over_and_in_one_group_at_a_time() {
        let mut queue = Queue::default();
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        queue.join_until("g", Ticket::of(&claim("a", "n")), now).unwrap();
        assert!(queue.tickets("g").is_empty(), "its time is over");
        queue.join_until("g", Ticket::of(&claim("a", "n")), later).unwrap();
        queue.join_until("h", Ticket::of(&claim("a", "n")), later).unwrap();
        queue.join_until("g", Ticket::of(&claim("b", "n")), later).unwrap();
        queue.join_until("g", Ticket::of(&claim("a", "n")), later).unwrap();
        assert!(queue.join_until("g", Ticket::of(&claim("a", "m")), later).is_err());
        assert!(queue.is_head(&group(), &claim("a", "n")), "asking again does not lose the place");
        assert_eq!(queue.pollers().len(), 3);
        assert!(queue.leave_group("g", "a", "n") && !queue.leave_group("g", "a", "n"));
        assert_eq!((queue.tickets("g").len(), queue.tickets("h").len()), (1, 1));
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
