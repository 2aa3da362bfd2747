//! Time zones by name, and the machine's own. The environment (`TZ`, `TZDIR`) is not consulted: an
//! agent and an administrator's shell must agree.

use std::{
    cell::OnceCell,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::suggest;

/// Where the zones are (Debian package tzdata).
const DATABASE: &str = "/usr/share/zoneinfo";

/// The largest zone file there is has a few kilobytes.
const LARGEST_ZONE_FILE: u64 = 1 << 20;

/// The machine's own time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemZone {
    /// The zone.
    pub zone: TimeZone,
    /// How it was found, for people: `system zone (/etc/localtime)`.
    pub origin: String,
}

/// The time zone of the machine whose root directory is `root`: what its `/etc/localtime` says, or
/// UTC, with the reason in the origin.
#[must_use]
pub fn system_zone(root: &Path) -> SystemZone {
    Zones::new(root).system().clone()
}

/// A name for a zone, for people.
pub(super) fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => "unnamed".to_owned(),
    }
}

/// Looks zones up. Nothing is read before it is needed: most nodes have no windows.
pub(super) struct Zones {
    root: PathBuf,
    database: OnceCell<Option<TimeZoneDatabase>>,
    system: OnceCell<SystemZone>,
}

impl Zones {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), database: OnceCell::new(), system: OnceCell::new() }
    }

    /// The zone of that IANA name; otherwise what to do.
    pub(super) fn named(&self, name: &str) -> Result<TimeZone, String> {
        if ["local", "localtime", "system"].contains(&name.to_ascii_lowercase().as_str()) {
            return Err("leave time_zone out for the machine's own zone".to_owned());
        }
        if let Some(zone) = self.find(name).filter(|_| !is_copy(name)) {
            return Ok(zone);
        }
        let Some(database) = self.database() else {
            return Err(format!("there are no time zones in {DATABASE}: install tzdata"));
        };
        Err(Self::help(name, database))
    }

    /// The machine's own zone.
    pub(super) fn system(&self) -> &SystemZone {
        self.system.get_or_init(|| self.find_system())
    }

    fn find(&self, name: &str) -> Option<TimeZone> {
        if name.eq_ignore_ascii_case("utc") {
            return Some(TimeZone::UTC);
        }
        let found = self.database()?.get(name).ok()?;
        (!found.is_unknown()).then_some(found)
    }

    fn database(&self) -> Option<&TimeZoneDatabase> {
        self.database.get_or_init(|| TimeZoneDatabase::from_dir(DATABASE).ok()).as_ref()
    }

    fn help(name: &str, database: &TimeZoneDatabase) -> String {
        let names: Vec<String> = database.available().map(|known| known.to_string()).collect();
        let names = || names.iter().map(String::as_str).filter(|name| !is_copy(name));
        let city = |full: &str| full.rsplit('/').next().unwrap_or_default().to_lowercase();
        let by_city = names().find(|full| city(full) == city(name));
        match suggest::nearest(name, names()).or(by_city) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "use an IANA name such as \"Europe/Berlin\" (timedatectl list-timezones); \
                     old names such as \"US/Eastern\" may need the package tzdata-legacy"
                .to_owned(),
        }
    }

    fn find_system(&self) -> SystemZone {
        let link = self.root.join("etc/localtime");
        let named = fs::read_link(&link).ok().and_then(|target| {
            let target = target.to_str()?;
            self.find(target.rsplit_once("zoneinfo/")?.1)
        });
        let found = match named {
            Some(zone) => Ok(zone),
            None => read_zone_file(&link),
        };
        match found {
            Ok(zone) => SystemZone { zone, origin: "system zone (/etc/localtime)".to_owned() },
            Err(error) if error.kind() == io::ErrorKind::NotFound => SystemZone {
                zone: TimeZone::UTC,
                origin: "UTC (there is no /etc/localtime)".to_owned(),
            },
            Err(error) => SystemZone {
                zone: TimeZone::UTC,
                origin: format!("UTC (/etc/localtime cannot be used: {error})"),
            },
        }
    }
}

/// A zone that is a file of its own, without a name.
fn read_zone_file(path: &Path) -> io::Result<TimeZone> {
    let found = fs::metadata(path)?;
    if !found.is_file() || found.len() > LARGEST_ZONE_FILE {
        return Err(io::Error::other("it is not a time zone file"));
    }
    let data = fs::read(path)?;
    TimeZone::tzif("localtime", &data).map_err(io::Error::other)
}

/// One of the copies that the database has of all zones; those in `right/` count leap seconds, so
/// that they are some seconds off.
fn is_copy(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["posix/", "right/", "localtime"].iter().any(|prefix| name.starts_with(prefix))
}
