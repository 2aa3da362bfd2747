//! The union of the windows less the freezes, as maximal spans, searched lazily.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    HORIZON, Schedule,
    calendar::{Occurrence, earlier, later},
};

/// A time during which the node may be disturbed: as long as possible, end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First instant inside; `None` = open for longer than [`HORIZON`] already.
    pub opens: Option<Timestamp>,
    /// First instant outside; `None` = no end within [`HORIZON`].
    pub closes: Option<Timestamp>,
}

impl Span {
    /// How long it is, if it has both ends.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        let (opens, closes) = (self.opens?, self.closes?);
        Duration::try_from(closes.duration_since(opens)).ok()
    }
}

/// A schedule seen from one instant: freezes resolved, the search bounded.
pub(super) struct View<'a> {
    schedule: &'a Schedule,
    freezes: Vec<(Occurrence, &'a str)>,
    until: Timestamp,
}

impl<'a> View<'a> {
    pub(super) fn new(schedule: &'a Schedule, now: Timestamp) -> Self {
        let freezes = schedule
            .freezes
            .iter()
            .map(|freeze| (freeze.occurrence(), freeze.reason.as_str()))
            .filter(|(frozen, _)| frozen.opens < frozen.closes)
            .collect();
        Self { schedule, freezes, until: later(now, HORIZON) }
    }

    /// Why `instant` is frozen, if it is: the reason of the first such freeze listed.
    pub(super) fn frozen(&self, instant: Timestamp) -> Option<String> {
        self.freezes_at(instant).next().map(|(_, reason)| (*reason).to_owned())
    }

    /// Whether a window contains `instant`, whatever the freezes say.
    pub(super) fn covered(&self, instant: Timestamp) -> bool {
        let windows = &self.schedule.windows;
        windows.is_empty() || windows.iter().any(|window| window.contains(instant))
    }

    /// The opening that contains `instant`, which is not frozen.
    pub(super) fn containing(&self, instant: Timestamp) -> Option<Span> {
        self.covered(instant)
            .then(|| Span { opens: self.start(instant), closes: self.end(instant) })
    }

    /// The openings that begin after `from`, or at it, in order; `from` lies in none or begins one.
    pub(super) fn openings(&self, from: Timestamp) -> impl Iterator<Item = Span> + '_ {
        std::iter::successors(self.opening_from(from), |span| self.opening_from(span.closes?))
    }

    /// The first opening that begins at or after `from`.
    pub(super) fn opening_from(&self, from: Timestamp) -> Option<Span> {
        let mut at = from;
        while at < self.until {
            if let Some(end) = self.freezes_at(at).map(|(frozen, _)| frozen.closes).max() {
                at = end;
            } else if self.covered(at) {
                return Some(Span { opens: Some(at), closes: self.end(at) });
            } else {
                let windows = self.schedule.windows.iter();
                at = windows.filter_map(|window| window.opens_after(at)).min()?;
            }
        }
        None
    }

    /// Where the opening that contains `instant` begins.
    fn start(&self, instant: Timestamp) -> Option<Timestamp> {
        let thawed =
            self.freezes.iter().map(|(frozen, _)| frozen.closes).filter(|end| *end <= instant);
        self.windows_from(instant).max(thawed.max())
    }

    /// Where the opening that contains `instant` ends.
    fn end(&self, instant: Timestamp) -> Option<Timestamp> {
        let frozen =
            self.freezes.iter().map(|(frozen, _)| frozen.opens).filter(|start| *start > instant);
        let limit = later(instant, HORIZON);
        let ends = [self.windows_until(instant, limit), frozen.min()];
        ends.into_iter().flatten().min().filter(|end| *end < limit)
    }

    /// The first instant of the overlapping and adjoining windows around `instant`.
    fn windows_from(&self, instant: Timestamp) -> Option<Timestamp> {
        let limit = earlier(instant, HORIZON);
        let mut start = instant;
        loop {
            let further = self
                .schedule
                .windows
                .iter()
                .flat_map(|window| window.around(start))
                .filter(|found| found.opens < start && start <= found.closes)
                .map(|found| found.opens)
                .min();
            match further {
                Some(opens) if opens <= limit => return None,
                Some(opens) => start = opens,
                None if self.schedule.windows.is_empty() => return None,
                None => return Some(start),
            }
        }
    }

    /// The first instant after the overlapping and adjoining windows around `instant`.
    fn windows_until(&self, instant: Timestamp, limit: Timestamp) -> Option<Timestamp> {
        let mut end = instant;
        loop {
            let further = self
                .schedule
                .windows
                .iter()
                .flat_map(|window| window.around(end))
                .filter(|found| found.opens <= end && end < found.closes)
                .map(|found| found.closes)
                .max();
            match further {
                Some(closes) if closes >= limit => return None,
                Some(closes) => end = closes,
                None if self.schedule.windows.is_empty() => return None,
                None => return Some(end),
            }
        }
    }

    fn freezes_at(&self, instant: Timestamp) -> impl Iterator<Item = &(Occurrence, &'a str)> {
        self.freezes
            .iter()
            .filter(move |(frozen, _)| frozen.opens <= instant && instant < frozen.closes)
    }
}

/// What [`Schedule::openings`] returns.
pub struct Openings<'a> {
    view: View<'a>,
    current: Option<Span>,
    from: Option<Timestamp>,
}

impl<'a> Openings<'a> {
    pub(super) fn new(view: View<'a>, current: Option<Span>, now: Timestamp) -> Self {
        let from = current.map_or(Some(now), |span| span.closes);
        Self { view, current, from }
    }
}

impl Iterator for Openings<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        if let Some(span) = self.current.take() {
            return Some(span);
        }
        let span = self.view.opening_from(self.from?)?;
        self.from = span.closes;
        Some(span)
    }
}
