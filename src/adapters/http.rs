//! HTTP clients for the few servers that are asked before a machine goes down: TLS, time-outs, and errors that name the cause.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, redirect};

use crate::observe::logging::chain;

/// A server that does not take the connection within this is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that was not used for this long is not used again.
const IDLE: Duration = Duration::from_secs(15);

/// How a server is spoken to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer<'a> {
    /// PEM file with the authorities that its certificate may be of; otherwise the system's.
    pub ca_file: Option<&'a Path>,
    /// PEM files with our own certificate and its key.
    pub identity: Option<(&'a Path, &'a Path)>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A client for one server. Redirections are not followed, since a redirected POST becomes a GET;
/// proxies of the environment are not asked, since a lock is near.
pub(super) fn client(peer: &Peer<'_>) -> Result<Client, String> {
    let mut builder = builder(peer.ca_file)?
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT.min(peer.timeout))
        .timeout(peer.timeout);
    if let Some((cert, key)) = peer.identity {
        let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
        let identity = Identity::from_pem(&pem).map_err(|error| {
            format!("{} and {}: {}", cert.display(), key.display(), chain(&error))
        })?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| chain(&error))
}

/// What all clients have in common. `ca_file`: PEM file with the authorities that a server's certificate
/// may be of; otherwise the system's.
pub(super) fn builder(ca_file: Option<&Path>) -> Result<ClientBuilder, String> {
    // Whoever is first decides; everybody here decides alike.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        // Shorter than servers keep connections, so that none is hung up on just when it is used.
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("lockkeeper/", env!("CARGO_PKG_VERSION")));
    let Some(path) = ca_file else { return Ok(builder) };
    let bundle = Certificate::from_pem_bundle(&read(path)?)
        .map_err(|error| format!("{}: {}", path.display(), chain(&error)))?;
    if bundle.is_empty() {
        return Err(format!("{} has no certificate", path.display()));
    }
    Ok(builder.tls_certs_only(bundle))
}

/// All that a server answers, but not more than `most` bytes.
pub(super) async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(|error| cause(&error))? {
        body.extend_from_slice(&bytes);
        if body.len() > most {
            return Err("the answer is too long".to_owned());
        }
    }
    Ok(body)
}

/// A small file's content; the error names it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The token in a file.
pub(super) fn token(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(read(path)?).unwrap_or_default();
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} has no token of printable ASCII characters", path.display()));
    }
    Ok(token.to_owned())
}

/// The innermost error, which names the cause, and not the layers above it.
pub(super) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.to_string().strip_prefix("invalid peer certificate: ") {
        Some(why) => format!("its certificate is not accepted: {why}"),
        None => plain(innermost),
    }
}

/// An error of the system as a fragment, without its number.
pub(super) fn plain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_lowercase()
}
