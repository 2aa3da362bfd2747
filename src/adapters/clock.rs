//! The clocks. Nothing else in the program reads them.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock: for windows and for people; it may jump.
#[must_use]
#[allow(clippy::disallowed_methods)] // this is the adapter
pub fn wall() -> Timestamp {
    Timestamp::now()
}

/// Time since this boot, suspended time included (`CLOCK_BOOTTIME`): for delays and deadlines; it
/// never jumps and means nothing in another boot.
#[must_use]
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_agrees_with_the_kernels_uptime() {
        let before = since_boot();
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let after = since_boot();
        let uptime: f64 = text.split(' ').next().unwrap().parse().unwrap();
        // /proc/uptime is cut to hundredths of a second.
        assert!(before.as_secs_f64() - 0.02 <= uptime && uptime <= after.as_secs_f64() + 0.02);
    }

    #[test]
    fn the_boot_clock_never_goes_back() {
        let mut last = since_boot();
        for _ in 0..1000 {
            let now = since_boot();
            assert!(now >= last);
            last = now;
        }
    }
}
