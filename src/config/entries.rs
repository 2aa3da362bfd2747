//! The entries of the lists `[[window]]` and `[[freeze]]`.

use std::time::Duration;

use jiff::{
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{
    error::Kind,
    fragment::{Node, Reader},
    keys::{Effective, Show},
    origin::{Located, Origin},
    suggest,
    value::{self, Complaint, DAYS, between, parsed},
    zones::zone_name,
};
use crate::core::window::{Freeze, LONGEST_WINDOW, Window};

/// What a `[[window]]` says.
#[derive(Clone)]
pub(super) struct WindowEntry {
    days: Located<Vec<Weekday>>,
    start: Located<Time>,
    pub(super) length: Located<Duration>,
    zone: Located<TimeZone>,
}

/// What a `[[freeze]]` says.
#[derive(Clone)]
pub(super) struct FreezeEntry {
    from: Located<Date>,
    to: Located<Date>,
    zone: Located<TimeZone>,
    reason: Located<String>,
}

impl WindowEntry {
    pub(super) const KEYS: &[&str] =
        &["window.days", "window.start", "window.length", "window.time_zone"];

    pub(super) fn effective(&self, prefix: &str) -> [Effective; 4] {
        [
            Effective::of(&format!("{prefix}.days"), &self.days),
            Effective::of(&format!("{prefix}.start"), &self.start),
            Effective::of(&format!("{prefix}.length"), &self.length),
            Effective::of(&format!("{prefix}.time_zone"), &self.zone),
        ]
    }

    pub(super) fn into_window(self) -> Window {
        Window {
            days: self.days.value,
            start: self.start.value,
            length: self.length.value,
            zone: self.zone.value,
        }
    }
}

impl FreezeEntry {
    pub(super) const KEYS: &[&str] =
        &["freeze.from", "freeze.to", "freeze.time_zone", "freeze.reason"];

    pub(super) fn effective(&self, prefix: &str) -> [Effective; 4] {
        [
            Effective::of(&format!("{prefix}.from"), &self.from),
            Effective::of(&format!("{prefix}.to"), &self.to),
            Effective::of(&format!("{prefix}.time_zone"), &self.zone),
            Effective::of(&format!("{prefix}.reason"), &self.reason),
        ]
    }

    pub(super) fn into_freeze(self) -> Freeze {
        Freeze {
            from: self.from.value,
            to: self.to.value,
            zone: self.zone.value,
            reason: self.reason.value,
        }
    }
}

/// Reads one `[[window]]`.
pub(super) fn window(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    table: &DeTable<'_>,
) -> Option<WindowEntry> {
    let good = only_known(reader, key, table, WindowEntry::KEYS);
    let length = between(Duration::from_millis(1), LONGEST_WINDOW);
    let days = optional(reader, key, table, "days", read_days, |_| every_day());
    let start = needed(reader, key, node, table, "start", read_start);
    let length = needed(reader, key, node, table, "length", length);
    let zone = optional(reader, key, table, "time_zone", read_zone, machines_zone);
    let entry = WindowEntry { days: days?, start: start?, length: length?, zone: zone? };
    good.then_some(entry)
}

/// Reads one `[[freeze]]`.
pub(super) fn freeze(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    table: &DeTable<'_>,
) -> Option<FreezeEntry> {
    let good = only_known(reader, key, table, FreezeEntry::KEYS);
    let from = needed(reader, key, node, table, "from", read_date);
    let to = needed(reader, key, node, table, "to", read_date);
    let zone = optional(reader, key, table, "time_zone", read_zone, machines_zone);
    let reason = optional(reader, key, table, "reason", value::text, |_| {
        Located::built_in("frozen dates".to_owned())
    });
    let entry = FreezeEntry { from: from?, to: to?, zone: zone?, reason: reason? };
    if entry.from.value > entry.to.value {
        let (from, to) = (entry.from.value, entry.to.value);
        let at = table.get("to").unwrap_or(node);
        let help = format!("exchange them, or write to = \"{from}\" for one day");
        let problem = format!("ends on {to}, before it begins on {from}");
        reader.complain(Kind::Conflict, &format!("{key}.to"), at, problem, help);
        return None;
    }
    good.then_some(entry)
}

/// Complains of every key of an entry that does not exist.
pub(super) fn only_known(
    reader: &mut Reader<'_>,
    key: &str,
    table: &DeTable<'_>,
    known: &'static [&'static str],
) -> bool {
    let words = || known.iter().filter_map(|key| key.split_once('.')).map(|(_, word)| word);
    let mut good = true;
    for (name, _) in table {
        if words().any(|word| word == name.get_ref()) {
            continue;
        }
        good = false;
        let help = match suggest::nearest(name.get_ref(), words()) {
            Some(found) => format!("did you mean \"{found}\"?"),
            None => format!("known here: {}", suggest::listed(words())),
        };
        reader.unknown(name, &format!("{key}.{}", name.get_ref()), help);
    }
    good
}

