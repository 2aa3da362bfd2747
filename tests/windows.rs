//! Maintenance windows: tables for clock changes and calendar edges, and properties against an
//! oracle that walks minute by minute.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "helpers of tests may panic like the tests themselves, and their numbers are small"
)]

#[path = "windows/oracle.rs"]
mod oracle;
#[path = "windows/properties.rs"]
mod properties;
#[path = "windows/tables.rs"]
mod tables;

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::{Time, Weekday},
    tz::TimeZone,
};
use lockkeeper::core::window::{Freeze, Schedule, Window};

const DAILY: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn utc(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn hours(count: u64) -> Duration {
    minutes(60 * count)
}

fn clock(text: &str) -> Time {
    text.parse().unwrap()
}

fn window(days: &[Weekday], start: &str, length: Duration, zone_name: &str) -> Window {
    Window { days: days.to_vec(), start: clock(start), length, zone: zone(zone_name) }
}

fn freeze(from: &str, to: &str, zone_name: &str) -> Freeze {
    Freeze {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        zone: zone(zone_name),
        reason: format!("{from} to {to}"),
    }
}

fn schedule(windows: impl Into<Vec<Window>>) -> Schedule {
    Schedule { windows: windows.into(), ..Schedule::default() }
}
