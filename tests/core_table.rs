//! The core as a table: what each event leads to in each phase, and what each restart does.
//!
//! `core/table.txt` is the golden record; `BLESS=1` writes it anew. Whatever it says, the promises
//! below hold for every row, so that blessing cannot hide a broken one.
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

#[path = "core/complete.rs"]
mod complete;
#[path = "core/doctor.rs"]
mod doctor;
#[path = "core/events.rs"]
mod events;
#[path = "core/expected.rs"]
mod expected;
#[path = "core/golden.rs"]
mod golden;
#[path = "core/promises.rs"]
mod promises;
#[path = "core/situations.rs"]
mod situations;
#[path = "core/verdicts.rs"]
mod verdicts;
