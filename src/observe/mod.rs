//! What the programs tell people: logs.

pub mod logging;
