//! The configuration of `lockkeeper-hub`: one file, read with the same care as the agent's.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use toml::de::{DeTable, DeValue};

use super::{
    error::{ConfigError, ConfigErrors, Kind},
    fragment::{self, Node, Reader},
    layers,
    origin::Located,
    suggest,
    value::{self, Complaint, between, parsed},
    zones::Zones,
};
use crate::core::slots::is_group_name;

/// Where the hub's configuration is.
pub const FILE: &str = "/etc/lockkeeper/hub.toml";

/// Where the semaphores are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In etcd, shared with the agents and with other instances of the hub.
    Etcd,
    /// In a file of this hub's own, for a fleet without etcd.
    Embedded,
}

/// Everything that can be configured of the hub, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Hub {
    /// `listen`: default `127.0.0.1:3333`.
    pub listen: SocketAddr,
    /// `store`: `etcd` or `embedded` (default `etcd`).
    pub store: Store,
    /// `ticket_ttl`: who has not polled for this long has left the queue (default 11m, twice
    /// Zincati's longest pause; at least 2s).
    pub ticket_ttl: Duration,
    /// `settle`: nobody is admitted for this long after a node gave its slot back (default 0s).
    pub settle: Duration,
    /// `ask_again`: when a waiting client is told to ask again (default 10s; 0s: it is not told).
    /// Zincati does not listen.
    pub ask_again: Duration,
    /// `[etcd]`: used with `store = "etcd"`.
    pub etcd: super::settings::Etcd,
    /// `embedded.path`: default `/var/lib/lockkeeper-hub/slots.redb`.
    pub embedded_path: PathBuf,
    /// `[groups]`: slots by group, set at each start of a hub whose store is embedded. In etcd they
    /// are an admin's to set, with `rebootctl set-max`.
    pub groups: BTreeMap<String, u32>,
    /// `auth.token_file`: without it, whoever reaches the hub may use it.
    pub token_file: Option<PathBuf>,
    /// `[tls]`: without it, the hub speaks plain HTTP.
    pub tls: Option<Tls>,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `cert_file`: PEM, the hub's certificate and those between it and the authority.
    pub cert_file: PathBuf,
    /// `key_file`: PEM, its key.
    pub key_file: PathBuf,
    /// `client_ca_file`: PEM; with it, clients must have a certificate of this authority.
    pub client_ca_file: Option<PathBuf>,
}

/// Every key there is; below `groups` stand names of groups.
pub const KEYS: &[&str] = &[
    "listen",
    "store",
    "ticket_ttl",
    "settle",
    "ask_again",
    "etcd.endpoints",
    "etcd.prefix",
    "etcd.timeout",
    "etcd.ca_file",
    "etcd.cert_file",
    "etcd.key_file",
    "etcd.user",
    "etcd.password_file",
    "embedded.path",
    "groups",
    "auth.token_file",
    "tls.cert_file",
    "tls.key_file",
    "tls.client_ca_file",
];

