//! Maintenance windows and freeze dates: may this node be disturbed at this instant, and when next?
//!
//! A window starts at a clock time in its own time zone and lasts an *elapsed* length; its end is
//! exclusive. A start that a clock change skips happens at the instant the clock jumps forward past
//! it; one that happens twice counts once, the first time. A freeze lasts from the first instant of
//! its first date to the last instant of its last date.
//!
//! - `calendar`: clock times to instants;
//! - `openings`: the union of the windows less the freezes, searched lazily in both directions.
//!
//! Everything here is total: any [`Timestamp`] has an answer, and nothing is searched further than
//! [`HORIZON`] away.

mod calendar;
mod openings;

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

use calendar::later;
use openings::View;
pub use openings::{Openings, Span};

/// How far openings are searched for, and how far apart both ends of one may be before it counts as
/// having none: a year, so that each clock change is seen, and a month.
pub const HORIZON: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The longest window; longer lengths are cut to this.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// One recurring window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Days it starts on, never empty. (It may end on the next day, or the next week.)
    pub days: Vec<Weekday>,
    /// Clock time it starts at.
    pub start: Time,
    /// How long it lasts, elapsed; more than zero, at most [`LONGEST_WINDOW`].
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
        /// First instant that is outside again; `None` = no end within [`HORIZON`].
        closes: Option<Timestamp>,
    },
    /// Inside a window, but not a moment to begin.
    OpenButWaiting {
        /// First instant outside; `None` = no end within [`HORIZON`].
        closes: Option<Timestamp>,
        /// Why not now.
        why: NotYet,
        /// When a cycle may begin next; `None` = not within [`HORIZON`].
        next: Option<Timestamp>,
    },
    /// Outside every window.
    Closed {
        /// When a cycle may begin next; `None` = not within [`HORIZON`].
        next: Option<Timestamp>,
    },
    /// A frozen date.
    Frozen {
        /// The freeze's own reason.
        reason: String,
        /// When a cycle may begin next; `None` = not within [`HORIZON`].
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

impl Opening {
    /// Whether a cycle may begin now.
    #[must_use]
    pub fn may_begin(&self) -> bool {
        match self {
            Self::Open { .. } => true,
            Self::OpenButWaiting { .. } | Self::Closed { .. } | Self::Frozen { .. } => false,
        }
    }
}

impl Schedule {
    /// What the schedule says of `now`.
    ///
    /// `place` is this node's position in the spread, 0.0 (first) to 1.0 (last), from a hash of node
    /// and release, so that other nodes go first each time. The node may begin from *opening +
    /// place × min(spread, length of the opening − `min_remaining`)*, in whole seconds. What is not
    /// between 0 and 1 counts as the nearer of the two, and NaN as 0.
    #[must_use]
    pub fn at(&self, now: Timestamp, place: f64) -> Opening {
        let view = View::new(self, now);
        let next = |from| view.openings(from).find_map(|span| self.first_moment(span, place));
        if let Some(reason) = view.frozen(now) {
            return Opening::Frozen { reason, next: next(now) };
        }
        let Some(span) = view.containing(now) else {
            return Opening::Closed { next: next(now) };
        };
        let closes = span.closes;
        let after = || closes.and_then(next);
        let wait = |why, next| Opening::OpenButWaiting { closes, why, next };
        match self.first_moment(span, place) {
            None => wait(NotYet::TooShort, after()),
            Some(begin) if now < begin => wait(NotYet::Spread, Some(begin)),
            Some(_) if !self.enough_left(now, span) => wait(NotYet::TooShort, after()),
            Some(_) => Opening::Open { closes },
        }
    }

    /// Whether `now` lies inside a window and no freeze, whatever the spread and the time left say:
    /// the question asked before a reboot that belongs to a cycle already begun.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        let view = View::new(self, now);
        view.frozen(now).is_none() && view.covered(now)
    }

    /// The openings from `now` on, the one that contains `now` first. Each is as long as it can be:
    /// overlapping and adjoining windows are one, and a freeze cuts.
    #[must_use]
    pub fn openings(&self, now: Timestamp) -> Openings<'_> {
        let view = View::new(self, now);
        let current = if view.frozen(now).is_none() { view.containing(now) } else { None };
        Openings::new(view, current, now)
    }

    /// When a node at `place` may begin in this opening; `None` if it is too short for any.
    #[must_use]
    pub fn first_moment(&self, span: Span, place: f64) -> Option<Timestamp> {
        let Some(opens) = span.opens else {
            return Some(Timestamp::MIN);
        };
        let room = match span.length() {
            Some(length) => self.spread.min(length.checked_sub(self.min_remaining)?),
            None => self.spread,
        };
        Some(later(opens, share(room.min(HORIZON), place)))
    }

    /// The zone in which people think of `instant`: that of the first window that contains it, else
    /// of the first window, else of the first freeze.
    #[must_use]
    pub fn zone_at(&self, instant: Timestamp) -> Option<&TimeZone> {
        let containing = self.windows.iter().find(|window| window.contains(instant));
        let window = containing.or(self.windows.first()).map(|window| &window.zone);
        window.or(self.freezes.first().map(|freeze| &freeze.zone))
    }

    fn enough_left(&self, now: Timestamp, span: Span) -> bool {
        span.closes.is_none_or(|closes| later(now, self.min_remaining) <= closes)
    }
}

/// `place` of `whole`, in whole seconds and never more than `whole`.
fn share(whole: Duration, place: f64) -> Duration {
    let place = if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) };
    Duration::from_secs(whole.mul_f64(place).min(whole).as_secs())
}
