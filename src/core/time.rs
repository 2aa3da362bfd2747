//! Time as the core sees it: handed in, never read.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Milliseconds on this boot's monotonic clock (`CLOCK_BOOTTIME`); meaningless in another boot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Mono(pub u64);

impl Mono {
    /// The instant `delay` later.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(millis(delay)))
    }

    /// Time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}

/// One instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Now {
    /// The wall clock: for windows and for people.
    pub wall: Timestamp,
    /// The monotonic clock: for delays and deadlines.
    pub mono: Mono,
}

/// The kernel's boot id (`/proc/sys/kernel/random/boot_id`), and where soft-reboots have followed,
/// `+` and how many: another value is the only proof of a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

impl BootId {
    /// Whether nothing but soft-reboots lies between the two.
    #[must_use]
    pub fn same_kernel(&self, other: &Self) -> bool {
        self.kernel() == other.kernel()
    }

    fn kernel(&self) -> &str {
        self.0.split_once('+').map_or(&self.0, |(kernel, _)| kernel)
    }
}

/// Delay before try number `tries` + 1 of something that failed: 1, 2, 4 … 60 seconds.
#[must_use]
pub fn backoff(tries: u32) -> Duration {
    Duration::from_secs(1_u64.checked_shl(tries.saturating_sub(1)).unwrap_or(60).clamp(1, 60))
}
