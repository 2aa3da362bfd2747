//! Takes connections, and ends them in good order.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{desk::Desk, http, secrets::Secrets};

/// What is given to clients, at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait to be taken.
    pub connections: usize,
    /// Time for a TLS handshake, for the head of a request (also for the next one on a connection
    /// that is kept), and for its body.
    pub patience: Duration,
    /// Time to finish what is under way, once the hub is told to stop.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            patience: Duration::from_secs(30),
            farewell: Duration::from_secs(10),
        }
    }
}

/// A listening hub.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    desk: Arc<Desk>,
    secrets: watch::Receiver<Arc<Secrets>>,
    limits: Limits,
}

impl Server {
    /// Listens at `address`. `secrets` may change; new connections see the newest.
    pub async fn bind(
        address: SocketAddr,
        desk: Desk,
        secrets: watch::Receiver<Arc<Secrets>>,
        limits: Limits,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, desk: Arc::new(desk), secrets, limits })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`; then takes no more connections and finishes what is under way.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&places) => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, place)) => self.welcome(stream, place, &graceful),
                Err(error) => {
                    // Out of file descriptors, most likely: let others finish.
                    warn!("a connection cannot be taken: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.listener);
        if timeout(self.limits.farewell, graceful.shutdown()).await.is_err() {
            warn!("some requests did not end in time");
        }
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _from) = self.listener.accept().await?;
        Ok((stream, place))
    }

    fn welcome(&self, stream: TcpStream, place: OwnedSemaphorePermit, graceful: &GracefulShutdown) {
        // A hand-off is one small packet each way: do not wait for more.
        let _ = stream.set_nodelay(true);
        let (desk, secrets) = (Arc::clone(&self.desk), Arc::clone(&self.secrets.borrow()));
        let (patience, watcher) = (self.limits.patience, graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            let Some(tls) = secrets.tls.clone() else {
                return converse(stream, desk, secrets, patience, watcher).await;
            };
            match timeout(patience, tls.accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, desk, secrets, patience, watcher).await,
                Ok(Err(error)) => debug!("no TLS: {error}"),
                Err(_) => debug!("no TLS within {patience:?}"),
            }
        });
    }
}

async fn converse<S>(
    stream: S,
    desk: Arc<Desk>,
    secrets: Arc<Secrets>,
    patience: Duration,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (desk, secrets) = (Arc::clone(&desk), Arc::clone(&secrets));
        async move {
            Ok::<_, std::convert::Infallible>(http::serve(desk, secrets, patience, request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        debug!("a connection ended: {error}");
    }
}
