//! The decisions: pure, total, without clock, I/O or async.
//!
//! ```text
//! Event ─► step(state, policy, now, event) ─► state, effects ─► (the outside) ─► Event
//! ```
//!
//! [`step::step`] and, after every start, [`resume::resume`] are the only ways to a new [`state::State`].

pub mod blocker;
pub mod canary;
pub mod change;
pub mod channel;
pub mod check;
pub mod choice;
pub mod container;
pub mod doctor;
pub mod effect;
pub mod event;
pub mod explain;
pub mod fast;
pub mod gate;
pub mod health;
pub mod history;
pub mod hook;
pub mod image;
pub mod invariants;
pub mod migrate;
pub mod order;
pub mod outlook;
pub mod overdue;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod quorum;
pub mod record;
pub mod recreate;
pub mod removal;
pub mod resume;
pub mod rootless;
pub mod slots;
pub mod stale;
pub mod standing;
pub mod state;
pub mod step;
pub mod template;
pub mod time;
pub mod turn;
pub mod unit;
pub mod verdict;
pub mod window;
pub mod wish;
pub mod wrapped;
