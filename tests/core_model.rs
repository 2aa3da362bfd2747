//! Exhaustive search of small fleets: every order of events, with a budget of bad luck.
//!
//! The world is the honest one of support/world.rs, with times mapped to "due" and "not yet". Each
//! state found is checked for the promises about one node and about all, and from each the fleet must
//! find an end when nothing goes wrong any more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unnecessary_wraps,
    clippy::struct_excessive_bools,
    reason = "builders, reports and switches of the tests"
)]

#[path = "support/core.rs"]
mod support;

#[path = "support/chances.rs"]
mod chances;
#[path = "core_model/explore.rs"]
mod explore;
#[path = "core_model/fair.rs"]
mod fair;
#[path = "support/machine.rs"]
mod machine;
#[path = "core_model/mutants.rs"]
mod mutants;
#[path = "support/normal.rs"]
mod normal;
#[path = "core_model/scopes.rs"]
mod scopes;
#[path = "support/world.rs"]
mod world;
