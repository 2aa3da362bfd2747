//! lockkeeper.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod dbus;
pub mod executor;
pub mod hub;
pub mod observe;
