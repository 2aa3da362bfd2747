//! The files of load balancers: made of templates as confd has them, fed from real keys, judged by the
//! real nginx and haproxy.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "support/etcd.rs"]
mod etcd;
#[path = "balancer/program.rs"]
mod program;
#[path = "balancer/shipped.rs"]
mod shipped;
#[path = "balancer/templates.rs"]
mod templates;
#[path = "support/wait.rs"]
mod wait;
