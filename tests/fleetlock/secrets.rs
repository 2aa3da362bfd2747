//! Tokens and certificates, from both sides.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockkeeper::adapters::slots::fleetlock::{FleetLockStore, Server};
use lockkeeper::adapters::slots::local::LocalStore;
use lockkeeper::adapters::slots::{SlotStore, StoreError};
use lockkeeper::config::hub::{Hub, Tls};
use lockkeeper::hub::{Limits, Secrets};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::hub::{RULES, reach, serve_as};
use crate::wire::{HEADER, body, lock, once, request};

const TOKEN: &str = "correct-horse-battery-staple";

/// A directory with secrets in it.
struct Safe(TempDir);

impl Safe {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// An authority, with a certificate for a server and one for a client.
    fn authority(&self, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_file = self.put(&format!("{name}.ca"), &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let signed = |of: &str, names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let cert = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
            let cert = self.put(&format!("{name}-{of}.crt"), &cert.pem());
            (cert, self.put(&format!("{name}-{of}.key"), &key.serialize_pem()))
        };
        let (server, client) = (signed("server", &["127.0.0.1"]), signed("client", &["web-1"]));
        Authority { ca_file, server, client }
    }

    async fn hub(&self, hub: Hub) -> String {
        let path = self.0.path().join("s.redb");
        let store = SlotStore::Local(LocalStore::database(&path, RULES.ticket_ttl).unwrap());
        serve_as(store, RULES, &hub, Limits::default()).await
    }
}

struct Authority {
    ca_file: PathBuf,
    server: (PathBuf, PathBuf),
    client: (PathBuf, PathBuf),
}

impl Authority {
    fn tls(&self, clients: Option<&Authority>) -> Tls {
        let (cert_file, key_file) = self.server.clone();
        Tls { cert_file, key_file, client_ca_file: clients.map(|ca| ca.ca_file.clone()) }
    }
}

async fn release(server: &Server) -> Result<(), StoreError> {
    let store = SlotStore::FleetLock(FleetLockStore::new(server));
    store.release(&["g".to_owned()], "a", "n", Duration::ZERO).await
}

#[tokio::test]
async fn with_tokens_only_who_shows_one_is_served() {
    let safe = Safe::new();
    let token_file = safe.put("tokens", &format!("{TOKEN}\nanother-one-for-rotation\n"));
    let url = safe.hub(Hub { token_file: Some(token_file), ..Hub::default() }).await;
    let refused = lock(&url, "a", "g").await;
    assert_eq!((refused.status, refused.kind().as_str()), (401, "unauthorized"));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    for (token, status) in [
        (TOKEN, 200),
        ("another-one-for-rotation", 200),
        ("correct-horse-battery-stapl", 401),
        ("", 401),
    ] {
        let head = format!("{HEADER}Authorization: Bearer {token}\r\n");
        let text = request("POST", "/v1/steady-state", &head, &body("a", "g"));
        assert_eq!(once(&url, &text).await.status, status, "{token}");
    }
    // Health tells nothing, and needs no token.
    assert_eq!(once(&url, "GET /healthz HTTP/1.1\r\nHost: lock\r\n\r\n").await.status, 200);

    let own = safe.put("own", &format!("{TOKEN}\n"));
    let server = Server { token_file: Some(own.clone()), ..reach(&url) };
    release(&server).await.unwrap();
    std::fs::write(&own, "an-old-one-that-is-void").unwrap();
    let error = release(&server).await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }));
    assert!(error.to_string().contains("401 unauthorized: this server wants a token"), "{error}");
    let lost = Server { token_file: Some(safe.0.path().join("lost")), ..reach(&url) };
    assert!(release(&lost).await.unwrap_err().to_string().contains("cannot read "));
}

#[tokio::test]
async fn a_server_is_believed_only_with_a_certificate_of_the_authority() {
    let safe = Safe::new();
    let (ours, other) = (safe.authority("ours"), safe.authority("other"));
    let url = safe.hub(Hub { tls: Some(ours.tls(None)), ..Hub::default() }).await;
    let with = |ca: &Path| Server { ca_file: Some(ca.to_owned()), ..reach(&url) };
    release(&with(&ours.ca_file)).await.unwrap();
    let error = release(&with(&other.ca_file)).await.unwrap_err();
    assert!(error.to_string().contains("its certificate is not accepted"), "{error}");
    let error = release(&reach(&url)).await.unwrap_err();
    assert!(error.to_string().contains("its certificate is not accepted"), "{error}");
    let plain = Server { url: url.replace("https", "http"), ..with(&ours.ca_file) };
    assert!(release(&plain).await.is_err(), "not without TLS");
    let empty = safe.put("empty", "");
    let error = release(&with(&empty)).await.unwrap_err();
    assert!(error.to_string().ends_with(&format!("{} has no certificate", empty.display())));
}

#[tokio::test]
async fn with_a_client_authority_only_its_clients_are_served() {
    let safe = Safe::new();
    let (ours, other) = (safe.authority("ours"), safe.authority("other"));
    let url = safe.hub(Hub { tls: Some(ours.tls(Some(&ours))), ..Hub::default() }).await;
    let with = |identity: Option<(PathBuf, PathBuf)>| Server {
        ca_file: Some(ours.ca_file.clone()),
        identity,
        ..reach(&url)
    };
    release(&with(Some(ours.client.clone()))).await.unwrap();
    for stranger in [None, Some(other.client.clone())] {
        let error = release(&with(stranger)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    }
    let mixed = Some((ours.client.0.clone(), other.client.1.clone()));
    assert!(release(&with(mixed)).await.is_err(), "a key of another certificate");
}

#[tokio::test]
async fn renewed_files_of_a_client_are_read_again_after_a_failure() {
    let safe = Safe::new();
    let (ours, other) = (safe.authority("ours"), safe.authority("other"));
    let url = safe.hub(Hub { tls: Some(ours.tls(None)), ..Hub::default() }).await;
    let ca_file = safe.put("ca", &std::fs::read_to_string(&other.ca_file).unwrap());
    let server = Server { ca_file: Some(ca_file.clone()), ..reach(&url) };
    let store = SlotStore::FleetLock(FleetLockStore::new(&server));
    let release = async || store.release(&["g".to_owned()], "a", "n", Duration::ZERO).await;
    release().await.unwrap_err();
    std::fs::copy(&ours.ca_file, &ca_file).unwrap();
    release().await.unwrap();
}

#[test]
fn secrets_that_cannot_be_used_are_told_by_file() {
    let safe = Safe::new();
    let ours = safe.authority("ours");
    let junk = safe.put("junk", "-----BEGIN NOTHING-----\n");
    let (cert_file, key_file) = ours.server.clone();
    let lost = safe.0.path().join("lost");
    let tls = |cert: &Path, key: &Path, clients: Option<&Path>| Tls {
        cert_file: cert.to_owned(),
        key_file: key.to_owned(),
        client_ca_file: clients.map(Path::to_owned),
    };
    for (tls, file) in [
        (tls(&lost, &key_file, None), &lost),
        (tls(&junk, &key_file, None), &junk),
        (tls(&cert_file, &junk, None), &junk),
        (tls(&cert_file, &ours.client.1, None), &cert_file),
        (tls(&cert_file, &key_file, Some(&junk)), &junk),
    ] {
        let error = Secrets::load(&Hub { tls: Some(tls), ..Hub::default() }).unwrap_err();
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}