/// What the file says.
#[derive(Default)]
struct Said {
    listen: Option<Located<SocketAddr>>,
    store: Option<Located<Store>>,
    ticket_ttl: Option<Located<Duration>>,
    settle: Option<Located<Duration>>,
    ask_again: Option<Located<Duration>>,
    endpoints: Option<Located<Vec<String>>>,
    prefix: Option<Located<String>>,
    timeout: Option<Located<Duration>>,
    etcd_ca_file: Option<Located<PathBuf>>,
    etcd_cert_file: Option<Located<PathBuf>>,
    etcd_key_file: Option<Located<PathBuf>>,
    etcd_user: Option<Located<Option<String>>>,
    etcd_password_file: Option<Located<PathBuf>>,
    embedded_path: Option<Located<PathBuf>>,
    groups: Option<Located<BTreeMap<String, u32>>>,
    token_file: Option<Located<PathBuf>>,
    cert_file: Option<Located<PathBuf>>,
    key_file: Option<Located<PathBuf>>,
    client_ca_file: Option<Located<PathBuf>>,
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const DAY: Duration = secs(24 * 3600);

/// Reads `path`; one that does not exist says nothing, and the built-in values count.
pub fn load(path: &Path) -> Result<Hub, ConfigErrors> {
    let mut errors = Vec::new();
    let missing = std::fs::symlink_metadata(path)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let layer = if missing { None } else { layers::read_one(path, &mut errors) };
    let file: Arc<Path> = Arc::from(path);
    let mut said = Said::default();
    if let Some(layer) = layer {
        errors.extend(fragment::parse(
            &file,
            &layer.text,
            &Zones::new(Path::new("/")),
            |reader, table| walk(reader, &mut said, table, ""),
        ));
    }
    errors.extend(said.conflicts(&file));
    if errors.is_empty() { Ok(said.into_hub()) } else { Err(ConfigErrors(errors)) }
}

fn walk(reader: &mut Reader<'_>, said: &mut Said, table: &DeTable<'_>, prefix: &str) {
    for (name, node) in table {
        let path = match prefix {
            "" => name.get_ref().to_string(),
            _ => format!("{prefix}.{}", name.get_ref()),
        };
        let section = KEYS.iter().any(|key| key.starts_with(&format!("{path}.")));
        if said.set(reader, &path, node) {
        } else if !section {
            let known = suggest::nearest(&path, KEYS.iter().copied());
            let help = known.map_or_else(
                || format!("known here: {}", suggest::listed(KEYS.iter().copied())),
                |known| format!("did you mean \"{known}\"?"),
            );
            reader.unknown(name, &path, help);
        } else if let DeValue::Table(table) = node.get_ref() {
            walk(reader, said, table, &path);
        } else {
            let help = format!("write [{path}] on a line of its own, and its keys below");
            reader.wrong_type(&path, node, "a section", Some(help));
        }
    }
}

impl Said {
    /// Reads the value of `path` if that is the path of a key; whether it is.
    fn set(&mut self, reader: &mut Reader<'_>, path: &str, node: &Node<'_>) -> bool {
        let hour = secs(3600);
        match path {
            "listen" => self.listen = reader.located(path, node, listen),
            "store" => self.store = reader.located(path, node, store),
            "ticket_ttl" => {
                self.ticket_ttl = reader.located(path, node, between(secs(2), DAY));
            }
            "settle" => self.settle = reader.located(path, node, between(Duration::ZERO, DAY)),
            "ask_again" => {
                self.ask_again = reader.located(path, node, between(Duration::ZERO, hour));
            }
            "etcd.endpoints" => self.endpoints = reader.located(path, node, value::endpoints),
            "etcd.prefix" => self.prefix = reader.located(path, node, value::prefix),
            "etcd.timeout" => {
                let bounds = between(Duration::from_millis(100), secs(60));
                self.timeout = reader.located(path, node, bounds);
            }
            "etcd.ca_file" => self.etcd_ca_file = reader.located(path, node, file),
            "etcd.cert_file" => self.etcd_cert_file = reader.located(path, node, file),
            "etcd.key_file" => self.etcd_key_file = reader.located(path, node, file),
            "etcd.user" => self.etcd_user = reader.located(path, node, value::user),
            "etcd.password_file" => self.etcd_password_file = reader.located(path, node, file),
            "embedded.path" => self.embedded_path = reader.located(path, node, file),
            "groups" => self.groups = reader.located(path, node, groups),
            "auth.token_file" => self.token_file = reader.located(path, node, file),
            "tls.cert_file" => self.cert_file = reader.located(path, node, file),
            "tls.key_file" => self.key_file = reader.located(path, node, file),
            "tls.client_ca_file" => self.client_ca_file = reader.located(path, node, file),
            _ => return false,
        }
        true
    }

