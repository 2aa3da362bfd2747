//! Real etcd that asks for certificates and users, and the papers to get in with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lockkeeper::adapters::slots::etcd::Access;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use crate::etcd::{Cluster, Fence};

/// The tool that makes users and roles, as shipped.
const ROLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/units/usr/share/lockkeeper/etcd-role");
/// The password of etcd's root.
pub const ROOT: &str = "root-of-the-test";

/// A certificate authority with a directory for what it issues.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Papers {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// When certificates end.
pub const VALID: i32 = 4096;
/// When they have ended long ago.
pub const EXPIRED: i32 = 2020;

impl Authority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = named("CA of the test", VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), own.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Papers for `name`, good for servers at `hosts` and for clients, up to a year.
    pub fn issue(&self, name: &str, hosts: &[&str], until: i32) -> Papers {
        let mut params = named(name, until);
        params.subject_alt_names =
            CertificateParams::new(hosts.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>())
                .unwrap()
                .subject_alt_names;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let path = |ending: &str| self.path(&format!("{name}-{until}.{ending}"));
        let papers = Papers { cert: path("crt"), key: path("key") };
        std::fs::write(&papers.cert, cert.pem()).unwrap();
        std::fs::write(&papers.key, key.serialize_pem()).unwrap();
        papers
    }
}

fn named(name: &str, until: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
    params
}

/// What a cluster asks of its clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asks {
    /// A certificate of the CA.
    pub certificate: bool,
    /// A user with a role.
    pub user: bool,
    /// Tokens live for a second and not for five minutes.
    pub short_tokens: bool,
}

/// A cluster behind TLS.
pub struct Fenced {
    pub cluster: Cluster,
    pub ca: Authority,
    asks: Asks,
}

impl Fenced {
    pub async fn start(size: u8, asks: Asks) -> Self {
        let ca = Authority::new();
        let cluster = Cluster::fenced(size, |address| {
            fence(&ca.issue(address, &[address], VALID), &ca, asks)
        });
        let mut fenced = Self { cluster: cluster.await, ca, asks };
        if asks.user {
            fenced.make_user("agent", "agent");
            fenced.ask_for_users().await;
        }
        fenced
    }

    /// One member that shows `papers`.
    pub async fn showing(ca: Authority, papers: &Papers) -> Self {
        let asks = Asks::default();
        let cluster = Cluster::fenced(1, |_| fence(papers, &ca, asks)).await;
        Self { cluster, ca, asks }
    }

    /// All the papers that are asked for.
    pub fn access(&self) -> Access {
        let mut access = Access {
            ca_file: Some(self.ca.file()),
            ..Access::open(&self.cluster.endpoints(), Duration::from_secs(5))
        };
        if self.asks.certificate {
            // A name that is no user: the password is what counts.
            access = with_papers(access, &self.ca.issue("some-machine", &[], VALID));
        }
        if self.asks.user {
            access = with_user(access, "agent", &self.password_file("agent"));
        }
        access
    }

    /// Where the password of a user made here is.
    pub fn password_file(&self, user: &str) -> PathBuf {
        self.ca.path(&format!("{user}.password"))
    }

    /// Makes a user with the shipped tool, with a password.
    pub fn make_user(&self, kind: &str, user: &str) {
        let file = self.password_file(user);
        let file = file.to_str().unwrap();
        let made = self.role(&[kind, user, "--password-file", file], "");
        assert!(made.status.success(), "{made:?}");
    }

    /// Runs the shipped tool, as root of etcd or (empty) as nobody.
    #[expect(clippy::disallowed_methods, reason = "the test's own processes")]
    pub fn role(&self, args: &[&str], root: &str) -> Output {
        let mut role = Command::new(ROLE);
        role.args(args)
            .env("ETCDCTL_ENDPOINTS", self.cluster.side_doors().join(","))
            .env_remove("ETCDCTL_USER");
        if !root.is_empty() {
            role.env("ETCDCTL_USER", format!("root:{root}"));
        }
        role.output().unwrap()
    }

    /// Turns authentication on.
    pub async fn ask_for_users(&mut self) {
        let mut client = self.cluster.client().await;
        client.user_add("root", ROOT, None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.auth_enable().await.unwrap();
        self.cluster.look_in_as("root", ROOT);
    }
}

/// The same access with another client certificate.
pub fn with_papers(access: Access, papers: &Papers) -> Access {
    Access { cert_file: Some(papers.cert.clone()), key_file: Some(papers.key.clone()), ..access }
}

/// The same access as another user.
pub fn with_user(access: Access, user: &str, password_file: &Path) -> Access {
    Access { user: Some(user.to_owned()), password_file: Some(password_file.to_owned()), ..access }
}

fn fence(server: &Papers, ca: &Authority, asks: Asks) -> Fence {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut args = vec!["--cert-file".to_owned(), path(&server.cert)];
    args.extend(["--key-file".to_owned(), path(&server.key)]);
    args.extend(["--bcrypt-cost".to_owned(), "4".to_owned()]);
    if asks.certificate {
        args.extend(["--client-cert-auth".to_owned(), "--trusted-ca-file".to_owned()]);
        args.push(path(&ca.file()));
    }
    if asks.short_tokens {
        args.extend(["--auth-token-ttl".to_owned(), "1".to_owned()]);
    }
    Fence { args, tls: true }
}
