//! A channel, a server for it, and a node that reads it; and an attacker's tools.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jiff::Timestamp;
use lockkeeper::{
    adapters::{
        channel::{
            ChannelError, Reason,
            client::{Channel, Client},
            publisher::{Lifetimes, Publisher},
            remote::{Manners, Remote},
        },
        clock,
    },
    core::channel::{
        listing::Offer,
        release::{Package, Release, Set},
        rollout::Rollout,
    },
};
use olpc_cjson::CanonicalFormatter;
use semver::Version;
use serde::Serialize as _;
use serde_json::Value;
use tempfile::TempDir;

use super::server::Server;

/// Quick, so that slow servers are found out soon.
pub const MANNERS: Manners =
    Manners { silence: Duration::from_millis(400), slowest: 1000, fastest: 0 };

pub struct Lab {
    pub dir: TempDir,
    pub server: Server,
    client: Client,
}

impl Lab {
    /// A channel with release 1.0.0, which the node has seen.
    pub async fn new() -> Self {
        Self::with_roots(1, 1).await
    }

    pub async fn with_roots(roots: usize, threshold: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("channel");
        let names = ["alpha", "stable"].map(str::to_owned);
        let lifetimes = Lifetimes::default();
        let made = Publisher::create(&folder, &names, (roots, threshold), lifetimes, clock::wall());
        made.await.unwrap();
        let trust = dir.path().join("root.json");
        fs::copy(folder.join("public/metadata/1.root.json"), &trust).unwrap();
        let server = Server::of(&folder.join("public")).await;
        let client = Client::new(&trust, &dir.path().join("store"));
        let lab = Self { dir, server, client };
        lab.publish("1.0.0").await;
        assert_eq!(lab.offers().await.unwrap(), ["1.0.0"]);
        lab
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("channel")
    }

    pub fn metadata(&self, name: &str) -> PathBuf {
        self.folder().join("public/metadata").join(name)
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.folder().join("keys").join(format!("{name}.pem"))
    }

    pub fn publisher(&self) -> Publisher {
        Publisher::open(&self.folder(), Lifetimes::default()).unwrap()
    }

    /// Adds a release to the channel stable.
    pub async fn publish(&self, version: &str) {
        let mut publisher = self.publisher();
        let version = Version::parse(version).unwrap();
        publisher.put_release(&release(&version)).unwrap();
        let mut listing = publisher.listing("stable").unwrap();
        listing.releases.push(Offer::new(version, Rollout::EVERYBODY));
        publisher.put_listing(&listing).unwrap();
        publisher.commit(clock::wall()).await.unwrap();
    }

    pub fn remote(&self) -> Remote {
        Remote::new(std::slice::from_ref(&self.server.url), None, MANNERS).unwrap()
    }

    pub async fn open(&self) -> Result<Channel, ChannelError> {
        self.client.open(self.remote()).await
    }

    /// The versions that the node is offered.
    pub async fn offers(&self) -> Result<Vec<String>, ChannelError> {
        let listing = self.open().await?.listing("stable").await?;
        Ok(listing.releases.iter().map(|offer| offer.version.to_string()).collect())
    }

    /// What the node remembers.
    pub fn store(&self) -> BTreeMap<String, Value> {
        let current = self.dir.path().join("store/current");
        let files = fs::read_dir(current).unwrap().map(|file| file.unwrap());
        let not_the_time = |file: &fs::DirEntry| file.file_name() != "latest_known_time.json";
        let read = |file: fs::DirEntry| {
            let text = fs::read(file.path()).unwrap();
            (file.file_name().into_string().unwrap(), serde_json::from_slice(&text).unwrap())
        };
        files.filter(not_the_time).map(read).collect()
    }

    /// The attack is refused for this reason, what the node knows is what it knew, and an honest
    /// channel is believed again afterwards.
    pub async fn refused(&self, reason: Reason) -> String {
        let before = self.store();
        let refused = self.offers().await.expect_err("it was believed");
        assert_eq!(refused.reason, reason, "{refused}");
        assert!(self.store() == before, "what is known has changed: {refused}");
        refused.to_string()
    }
}

pub fn release(version: &Version) -> Release {
    let package = Package {
        name: "tool".to_owned(),
        arch: "amd64".to_owned(),
        version: version.to_string(),
        sha256: "ab".repeat(32),
        size: 1000,
        file: None,
    };
    let set = Set {
        distribution: "debian".to_owned(),
        codename: "bookworm".to_owned(),
        arch: "amd64".to_owned(),
        archives: Vec::new(),
        packages: vec![package],
    };
    Release::new(version.clone(), Timestamp::UNIX_EPOCH, vec![set])
}

/// Every file below a folder.
pub fn saved(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

pub fn restore(files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, text) in files {
        fs::write(path, text).unwrap();
    }
}

pub fn pair(path: &Path) -> Ed25519KeyPair {
    let text = fs::read(path).unwrap();
    Ed25519KeyPair::from_pkcs8(pem::parse(text).unwrap().contents()).unwrap()
}

/// A key as it stands in a root, and its id.
pub fn public(pair: &Ed25519KeyPair) -> (String, Value) {
    let key = serde_json::json!({
        "keytype": "ed25519", "scheme": "ed25519",
        "keyval": { "public": lockkeeper::core::plan::hex(pair.public_key().as_ref()) },
    });
    let key: tough::schema::key::Key = serde_json::from_value(key).unwrap();
    let id = lockkeeper::core::plan::hex(&key.key_id().unwrap());
    (id, serde_json::to_value(key).unwrap())
}

/// Changes a signed document, and has these keys sign it, whoever they are.
pub fn forge(path: &Path, keys: &[&Ed25519KeyPair], change: impl FnOnce(&mut Value)) {
    let mut document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut document["signed"]);
    let mut bytes = Vec::new();
    let mut canonical =
        serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    document["signed"].serialize(&mut canonical).unwrap();
    let signature = |pair: &&Ed25519KeyPair| {
        let made = lockkeeper::core::plan::hex(pair.sign(&bytes).as_ref());
        serde_json::json!({ "keyid": public(pair).0, "sig": made })
    };
    document["signatures"] = keys.iter().map(signature).collect();
    fs::write(path, serde_json::to_vec(&document).unwrap()).unwrap();
}
