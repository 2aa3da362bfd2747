//! D-Bus names, interfaces and wire documents (not the core's types).

/// Well-known name of the agent.
pub const AGENT_NAME: &str = "org.lockkeeper1";
/// Object path of the agent.
pub const AGENT_PATH: &str = "/org/lockkeeper1";
/// Well-known name of the executor.
pub const EXECUTOR_NAME: &str = "org.lockkeeper1.Executor";
/// Object path of the executor.
pub const EXECUTOR_PATH: &str = "/org/lockkeeper1/Executor";

pub mod agent;
pub mod error;
pub mod executor;
