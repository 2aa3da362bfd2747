//! The admin's side of a channel: what is signed, and written for others to fetch.
//!
//! ```text
//! FOLDER/keys/root.pem …      the root's keys; best kept elsewhere
//! FOLDER/keys/release.pem     signs releases and listings
//! FOLDER/keys/online.pem      signs that they are still the newest; may lie on a server
//! FOLDER/public/metadata      what is published
//! FOLDER/public/targets
//! ```
//!
//! Files are added, and the timestamp is replaced last, so that somebody who reads meanwhile sees the
//! old channel or the new one.

mod root;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::rand::SystemRandom;
use jiff::Timestamp;
use semver::Version;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tough::{
    editor::signed::SignedRole,
    key_source::KeySource,
    schema::{KeyHolder, Role, Root, Signed, Snapshot, Targets, Timestamp as Freshness},
};

use root::Keys;
pub use root::Whose;

use super::{
    client::{channel_of, listing_name, release_name},
    keys::{KeyError, KeyFile},
};
use crate::{
    adapters::state_file,
    core::{
        channel::{DocumentError, listing::Listing, release::Release},
        plan::hex,
    },
    observe::logging::chain,
};

/// How long each signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// The root's: its keys are offline, so rarely used.
    pub root: Duration,
    /// That of releases and listings.
    pub release: Duration,
    /// That of the newest version of all; a channel that nobody tends stops being believed then.
    pub online: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Lifetimes {
    fn default() -> Self {
        Self { root: DAY * 730, release: DAY * 180, online: DAY * 14 }
    }
}

/// What could not be done; the published channel is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Signing.
    #[error("{what} could not be signed: {said}")]
    Sign {
        /// Which document.
        what: &'static str,
        /// Why.
        said: String,
    },
    /// What is published already cannot be read.
    #[error("{path} is damaged: {said}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        said: String,
    },
    /// What is to be published makes no sense.
    #[error("{what}: {source}")]
    Document {
        /// Which one.
        what: String,
        /// Why.
        source: DocumentError,
    },
    /// What was asked for.
    #[error("{0}")]
    Refused(String),
}

type Result<T> = std::result::Result<T, PublishError>;

/// A channel's folder, and what is to be changed in it.
#[derive(Debug)]
pub struct Publisher {
    folder: PathBuf,
    lifetimes: Lifetimes,
    root: Signed<Root>,
    /// `version`, by role; what is written next has one more.
    versions: BTreeMap<&'static str, u64>,
    /// Length and digest, by name.
    targets: Map<String, Value>,
    /// New files, by name.
    new: BTreeMap<String, Vec<u8>>,
}

impl Publisher {
    /// Makes a folder with new keys and the empty channels `names`. `roots`: how many keys the root
    /// has; `threshold`: how many of them must sign another root.
    ///
    /// # Errors
    /// When there is something already, or it cannot be written.
    pub async fn create(
        folder: &Path,
        names: &[String],
        (roots, threshold): (usize, u64),
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Self> {
        if folder.join("public").exists() {
            let said = format!("{} has a channel already", folder.display());
            return Err(PublishError::Refused(said));
        }
        if threshold == 0 || threshold > roots as u64 {
            let said = format!("{threshold} of {roots} root keys: that cannot be fulfilled");
            return Err(PublishError::Refused(said));
        }
        for made in ["keys", "public/metadata", "public/targets"] {
            let path = folder.join(made);
            fs::create_dir_all(&path).map_err(|source| PublishError::File { path, source })?;
        }
        let keys = Keys::of(folder);
        let root_keys = (1..=roots)
            .map(|number| KeyFile::create(&keys.root(number)))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        KeyFile::create(&keys.release())?;
        KeyFile::create(&keys.online())?;
        let root = root::first(&root_keys, threshold, &keys, now + lifetimes.root)?;
        let holder = KeyHolder::Root(root.clone());
        let signed = sign("root", root, &holder, &root_keys).await?;
        write(&metadata(folder, "1.root.json"), signed.buffer())?;
        let mut publisher = Self {
            folder: folder.to_owned(),
            lifetimes,
            root: signed.signed().clone(),
            versions: BTreeMap::new(),
            targets: Map::new(),
            new: BTreeMap::new(),
        };
        for name in names {
            publisher.put_listing(&Listing::new(name))?;
        }
        publisher.commit(now).await?;
        Ok(publisher)
    }

    /// The channel in this folder, as it was published last.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn open(folder: &Path, lifetimes: Lifetimes) -> Result<Self> {
        let number = newest_root(folder)?;
        let root: Signed<Root> = read(&metadata(folder, &format!("{number}.root.json")))?;
        Keys::of(folder).adopt(&root.signed)?;
        let freshness: Signed<Freshness> = read(&metadata(folder, "timestamp.json"))?;
        let snapshot = version_in(&freshness, "snapshot.json")?;
        let snapshots: Signed<Snapshot> =
            read(&metadata(folder, &format!("{snapshot}.snapshot.json")))?;
        let release = version_in(&snapshots, "targets.json")?;
        let path = metadata(folder, &format!("{release}.targets.json"));
        let targets: Value = read(&path)?;
        let targets = targets["signed"]["targets"].as_object().cloned();
        let damaged = || PublishError::Damaged { path, said: "it has no targets".to_owned() };
        let versions = BTreeMap::from([
            ("timestamp", freshness.signed.version.get()),
            ("snapshot", snapshot),
            ("targets", release),
        ]);
        Ok(Self {
            folder: folder.to_owned(),
            lifetimes,
            root,
            versions,
            targets: targets.ok_or_else(damaged)?,
            new: BTreeMap::new(),
        })
    }

