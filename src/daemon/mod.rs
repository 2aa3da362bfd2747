//! The agent: one driver that takes one event at a time, and the tasks that bring events and carry
//! out effects.
//!
//! ```text
//! sources ─► Event ─► driver: step, write state, publish ─► effects ─► Event …
//! ```

mod canary;
mod connect;
mod driver;
mod hooks;
mod publisher;
mod run_effect;
mod service;
mod snapshot;

pub use driver::{Agent, AgentError, Paths};