    /// Keys that need another one.
    fn conflicts(&self, file: &Arc<Path>) -> Vec<ConfigError> {
        let needs = |key: &str, has: &Option<Located<PathBuf>>, other: &str, found: bool| {
            let place = has.as_ref()?.origin.place().cloned();
            (!found).then(|| ConfigError {
                file: file.clone(),
                place,
                key: key.to_owned(),
                kind: Kind::Conflict,
                problem: format!("needs {other} beside it"),
                help: None,
            })
        };
        let (cert, key) = (self.cert_file.is_some(), self.key_file.is_some());
        let (etcd_cert, etcd_key) = (self.etcd_cert_file.is_some(), self.etcd_key_file.is_some());
        let embedded = self.store.as_ref().is_some_and(|store| store.value == Store::Embedded);
        let groups = self.groups.as_ref().filter(|_| !embedded).map(|groups| ConfigError {
            file: file.clone(),
            place: groups.origin.place().cloned(),
            key: "groups".to_owned(),
            kind: Kind::Conflict,
            problem: "is for store = \"embedded\"".to_owned(),
            help: Some("in etcd, use rebootctl set-max".to_owned()),
        });
        [
            groups,
            needs("etcd.cert_file", &self.etcd_cert_file, "etcd.key_file", etcd_key),
            needs("etcd.key_file", &self.etcd_key_file, "etcd.cert_file", etcd_cert),
            needs("tls.cert_file", &self.cert_file, "tls.key_file", key),
            needs("tls.key_file", &self.key_file, "tls.cert_file", cert),
            needs("tls.client_ca_file", &self.client_ca_file, "tls.cert_file", cert),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn into_hub(self) -> Hub {
        let built_in = super::settings::Settings::default().etcd;
        let tls = self.cert_file.zip(self.key_file).map(|(cert, key)| Tls {
            cert_file: cert.value,
            key_file: key.value,
            client_ca_file: self.client_ca_file.map(|file| file.value),
        });
        Hub {
            listen: or(self.listen, SocketAddr::from(([127, 0, 0, 1], 3333))),
            store: or(self.store, Store::Etcd),
            ticket_ttl: or(self.ticket_ttl, secs(11 * 60)),
            settle: or(self.settle, Duration::ZERO),
            ask_again: or(self.ask_again, secs(10)),
            etcd: super::settings::Etcd {
                endpoints: or(self.endpoints, built_in.endpoints.clone()),
                prefix: or(self.prefix, built_in.prefix.clone()),
                timeout: or(self.timeout, built_in.timeout),
                ca_file: self.etcd_ca_file.map(|file| file.value),
                cert_file: self.etcd_cert_file.map(|file| file.value),
                key_file: self.etcd_key_file.map(|file| file.value),
                user: self.etcd_user.and_then(|user| user.value),
                password_file: self.etcd_password_file.map(|file| file.value),
            },
            embedded_path: or(
                self.embedded_path,
                PathBuf::from("/var/lib/lockkeeper-hub/slots.redb"),
            ),
            groups: or(self.groups, BTreeMap::new()),
            token_file: self.token_file.map(|file| file.value),
            tls,
        }
    }
}

/// The built-in values.
impl Default for Hub {
    fn default() -> Self {
        Said::default().into_hub()
    }
}

fn or<T>(said: Option<Located<T>>, built_in: T) -> T {
    said.map_or(built_in, |located| located.value)
}

fn listen(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<SocketAddr> {
    parsed(reader, key, node, |text| {
        text.parse().map_err(|_| {
            let help = "write ADDRESS:PORT, such as \"127.0.0.1:3333\" or \"[::]:3333\"";
            (format!("{text:?} is no address to listen at"), Some(help.to_owned()))
        })
    })
}

fn store(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<Store> {
    parsed(reader, key, node, |text| match text {
        "etcd" => Ok(Store::Etcd),
        "embedded" => Ok(Store::Embedded),
        _ => {
            let help = "write \"etcd\" or \"embedded\"".to_owned();
            Err((format!("unknown store {text:?}"), Some(help)))
        }
    })
}

/// `web = 2`
fn groups(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<BTreeMap<String, u32>> {
    let DeValue::Table(table) = node.get_ref() else {
        reader.wrong_type(key, node, "a section", Some("write [groups], and below web = 2".into()));
        return None;
    };
    let mut groups = BTreeMap::new();
    for (name, node) in table {
        let (path, help) = (format!("{key}.{}", name.get_ref()), "write web = 2".to_owned());
        if !is_group_name(name.get_ref()) {
            let help = "letters, digits, \".\" and \"-\" only".to_owned();
            reader.complain(Kind::BadValue, &path, node, "cannot be the name of a group", help);
        } else if let DeValue::Integer(number) = node.get_ref() {
            match number.to_string().parse() {
                Ok(slots @ 1..) => {
                    groups.insert(name.get_ref().to_string(), slots);
                }
                Ok(0) | Err(_) => {
                    reader.complain(Kind::BadValue, &path, node, "is not 1 or more", help);
                }
            }
        } else {
            reader.wrong_type(&path, node, "a number of slots", Some(help));
        }
    }
    Some(groups)
}

fn file(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<PathBuf> {
    parsed(reader, key, node, |text| -> Result<PathBuf, Complaint> {
        if text.starts_with('/') && !text.contains(char::is_control) {
            return Ok(PathBuf::from(text));
        }
        Err((format!("{text:?} is not the whole path of a file"), Some("begin with \"/\"".into())))
    })
}