    /// The listing of a channel as it is here.
    ///
    /// # Errors
    /// When there is no such channel.
    pub fn listing(&self, name: &str) -> Result<Listing> {
        let Some(text) = self.text(&listing_name(name))? else {
            let said = format!("there is no channel {name:?}; there are: {}", self.channels());
            return Err(PublishError::Refused(said));
        };
        Listing::parse(&text, name).map_err(|source| document(format!("channel {name}"), source))
    }

    /// A release as it is here; `None` when there is none of this version.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn release(&self, version: &Version) -> Result<Option<Release>> {
        let Some(text) = self.text(&release_name(version))? else { return Ok(None) };
        let release = Release::parse(&text, version);
        release.map(Some).map_err(|source| document(format!("release {version}"), source))
    }

    /// The names of all channels, for people.
    #[must_use]
    pub fn channels(&self) -> String {
        self.names().join(", ")
    }

    /// The names of all channels.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.targets.keys().filter_map(|file| Some(channel_of(file)?.to_owned())).collect();
        names.sort();
        names
    }

    fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Some(text) = self.new.get(name) {
            return Ok(Some(text.clone()));
        }
        let Some(target) = self.targets.get(name) else { return Ok(None) };
        let digest = target["hashes"]["sha256"].as_str().unwrap_or_default();
        let path = self.folder.join("public/targets").join(format!("{digest}.{name}"));
        let text = fs::read(&path);
        text.map(Some).map_err(|source| PublishError::File { path, source })
    }

    /// Puts a listing in; it is published by [`Self::commit`].
    ///
    /// # Errors
    /// When nobody could obey it.
    pub fn put_listing(&mut self, listing: &Listing) -> Result<()> {
        let name = &listing.channel;
        let text = encode(listing);
        Listing::parse(&text, name)
            .map_err(|source| document(format!("channel {name}"), source))?;
        self.put(listing_name(name), text)
    }

    /// Puts a new release in; it is published by [`Self::commit`].
    ///
    /// # Errors
    /// When nobody could obey it, or there is another of this version: a release never changes.
    pub fn put_release(&mut self, release: &Release) -> Result<()> {
        let version = &release.version;
        if self.release(version)?.is_some_and(|known| known != *release) {
            let said = format!("there is another release {version}: releases do not change");
            return Err(PublishError::Refused(said));
        }
        let text = encode(release);
        Release::parse(&text, version)
            .map_err(|source| document(format!("release {version}"), source))?;
        self.put(release_name(version), text)
    }

    /// Puts a file in, under a plain name.
    fn put(&mut self, name: String, text: Vec<u8>) -> Result<()> {
        if !crate::core::channel::release::plain(&name) {
            return Err(PublishError::Refused(format!("{name:?} is no name for a file")));
        }
        let digest = hex(&Sha256::digest(&text));
        let target = json!({ "length": text.len(), "hashes": { "sha256": digest } });
        self.targets.insert(name.clone(), target);
        self.new.insert(name, text);
        Ok(())
    }

    /// Signs and publishes what was put in.
    ///
    /// # Errors
    /// When a key is missing, or something cannot be written.
    pub async fn commit(&mut self, now: Timestamp) -> Result<()> {
        let keys = Keys::of(&self.folder);
        for (name, text) in std::mem::take(&mut self.new) {
            let digest = hex(&Sha256::digest(&text));
            write(&self.folder.join("public/targets").join(format!("{digest}.{name}")), &text)?;
        }
        let version = self.next("targets");
        let targets: Targets = role(json!({
            "_type": "targets", "spec_version": SPEC, "version": version,
            "expires": stamp(now + self.lifetimes.release), "targets": self.targets,
        }))?;
        let holder = KeyHolder::Root(self.root.signed.clone());
        let release = [KeyFile::at(&keys.release())];
        let signed = sign("targets", targets, &holder, &release).await?;
        write(&metadata(&self.folder, &format!("{version}.targets.json")), signed.buffer())?;
        let described = json!({
            "version": version, "length": signed.length(),
            "hashes": { "sha256": hex(signed.sha256()) },
        });
        self.refresh_with(described, now).await
    }

    /// Signs anew that what is published is the newest; only the online key is needed.
    ///
    /// # Errors
    /// When that key is missing, or something cannot be written.
    pub async fn refresh(&mut self, now: Timestamp) -> Result<()> {
        let version = self.versions.get("snapshot").copied().unwrap_or_default();
        let path = metadata(&self.folder, &format!("{version}.snapshot.json"));
        let snapshot: Value = read(&path)?;
        let described = snapshot["signed"]["meta"]["targets.json"].clone();
        self.refresh_with(described, now).await
    }

    async fn refresh_with(&mut self, targets: Value, now: Timestamp) -> Result<()> {
        let holder = KeyHolder::Root(self.root.signed.clone());
        let keys = Keys::of(&self.folder);
        let online = [KeyFile::at(&keys.online())];
        let expires = stamp(now + self.lifetimes.online);
        let version = self.next("snapshot");
        let snapshot: Snapshot = role(json!({
            "_type": "snapshot", "spec_version": SPEC, "version": version, "expires": expires,
            "meta": { "targets.json": targets },
        }))?;
        let signed = sign("snapshot", snapshot, &holder, &online).await?;
        write(&metadata(&self.folder, &format!("{version}.snapshot.json")), signed.buffer())?;
        let freshness: Freshness = role(json!({
            "_type": "timestamp", "spec_version": SPEC, "version": self.next("timestamp"),
            "expires": expires,
            "meta": { "snapshot.json": {
                "version": version, "length": signed.length(),
                "hashes": { "sha256": hex(signed.sha256()) },
            } },
        }))?;
        let signed = sign("timestamp", freshness, &holder, &online).await?;
        write(&metadata(&self.folder, "timestamp.json"), signed.buffer())
    }

    fn next(&mut self, role: &'static str) -> u64 {
        let version = self.versions.entry(role).or_default();
        *version += 1;
        *version
    }
}

