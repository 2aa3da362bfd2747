//! The entries of the list `[[probe]]`: what a healthy machine answers to.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{
    entries::{needed, only_known, optional},
    error::Kind,
    fragment::{Node, Reader},
    keys::{Effective, Show},
    origin::Located,
    value::{self, Complaint, between, parsed, texts},
};

/// A probe takes this long where nothing is said of it.
const TIMEOUT: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(120);
/// Statuses of HTTP that are good where nothing is said of them.
const GOOD: RangeInclusive<u16> = 200..=299;

/// `[[probe]]`: a healthy machine answers to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// `name`: `^[a-zA-Z0-9._-]+$`, each once.
    pub name: String,
    /// What is asked.
    pub target: Target,
    /// `timeout`: an answer must be there by then (default 5s).
    pub timeout: Duration,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `http`: whether a GET is answered well.
    Http {
        /// `http://` or `https://`
        url: String,
        /// `status`: what is well (default 200 to 299).
        status: RangeInclusive<u16>,
        /// `ca_file`: the authorities its certificate may be of (default: those the system trusts).
        ca_file: Option<PathBuf>,
    },
    /// `tcp`: whether a connection is taken at `HOST:PORT`.
    Tcp(String),
    /// `command`: whether a program ends with status 0. The whole path, and arguments.
    Command(Vec<String>),
}

/// What a `[[probe]]` says.
#[derive(Clone)]
pub(super) struct ProbeEntry {
    pub(super) name: Located<String>,
    http: Located<Option<String>>,
    status: Located<Status>,
    ca_file: Located<Option<PathBuf>>,
    tcp: Located<Option<String>>,
    command: Located<Option<Vec<String>>>,
    timeout: Located<Duration>,
    target: Target,
}

#[derive(Clone)]
struct Status(RangeInclusive<u16>);

impl ProbeEntry {
    pub(super) const KEYS: &[&str] = &[
        "probe.name",
        "probe.http",
        "probe.status",
        "probe.ca_file",
        "probe.tcp",
        "probe.command",
        "probe.timeout",
    ];

    pub(super) fn effective(&self, prefix: &str) -> Vec<Effective> {
        let mut keys = vec![Effective::of(&format!("{prefix}.name"), &self.name)];
        match self.target {
            Target::Http { .. } => keys.extend([
                Effective::of(&format!("{prefix}.http"), &self.http),
                Effective::of(&format!("{prefix}.status"), &self.status),
                Effective::of(&format!("{prefix}.ca_file"), &self.ca_file),
            ]),
            Target::Tcp(_) => keys.push(Effective::of(&format!("{prefix}.tcp"), &self.tcp)),
            Target::Command(_) => {
                keys.push(Effective::of(&format!("{prefix}.command"), &self.command));
            }
        }
        keys.push(Effective::of(&format!("{prefix}.timeout"), &self.timeout));
        keys
    }

    pub(super) fn into_probe(self) -> Probe {
        Probe { name: self.name.value, target: self.target, timeout: self.timeout.value }
    }
}

/// Reads one `[[probe]]`.
pub(super) fn probe(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    table: &DeTable<'_>,
) -> Option<ProbeEntry> {
    let good = only_known(reader, key, table, ProbeEntry::KEYS);
    let name = needed(reader, key, node, table, "name", read_name);
    let http = optional(reader, key, table, "http", read_url, |_| Located::built_in(None));
    let status =
        optional(reader, key, table, "status", read_status, |_| Located::built_in(Status(GOOD)));
    let ca_file = optional(reader, key, table, "ca_file", value::file, |_| Located::built_in(None));
    let tcp = optional(reader, key, table, "tcp", read_address, |_| Located::built_in(None));
    let command =
        optional(reader, key, table, "command", read_command, |_| Located::built_in(None));
    let timeout = optional(reader, key, table, "timeout", between(SHORTEST, LONGEST), |_| {
        Located::built_in(TIMEOUT)
    });
    let (name, http, status) = (name?, http?, status?);
    let (ca_file, tcp, command, timeout) = (ca_file?, tcp?, command?, timeout?);
    if !good {
        return None;
    }
    let target = target(reader, key, node, &http, &status, &ca_file, &tcp, &command)?;
    Some(ProbeEntry { name, http, status, ca_file, tcp, command, timeout, target })
}

