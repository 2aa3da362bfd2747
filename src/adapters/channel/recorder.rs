//! Keeps the metadata that comes by, so that it can be given to others who check it for themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, stream};
use tough::{Bytes, IntoVec, Transport, TransportError, TransportStream, async_trait};
use url::Url;

/// Metadata is small: more than this is not kept, and a reader refuses it as well.
const MOST: usize = 32 * 1024 * 1024;

/// A transport, and what of the metadata has come through it. Clones share that.
#[derive(Clone, Debug)]
pub struct Recorder<T> {
    inner: T,
    seen: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl<T> Recorder<T> {
    /// Listens to `inner`.
    #[must_use]
    pub fn of(inner: T) -> Self {
        Self { inner, seen: Arc::default() }
    }

    /// What has come through, by its path in the channel. Nothing of it is checked.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl<T: Transport + Clone + 'static> Transport for Recorder<T> {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let stream = self.inner.fetch(url.clone()).await?;
        let path = super::client::relative(&url).unwrap_or_default();
        if !path.starts_with("metadata/") {
            return Ok(stream);
        }
        let text = collect(stream, MOST).await?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path, text.clone());
        Ok(Box::pin(stream::iter([Ok(text.into())])))
    }
}

/// What comes, but not much more than `most` bytes of it.
pub(super) async fn collect(
    stream: TransportStream,
    most: usize,
) -> Result<Vec<u8>, TransportError> {
    let mut had = 0;
    let bounded = stream.take_while(move |piece| {
        let before = had;
        had += piece.as_ref().map_or(0, Bytes::len);
        std::future::ready(before <= most)
    });
    bounded.into_vec().await
}