/// The version of TUF's specification that `tough` speaks.
const SPEC: &str = "1.0.0";

async fn sign<T: Role + Serialize>(
    what: &'static str,
    role: T,
    holder: &KeyHolder,
    files: &[KeyFile],
) -> Result<SignedRole<T>> {
    let keys: Vec<Box<dyn KeySource>> =
        files.iter().map(|file| Box::new(file.clone()) as Box<dyn KeySource>).collect();
    let signed = SignedRole::new(role, holder, &keys, &SystemRandom::new()).await;
    signed.map_err(|error| PublishError::Sign { what, said: chain(&error) })
}

fn role<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| PublishError::Sign { what: "a document", said: error.to_string() })
}

fn document(what: String, source: DocumentError) -> PublishError {
    PublishError::Document { what, source }
}

fn encode<T: Serialize>(document: &T) -> Vec<u8> {
    // Maps with keys of text, and numbers that were read from JSON: nothing that JSON cannot have.
    serde_json::to_vec_pretty(document).unwrap_or_default()
}

/// TUF has times to the second.
fn stamp(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn metadata(folder: &Path, name: &str) -> PathBuf {
    folder.join("public/metadata").join(name)
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    state_file::replace(path, text, 0o644)
        .map_err(|source| PublishError::File { path: path.to_owned(), source })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read(path).map_err(|source| PublishError::File { path: path.to_owned(), source })?;
    serde_json::from_slice(&text)
        .map_err(|error| PublishError::Damaged { path: path.to_owned(), said: error.to_string() })
}

fn version_in<T: Serialize>(document: &Signed<T>, name: &str) -> Result<u64> {
    let value = serde_json::to_value(document).unwrap_or_default();
    let version = value["signed"]["meta"][name]["version"].as_u64();
    version.ok_or_else(|| PublishError::Refused(format!("the metadata does not name {name}")))
}

/// The highest number that a root has here.
fn newest_root(folder: &Path) -> Result<u64> {
    let path = folder.join("public/metadata");
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(|source| PublishError::File { path, source })?),
    };
    let number =
        |name: std::ffi::OsString| name.to_str()?.strip_suffix(".root.json")?.parse::<u64>().ok();
    let numbers = entries.into_iter().flatten().filter_map(|entry| number(entry.ok()?.file_name()));
    numbers.max().ok_or_else(|| {
        PublishError::Refused(format!(
            "{} has no channel: rebootctl channel init",
            folder.display()
        ))
    })
}
