//! Programs that need devices, which the executor's own service has none of.

use std::path::Path;

use super::error::SnapshotError;
use crate::adapters::command::Command;

/// Runs a program that works on the device at `door`; answers what it printed. Where the door cannot
/// be seen it runs in a transient unit, which is not fenced off as the executor's service is.
pub(super) async fn run(
    door: &str,
    program: &str,
    arguments: &[&str],
) -> Result<String, SnapshotError> {
    let command = if Path::new(door).exists() {
        Command::new(program)
    } else {
        let unit = ["--quiet", "--collect", "--pipe", "--wait", "--", program];
        Command::new("systemd-run").args(unit)
    };
    Ok(command.args(arguments).output().await?)
}
