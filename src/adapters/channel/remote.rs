//! A channel on web servers: mirrors in order, none of them trusted.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::stream;
use reqwest::{Client, Response, StatusCode, header, redirect};
use sync_wrapper::SyncStream;
use tokio::time::{Instant, sleep, timeout};
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use super::error::{FetchError, Reason};
use crate::adapters::http;

/// How many times a request may be sent elsewhere.
const HOPS: usize = 5;

/// How a channel's servers are spoken to.
#[derive(Clone, Debug)]
pub struct Manners {
    /// A server that says nothing for this long is given up.
    pub silence: Duration,
    /// A server that sends less than this many bytes a second is given up, once it has had
    /// `silence` to begin with.
    pub slowest: u64,
    /// At most so many bytes a second are taken; 0: as many as there are.
    pub fastest: u64,
}

impl Default for Manners {
    fn default() -> Self {
        Self { silence: Duration::from_secs(30), slowest: 1000, fastest: 0 }
    }
}

/// The mirrors of one channel. Clones share which of them failed last.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    mirrors: Arc<Mutex<VecDeque<Url>>>,
    manners: Manners,
}

/// One file, on its way.
struct Download {
    remote: Remote,
    path: String,
    /// Mirrors that have not been asked for what is still to come.
    left: Vec<Url>,
    /// What answers now, and which mirror's that is.
    answer: Option<(Url, Response)>,
    had: u64,
    /// Bytes that were had already, and come again.
    skip: u64,
    began: Instant,
    since: u64,
    last: FetchError,
}

impl Remote {
    /// `mirrors`: where the channel's folder is, the best one first. `ca_file`: the authorities that
    /// their certificates may be of, instead of the system's.
    ///
    /// # Errors
    /// When there is no mirror, or the file cannot be used.
    pub fn new(
        mirrors: &[Url],
        ca_file: Option<&std::path::Path>,
        manners: Manners,
    ) -> Result<Self, String> {
        if mirrors.is_empty() {
            return Err("it has no address".to_owned());
        }
        let connect = manners.silence;
        let builder = http::builder(ca_file)?
            .connect_timeout(connect)
            .redirect(redirect::Policy::custom(follow));
        let client = builder.build().map_err(|error| http::cause(&error))?;
        Ok(Self {
            client,
            mirrors: Arc::new(Mutex::new(mirrors.iter().cloned().collect())),
            manners,
        })
    }

    fn mirrors(&self) -> Vec<Url> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The next file is asked for elsewhere first.
    fn put_last(&self, mirror: &Url) {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = mirrors.iter().position(|known| known == mirror)
            && let Some(failed) = mirrors.remove(at)
        {
            mirrors.push_back(failed);
        }
    }

    /// Asks one mirror for what comes after the first `had` bytes.
    async fn ask(&self, mirror: &Url, path: &str, had: u64) -> Result<(Response, u64), FetchError> {
        let unreachable = |said: String| FetchError::new(Reason::Unreachable, said);
        let url = beside(mirror, path).map_err(|error| unreachable(error.to_string()))?;
        let mut request = self.client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
        if had > 0 {
            request = request.header(header::RANGE, format!("bytes={had}-"));
        }
        let answer = match timeout(self.manners.silence, request.send()).await {
            Err(_) => return Err(FetchError::new(Reason::Slow, format!("{url}: no answer"))),
            Ok(Err(error)) if error.is_redirect() => {
                let said = format!("{url}: {}", http::cause(&error));
                return Err(FetchError::new(Reason::Redirected, said));
            }
            Ok(Err(error)) => return Err(unreachable(format!("{url}: {}", http::cause(&error)))),
            Ok(Ok(answer)) => answer,
        };
        if let Some(coding) = answer.headers().get(header::CONTENT_ENCODING)
            && coding != "identity"
        {
            return Err(unreachable(format!(
                "{url}: it comes compressed, which was not asked for"
            )));
        }
        match answer.status() {
            StatusCode::OK => Ok((answer, had)),
            StatusCode::PARTIAL_CONTENT if had > 0 && starts_at(&answer, had) => Ok((answer, 0)),
            StatusCode::PARTIAL_CONTENT => Err(unreachable(format!("{url}: another part of it"))),
            status @ StatusCode::NOT_FOUND => Err(FetchError::absent(format!("{url}: {status}"))),
            status => Err(unreachable(format!("{url}: {status}"))),
        }
    }
}

