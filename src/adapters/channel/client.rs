//! Reads a channel: root, timestamp, snapshot, targets, and then only what they name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
};

use futures_util::{Stream, StreamExt};
use semver::Version;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tough::{Bytes, Limits, Repository, RepositoryLoader, TargetName, Transport};
use url::Url;

use super::{
    error::{ChannelError, Reason},
    store::Store,
};
use crate::{
    adapters::state_file,
    core::{
        channel::{
            listing::Listing,
            release::{Release, plain},
        },
        plan::hex,
    },
};

/// What a document of a channel may measure at most, whatever is signed: a release of all of Debian has
/// 15 MB.
const LARGEST_DOCUMENT: u64 = 64 * 1024 * 1024;
/// The metadata's own limits: a targets file of ten thousand names has 3 MB.
const LIMITS: Limits = Limits {
    max_root_size: 512 * 1024,
    max_targets_size: 16 * 1024 * 1024,
    max_timestamp_size: 64 * 1024,
    max_snapshot_size: 512 * 1024,
    max_root_updates: 1024,
};
/// Stands for the channel's folder, wherever that is: `tough` only ever sees this.
const BASE: &str = "https://channel.invalid/";

/// The file of a channel's listing.
pub(super) fn listing_name(channel: &str) -> String {
    format!("channel-{channel}.json")
}

/// The channel whose listing is in this file.
pub(super) fn channel_of(file: &str) -> Option<&str> {
    file.strip_prefix("channel-")?.strip_suffix(".json")
}

/// The file of a release. All files of a channel lie side by side: with the digest before its name,
/// readers disagree on what that means for a folder.
pub(super) fn release_name(version: &Version) -> String {
    format!("release-{version}.json")
}

/// A file's place below [`BASE`]: plain names, since what is written in another way may mean another
/// thing to a server.
pub(super) fn relative(url: &Url) -> io::Result<String> {
    let path = url.as_str().strip_prefix(BASE).unwrap_or_default();
    if path.split('/').all(plain) {
        Ok(path.to_owned())
    } else {
        Err(io::Error::other(format!("{path:?} is no plain name")))
    }
}

/// One reader of one channel.
#[derive(Debug)]
pub struct Client {
    trust: PathBuf,
    store: Store,
}

/// A channel as it is now, with everything checked but the files that it names.
#[derive(Debug)]
pub struct Channel {
    repository: Repository,
}

impl Client {
    /// `trust`: the root that the admin has put here, to begin with. `store`: a folder for what was
    /// seen last; it must be on a disk, and nobody else's.
    #[must_use]
    pub fn new(trust: &Path, store: &Path) -> Self {
        Self { trust: trust.to_owned(), store: Store::at(store) }
    }

    /// Reads what is signed, and believes it or not. What was believed is remembered before this
    /// returns.
    ///
    /// # Errors
    /// One [`Reason`] each; then nothing is remembered, and nothing was changed.
    pub async fn open<T>(&self, transport: T) -> Result<Channel, ChannelError>
    where
        T: Transport + Send + Sync + 'static,
    {
        let root = self.root()?;
        let work = self.store.begin()?;
        let base = |folder: &str| Url::parse(&format!("{BASE}{folder}/"));
        let (Ok(metadata), Ok(targets)) = (base("metadata"), base("targets")) else {
            return Err(ChannelError::new("the channel", Reason::Name, BASE));
        };
        let loader = RepositoryLoader::new(&root, metadata, targets)
            .transport(transport)
            .limits(LIMITS)
            .datastore(work);
        let read = loader.load().await;
        let repository = read.map_err(|error| ChannelError::of("metadata", &error))?;
        self.store.same_number_same_document()?;
        self.store.commit()?;
        Ok(Channel { repository })
    }

    /// The newest root: the admin's own, where it is newer than what was seen.
    fn root(&self) -> Result<Vec<u8>, ChannelError> {
        let trusted = fs::read(&self.trust).map_err(|error| {
            let said = format!("{}: {error}", self.trust.display());
            ChannelError::new("the root that is trusted", Reason::Store, said)
        })?;
        let seen = self.store.root()?;
        Ok(match seen {
            Some(seen) if version(&seen) >= version(&trusted) => seen,
            _ => trusted,
        })
    }
}

/// The version that a root says it has.
fn version(root: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(root).ok()?.get("signed")?.get("version")?.as_u64()
}

impl Channel {
    /// What the channel `name` has.
    ///
    /// # Errors
    /// When there is no such channel, or its listing is not what was signed, or cannot be obeyed.
    pub async fn listing(&self, name: &str) -> Result<Listing, ChannelError> {
        let what = format!("channel {name}");
        let text = self.document(&what, &listing_name(name)).await?;
        let obeyed = Listing::parse(&text, name);
        obeyed.map_err(|error| ChannelError::new(&what, Reason::Document, error.to_string()))
    }

