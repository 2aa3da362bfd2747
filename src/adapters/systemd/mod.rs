//! systemd: units and jobs, logind's inhibitors and reboot, timedated's clock, the boot we are in.

pub mod boot;
pub mod files;
pub mod jobs;
pub mod lingering;
pub mod login;
pub mod machines;
pub mod manager;
pub mod oneshot;
mod proxies;
pub mod sessions;
pub mod timedate;
pub mod transient;
pub mod units;
pub mod update_link;

use std::path::{Path, PathBuf};

use zbus::{DBusError as _, ObjectPath, proxy::CacheProperties};

use proxies::LookProxy;

/// systemd, over the system bus; or the service manager of a user, over the user's own bus.
#[derive(Clone, Debug)]
pub struct Systemd {
    bus: zbus::Connection,
    runtime: Option<PathBuf>,
}

/// systemd or logind did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// The bus, systemd or logind answered with an error, or not at all.
    #[error("{call} failed")]
    Call {
        /// The D-Bus method, with its subject.
        call: String,
        /// Why.
        source: zbus::Error,
    },
    /// A unit lacks a property, or has it in another type.
    #[error("{unit} has no readable {property}")]
    Property {
        /// Which unit.
        unit: String,
        /// Which property.
        property: &'static str,
    },
}

impl Systemd {
    /// `bus`: the system bus.
    #[must_use]
    pub fn new(bus: zbus::Connection) -> Self {
        Self { bus, runtime: None }
    }

    /// `bus`: a user's own bus; `runtime`: the user's runtime directory (`/run/user/1000`).
    #[must_use]
    pub fn of_user(bus: zbus::Connection, runtime: PathBuf) -> Self {
        Self { bus, runtime: Some(runtime) }
    }

    /// The runtime directory of the user whose manager it is; none for the system's.
    #[must_use]
    pub fn runtime(&self) -> Option<&Path> {
        self.runtime.as_deref()
    }

    /// The bus it is reached on.
    pub fn bus(&self) -> &zbus::Connection {
        &self.bus
    }

    /// An object of a service, to be looked at.
    async fn object<'p, P>(&self, service: &'static str, path: P) -> zbus::Result<LookProxy<'p>>
    where
        P: TryInto<ObjectPath<'p>>,
        P::Error: Into<zbus::Error>,
    {
        let look = LookProxy::builder(&self.bus).destination(service).path(path);
        look.cache_properties(CacheProperties::No).build().await
    }
}

/// Turns a bus error into ours, with the call that met it.
fn failed(call: impl Into<String>) -> impl FnOnce(zbus::Error) -> SystemdError {
    move |source| SystemdError::Call { call: call.into(), source }
}

/// Whether the last part of the D-Bus error's name is `word`. The bus's own errors have a type in zbus,
/// and come as that.
fn says(error: &zbus::Error, word: &str) -> bool {
    let name = match error {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        zbus::Error::FDO(inner) => inner.name().to_string(),
        _ => return false,
    };
    name.rsplit('.').next() == Some(word)
}
