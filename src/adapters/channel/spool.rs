//! What was fetched of a channel last, kept so that nothing is fetched twice, and for another program
//! to read and check for itself ([`Folder`]).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::stream;
use tough::{Transport, TransportError, TransportStream, async_trait};
use url::Url;

use super::{client, folder::Folder, recorder::collect};
use crate::adapters::state_file;

/// More than this is not kept of one document; a reader refuses it as well.
const MOST: usize = 65 * 1024 * 1024;
/// The one document that changes under its name.
const TIMESTAMP: &str = "metadata/timestamp.json";

/// A transport that asks `inner` for what the folder does not have yet. All that has a number or a
/// digest in its name stays what it is. Clones share what has come through.
#[derive(Clone, Debug)]
pub struct Spool<T> {
    path: PathBuf,
    folder: Folder,
    inner: T,
    /// Nothing is taken from the folder.
    anew: bool,
    /// What was asked for: the text, where it has come anew.
    seen: Arc<Mutex<BTreeMap<String, Option<Vec<u8>>>>>,
}

impl<T> Spool<T> {
    /// One in the folder `path`, which is made if need be.
    #[must_use]
    pub fn new(path: &Path, inner: T) -> Self {
        Self {
            path: path.to_owned(),
            folder: Folder::new(path),
            inner,
            anew: false,
            seen: Arc::default(),
        }
    }

    /// Keeps just what has come through; the timestamp is replaced last, so that a reader sees what
    /// was there before, or all that is new.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn keep(&self) -> io::Result<()> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for part in ["metadata", "targets"] {
            fs::create_dir_all(self.path.join(part))?;
        }
        let (last, first): (Vec<_>, Vec<_>) = seen.iter().partition(|(path, _)| *path == TIMESTAMP);
        for (path, text) in first.into_iter().chain(last) {
            if let Some(text) = text {
                state_file::replace(&self.path.join(path), text, 0o644)?;
            }
        }
        for part in ["metadata", "targets"] {
            for entry in fs::read_dir(self.path.join(part))? {
                let entry = entry?;
                let name = entry.file_name();
                let is_kept = |name: &str| {
                    // A reader may have to go from one root to the next.
                    name.ends_with(".root.json") || seen.contains_key(&format!("{part}/{name}"))
                };
                if !name.to_str().is_some_and(is_kept) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Whether anything was taken from the folder.
    #[must_use]
    pub fn has_served(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().any(Option::is_none)
    }

    /// The same, but nothing is taken from the folder: a file in it may be damaged.
    #[must_use]
    pub fn anew(self) -> Self {
        Self { anew: true, seen: Arc::default(), ..self }
    }

    fn note(&self, path: String, text: Option<Vec<u8>>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path, text);
    }
}

#[async_trait]
impl<T: Transport + Clone + 'static> Transport for Spool<T> {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path = client::relative(&url).unwrap_or_default();
        if path != TIMESTAMP
            && !self.anew
            && let Ok(stream) = self.folder.fetch(url.clone()).await
        {
            self.note(path, None);
            return Ok(stream);
        }
        let text = collect(self.inner.fetch(url).await?, MOST).await?;
        self.note(path, Some(text.clone()));
        Ok(Box::pin(stream::iter([Ok(text.into())])))
    }
}
