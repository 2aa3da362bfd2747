//! Certificates and keys: read, looked over, and made into what TLS takes.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use etcd_client::{Certificate, Identity, TlsOptions};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, Error, RootCertStore, WantsVerifier};

/// What a TLS connection rests on. The texts are for the client library, which takes no other form.
pub(super) struct Papers {
    ca: Vec<u8>,
    roots: RootCertStore,
    own: Option<Own>,
}

/// Who we are.
struct Own {
    cert: Vec<u8>,
    key: Vec<u8>,
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
}

impl Papers {
    /// Reads the CA's certificates, and our certificate with its key. Errors name the file.
    pub(super) fn read(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Self, String> {
        let what = "CA file";
        let text = read(what, ca)?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(what, ca, &text)? {
            let bad = |cause| of(what, ca, &format!("a certificate in it is bad ({cause})"));
            roots.add(authority).map_err(bad)?;
        }
        let papers = Self { ca: text, roots, own: None };
        let Some((cert, key)) = own else { return Ok(papers) };
        let papers = Self { own: Some(Own::read(cert, key)?), ..papers };
        papers.config().map(|_| papers).map_err(|cause| {
            let (cert, key) = (cert.display(), key.display());
            format!("client certificate {cert} and key {key} do not go together ({cause})")
        })
    }

    /// For the client library.
    pub(super) fn options(&self) -> TlsOptions {
        let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(&self.ca));
        match &self.own {
            Some(own) => tls.identity(Identity::from_pem(&own.cert, &own.key)),
            None => tls,
        }
    }

    /// For a connection of our own.
    pub(super) fn config(&self) -> Result<ClientConfig, Error> {
        let config = builder()?.with_root_certificates(self.roots.clone());
        match &self.own {
            Some(own) => config.with_client_auth_cert(own.chain.clone(), own.secret.clone_key()),
            None => Ok(config.with_no_client_auth()),
        }
    }
}

impl Own {
    fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        let (text, secret_text) = (read("client certificate", cert)?, read("key file", key)?);
        let chain = certificates("client certificate", cert, &text)?;
        let secret = PrivateKeyDer::from_pem_slice(&secret_text)
            .map_err(|_| of("key file", key, "no private key in it (PEM, not encrypted)"))?;
        Ok(Self { cert: text, key: secret_text, chain, secret })
    }
}

/// The one TLS stack: rustls on ring.
pub(super) fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
}

/// The certificates in `pem`; at least one.
fn certificates(
    what: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|cause| of(what, path, &format!("not PEM ({cause})")))?;
    if found.is_empty() {
        return Err(of(what, path, "no certificate in it (PEM)"));
    }
    Ok(found)
}

/// The content of a file that is `what` to us.
pub(super) fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => of(what, path, "no such file"),
        ErrorKind::PermissionDenied => {
            of(what, path, "permission denied: let the user that runs this program read it")
        }
        _ => of(what, path, &format!("cannot be read ({error})")),
    })
}

/// A problem with a file.
pub(super) fn of(what: &str, path: &Path, problem: &str) -> String {
    format!("{what} {}: {problem}", path.display())
}
