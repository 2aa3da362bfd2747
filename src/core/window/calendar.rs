//! From clock times and dates to instants.

use std::time::Duration;

use jiff::{
    Span as Days, Timestamp,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, AmbiguousTimestamp, TimeZone},
};

use super::{Freeze, LONGEST_WINDOW, Window};

/// From `opens` to just before `closes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occurrence {
    pub(super) opens: Timestamp,
    pub(super) closes: Timestamp,
}

impl Window {
    /// Every occurrence that begins at or before `instant` and has not long ended; some others too.
    pub(super) fn around(&self, instant: Timestamp) -> impl Iterator<Item = Occurrence> + '_ {
        // Days of slack: a whole date may be skipped (Apia 2011), and a start that is skipped
        // belongs to the date before the one it happens on.
        let first = self.date_at(earlier(instant, self.length())).saturating_sub(days(2));
        let last = self.date_at(instant).saturating_add(days(1));
        dates(first, last).filter_map(|date| self.on(date))
    }

    /// Whether it is open at `instant`.
    pub(super) fn contains(&self, instant: Timestamp) -> bool {
        self.around(instant).any(|found| found.opens <= instant && instant < found.closes)
    }

    /// When it opens next, strictly after `instant`.
    pub(super) fn opens_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let first = self.date_at(instant).saturating_sub(days(2));
        let last = first.saturating_add(days(11));
        dates(first, last)
            .filter_map(|date| self.on(date))
            .map(|found| found.opens)
            .find(|opens| *opens > instant)
    }

    /// The occurrence that starts on `date`, if that is one of the window's days.
    fn on(&self, date: Date) -> Option<Occurrence> {
        if !self.days.contains(&date.weekday()) {
            return None;
        }
        let opens = first_instant(&self.zone, date.to_datetime(self.start));
        Some(Occurrence { opens, closes: later(opens, self.length()) })
    }

    fn length(&self) -> Duration {
        self.length.min(LONGEST_WINDOW)
    }

    fn date_at(&self, instant: Timestamp) -> Date {
        self.zone.to_datetime(instant).date()
    }
}

impl Freeze {
    /// From the first instant of `from` to the last instant of `to`; empty if there is none.
    pub(super) fn occurrence(&self) -> Occurrence {
        let opens = first_instant(&self.zone, self.from.to_datetime(Time::midnight()));
        let closes = match self.to.tomorrow() {
            Ok(after) => last_instant(&self.zone, after.to_datetime(Time::midnight())),
            Err(_) => Timestamp::MAX,
        };
        Occurrence { opens, closes }
    }
}

/// The first instant at which clocks in `zone` show `at`, or jump past it.
pub(super) fn first_instant(zone: &TimeZone, at: DateTime) -> Timestamp {
    let found = zone.to_ambiguous_timestamp(at);
    match found.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            or_bound(found.earlier(), at)
        }
        AmbiguousOffset::Gap { .. } => jump(zone, found),
    }
}

/// The last instant at which clocks in `zone` show `at`, or jump past it.
fn last_instant(zone: &TimeZone, at: DateTime) -> Timestamp {
    let found = zone.to_ambiguous_timestamp(at);
    match found.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            or_bound(found.later(), at)
        }
        AmbiguousOffset::Gap { .. } => jump(zone, found),
    }
}

/// The instant of the clock change that skips a time. It lies after the time read with the offset
/// that follows the change, and at or before the time read with the offset that precedes it.
fn jump(zone: &TimeZone, skipped: AmbiguousTimestamp) -> Timestamp {
    let (Ok(before), Ok(after)) = (skipped.earlier(), skipped.later()) else {
        return or_bound(skipped.later(), skipped.datetime());
    };
    let offset = zone.to_offset(after);
    zone.following(before)
        .map(|change| (change.timestamp(), change.offset()))
        .take_while(|(at, _)| *at <= after)
        .find(|(_, following)| *following == offset)
        .map_or(after, |(at, _)| at)
}

/// A time outside the supported range counts as the end of the range it lies beyond.
fn or_bound(found: Result<Timestamp, jiff::Error>, at: DateTime) -> Timestamp {
    let bound = if at.year() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    found.unwrap_or(bound)
}

/// `instant + by`, at most the last instant there is.
pub(super) fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// `instant − by`, at least the first instant there is.
pub(super) fn earlier(instant: Timestamp, by: Duration) -> Timestamp {
    instant.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn days(count: i64) -> Days {
    Days::new().days(count)
}

fn dates(first: Date, last: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(first), |date| date.tomorrow().ok())
        .take_while(move |date| *date <= last)
}
