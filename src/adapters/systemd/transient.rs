//! Named transient services: work that outlives us, and that a second start attaches to.

use std::path::Path;

use zbus::{Connection, Variant};

use super::proxies::ManagerProxy;

/// `AF_INET`, `AF_INET6` as systemd's address properties want them.
const FAMILIES: (i32, i32) = (2, 10);
/// How long stopping may take: as long as a package transaction may.
const STOP_USEC: u64 = 30 * 60 * 1_000_000;

/// systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TransientError {
    /// It could not be reached, or said no.
    #[error("systemd does not {what} {unit}")]
    Systemd {
        /// `start`, `run`, `show`.
        what: &'static str,
        /// Which unit.
        unit: String,
        /// What it, or the bus, said.
        source: zbus::Error,
    },
}

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// systemd does not know it.
    Gone,
    /// Its main process runs, or is being started or stopped.
    Running,
    /// It has ended, and is still known: processes it started may be left.
    Ended,
}

/// What a start came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It has been started.
    New,
    /// A unit of that name is there already.
    AlreadyThere,
}

/// Starts `program arguments…` as the one-shot service `name`.
///
/// - Stopping it (a shutdown, too) signals its main process only and waits half an hour: the program
///   decides when it is safe to end.
/// - It has no network but loopback. The host's network namespace stays: maintainer scripts may set
///   kernel parameters, and talk to local services through abstract sockets.
/// - It is forgotten as soon as it has ended and none of its processes is left.
pub async fn start(
    bus: &Connection,
    name: &str,
    description: &str,
    program: &Path,
    arguments: &[&str],
) -> Result<Started, TransientError> {
    let manager = manager(bus, "start", name).await?;
    let program = program.to_string_lossy();
    let properties = properties(description, &program, arguments);
    match manager.start_transient_unit(name, "fail", &properties, &[]).await {
        Ok(_) => Ok(Started::New),
        Err(zbus::Error::MethodError(error, ..)) if error.ends_with(".UnitExists") => {
            Ok(Started::AlreadyThere)
        }
        Err(source) => Err(failed("start", name, source)),
    }
}

/// Where a unit stands now. A failed one is told to go, so that it can be started again.
pub async fn state(bus: &Connection, name: &str) -> Result<UnitState, TransientError> {
    let manager = manager(bus, "show", name).await?;
    let rows = manager.list_units_by_patterns(&[], &[name]).await;
    let rows = rows.map_err(|source| failed("show", name, source))?;
    let Some(row) = rows.first() else { return Ok(UnitState::Gone) };
    let state = unit_state(&row.3);
    if state == UnitState::Ended {
        // Refused when it has not failed, or is gone by now; that is fine, too.
        let _ = manager.reset_failed_unit(name).await;
    }
    Ok(state)
}

fn unit_state(active: &str) -> UnitState {
    match active {
        "inactive" | "failed" => UnitState::Ended,
        _ => UnitState::Running,
    }
}

pub(super) async fn manager<'a>(
    bus: &Connection,
    what: &'static str,
    unit: &str,
) -> Result<ManagerProxy<'a>, TransientError> {
    ManagerProxy::new(bus).await.map_err(|source| failed(what, unit, source))
}

pub(super) fn failed(what: &'static str, unit: &str, source: zbus::Error) -> TransientError {
    TransientError::Systemd { what, unit: unit.to_owned(), source }
}

fn properties<'a>(
    description: &'a str,
    program: &'a str,
    arguments: &[&'a str],
) -> Vec<(&'static str, Variant<'a>)> {
    let mut argv = vec![program];
    argv.extend(arguments);
    let any = vec![(FAMILIES.0, vec![0_u8; 4], 0_u32), (FAMILIES.1, vec![0; 16], 0)];
    let mut loopback6 = vec![0_u8; 16];
    loopback6[15] = 1;
    let loopback = vec![(FAMILIES.0, vec![127_u8, 0, 0, 0], 8_u32), (FAMILIES.1, loopback6, 128)];
    vec![
        ("Description", description.into()),
        ("Type", "oneshot".into()),
        ("ExecStart", vec![(program, argv, false)].into()),
        ("KillMode", "process".into()),
        ("TimeoutStopUSec", STOP_USEC.into()),
        // A process of the transaction that ran out of memory must not take the rest with it.
        ("OOMPolicy", "continue".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("IPAddressDeny", any.into()),
        ("IPAddressAllow", loopback.into()),
    ]
}

/// The properties with their D-Bus types.
#[cfg(test)]
pub(super) fn types(properties: Vec<(&'static str, Variant<'_>)>) -> Vec<(&'static str, String)> {
    let typed = |(name, value): (_, Variant<'_>)| (name, value.value_signature().to_string());
    properties.into_iter().map(typed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_has_the_type_systemd_expects() {
        let found = types(properties("d", "/bin/x", &["a"]));
        let expected = [
            ("Description", "s"),
            ("Type", "s"),
            ("ExecStart", "a(sasb)"),
            ("KillMode", "s"),
            ("TimeoutStopUSec", "t"),
            ("OOMPolicy", "s"),
            ("CollectMode", "s"),
            ("IPAddressDeny", "a(iayu)"),
            ("IPAddressAllow", "a(iayu)"),
        ];
        assert_eq!(found, expected.map(|(name, sig)| (name, sig.to_owned())));
    }

    #[test]
    fn only_an_ended_unit_may_be_started_again() {
        for (word, state) in [
            ("activating", UnitState::Running),
            ("active", UnitState::Running),
            ("deactivating", UnitState::Running),
            ("reloading", UnitState::Running),
            ("inactive", UnitState::Ended),
            ("failed", UnitState::Ended),
        ] {
            assert_eq!(unit_state(word), state, "{word}");
        }
    }
}
