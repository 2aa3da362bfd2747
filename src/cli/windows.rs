//! `rebootctl windows`: try a schedule before it is trusted.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::config::complain;
use crate::{
    config::{self, duration},
    core::window::{NotYet, Opening, Schedule, Span},
};

/// How many coming openings are listed.
const LISTED: usize = 5;

/// Say whether a maintenance window is open, when it closes, and when the next ones open
#[derive(Args, Clone, Debug)]
pub struct WindowsArgs {
    /// Ask about this instant instead of now (RFC 3339, such as 2026-12-24T02:30:00+01:00)
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub at: Option<Timestamp>,
    /// Try this file alone, over the built-in values, instead of this machine's files
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where and when the question is asked.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Root directory of the machine.
    pub root: &'a Path,
    /// The time now.
    pub now: Timestamp,
    /// This node's place in the spread, 0.0 to 1.0; 0.0 if it is not known.
    pub place: f64,
}

/// Runs `rebootctl windows`. Answers go to `out`, mistakes in the configuration to `err`.
///
/// # Returns
/// The exit code: 0 whatever the answer, or [`config::EXIT_CODE`].
pub fn run(
    args: &WindowsArgs,
    here: Here<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let loaded = match &args.config {
        Some(file) => config::load_file(file),
        None => config::load(here.root),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return complain(&errors, err),
    };
    let answer = Answer::new(&loaded.settings.schedule, args.at.unwrap_or(here.now), here);
    if args.json {
        writeln!(out, "{:#}", answer.json())?;
    } else {
        answer.print(out)?;
    }
    Ok(0)
}

fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        "write an instant with its offset, such as 2026-12-24T02:30:00+01:00 or 2026-12-24T01:30:00Z"
            .to_owned()
    })
}

/// What is to be said of one instant.
struct Answer<'a> {
    schedule: &'a Schedule,
    at: Timestamp,
    place: f64,
    opening: Opening,
    coming: Vec<Span>,
    system: TimeZone,
}

impl<'a> Answer<'a> {
    fn new(schedule: &'a Schedule, at: Timestamp, here: Here<'_>) -> Self {
        let coming =
            schedule.openings(at).filter(|span| span.opens.is_some_and(|opens| opens > at));
        Self {
            schedule,
            at,
            place: here.place,
            opening: schedule.at(at, here.place),
            coming: coming.take(LISTED).collect(),
            system: config::system_zone(here.root).zone,
        }
    }

    /// Whether a window is open, when it closes, when this node may begin if not now.
    fn facts(&self) -> (bool, Option<Timestamp>, Option<Timestamp>) {
        match &self.opening {
            Opening::Open { closes } => (true, *closes, None),
            Opening::OpenButWaiting { closes, next, .. } => (true, *closes, *next),
            Opening::Closed { next } | Opening::Frozen { next, .. } => (false, None, *next),
        }
    }

    /// The stable word for why a cycle may not begin.
    fn reason(&self) -> Option<&'static str> {
        match self.opening {
            Opening::Open { .. } => None,
            Opening::OpenButWaiting { why: NotYet::Spread, .. } => Some("spread"),
            Opening::OpenButWaiting { why: NotYet::TooShort, .. } => Some("too-short"),
            Opening::Closed { .. } => Some("window-closed"),
            Opening::Frozen { .. } => Some("frozen"),
        }
    }

    fn sentence(&self) -> String {
        match &self.opening {
            Opening::Open { .. } => "open: a cycle may begin now".to_owned(),
            Opening::OpenButWaiting { why: NotYet::Spread, .. } => {
                "open, but this node's place in the spread has not come".to_owned()
            }
            Opening::OpenButWaiting { why: NotYet::TooShort, .. } => format!(
                "open, but less than {} of it is left",
                duration::format(self.schedule.min_remaining)
            ),
            Opening::Closed { .. } => "closed: outside every window".to_owned(),
            Opening::Frozen { reason, .. } => format!("frozen: {reason}"),
        }
    }

    fn json(&self) -> Value {
        let (open, closes, next) = self.facts();
        let openings: Vec<Value> = self
            .coming
            .iter()
            .map(|span| json!({ "opens": utc(span.opens), "closes": utc(span.closes) }))
            .collect();
        json!({
            "schema": 1,
            "at": utc(Some(self.at)),
            "open": open,
            "may_begin": self.opening.may_begin(),
            "closes": utc(closes),
            "next": utc(next),
            "reason": self.reason(),
            "text": self.sentence(),
            "openings": openings,
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let (open, closes, next) = self.facts();
        writeln!(out, "at      {}", self.moment(self.at, self.at))?;
        writeln!(out, "state   {}", self.sentence())?;
        if open {
            writeln!(out, "closes  {}", self.ahead(closes, self.at))?;
        }
        if !self.opening.may_begin() {
            writeln!(out, "next    {}", self.ahead(next, next.unwrap_or(self.at)))?;
        }
        if self.coming.is_empty() {
            return writeln!(out, "\nno other opening in the next 400 days");
        }
        writeln!(out, "\nnext openings")?;
        for span in &self.coming {
            self.print_span(span, out)?;
        }
        Ok(())
    }

    fn print_span(&self, span: &Span, out: &mut dyn Write) -> io::Result<()> {
        let seen_from = span.opens.unwrap_or(self.at);
        writeln!(out, "  opens   {}", self.ahead(span.opens, seen_from))?;
        let length = match span.length() {
            Some(length) => format!(", open for {}", duration::rough(length)),
            None => String::new(),
        };
        let short = match self.schedule.first_moment(*span, self.place) {
            Some(_) => String::new(),
            None => format!(
                ": too short to begin, min_remaining is {}",
                duration::format(self.schedule.min_remaining)
            ),
        };
        let closes = match span.closes {
            Some(closes) => self.moment(closes, seen_from),
            None => NOT_SOON.to_owned(),
        };
        writeln!(out, "  closes  {closes}{length}{short}")
    }

    /// An instant and how far away it is.
    fn ahead(&self, instant: Option<Timestamp>, seen_from: Timestamp) -> String {
        let Some(instant) = instant else {
            return NOT_SOON.to_owned();
        };
        let wait = Duration::try_from(instant.duration_since(self.at)).unwrap_or_default();
        format!("{}, in {}", self.moment(instant, seen_from), duration::rough(wait))
    }

    /// An instant in the zone of the window that is or comes open at `seen_from`, and in UTC.
    fn moment(&self, instant: Timestamp, seen_from: Timestamp) -> String {
        let zone = self.schedule.zone_at(seen_from).unwrap_or(&self.system);
        let local = instant.to_zoned_datetime(zone.clone());
        let time = if local.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
        let local = local.strftime(&format!("%a %Y-%m-%d {time} %Z")).to_string();
        format!("{local}  ({})", seconds(instant))
    }
}

const NOT_SOON: &str = "not in the next 400 days";

fn utc(instant: Option<Timestamp>) -> Value {
    instant.map_or(Value::Null, |instant| Value::String(seconds(instant)))
}

/// RFC 3339 in UTC, whole seconds.
fn seconds(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
