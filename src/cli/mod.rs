//! cli

pub mod config;
pub mod windows;
