//! The files of load balancers: made of templates as confd has them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "balancer/templates.rs"]
mod templates;
