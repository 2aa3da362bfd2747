//! What the admin wants, as far as decisions need it.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::window::Schedule;

/// The part of the settings that decisions rest on.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// False with `strategy = "off"`: check and stage, never touch the machine.
    pub act: bool,
    /// When the machine may be disturbed.
    pub schedule: Schedule,
    /// First check this long after the agent's start.
    pub check_first: Duration,
    /// Time between checks.
    pub check_interval: Duration,
    /// How much a check delay varies, either way.
    pub check_spread: Duration,
    /// A requested reboot that has not come after this long is requested again.
    pub reboot_timeout: Duration,
    /// The node must be healthy without a break for this long.
    pub verify_settle: Duration,
    /// Not healthy after this long: the update failed.
    pub verify_timeout: Duration,
    /// Identity of the rules by which packages are chosen: a plan made by others is not applied.
    pub choice: String,
    /// A failed plan is undone.
    pub roll_back: bool,
    /// Plans are installed in a boot made for that, before anything else runs, and not beside the
    /// services.
    pub at_boot: bool,
    /// This node's id: its place in spreads comes from it.
    pub node: String,
    /// This node's host name, for people.
    pub name: String,
}

impl Policy {
    /// This node's place (0.0 to 1.0) among all nodes for one release: a hash of both, so that other
    /// nodes go first each time.
    #[must_use]
    pub fn place(&self, release: &str) -> f64 {
        fraction(&[self.node.as_bytes(), release.as_bytes()])
    }

    /// `base` varied by up to `spread` either way; `seed` and `round` choose how much.
    #[must_use]
    pub fn varied(base: Duration, spread: Duration, seed: &str, round: u64) -> Duration {
        let place = fraction(&[seed.as_bytes(), &round.to_le_bytes()]);
        (base + spread.mul_f64(2.0 * place)).saturating_sub(spread)
    }
}

/// A number from 0.0 to 1.0 out of a hash.
fn fraction(parts: &[&[u8]]) -> f64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest = hash.finalize();
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(number) / f64::from(u32::MAX)
}