    /// A release.
    ///
    /// # Errors
    /// When there is none of this version, or it is not what was signed, or cannot be obeyed.
    pub async fn release(&self, version: &Version) -> Result<Release, ChannelError> {
        let what = format!("release {version}");
        let text = self.document(&what, &release_name(version)).await?;
        let obeyed = Release::parse(&text, version);
        obeyed.map_err(|error| ChannelError::new(&what, Reason::Document, error.to_string()))
    }

    /// When the first part of the metadata expires.
    #[must_use]
    pub fn expires(&self) -> jiff::Timestamp {
        let repository = &self.repository;
        let all = [
            repository.root().signed.expires,
            repository.timestamp().signed.expires,
            repository.snapshot().signed.expires,
            repository.targets().signed.expires,
        ];
        let first = all.iter().map(|at| at.as_second()).min().unwrap_or_default();
        jiff::Timestamp::from_second(first).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// All files: the name, and what the file is called.
    #[must_use]
    pub fn files(&self) -> Vec<(String, String)> {
        let targets = &self.repository.targets().signed.targets;
        let called = targets.iter().map(|(name, target)| {
            let digest = hex(&target.hashes.sha256);
            (name.raw().to_owned(), format!("{digest}.{}", name.resolved()))
        });
        called.filter(|(_, file)| plain(file)).collect()
    }

    /// How large a file is; `None` when the channel does not have it.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u64> {
        let name = TargetName::new(name).ok()?;
        self.repository.targets().signed.targets.get(&name).map(|target| target.length)
    }

    /// The names of the channels.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .files()
            .iter()
            .filter_map(|(name, _)| Some(channel_of(name)?.to_owned()))
            .collect();
        names.sort();
        names
    }

    async fn document(&self, what: &str, name: &str) -> Result<Vec<u8>, ChannelError> {
        let mut target = self.target(what, name).await?;
        if target.size > LARGEST_DOCUMENT {
            let said = format!("{} bytes", target.size);
            return Err(ChannelError::new(what, Reason::TooLarge, said));
        }
        let mut text = Vec::new();
        while let Some(piece) = target.next().await? {
            text.extend(piece);
        }
        Ok(text)
    }

    /// Fetches the file `name` to `path`, durably. There is nothing at `path` unless it is the file
    /// that was signed.
    ///
    /// # Errors
    /// When the channel does not have it, or it is not what was signed.
    pub async fn save(&self, name: &str, path: &Path) -> Result<(), ChannelError> {
        let part = path.with_extension("part");
        let stored = |error: io::Error| {
            ChannelError::new(name, Reason::Store, format!("{}: {error}", part.display()))
        };
        let mut target = self.target(name, name).await?;
        let mut file = tokio::fs::File::create(&part).await.map_err(stored)?;
        while let Some(piece) = target.next().await? {
            file.write_all(&piece).await.map_err(stored)?;
        }
        file.sync_all().await.map_err(stored)?;
        drop(file);
        fs::rename(&part, path).map_err(stored)?;
        state_file::sync_dir(path).map_err(stored)
    }

    async fn target(&self, what: &str, name: &str) -> Result<Target<'_>, ChannelError> {
        let wrong = |error: tough::error::Error| ChannelError::of(what, &error);
        let missing = || ChannelError::new(what, Reason::Missing, name);
        let known = TargetName::new(name).map_err(wrong)?;
        let listed = self.repository.targets().signed.targets.get(&known).ok_or_else(missing)?;
        let stream = self.repository.read_target(&known).await.map_err(wrong)?;
        let stream = Box::pin(stream.ok_or_else(missing)?);
        Ok(Target { what: what.to_owned(), size: listed.length, had: 0, stream })
    }
}

/// A file that the channel names, on its way; its last piece comes only if all of it is what was
/// signed.
struct Target<'a> {
    what: String,
    size: u64,
    had: u64,
    stream: Pin<Box<dyn Stream<Item = tough::error::Result<Bytes>> + Send + 'a>>,
}

impl Target<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, ChannelError> {
        let piece = match self.stream.next().await {
            Some(Ok(piece)) => Some(piece),
            None if self.had == self.size => None,
            None => return Err(self.short()),
            Some(Err(error)) => {
                let error = ChannelError::of(&self.what, &error);
                let ended = error.reason == Reason::Digest && self.had < self.size;
                return Err(if ended { self.short() } else { error });
            }
        };
        self.had += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    fn short(&self) -> ChannelError {
        let said = format!("{} bytes of {}", self.had, self.size);
        ChannelError::new(&self.what, Reason::TooShort, said)
    }
}
