//! How etcd is reached: where it is, whom we trust, and who we are.
//!
//! Certificates, key and password are files, read anew for every connection: a renewed file counts
//! without a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::ConnectOptions;

use super::failure::{Failure, Kind};
use super::papers::{Papers, of, read};
use super::tls;
use crate::config::settings::Etcd;

/// Pings on a connection that has calls under way: silent peers are found within 13 s.
/// etcd closes connections that ping more often than every 5 s.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// A member that does not take the connection within this is passed over.
const CONNECT: Duration = Duration::from_secs(2);

/// Where etcd is, and how to get in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `http://192.0.2.10:2379` or `https://…`, one kind only.
    pub endpoints: Vec<String>,
    /// For each attempt at one endpoint.
    pub timeout: Duration,
    /// Certificates (PEM) of the CA that signed etcd's; needed for `https`. The system's own CAs are
    /// not asked: etcd's is a private one, and no public CA shall be able to pose as it.
    pub ca_file: Option<PathBuf>,
    /// Our certificate (PEM, with what is between it and the CA), if etcd wants one.
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM, not encrypted).
    pub key_file: Option<PathBuf>,
    /// etcd's name for us. Without one, etcd may take the common name of our certificate for it.
    pub user: Option<String>,
    /// The password of `user`; a newline at its end does not count.
    pub password_file: Option<PathBuf>,
}

impl From<&Etcd> for Access {
    fn from(etcd: &Etcd) -> Self {
        Self {
            endpoints: etcd.endpoints.clone(),
            timeout: etcd.timeout,
            ca_file: etcd.ca_file.clone(),
            cert_file: etcd.cert_file.clone(),
            key_file: etcd.key_file.clone(),
            user: etcd.user.clone(),
            password_file: etcd.password_file.clone(),
        }
    }
}

impl Access {
    /// Access without TLS and without a user.
    #[must_use]
    pub fn open(endpoints: &[String], timeout: Duration) -> Self {
        Self { endpoints: endpoints.to_vec(), timeout, ..Self::default() }
    }

    /// The same without user and password.
    pub(super) fn anonymous(&self) -> Self {
        Self { user: None, password_file: None, ..self.clone() }
    }

    /// The options of a connection to `url`, from the files as they are now. `led`: only while the
    /// member there sees a leader.
    pub(super) fn options(&self, url: &str, led: bool) -> Result<ConnectOptions, Failure> {
        self.check().map_err(Failure::ours)?;
        let limit = CONNECT.min(self.timeout / 2);
        let options = ConnectOptions::new()
            // A member cut off from the others must say so rather than serve a watch that is stale.
            .with_require_leader(led)
            // Before the deadline: a call that never left is not one of unknown outcome.
            .with_connect_timeout(limit)
            .with_keep_alive(PING.0, PING.1)
            .with_keep_alive_while_idle(false);
        let options = match scheme(url) {
            Some(Scheme::Http) => options,
            Some(Scheme::Https) => options.with_tls(self.papers(url)?.options().timeout(limit)),
            None => {
                let form = "an endpoint looks like http://192.0.2.10:2379 or https://…";
                return Err(Failure::new(Kind::NotEtcd, url, form));
            }
        };
        // A member that advertises http beside https endpoints does not get the password in clear.
        let in_clear = self.ca_file.is_some() && scheme(url) == Some(Scheme::Http);
        match (&self.user, &self.password_file) {
            (Some(user), Some(file)) if !in_clear => {
                Ok(options.with_user(user, password(file).map_err(Failure::ours)?))
            }
            _ => Ok(options),
        }
    }

    /// Whether `url` can be reached so over plain HTTP, without the client library.
    ///
    /// # Errors
    /// What does not go together, and what to do.
    pub(in crate::adapters) fn goes_with(&self, url: &str) -> Result<(), String> {
        self.check()?;
        if scheme(url) == Some(Scheme::Https) {
            self.papers(url).map_err(|failure| failure.what)?;
        }
        Ok(())
    }

    /// User and password, if there is a user.
    ///
    /// # Errors
    /// When the password's file cannot be used.
    pub(in crate::adapters) fn login(&self) -> Result<Option<(String, String)>, String> {
        let both = self.user.as_ref().zip(self.password_file.as_ref());
        both.map(|(user, file)| Ok((user.clone(), password(file)?))).transpose()
    }

    /// What does not go together, and what to do.
    fn check(&self) -> Result<(), String> {
        let schemes: Vec<_> = self.endpoints.iter().filter_map(|url| scheme(url)).collect();
        if schemes.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err("some endpoints of etcd are http and some https: use one of them".into());
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("a client certificate and its key go together: give both or none".into());
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err("a user and a password file go together: give both or none".into());
        }
        let files = self.ca_file.is_some() || self.cert_file.is_some();
        if files && schemes.first() == Some(&Scheme::Http) {
            return Err("certificates are of no use with http endpoints: write https://".into());
        }
        Ok(())
    }

    /// What is shown and asked for at `url`, from the files as they are now.
    fn papers(&self, url: &str) -> Result<Papers, Failure> {
        let Some(ca) = &self.ca_file else {
            let why = "https needs the certificate of the CA that signed etcd's: \
                       set etcd.ca_file, or give --cacert";
            return Err(Failure::new(Kind::Denied, url, why));
        };
        Papers::read(ca, self.cert_file.as_deref().zip(self.key_file.as_deref()))
            .map_err(Failure::ours)
    }

    /// Why a connection to `url` that was made and then closed came to nothing, if TLS is the reason.
    pub(super) async fn diagnose(&self, url: &str) -> Option<String> {
        match scheme(url)? {
            Scheme::Https => tls::diagnose(url, self.papers(url).ok()?.config().ok()?).await,
            Scheme::Http => {
                tls::is_spoken(url).await.then(|| "it speaks TLS: write https://".into())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

fn scheme(url: &str) -> Option<Scheme> {
    if url.starts_with("http://") {
        return Some(Scheme::Http);
    }
    url.starts_with("https://").then_some(Scheme::Https)
}

fn password(path: &Path) -> Result<String, String> {
    let what = "password file";
    let text = String::from_utf8(read(what, path)?).map_err(|_| of(what, path, "not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(of(what, path, "it must hold the password, on one line"));
    }
    Ok(line.to_owned())
}