/// The one thing that is asked.
#[expect(clippy::too_many_arguments, reason = "each key is one")]
fn target(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    http: &Located<Option<String>>,
    status: &Located<Status>,
    ca_file: &Located<Option<PathBuf>>,
    tcp: &Located<Option<String>>,
    command: &Located<Option<Vec<String>>>,
) -> Option<Target> {
    let mut complain = |word: &str, problem: &str, help: &str| {
        let key = if word.is_empty() { key.to_owned() } else { format!("{key}.{word}") };
        reader.complain(Kind::Conflict, &key, node, problem, help.to_owned());
    };
    let target = match (&http.value, &tcp.value, &command.value) {
        (Some(url), None, None) => Target::Http {
            url: url.clone(),
            status: status.value.0.clone(),
            ca_file: ca_file.value.clone(),
        },
        (None, Some(address), None) => Target::Tcp(address.clone()),
        (None, None, Some(argv)) => Target::Command(argv.clone()),
        _ => {
            complain("", "does not ask exactly one thing", "write one of http, tcp and command");
            return None;
        }
    };
    let url = http.value.as_deref().unwrap_or_default();
    if url.is_empty() && status.origin.place().is_some() {
        complain("status", "is of no use without http", "leave it out");
        return None;
    }
    if ca_file.value.is_some() && !url.starts_with("https://") {
        complain("ca_file", "is of no use without https", "write https:// there, or leave it out");
        return None;
    }
    Some(target)
}

fn read_name(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    parsed(reader, key, node, |text| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(good) {
            return Ok(text.to_owned());
        }
        let help = "at most 64 letters, digits, \".\", \"_\" and \"-\"".to_owned();
        Err((format!("{text:?} cannot be the name of a probe"), Some(help)))
    })
}

#[expect(clippy::option_option, reason = "read or not, and set or not")]
fn read_url(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Option<String>> {
    parsed(reader, key, node, |text| {
        let good = |url: &reqwest::Url| {
            ["http", "https"].contains(&url.scheme())
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        };
        if text.contains("://") && reqwest::Url::parse(text).is_ok_and(|url| good(&url)) {
            return Ok(Some(text.to_owned()));
        }
        let help = "write such as \"http://127.0.0.1:8080/healthz\"".to_owned();
        Err((format!("{text:?} is not a URL of HTTP"), Some(help)))
    })
}

/// `200`, or `"200-399"`.
fn read_status(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Status> {
    if let DeValue::Integer(_) = node.get_ref() {
        let status = value::count(100, 599)(reader, key, node)?;
        let status = u16::try_from(status).ok()?;
        return Some(Status(status..=status));
    }
    parsed(reader, key, node, |text| {
        let bad = || -> Complaint {
            let help = "write a status such as 204, or a range such as \"200-399\"".to_owned();
            (format!("{text:?} is no status of HTTP"), Some(help))
        };
        let number = |part: &str| {
            let digits = part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { part.parse::<u16>().ok() } else { None };
            number.filter(|number| (100..=599).contains(number)).ok_or_else(bad)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = number(first.trim())?..=number(last.trim())?;
        if range.is_empty() { Err(bad()) } else { Ok(Status(range)) }
    })
}

#[expect(clippy::option_option, reason = "read or not, and set or not")]
fn read_address(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Option<String>> {
    parsed(reader, key, node, |text| {
        if value::is_address(text) {
            return Ok(Some(text.to_owned()));
        }
        let help = "write HOST:PORT, such as \"127.0.0.1:5432\" or \"[::1]:5432\"".to_owned();
        Err((format!("{text:?} is not an address"), Some(help)))
    })
}

#[expect(clippy::option_option, reason = "read or not, and set or not")]
fn read_command(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
) -> Option<Option<Vec<String>>> {
    let no_zero = |text: &str| {
        let complaint = || (format!("{text:?} cannot be an argument"), None);
        if text.contains('\0') { Err(complaint()) } else { Ok(()) }
    };
    let argv = texts(no_zero)(reader, key, node)?;
    if argv.first().is_some_and(|program| program.starts_with('/')) {
        return Some(Some(argv));
    }
    let help = "write the program's whole path first: [\"/usr/local/bin/check-db\", \"--fast\"]";
    reader.complain(
        Kind::BadValue,
        key,
        node,
        "names no program by its whole path",
        help.to_owned(),
    );
    None
}

impl Show for Status {
    fn show(&self) -> Value {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { Value::from(*first) } else { Value::String(format!("{first}-{last}")) }
    }
}

/// Unset is empty.
impl Show for Option<Vec<String>> {
    fn show(&self) -> Value {
        self.clone().unwrap_or_default().show()
    }
}
