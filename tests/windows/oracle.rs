//! Slow and obviously right: every minute of some weeks is looked at on its own.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use lockkeeper::core::window::{Freeze, NotYet, Opening, Schedule, Window};

/// Each minute from `first` on, and what the schedule says of it.
pub struct Minutes {
    first: Timestamp,
    /// Inside a window and no freeze.
    pub open: Vec<bool>,
    /// Inside a freeze.
    pub frozen: Vec<bool>,
}

impl Minutes {
    pub fn new(schedule: &Schedule, first: Timestamp, count: usize) -> Self {
        let mut covered = vec![schedule.windows.is_empty(); count];
        let mut clocks: Vec<(TimeZone, Vec<DateTime>)> = Vec::new();
        for window in &schedule.windows {
            if !clocks.iter().any(|(zone, _)| *zone == window.zone) {
                clocks.push((window.zone.clone(), shown(&window.zone, first, count)));
            }
            let (_, shown) = clocks.iter().find(|(zone, _)| *zone == window.zone).unwrap();
            cover(&mut covered, window, shown);
        }
        let mut frozen = vec![false; count];
        for freeze in &schedule.freezes {
            freeze_over(&mut frozen, freeze, first);
        }
        let open = covered.iter().zip(&frozen).map(|(covered, frozen)| *covered && !frozen);
        Self { first, open: open.collect(), frozen }
    }

    /// What [`Schedule::at`] must say of minute `now`; `None` where these minutes do not reach far
    /// enough to tell.
    pub fn at(&self, schedule: &Schedule, now: usize, place: f64) -> Option<Expected> {
        if self.frozen[now] {
            return Some(Expected::Frozen(self.next(schedule, now, place)));
        }
        if !self.open[now] {
            return Some(Expected::Closed(self.next(schedule, now, place)));
        }
        let (begin, end) = self.around(now);
        let closes = (end < self.open.len()).then(|| self.instant(end));
        let too_short =
            || Expected::Waiting(closes, NotYet::TooShort, self.next(schedule, end, place));
        match self.moment(schedule, begin, end, place) {
            Moment::TooShort => return Some(too_short()),
            Moment::At(moment) if self.instant(now) < moment => {
                return Some(Expected::Waiting(closes, NotYet::Spread, Some(moment)));
            }
            // Where the opening begins cannot be seen, but it is longer ago than the spread.
            Moment::Unseen if 60 * (now as u64) >= schedule.spread.as_secs() => {}
            Moment::Unseen => return None,
            Moment::At(_) => {}
        }
        let left = 60 * (end - now) as u64;
        match (left < schedule.min_remaining.as_secs(), closes) {
            (true, Some(_)) => Some(too_short()),
            (true, None) => None,
            (false, _) => Some(Expected::Open(closes)),
        }
    }

    pub fn instant(&self, minute: usize) -> Timestamp {
        instant(self.first, minute)
    }

    /// First and one-past-last minute of the opening around an open minute.
    fn around(&self, now: usize) -> (usize, usize) {
        let begin = (0..now).rev().find(|minute| !self.open[*minute]).map_or(0, |shut| shut + 1);
        let end = (now..self.open.len()).find(|minute| !self.open[*minute]);
        (begin, end.unwrap_or(self.open.len()))
    }

    /// When a node may begin at the earliest after `from`, a minute outside every opening.
    fn next(&self, schedule: &Schedule, from: usize, place: f64) -> Option<Timestamp> {
        let mut minute = from;
        loop {
            minute = (minute..self.open.len()).find(|minute| self.open[*minute])?;
            let (begin, end) = self.around(minute);
            match self.moment(schedule, begin, end, place) {
                Moment::At(moment) => return Some(moment),
                Moment::Unseen => return None,
                Moment::TooShort => minute = end,
            }
        }
    }

