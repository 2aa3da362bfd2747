//! Readers of single values: from what a file says to what the program can use, or a complaint that
//! says what to write instead.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::civil::Weekday;
use semver::VersionReq;
use toml::de::DeValue;
use url::Url;

use super::{
    choices::Choice,
    duration::{self, DurationError},
    error::Kind,
    fragment::{Node, Reader},
    suggest,
};
use crate::core::channel::release::plain;
use crate::core::choice::{Origins, Pattern};
use crate::core::hook::Point;
use crate::core::slots::{MOST_GROUPS, is_group_name};

/// What is wrong with a text, and what to do.
pub(super) type Complaint = (String, Option<String>);

/// A string.
pub(super) fn text(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    if let DeValue::String(text) = node.get_ref() {
        return Some(text.to_string());
    }
    reader.wrong_type(key, node, "a string", None);
    None
}

/// A string that `parse` understands.
pub(super) fn parsed<T>(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    parse: impl FnOnce(&str) -> Result<T, Complaint>,
) -> Option<T> {
    let text = text(reader, key, node)?;
    match parse(&text) {
        Ok(value) => Some(value),
        Err((problem, help)) => {
            reader.complain(Kind::BadValue, key, node, problem, help);
            None
        }
    }
}

/// A list of strings, each of which `check` finds good.
pub(super) fn texts(
    check: impl Fn(&str) -> Result<(), Complaint>,
) -> impl Fn(&mut Reader<'_>, &str, &Node<'_>) -> Option<Vec<String>> {
    move |reader, key, node| {
        let DeValue::Array(array) = node.get_ref() else {
            let help = Some("write [\"…\", \"…\"]".to_owned());
            reader.wrong_type(key, node, "a list of strings", help);
            return None;
        };
        // All are read, so that all mistakes are found.
        let read_one =
            |node| parsed(reader, key, node, |text| check(text).map(|()| text.to_owned()));
        array.iter().map(read_one).collect::<Vec<_>>().into_iter().collect()
    }
}

/// A duration within bounds, both inclusive.
pub(super) fn between(
    least: Duration,
    most: Duration,
) -> impl Fn(&mut Reader<'_>, &str, &Node<'_>) -> Option<Duration> {
    move |reader, key, node| {
        if let DeValue::Integer(number) = node.get_ref() {
            let no_unit = DurationError::NoUnit(number.to_string());
            let help = Some(no_unit.help());
            reader.wrong_type(key, node, "a duration with a unit", help);
            return None;
        }
        parsed(reader, key, node, |text| {
            let value = duration::parse(text)
                .map_err(|error| (format!("duration {text:?} {error}"), Some(error.help())))?;
            let bound =
                |word, bound| (format!("{text:?} is too {word}"), Some(format!("at {bound}")));
            if value < least {
                return Err(bound("short", format!("least \"{}\"", duration::format(least))));
            }
            if value > most {
                return Err(bound("long", format!("most \"{}\"", duration::format(most))));
            }
            Ok(value)
        })
    }
}

