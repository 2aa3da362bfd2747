//! Durations as people write them: `45m`, `1h 30m`, `2d`.

use std::{fmt::Write as _, time::Duration};

/// Unit names, the largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// A number without a unit after it; holds the number.
    #[error("has no unit after {0}")]
    NoUnit(String),
    /// Something that is no unit; holds it.
    #[error("has an unknown unit {0:?}")]
    UnknownUnit(String),
    /// A unit that is repeated, or larger than the one before it; holds it.
    #[error("has {0:?} out of order")]
    OutOfOrder(String),
    /// Something that is neither number nor unit; holds it.
    #[error("has {0:?} where a number should be")]
    NoNumber(String),
    /// More than can be counted.
    #[error("is too long")]
    TooLong,
}

impl DurationError {
    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NoUnit(number) => {
                format!("write \"{number}s\", \"{number}m\", \"{number}h\" or \"{number}d\"")
            }
            Self::UnknownUnit(unit) => match meant(unit) {
                Some(known) => format!("did you mean \"{known}\"? Units are d, h, m, s and ms"),
                None => "units are d, h, m, s and ms".to_owned(),
            },
            Self::OutOfOrder(_) => {
                "larger units come first and each only once, as in \"1h 30m\"".to_owned()
            }
            Self::Empty | Self::NoNumber(_) | Self::TooLong => {
                "write a duration such as \"45m\" or \"1h 30m\"".to_owned()
            }
        }
    }
}

/// Parses whole numbers with units, the larger units first: `45m`, `1h 30m`, `2d`, `500ms`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim_ascii();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut millis: u64 = 0;
    let mut smallest_so_far = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let after = after.trim_ascii_start();
        let (unit, after) = split(after, |byte| !byte.is_ascii_digit() && byte != b' ');
        if number.is_empty() {
            return Err(DurationError::NoNumber(unit.to_owned()));
        }
        let factor = unit_length(number, unit)?;
        if factor >= smallest_so_far {
            return Err(DurationError::OutOfOrder(unit.to_owned()));
        }
        smallest_so_far = factor;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        millis = part.and_then(|part| millis.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = after.trim_ascii_start();
    }
    Ok(Duration::from_millis(millis))
}

/// The same form back, the shortest there is: `1h 30m`, `0s`. Less than a millisecond is dropped.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, length) in UNITS {
        let count = left / u128::from(length);
        left %= u128::from(length);
        if count > 0 {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// [`format`], cut to its two largest units, for people: `3d 4h`, `12m 5s`.
#[must_use]
pub fn rough(duration: Duration) -> String {
    let whole = format(Duration::from_secs(duration.as_secs()));
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    // Both rules end at an ASCII character or at the end, so this is a character boundary.
    text.split_at(end)
}

fn unit_length(number: &str, unit: &str) -> Result<u64, DurationError> {
    if unit.is_empty() {
        return Err(DurationError::NoUnit(number.to_owned()));
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    known.map(|(_, length)| *length).ok_or_else(|| DurationError::UnknownUnit(unit.to_owned()))
}

/// The unit somebody meant who wrote it another way.
fn meant(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "d" | "day" | "days" => Some("d"),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some("h"),
        "m" | "min" | "mins" | "minute" | "minutes" => Some("m"),
        "s" | "sec" | "secs" | "second" | "seconds" => Some("s"),
        "ms" | "msec" | "millis" | "milliseconds" => Some("ms"),
        _ => None,
    }
}