pub(super) fn needed<T>(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    table: &DeTable<'_>,
    word: &str,
    read: impl FnOnce(&mut Reader<'_>, &str, &Node<'_>) -> Option<T>,
) -> Option<Located<T>> {
    let path = format!("{key}.{word}");
    if let Some(value) = table.get(word) {
        return reader.located(&path, value, read);
    }
    let help = match word {
        "start" => "add start = \"02:00\"",
        "length" => "add length = \"4h\"",
        "name" => "add name = \"shop\"",
        _ => "write both from and to; the last date is frozen too",
    };
    reader.complain(Kind::MissingKey, &path, node, "is missing", help.to_owned());
    None
}

pub(super) fn optional<T>(
    reader: &mut Reader<'_>,
    key: &str,
    table: &DeTable<'_>,
    word: &str,
    read: impl FnOnce(&mut Reader<'_>, &str, &Node<'_>) -> Option<T>,
    otherwise: impl FnOnce(&Reader<'_>) -> Located<T>,
) -> Option<Located<T>> {
    match table.get(word) {
        Some(value) => reader.located(&format!("{key}.{word}"), value, read),
        None => Some(otherwise(reader)),
    }
}

fn every_day() -> Located<Vec<Weekday>> {
    Located::built_in(DAYS.map(|(day, _, _)| day).to_vec())
}

fn machines_zone(reader: &Reader<'_>) -> Located<TimeZone> {
    let system = reader.zones.system();
    Located { value: system.zone.clone(), origin: Origin::SystemZone(system.origin.clone()) }
}

/// A string or a list of strings, each with days; sorted, each day once.
fn read_days(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Vec<Weekday>> {
    let parts: Vec<&Node<'_>> = match node.get_ref() {
        DeValue::Array(array) => array.iter().collect(),
        _ => vec![node],
    };
    if parts.is_empty() {
        let help = "leave it out for every day".to_owned();
        reader.complain(Kind::BadValue, key, node, "names no day", help);
        return None;
    }
    // All are read, so that all mistakes are found.
    let read: Vec<_> =
        parts.into_iter().map(|part| parsed(reader, key, part, value::days)).collect();
    let named: Vec<Weekday> = read.into_iter().collect::<Option<Vec<_>>>()?.concat();
    Some(DAYS.map(|(day, _, _)| day).into_iter().filter(|day| named.contains(day)).collect())
}

/// `"02:00"`, or TOML's own local time.
fn read_start(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Time> {
    if let DeValue::Datetime(native) = node.get_ref()
        && native.date.is_none()
        && native.offset.is_none()
    {
        let shown = native.to_string();
        let text = shown.strip_suffix(":00").filter(|text| text.len() == 5).unwrap_or(&shown);
        return or_complain(reader, key, node, clock_time(text));
    }
    parsed(reader, key, node, clock_time)
}

/// Two digits, a colon, two digits; nothing before, nothing after.
fn clock_time(text: &str) -> Result<Time, Complaint> {
    let help = Some("write hours and minutes from \"00:00\" to \"23:59\"".to_owned());
    let complaint = || (format!("{text:?} is not a clock time"), help.clone());
    if text == "24:00" {
        let help = "write \"00:00\", and the day after".to_owned();
        return Err((complaint().0, Some(help)));
    }
    let [b'0'..=b'9', b'0'..=b'9', b':', b'0'..=b'9', b'0'..=b'9'] = text.as_bytes() else {
        return Err(complaint());
    };
    let number = |part: &str| part.parse::<i8>().map_err(|_| complaint());
    Time::new(number(&text[..2])?, number(&text[3..])?, 0, 0).map_err(|_| complaint())
}

/// `"2026-12-20"`, or TOML's own local date.
fn read_date(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Date> {
    if let DeValue::Datetime(native) = node.get_ref()
        && native.time.is_none()
    {
        return or_complain(reader, key, node, date(&native.to_string()));
    }
    parsed(reader, key, node, date)
}

/// Year, month, day, as digits; nothing before, nothing after.
fn date(text: &str) -> Result<Date, Complaint> {
    let form = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let found = if form { text.parse().ok() } else { None };
    found.ok_or_else(|| {
        (format!("{text:?} is not a date"), Some("write it as \"2026-12-31\"".to_owned()))
    })
}

fn read_zone(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<TimeZone> {
    let zones = reader.zones;
    parsed(reader, key, node, |name| {
        zones.named(name).map_err(|help| (format!("unknown time zone {name:?}"), Some(help)))
    })
}

fn or_complain<T>(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    found: Result<T, Complaint>,
) -> Option<T> {
    match found {
        Ok(value) => Some(value),
        Err((problem, help)) => {
            reader.complain(Kind::BadValue, key, node, problem, help);
            None
        }
    }
}

/// The shortest form that means the same days.
impl Show for Vec<Weekday> {
    fn show(&self) -> Value {
        if self.len() == DAYS.len() {
            return vec!["daily".to_owned()].show();
        }
        let short = DAYS.iter().filter(|(day, _, _)| self.contains(day));
        short.map(|(_, short, _)| (*short).to_owned()).collect::<Vec<_>>().show()
    }
}

impl Show for Time {
    fn show(&self) -> Value {
        Value::String(format!("{:02}:{:02}", self.hour(), self.minute()))
    }
}

impl Show for Date {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Show for TimeZone {
    fn show(&self) -> Value {
        Value::String(zone_name(self))
    }
}