/// One of a few words.
pub(super) fn choice<T: Choice>(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<T> {
    word(reader, key, node, (T::WHAT, T::EVERY), T::word)
}

fn word<T: Copy>(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    (what, all): (&str, &[T]),
    name: impl Fn(T) -> &'static str,
) -> Option<T> {
    parsed(reader, key, node, |text| {
        let found = all.iter().copied().find(|known| name(*known) == text);
        found.ok_or_else(|| {
            let names = || all.iter().map(|known| name(*known));
            let known = suggest::listed(names());
            let help = match suggest::nearest(text, names()) {
                Some(meant) => format!("did you mean \"{meant}\"? This version knows {known}"),
                None => format!("this version knows {known}"),
            };
            (format!("unknown {what} {text:?}"), Some(help))
        })
    })
}

/// `packages.origins`: a word, or a list of patterns.
pub(super) fn origins(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Origins> {
    if matches!(node.get_ref(), DeValue::Array(_)) {
        let patterns = texts(|text| match Pattern::parse(text) {
            Ok(_) => Ok(()),
            Err(why) => {
                let help = "write such as \"o=Debian,n=${codename}-security\"".to_owned();
                Err((format!("{text:?} is no pattern of archives: {why}"), Some(help)))
            }
        })(reader, key, node)?;
        return Some(Origins::Patterns(patterns));
    }
    let all = Origins::WORDS.map(|(word, _)| word);
    let found = word(reader, key, node, ("choice of archives", &all), |word| word)?;
    Origins::WORDS.into_iter().find_map(|(word, origins)| (word == found).then_some(origins))
}

/// One of `packages.allow` and `packages.deny`: the name of a package, `*` for anything.
pub(super) fn package(text: &str) -> Result<(), Complaint> {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.*".contains(&byte);
    if !text.is_empty() && text.bytes().all(good) {
        return Ok(());
    }
    let help = "write the name of a package, such as \"linux-image-*\"".to_owned();
    Err((format!("{text:?} cannot be the name of a package"), Some(help)))
}

/// A whole number within bounds, both inclusive.
pub(super) fn count(
    least: u32,
    most: u32,
) -> impl Fn(&mut Reader<'_>, &str, &Node<'_>) -> Option<u32> {
    move |reader, key, node| {
        let DeValue::Integer(number) = node.get_ref() else {
            reader.wrong_type(key, node, "a number", None);
            return None;
        };
        let good = |number: &u32| (least..=most).contains(number);
        let read = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(good);
        if read.is_none() {
            let problem = format!("{number} is out of range");
            reader.complain(Kind::BadValue, key, node, problem, format!("{least} to {most}"));
        }
        read
    }
}

/// Yes or no.
pub(super) fn flag(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<bool> {
    let DeValue::Boolean(flag) = node.get_ref() else {
        reader.wrong_type(key, node, "true or false", None);
        return None;
    };
    Some(*flag)
}

/// `canary.follow`: the name of a group; empty for none.
#[expect(clippy::option_option, reason = "read or not, and set or not")]
pub(super) fn follow(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
) -> Option<Option<String>> {
    parsed(reader, key, node, |text| match text {
        "" => Ok(None),
        name => group_name(name).map(Some),
    })
}

/// `lock.group`: one name or a list of names; sorted, each once.
pub(super) fn groups(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Vec<String>> {
    let parts: Vec<&Node<'_>> = match node.get_ref() {
        DeValue::Array(array) => array.iter().collect(),
        _ => vec![node],
    };
    if parts.is_empty() || parts.len() > MOST_GROUPS {
        let problem = format!("names {} groups", parts.len());
        let help = format!("name at least one and at most {MOST_GROUPS}");
        reader.complain(Kind::BadValue, key, node, problem, help);
        return None;
    }
    // All are read, so that all mistakes are found.
    let read: Vec<_> = parts.into_iter().map(|part| group(reader, key, part)).collect();
    let mut groups = read.into_iter().collect::<Option<Vec<_>>>()?;
    groups.sort();
    groups.dedup();
    Some(groups)
}

fn group(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    parsed(reader, key, node, group_name)
}

fn group_name(text: &str) -> Result<String, Complaint> {
    if is_group_name(text) {
        return Ok(text.to_owned());
    }
    let help = "letters, digits, \".\" and \"-\" only".to_owned();
    Err((format!("{text:?} cannot be the name of a group"), Some(help)))
}

/// `etcd.prefix`
pub(super) fn prefix(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    parsed(reader, key, node, |text| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let segment = |segment: &str| !segment.is_empty() && segment.bytes().all(good);
        if text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment)) {
            return Ok(text.to_owned());
        }
        let help = "begin with \"/\", do not end with it, and use letters, digits, \".\", \"_\" \
                    and \"-\" between: \"/lockkeeper/v1\"";
        Err((format!("{text:?} cannot be a prefix"), Some(help.to_owned())))
    })
}

