//! Who waits in this process, in order.

use std::sync::{Arc, Weak};

use tokio::time::Instant;

use crate::core::slots::{Holder, Refusal, Ticket};

/// Held by a waiter; its ticket is void once all of them are dropped.
pub(super) type Alive = Arc<()>;

/// Everybody who waits, and for how long nobody is admitted.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: Vec<Entry>,
    pub(super) settle_until: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    waiters: Vec<Weak<()>>,
}

impl Queue {
    /// Makes sure that a ticket for `claim` is in the queue, and that `waiter` keeps it there.
    ///
    /// # Errors
    /// When another installation waits under the same node id.
    pub(super) fn join(&mut self, claim: &Holder, waiter: &Alive) -> Result<(), Refusal> {
        self.bury();
        let waiter = Arc::downgrade(waiter);
        match self.entries.iter_mut().find(|e| e.ticket.node == claim.node) {
            Some(entry) if entry.ticket.nonce != claim.nonce => Err(Refusal::DuplicateNode {
                node: claim.node.clone(),
                name: entry.ticket.name.clone(),
            }),
            Some(entry) => {
                if !entry.waiters.iter().any(|w| w.ptr_eq(&waiter)) {
                    entry.waiters.push(waiter);
                }
                Ok(())
            }
            None => {
                self.entries.push(Entry { ticket: Ticket::of(claim), waiters: vec![waiter] });
                Ok(())
            }
        }
    }

    /// Takes a ticket out.
    pub(super) fn leave(&mut self, node: &str, nonce: &str) {
        self.entries.retain(|e| e.ticket.node != node || e.ticket.nonce != nonce);
    }

    pub(super) fn is_head(&self, claim: &Holder) -> bool {
        self.entries.first().is_some_and(|e| e.ticket.node == claim.node)
    }

    pub(super) fn settling(&self) -> bool {
        self.settle_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn tickets(&mut self) -> Vec<Ticket> {
        self.bury();
        self.entries.iter().map(|e| e.ticket.clone()).collect()
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
        }
    }

    #[test]
    fn a_ticket_lives_as_long_as_one_of_its_waiters() {
        let (mut queue, first, second) = (Queue::default(), Alive::default(), Alive::default());
        queue.join(&claim("a", "n"), &first).unwrap();
        queue.join(&claim("a", "n"), &second).unwrap();
        queue.join(&claim("b", "n"), &Alive::default()).unwrap();
        drop(first);
        assert_eq!(queue.tickets().len(), 1, "b's waiter is gone, a has one left");
        assert!(queue.is_head(&claim("a", "n")));
        drop(second);
        assert!(queue.tickets().is_empty());
    }

    #[test]
    fn a_second_installation_under_one_node_id_is_refused() {
        let (mut queue, waiter) = (Queue::default(), Alive::default());
        queue.join(&claim("a", "n"), &waiter).unwrap();
        assert!(queue.join(&claim("a", "m"), &Alive::default()).is_err());
        queue.leave("a", "m");
        assert_eq!(queue.tickets().len(), 1, "the second installation cannot take the ticket away");
    }
}