/// Nobody is led from a server that has proved itself to one that need not.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let came_by_tls = attempt.previous().iter().any(|url| url.scheme() == "https");
    let to = attempt.url().clone();
    match to.scheme() {
        "http" if came_by_tls => attempt.error(format!("it leads to {to}, which is not encrypted")),
        "http" | "https" if attempt.previous().len() <= HOPS => attempt.follow(),
        "http" | "https" => attempt.error("it leads in circles"),
        _ => attempt.error(format!("it leads to {to}")),
    }
}

/// Whether a part begins where the one before it has ended.
fn starts_at(answer: &Response, had: u64) -> bool {
    let range = answer.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {had}-")))
}

/// A file of the channel at one mirror.
fn beside(mirror: &Url, path: &str) -> Result<Url, url::ParseError> {
    let mut folder = mirror.clone();
    if !folder.path().ends_with('/') {
        folder.set_path(&format!("{}/", mirror.path()));
    }
    folder.join(path)
}

impl Download {
    /// The next piece; `None` at the end. A mirror that fails is left for the next one, which goes on
    /// where it stopped.
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let Some((mirror, answer)) = &mut self.answer else {
                self.connect().await?;
                continue;
            };
            let mirror = mirror.clone();
            let error = match timeout(self.remote.manners.silence, answer.chunk()).await {
                Err(_) => FetchError::new(Reason::Slow, format!("{mirror}: silence")),
                Ok(Err(error)) => {
                    let said = format!("{mirror}: {}", http::cause(&error));
                    FetchError::new(Reason::Unreachable, said)
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(piece))) => match self.take(piece).await {
                    // All of it was had before.
                    Ok(piece) if piece.is_empty() => continue,
                    Ok(piece) => return Ok(Some(piece)),
                    Err(error) => error,
                },
            };
            self.answer = None;
            self.remote.put_last(&mirror);
            self.last = error;
        }
    }

    /// Takes an answer from the next mirror.
    async fn connect(&mut self) -> Result<(), FetchError> {
        while !self.left.is_empty() {
            let mirror = self.left.remove(0);
            match self.remote.ask(&mirror, &self.path, self.had).await {
                Ok((answer, skip)) => {
                    self.answer = Some((mirror, answer));
                    self.skip = skip;
                    self.began = Instant::now();
                    self.since = 0;
                    return Ok(());
                }
                Err(error) => {
                    self.remote.put_last(&mirror);
                    self.last = error;
                }
            }
        }
        Err(self.last.clone())
    }

    /// What is new of a piece, at the pace that is wanted.
    async fn take(&mut self, piece: Bytes) -> Result<Bytes, FetchError> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.since += length;
        let Manners { silence, slowest, fastest } = self.remote.manners;
        let elapsed = self.began.elapsed();
        let least = slowest.saturating_mul(elapsed.as_secs());
        if elapsed > silence && self.since < least {
            let rate = self.since / elapsed.as_secs().max(1);
            return Err(FetchError::new(Reason::Slow, format!("{}: {rate} bytes/s", self.path)));
        }
        if let Some(millis) = (self.since * 1000).checked_div(fastest) {
            sleep(Duration::from_millis(millis).saturating_sub(elapsed)).await;
        }
        let again = self.skip.min(length);
        self.skip -= again;
        self.had += length - again;
        Ok(piece.slice(usize::try_from(again).unwrap_or(usize::MAX)..))
    }
}

#[async_trait]
impl Transport for Remote {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let failed = |url: &Url, error: FetchError| {
            let kind = if error.absent {
                TransportErrorKind::FileNotFound
            } else {
                TransportErrorKind::Other
            };
            TransportError::new_with_cause(kind, url, error)
        };
        let path = super::client::relative(&url)
            .map_err(|error| failed(&url, FetchError::new(Reason::Name, error.to_string())))?;
        let mut download = Download {
            remote: self.clone(),
            path,
            left: self.mirrors(),
            answer: None,
            had: 0,
            skip: 0,
            began: Instant::now(),
            since: 0,
            last: FetchError::new(Reason::Unreachable, "no mirror is left"),
        };
        download.connect().await.map_err(|error| failed(&url, error))?;
        let pieces = stream::try_unfold((download, url), move |(mut download, url)| async move {
            match download.next().await {
                Ok(Some(piece)) => Ok(Some((piece, (download, url)))),
                Ok(None) => Ok(None),
                Err(error) => Err(failed(&url, error)),
            }
        });
        // `tough` wants a stream that may be shared; nobody shares it.
        Ok(Box::pin(SyncStream::new(pieces)))
    }
}
