//! What the hub proves itself with, and what clients prove themselves with: files, read at the start
//! and at a reload.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use sha2::Sha256;
use tokio_rustls::TlsAcceptor;

use crate::config::hub::{Hub, Tls};

/// A token shorter than this is guessed sooner or later.
const SHORTEST_TOKEN: usize = 16;

/// A secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{path} {what}")]
    Useless {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate, key and authority do not go together.
    #[error("the certificate in {path} cannot be used")]
    Tls {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Tokens and certificates.
pub struct Secrets {
    /// Any of these admits; without a list, everybody is admitted.
    tokens: Option<Vec<String>>,
    /// How connections are secured, if they are.
    pub(super) tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.tokens.as_ref().map(Vec::len);
        out.debug_struct("Secrets")
            .field("tokens", &tokens)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Secrets {
    /// Reads the files that `hub` names.
    pub fn load(hub: &Hub) -> Result<Self, SecretsError> {
        let tokens = hub.token_file.as_deref().map(tokens).transpose()?;
        let tls = hub.tls.as_ref().map(tls).transpose()?;
        Ok(Self { tokens, tls })
    }

    /// Whether a request with this `Authorization` may be served.
    pub(super) fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let Some(tokens) = &self.tokens else { return true };
        let Some((scheme, shown)) = authorization.and_then(|text| text.split_at_checked(7)) else {
            return false;
        };
        // All are looked at, so that the time taken tells nothing of which one is like it.
        let admitted = tokens.iter().filter(|token| same(token.as_bytes(), shown)).count();
        scheme.eq_ignore_ascii_case(b"bearer ") && admitted > 0
    }
}

/// Compares in a time that does not depend on where the two differ.
fn same(token: &[u8], shown: &[u8]) -> bool {
    let tag = |text: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(token).ok()?;
        mac.update(text);
        Some(mac)
    };
    let (Some(own), Some(theirs)) = (tag(token), tag(shown)) else { return false };
    theirs.verify(&own.finalize().into_bytes()).is_ok()
}

/// The tokens in a file, one a line, so that a new one can be handed out before the old one goes.
fn tokens(path: &Path) -> Result<Vec<String>, SecretsError> {
    let useless =
        |what: &str| SecretsError::Useless { path: path.to_owned(), what: what.to_owned() };
    let text = String::from_utf8(read(path)?).map_err(|_| useless("is not text"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<String> = lines.map(str::to_owned).collect();
    if tokens.is_empty() {
        return Err(useless("has no token"));
    }
    if tokens.iter().any(|token| token.len() < SHORTEST_TOKEN) {
        return Err(useless(&format!("has a token of less than {SHORTEST_TOKEN} characters")));
    }
    if !tokens.iter().all(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(useless("has a token with something else than printable ASCII characters"));
    }
    Ok(tokens)
}

fn tls(files: &Tls) -> Result<TlsAcceptor, SecretsError> {
    let provider = Arc::new(ring::default_provider());
    let wrong = |source| SecretsError::Tls { path: files.cert_file.clone(), source };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = match &files.client_ca_file {
        Some(path) => {
            let useless = |what| SecretsError::Useless { path: path.clone(), what };
            let mut roots = RootCertStore::empty();
            for cert in certificates(path)? {
                roots
                    .add(cert)
                    .map_err(|error| useless(format!("has a bad certificate: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| useless(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key_file)?).map_err(|error| {
        let what = format!("has no private key in PEM form ({error})");
        SecretsError::Useless { path: files.key_file.clone(), what }
    })?;
    let mut config =
        builder.with_single_cert(certificates(&files.cert_file)?, key).map_err(wrong)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecretsError> {
    let useless = |what: String| SecretsError::Useless { path: path.to_owned(), what };
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found =
        found.map_err(|error| useless(format!("has a certificate that is not PEM ({error})")))?;
    if found.is_empty() {
        return Err(useless("has no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, SecretsError> {
    fs::read(path).map_err(|source| SecretsError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tokens: &[&str]) -> Secrets {
        Secrets { tokens: Some(tokens.iter().map(|t| (*t).to_owned()).collect()), tls: None }
    }

    #[test]
    fn only_a_token_of_the_list_admits() {
        let secrets = with(&["0123456789abcdef", "fedcba9876543210"]);
        for good in ["Bearer 0123456789abcdef", "bearer fedcba9876543210"] {
            assert!(secrets.admit(Some(good.as_bytes())), "{good}");
        }
        for bad in [
            "Bearer 0123456789abcdee",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer ",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "",
        ] {
            assert!(!secrets.admit(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!secrets.admit(None));
        assert!(Secrets { tokens: None, tls: None }.admit(None));
    }

    #[test]
    fn a_file_with_a_weak_token_or_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for text in ["", "\n\n", "short\n", "0123456789abcdef 0\n", "0123456789abcdef\nshort"] {
            fs::write(&path, text).unwrap();
            assert!(tokens(&path).is_err(), "{text:?}");
        }
        fs::write(&path, "\n0123456789abcdef\nfedcba9876543210\n").unwrap();
        assert_eq!(tokens(&path).unwrap().len(), 2);
        assert!(matches!(tokens(&dir.path().join("no")), Err(SecretsError::Unreadable { .. })));
    }
}