    /// The node's own first moment in an opening.
    fn moment(&self, schedule: &Schedule, begin: usize, end: usize, place: f64) -> Moment {
        let (spread, least) = (schedule.spread.as_secs(), schedule.min_remaining.as_secs());
        let length = 60 * (end - begin) as u64;
        let ends_unseen = end == self.open.len();
        if begin == 0 || (ends_unseen && length <= spread + least) {
            return Moment::Unseen;
        }
        if length < least {
            return Moment::TooShort;
        }
        let room = if ends_unseen { spread } else { spread.min(length - least) };
        let wait = (room as f64 * place).floor() as i64;
        Moment::At(Timestamp::from_second(self.instant(begin).as_second() + wait).unwrap())
    }
}

/// A node's first moment in an opening.
enum Moment {
    At(Timestamp),
    /// It has none.
    TooShort,
    /// The minutes do not reach far enough to tell.
    Unseen,
}

/// What the oracle says, as far as it can see; `None` = beyond its minutes.
#[derive(Debug, PartialEq)]
pub enum Expected {
    Open(Option<Timestamp>),
    Waiting(Option<Timestamp>, NotYet, Option<Timestamp>),
    Closed(Option<Timestamp>),
    Frozen(Option<Timestamp>),
}

impl Expected {
    /// The answer in the oracle's terms: instants from `last` on are beyond its minutes.
    pub fn of(opening: &Opening, last: Timestamp) -> Self {
        let seen = |instant: Option<Timestamp>| instant.filter(|instant| *instant < last);
        match opening {
            Opening::Open { closes } => Self::Open(seen(*closes)),
            Opening::OpenButWaiting { closes, why, next } => {
                Self::Waiting(seen(*closes), *why, seen(*next))
            }
            Opening::Closed { next } => Self::Closed(seen(*next)),
            Opening::Frozen { next, .. } => Self::Frozen(seen(*next)),
        }
    }
}

fn instant(first: Timestamp, minute: usize) -> Timestamp {
    Timestamp::from_second(first.as_second() + 60 * minute as i64).unwrap()
}

/// Windows that opened this many minutes before the first may still be open in it.
const BEFORE: usize = 8 * 24 * 60;

/// What a clock shows in each minute, from [`BEFORE`] the first on.
fn shown(zone: &TimeZone, first: Timestamp, count: usize) -> Vec<DateTime> {
    let begin = Timestamp::from_second(first.as_second() - 60 * BEFORE as i64).unwrap();
    (0..BEFORE + count).map(|minute| zone.to_datetime(instant(begin, minute))).collect()
}

/// A window opens in the first minute in which the clock has reached its start on one of its days,
/// and covers the minutes of its length.
fn cover(covered: &mut [bool], window: &Window, shown: &[DateTime]) {
    let length = window.length.as_secs() as usize / 60;
    let mut latest = shown[0];
    for (minute, now) in shown.iter().enumerate() {
        // Dates whose start the clock reaches, or jumps past, for the first time in this minute.
        let mut date = latest.date();
        while latest < *now && date <= now.date() {
            let start = date.to_datetime(window.start);
            if latest < start && start <= *now && window.days.contains(&date.weekday()) {
                let end = (minute + length).min(shown.len());
                covered[minute.max(BEFORE) - BEFORE..end.max(BEFORE) - BEFORE].fill(true);
            }
            date = date.tomorrow().unwrap();
        }
        latest = latest.max(*now);
    }
}

/// Frozen is what lies between the first and the last minute with one of the dates.
fn freeze_over(frozen: &mut [bool], freeze: &Freeze, first: Timestamp) {
    let has_date = |minute: &usize| {
        let date = freeze.zone.to_datetime(instant(first, *minute)).date();
        freeze.from <= date && date <= freeze.to
    };
    let begin = (0..frozen.len()).find(has_date);
    let end = (0..frozen.len()).rev().find(has_date);
    if let (Some(begin), Some(end)) = (begin, end) {
        frozen[begin..=end].fill(true);
    }
}
