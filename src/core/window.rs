//! Maintenance windows and freeze dates: may this node be disturbed at this instant, and when next?
//!
//! A window starts at a clock time in its own time zone and lasts an *elapsed* length; its end is
//! exclusive. A start that a clock change skips happens at the instant the clock jumps forward past
//! it; one that happens twice counts once, the first time.

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

/// One recurring window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Days it starts on, never empty. (It may end on the next day, or the next week.)
    pub days: Vec<Weekday>,
    /// Clock time it starts at.
    pub start: Time,
    /// How long it lasts, elapsed; more than zero, at most seven days.
    pub length: Duration,
    /// The zone `start` and `days` are meant in.
    pub zone: TimeZone,
}

/// Dates on which nothing is disturbed, whatever the windows say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// First frozen date.
    pub from: Date,
    /// Last frozen date, inclusive.
    pub to: Date,
    /// The zone the dates are meant in.
    pub zone: TimeZone,
    /// Why, for `explain`.
    pub reason: String,
}

/// When this node may be disturbed. No windows at all means: at any time that is not frozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Recurring windows; overlapping and adjoining ones count as one.
    pub windows: Vec<Window>,
    /// Frozen dates.
    pub freezes: Vec<Freeze>,
    /// Nodes begin at a place of their own within this time after each opening (see [`Schedule::at`]).
    pub spread: Duration,
    /// A cycle is begun only while at least this much of the window is left.
    pub min_remaining: Duration,
}

/// What a schedule says of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A cycle may begin now.
    Open {
        /// First instant that is outside again; `None` = no end (no windows, no freeze ahead).
        closes: Option<Timestamp>,
    },
    /// Inside a window, but not a moment to begin.
    OpenButWaiting {
        /// First instant outside.
        closes: Option<Timestamp>,
        /// Why not now.
        why: NotYet,
        /// When a cycle may begin next, if ever.
        next: Option<Timestamp>,
    },
    /// Outside every window.
    Closed {
        /// When a cycle may begin next; `None` = never (no opening within the search horizon).
        next: Option<Timestamp>,
    },
    /// A frozen date.
    Frozen {
        /// The freeze's own reason.
        reason: String,
        /// When a cycle may begin next, if ever.
        next: Option<Timestamp>,
    },
}

/// Why an open window is not used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {
    /// This node's place in the spread has not come.
    Spread,
    /// Too little of the window is left.
    TooShort,
}

impl Schedule {
    /// What the schedule says of `now`. `place` is this node's position in the spread, 0.0 (first)
    /// to 1.0 (last), from a hash of node and release, so that other nodes go first each time.
    #[must_use]
    pub fn at(&self, _now: Timestamp, _place: f64) -> Opening {
        unimplemented!()
    }

    /// Whether `now` lies inside a window and no freeze, whatever the spread and the time left say:
    /// the question asked before a reboot that belongs to a cycle already begun.
    #[must_use]
    pub fn contains(&self, _now: Timestamp) -> bool {
        unimplemented!()
    }
}
