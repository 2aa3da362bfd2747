//! A channel against everything that may stand between its admin and a node: each attack is refused
//! with its own reason, nothing is changed by it, and what is honest is believed afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod attacks;
mod cli;
mod fetching;
mod following;
mod lab;
mod pacing;
#[path = "../support/server.rs"]
mod server;
