//! FleetLock as it is on the wire: what the hub takes and refuses, and what its client makes of the
//! answers of other servers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "fleetlock/config.rs"]
mod config;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/hub.rs"]
#[allow(dead_code, reason = "shared with tests that do more with it")]
mod hub;
#[path = "fleetlock/program.rs"]
mod program;
#[path = "fleetlock/protocol.rs"]
mod protocol;
#[path = "fleetlock/secrets.rs"]
mod secrets;
#[path = "fleetlock/servers.rs"]
mod servers;
#[path = "fleetlock/storm.rs"]
mod storm;
#[path = "support/wait.rs"]
mod wait;
#[path = "fleetlock/wire.rs"]
mod wire;
