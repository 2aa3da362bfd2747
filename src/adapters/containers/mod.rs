//! Container engines: which are there, and a client for each. A user's own are found by the same names, in
//! the user's own service manager and runtime directory.
//!
//! An engine that is not installed is simply not there. One that is installed and at work but does
//! not answer is an error: what runs in it is not known.

use std::{
    collections::BTreeMap,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::UnixStream;

use crate::{
    adapters::systemd::{Systemd, SystemdError, jobs::Started},
    core::record::{Container, Engine, Stopped},
};

mod client;
pub mod compose;
#[cfg(test)]
mod fake;
mod images;

pub use client::Client;

/// How long systemd may take to open Podman's socket.
const OPENING: Duration = Duration::from_secs(30);

/// An engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// It is installed and at work, and does not answer.
    #[error("{engine} does not answer")]
    Silent {
        /// Which.
        engine: Engine,
        /// Why.
        source: bollard::errors::Error,
    },
    /// It is at work and has no socket where it ought to be.
    #[error("{engine} is active, but there is no socket at {}", path.display())]
    NoSocket {
        /// Which.
        engine: Engine,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Podman's socket unit could not be started.
    #[error("podman.socket cannot be started: {why}")]
    NotOpened {
        /// What systemd said.
        why: String,
    },
    /// It answered with an error.
    #[error("{engine} cannot {what}")]
    Request {
        /// Which.
        engine: Engine,
        /// What was asked for.
        what: String,
        /// What it said.
        source: bollard::errors::Error,
    },
    /// systemd could not be asked about the engine's units.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
}

/// The running containers of every engine that is at work, and those that do not run.
pub async fn all(systemd: &Systemd) -> Result<(Vec<Container>, Vec<Stopped>), ContainerError> {
    let (mut running, mut stopped) = (Vec::new(), Vec::new());
    for client in at_work(systemd).await? {
        running.extend(client.running().await?);
        stopped.extend(client.stopped().await?);
    }
    Ok((running, stopped))
}

/// A client of every engine that is at work.
pub async fn at_work(systemd: &Systemd) -> Result<Vec<Client>, ContainerError> {
    let mut clients = Vec::new();
    for engine in [Engine::Docker, Engine::Podman] {
        if engine == Engine::Docker && docker_is_down(systemd).await? {
            continue;
        }
        clients.extend(connect(engine, systemd).await?);
    }
    Ok(clients)
}

/// Clients of the given engines; those that are not there any more, or do not answer, with the
/// reason.
pub async fn connect_all(
    engines: &[Engine],
    systemd: &Systemd,
) -> BTreeMap<Engine, Result<Client, String>> {
    let mut clients = BTreeMap::new();
    for engine in engines {
        let client = match connect(*engine, systemd).await {
            Ok(Some(client)) => Ok(client),
            Ok(None) => Err(format!("{engine} is not running")),
            Err(error) => Err(crate::observe::logging::chain(&error)),
        };
        clients.insert(*engine, client);
    }
    clients
}

/// A client of `engine`; `None` when it is not there. Wakes an engine that waits on its socket.
pub async fn connect(engine: Engine, systemd: &Systemd) -> Result<Option<Client>, ContainerError> {
    match engine {
        Engine::Docker => connect_docker(systemd).await,
        Engine::Podman => connect_podman(systemd).await,
    }
}

async fn connect_docker(systemd: &Systemd) -> Result<Option<Client>, ContainerError> {
    let engine = Engine::Docker;
    let sockets = match systemd.runtime() {
        None => vec!["/run/docker.sock".into(), "/var/run/docker.sock".into()],
        Some(runtime) => vec![runtime.join("docker.sock")],
    };
    let service = systemd.unit("docker.service").await?.active;
    let socket = systemd.unit("docker.socket").await?.active;
    let at_work = |state: &str| matches!(state, "active" | "activating" | "reloading");
    let expected = at_work(&service) || at_work(&socket);
    let Some(path) = sockets.iter().find(|socket| is_socket(socket)) else {
        let path = sockets.into_iter().next().unwrap_or_default();
        return if expected { Err(ContainerError::NoSocket { engine, path }) } else { Ok(None) };
    };
    if leads_to(path, &podman_socket(systemd)) {
        return Ok(None);
    }
    match Client::connect(engine, &path.to_string_lossy()).await {
        Ok(client) => Ok(Some(client)),
        Err(_) if !expected && is_abandoned(path).await => Ok(None),
        Err(error) => Err(error),
    }
}

/// Docker's service is installed and does not run: then none of its containers does, and there is
/// no need to wake it, or to trip over one that is broken already.
async fn docker_is_down(systemd: &Systemd) -> Result<bool, SystemdError> {
    let service = systemd.unit("docker.service").await?;
    Ok(service.load == "loaded" && matches!(service.active.as_str(), "inactive" | "failed"))
}

async fn connect_podman(systemd: &Systemd) -> Result<Option<Client>, ContainerError> {
    let name = "podman.socket".to_owned();
    let unit = systemd.unit(&name).await?;
    if unit.load != "loaded" {
        return Ok(None);
    }
    if unit.active != "active" {
        let mut ends = systemd.start(std::slice::from_ref(&name), OPENING).await?;
        match ends.remove(&name) {
            Some(Started::Done) | None => {}
            Some(end) => return Err(ContainerError::NotOpened { why: end.to_string() }),
        }
    }
    let socket = podman_socket(systemd);
    Client::connect(Engine::Podman, &socket.to_string_lossy()).await.map(Some)
}

/// Where Podman listens, for the system or for a user. The package podman-docker puts it in Docker's
/// place, too: what runs there is Podman's.
fn podman_socket(systemd: &Systemd) -> PathBuf {
    systemd.runtime().unwrap_or(Path::new("/run")).join("podman/podman.sock")
}

/// Whether `path` is a link, or a way by links, to `other`.
fn leads_to(path: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(path).is_some_and(|path| Some(path) == real(other))
}

/// What an engine leaves behind when it is removed: nobody takes a connection. One that takes it, and
/// does not answer, is there: systemd may know it by another name.
async fn is_abandoned(path: &Path) -> bool {
    let connected = UnixStream::connect(path).await;
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[tokio::test]
    async fn a_socket_is_abandoned_only_when_nobody_takes_a_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let hanging = UnixListener::bind(&path).unwrap();
        assert!(!is_abandoned(&path).await);
        drop(hanging);
        assert!(is_socket(&path) && is_abandoned(&path).await);
    }

    #[test]
    fn a_link_to_another_engines_socket_is_that_engine() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let _podman = UnixListener::bind(at("podman.sock")).unwrap();
        let _docker = UnixListener::bind(at("docker.sock")).unwrap();
        symlink("podman.sock", at("link.sock")).unwrap();
        assert!(leads_to(&at("link.sock"), &at("podman.sock")));
        assert!(!leads_to(&at("docker.sock"), &at("podman.sock")));
        assert!(!leads_to(&at("none.sock"), &at("gone.sock")));
    }
}