/// `etcd.endpoints`
pub(super) fn endpoints(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
) -> Option<Vec<String>> {
    let endpoints = texts(endpoint)(reader, key, node)?;
    if endpoints.is_empty() {
        let help = "name at least one, such as \"http://192.0.2.10:2379\"".to_owned();
        reader.complain(Kind::BadValue, key, node, "has no endpoint", help);
        return None;
    }
    if uses_tls(&endpoints) && !endpoints.iter().all(|url| url.starts_with("https://")) {
        let help =
            "write all of them with https://, so that nothing goes over the network in clear";
        reader.complain(Kind::BadValue, key, node, "mixes http and https", help.to_owned());
        return None;
    }
    Some(endpoints)
}

/// A server's base URL: empty for none.
pub(super) fn base_url(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    parsed(reader, key, node, |text| base("https://monitoring.example.com", text))
}

fn base(example: &str, text: &str) -> Result<String, Complaint> {
    let form = format!("write the base URL, such as {example:?}");
    let scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let odd = |letter: char| letter.is_whitespace() || letter.is_control();
    if text.is_empty() {
        return Ok(String::new());
    }
    let Some(rest) = scheme.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Err((format!("{text:?} is not a URL of HTTP"), Some(form)));
    };
    if rest.contains(odd) || rest.contains(['?', '#', '@']) {
        return Err((format!("{text:?} is more than a base URL"), Some(form)));
    }
    Ok(text.to_owned())
}

/// `channel.name`: empty for none.
#[expect(clippy::option_option, reason = "read or not, and set or not")]
pub(super) fn channel(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
) -> Option<Option<String>> {
    parsed(reader, key, node, |text| match text {
        "" => Ok(None),
        name if plain(name) => Ok(Some(name.to_owned())),
        name => {
            let help = "write its name, such as \"stable\"".to_owned();
            Err((format!("{name:?} is not the name of a channel"), Some(help)))
        }
    })
}

/// One of `channel.urls`
pub(super) fn channel_url(text: &str) -> Result<(), Complaint> {
    let example = "https://www.example.com/channel";
    if text.is_empty() {
        let help = format!("write {example:?}, or [] for none");
        return Err(("an address is empty".to_owned(), Some(help)));
    }
    let base = base(example, text)?;
    Url::parse(&base).map(drop).map_err(|error| {
        (format!("{text:?} is not a URL: {error}"), Some(format!("write {example:?}")))
    })
}

/// `channel.graph_url`: empty for none.
pub(super) fn graph_url(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    parsed(reader, key, node, |text| {
        let example = "https://updates.example.com/v1/graph";
        let base = base(example, text)?;
        if base.is_empty() || Url::parse(&base).is_ok() {
            return Ok(base);
        }
        Err((format!("{text:?} is not a URL"), Some(format!("write {example:?}"))))
    })
}

/// `channel.within`: empty for all.
#[expect(clippy::option_option, reason = "read or not, and set or not")]
pub(super) fn within(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
) -> Option<Option<VersionReq>> {
    parsed(reader, key, node, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        VersionReq::parse(text).map(Some).map_err(|error| {
            let help = "write a range as Cargo has them: \"<2027\", \"=2026.9.0\", \"~2026.9\"";
            (format!("{text:?} is no range of versions: {error}"), Some(help.to_owned()))
        })
    })
}

/// `fleet_lock.url`: empty for none.
pub(super) fn lock_url(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    parsed(reader, key, node, |text| {
        let rest = &base("https://lock.example.com", text)?;
        if rest.trim_end_matches('/').ends_with("/v1") || rest.contains("/v1/") {
            let help = "leave out /v1 and what follows: it is the protocol's own".to_owned();
            return Err((format!("{text:?} is not the base URL"), Some(help)));
        }
        Ok(text.to_owned())
    })
}

/// Whether any of these endpoints is reached by https.
pub(super) fn uses_tls(endpoints: &[String]) -> bool {
    endpoints.iter().any(|url| url.starts_with("https://"))
}

