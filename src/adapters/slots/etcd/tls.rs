//! What a failed TLS handshake means, in the words of those who can mend it.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
};

use super::papers;

/// How long a peer is listened to that has nothing against us.
const LISTEN: Duration = Duration::from_secs(1);

/// Why the peer at `url` closed a connection with `config`, if a certificate or TLS itself is the
/// reason. In TLS 1.3 a server judges our certificate when we take the handshake for done, and the
/// HTTP/2 below the client library drops what it says then. So listen to it once more, saying
/// nothing.
pub(super) async fn diagnose(url: &str, config: ClientConfig) -> Option<String> {
    let error = timeout(LISTEN, listen(url, config)).await.ok()??;
    refusal(&error)
}

/// Whether the peer at `url` speaks TLS.
pub(super) async fn is_spoken(url: &str) -> bool {
    let Ok(builder) = papers::builder() else { return false };
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let Ok(Some(error)) = timeout(LISTEN, listen(url, config)).await else { return false };
    matches!(of_rustls(&error), Some(Error::InvalidCertificate(_) | Error::AlertReceived(_)))
}

/// What ends a connection on which nothing is said after the handshake.
async fn listen(url: &str, mut config: ClientConfig) -> Option<io::Error> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let authority = url.split("://").nth(1)?.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let stream = TcpStream::connect(authority).await.ok()?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(mut stream) => stream.read(&mut [0; 1]).await.err(),
        Err(error) => Some(error),
    }
}

const NO_TLS: &str = "what answers does not speak TLS: is it http://?";

/// What is wrong with a certificate or with who speaks TLS, if `error` says that. Then nothing of
/// what was asked has been done: the peer never came to read it.
pub(super) fn refusal(error: &(dyn StdError + 'static)) -> Option<String> {
    match of_rustls(error)? {
        Error::InvalidCertificate(why) => Some(theirs(why)),
        Error::AlertReceived(alert) => ours(*alert),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Some(NO_TLS.to_owned()),
        Error::PeerIncompatible(why) => Some(format!("no common way to speak TLS ({why:?})")),
        Error::NoApplicationProtocol => Some("what answers is not etcd (no HTTP/2)".to_owned()),
        _ => None,
    }
}

/// TLS errors travel inside I/O errors, which do not name them as their source.
fn of_rustls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.downcast_ref().or_else(|| inner?.downcast_ref())
}

fn theirs(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it there (or is this machine's clock wrong?)".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: is a clock wrong?".into()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by the CA given".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is for {}, not for the name in this endpoint",
            if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") }
        ),
        CertificateError::NotValidForName => {
            "its certificate is not for the name in this endpoint".into()
        }
        other => format!("its certificate is not good ({other})"),
    }
}

/// An alert about certificates can only come before the peer has read anything of ours.
fn ours(alert: AlertDescription) -> Option<String> {
    let why = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it wants a client certificate"
        }
        AlertDescription::CertificateExpired => "our client certificate has expired",
        AlertDescription::UnknownCA => "our client certificate is not signed by its CA",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            "it does not accept our client certificate (expired? another CA? none given?)"
        }
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "no common way to speak TLS"
        }
        _ => return None,
    };
    Some(format!("{why} (TLS alert {alert:?})"))
}
