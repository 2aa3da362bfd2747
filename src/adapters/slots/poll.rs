//! Waiting by asking again and again, for those who cannot stay on the line.
//!
//! A poller has a ticket like any waiter, and its place among them. It keeps the ticket by polling:
//! who has not asked for the ticket's time to live has left the queue.

use crate::adapters::slots::Token;
use crate::core::slots::SlotsView;

/// What one poll brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The claim holds a slot, now or already.
    Granted(Token),
    /// It has a ticket, and waits.
    Waiting {
        /// Tickets before its own.
        ahead: u64,
        /// The group. Its queue is left out, except for the poller's own ticket.
        view: SlotsView,
    },
}