fn endpoint(text: &str) -> Result<(), Complaint> {
    let form = || {
        let form =
            "write https://HOST:PORT or http://HOST:PORT, such as \"http://192.0.2.10:2379\"";
        Some(form.to_owned())
    };
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Err((format!("{text:?} does not begin with http:// or https://"), form()));
    };
    let Some((host, port)) = rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
        return Err((format!("{text:?} has no port"), form()));
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit())
        || !port.parse().is_ok_and(|port: u16| port > 0)
    {
        return Err((format!("{text:?} has no port from 1 to 65535 at its end"), form()));
    }
    if !is_host(host) {
        return Err((format!("{text:?} has no good host name or address"), form()));
    }
    Ok(())
}

/// `HOST:PORT`
pub(super) fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    parts.is_some_and(|(host, port)| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits && port.parse().is_ok_and(|port: u16| port > 0) && is_host(host)
    })
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    host.split('.').all(|label| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(good) && !label.starts_with('-')
    })
}

/// A file that may be left unset: empty, or an absolute path.
#[expect(clippy::option_option, reason = "read or not, and set or not")]
pub(super) fn file(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Option<PathBuf>> {
    parsed(reader, key, node, |text| match Path::new(text) {
        _ if text.is_empty() => Ok(None),
        path if path.is_absolute() && !text.contains(char::is_control) => Ok(Some(path.into())),
        _ => {
            let help = "write the whole path, beginning with \"/\", or \"\" for none".to_owned();
            Err((format!("{text:?} is not an absolute path"), Some(help)))
        }
    })
}

/// `balancer.address`: an IP address or a host name, without a port; empty for none.
#[expect(clippy::option_option, reason = "read or not, and set or not")]
pub(super) fn host(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Option<String>> {
    parsed(reader, key, node, |text| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        if text.parse::<IpAddr>().is_ok() || text.chars().all(plain) {
            return Ok((!text.is_empty()).then(|| text.to_owned()));
        }
        let help = "write an IP address or a host name, without a port".to_owned();
        Err((format!("{text:?} is no address"), Some(help)))
    })
}

/// `etcd.user`: empty for none.
#[expect(clippy::option_option, reason = "read or not, and set or not")]
pub(super) fn user(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Option<String>> {
    parsed(reader, key, node, |text| {
        let odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == ':';
        if text.contains(odd) {
            let help = "write the user's name alone; the password has a file of its own".to_owned();
            return Err((format!("{text:?} cannot be a user of etcd"), Some(help)));
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    })
}

/// One of `workloads.ignore`: a unit or container name, `*` for anything.
pub(super) fn pattern(text: &str) -> Result<(), Complaint> {
    if !text.is_empty()
        && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    {
        return Ok(());
    }
    let help = "write the name of a unit or container, such as \"backup*.service\"".to_owned();
    Err((format!("{text:?} cannot be a name"), Some(help)))
}

/// One of `workloads.users`: a user's name, `*` for anything.
pub(super) fn account(text: &str) -> Result<(), Complaint> {
    let odd =
        |letter: char| letter.is_whitespace() || letter.is_control() || ":/,".contains(letter);
    let help = |text: &str| {
        Err((text.to_owned(), Some("write a user's name, such as \"alice\"".to_owned())))
    };
    if text.is_empty() || text.contains(odd) {
        return help(&format!("{text:?} cannot be the name of a user"));
    }
    if text == "root" {
        return help("root's containers are looked after without that");
    }
    Ok(())
}

/// One of `containers.pull` and `containers.update`: an image as containers name it, `*` for anything.
pub(super) fn image(text: &str) -> Result<(), Complaint> {
    if pattern(text).is_ok() {
        return Ok(());
    }
    let help = "write it as containers do, such as \"registry.example.com/shop/*\"".to_owned();
    Err((format!("{text:?} cannot be the name of an image"), Some(help)))
}

/// One of `services.never` and `services.by_reboot`: the whole name of a unit, `*` for anything.
pub(super) fn unit_pattern(text: &str) -> Result<(), Complaint> {
    pattern(text)?;
    if text.contains(['.', '*']) {
        return Ok(());
    }
    let help = format!("write it with its kind, such as \"{text}.service\"");
    Err((format!("{text:?} is not a unit's whole name"), Some(help)))
}

/// One of `hooks.advisory`: `POINT/NAME`, `*` for anything.
pub(super) fn hook(text: &str) -> Result<(), Complaint> {
    let complain = |problem: String, help: String| Err((problem, Some(help)));
    let points = || Point::ALL.into_iter().map(Point::word).chain(["*"]);
    let Some((point, name)) = text.split_once('/') else {
        let help = "write its point and its name, such as \"pre-apply/10-pool\"".to_owned();
        return complain(format!("{text:?} does not name a hook"), help);
    };
    if !points().any(|known| known == point) {
        let help = format!("the points are {}", suggest::listed(points()));
        return complain(format!("unknown point {point:?} of {text:?}"), help);
    }
    if name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && !"._-*".contains(c))
    {
        let help = "write the name of its file; \"*\" stands for anything".to_owned();
        return complain(format!("{text:?} does not name a hook"), help);
    }
    Ok(())
}

/// One of `hooks.timeouts`: `POINT/NAME=DURATION`.
pub(super) fn hook_timeout(text: &str) -> Result<(), Complaint> {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    let help =
        || Some("write \"pre-apply/10-pool=20m\"; at least \"1s\", at most \"1d\"".to_owned());
    hook(text.split_once('=').map_or(text, |(name, _)| name))?;
    match limit_of(text) {
        Some((_, limit)) if limit >= Duration::from_secs(1) && limit <= LONGEST => Ok(()),
        Some(_) | None => Err((format!("{text:?} is not a hook with its limit"), help())),
    }
}

/// A hook and its limit.
pub(super) fn limit_of(text: &str) -> Option<(String, Duration)> {
    let (name, limit) = text.split_once('=')?;
    Some((name.to_owned(), duration::parse(limit.trim()).ok()?))
}

/// The days of the week, Monday first, as they are written.
pub(super) const DAYS: [(Weekday, &str, &str); 7] = [
    (Weekday::Monday, "mon", "monday"),
    (Weekday::Tuesday, "tue", "tuesday"),
    (Weekday::Wednesday, "wed", "wednesday"),
    (Weekday::Thursday, "thu", "thursday"),
    (Weekday::Friday, "fri", "friday"),
    (Weekday::Saturday, "sat", "saturday"),
    (Weekday::Sunday, "sun", "sunday"),
];

/// `mon`, `mon-fri`, `fri-mon`, `sat,sun`, `daily`.
pub(super) fn days(text: &str) -> Result<Vec<Weekday>, Complaint> {
    let mut days = Vec::new();
    for part in text.split(',') {
        let part = part.trim_ascii();
        if part.eq_ignore_ascii_case("daily") {
            days.extend(DAYS.map(|(day, _, _)| day));
        } else if let Some((first, last)) = part.split_once('-') {
            days.extend(range(day(first)?, day(last)?));
        } else {
            days.push(day(part)?);
        }
    }
    Ok(days)
}

/// From `first` to `last`, over the end of the week if need be.
fn range(first: Weekday, last: Weekday) -> impl Iterator<Item = Weekday> {
    let length = (last.to_monday_zero_offset() - first.to_monday_zero_offset()).rem_euclid(7);
    first.cycle_forward().take(usize::from(length.unsigned_abs()) + 1)
}

fn day(text: &str) -> Result<Weekday, Complaint> {
    let word = text.trim_ascii().to_ascii_lowercase();
    let known = DAYS.iter().find(|(_, short, long)| word == *short || word == *long);
    known.map(|(day, _, _)| *day).ok_or_else(|| {
        let names = DAYS.iter().flat_map(|(_, short, long)| [*short, *long]);
        let help = match suggest::nearest(&word, names.chain(["daily"])) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "write days such as \"mon-fri\", \"sat,sun\" or \"daily\"".to_owned(),
        };
        (format!("{text:?} is not a day of the week"), Some(help))
    })
}
