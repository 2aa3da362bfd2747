//! The decisions: pure, total, without clock, I/O or async.

pub mod health;
pub mod plan;
pub mod slots;
pub mod window;
