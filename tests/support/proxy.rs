//! A way to etcd on which requests and replies meet with accidents.
#![allow(dead_code)] // each test program uses a part of it

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// What happens to the request that has the trigger in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It gets through; its reply and all later ones on the connections there are do not.
    LoseReplies,
    /// It is kept back until [`Proxy::let_go`]; nothing after it gets through.
    HoldRequest,
}

/// Passes connections on. Those made after a fault has happened are sound.
pub struct Proxy {
    address: SocketAddr,
    road: Arc<Road>,
    task: JoinHandle<()>,
}

/// What all connections of one client have in common.
#[derive(Default)]
pub struct Road {
    /// The accident that is going to happen, once.
    armed: Mutex<Option<(String, Fault)>>,
    happened: AtomicBool,
    arrived: AtomicBool,
    /// Replies on connections older than this are lost.
    lost_before: AtomicU64,
    connections: AtomicU64,
    /// Milliseconds that everything takes, in each direction.
    delay: AtomicU64,
    go: Notify,
    cuts: watch::Sender<u32>,
}

impl Proxy {
    /// A way with an accident to come.
    pub async fn to(member: IpAddr, trigger: &str, fault: Fault) -> Self {
        let road = Arc::new(Road::default());
        road.arm(trigger, fault);
        Self::on(road, member).await
    }

    /// A way to `member` that shares the fate of others on the same road.
    pub async fn on(road: Arc<Road>, member: IpAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = road.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(shared.clone().pass(client, member));
            }
        });
        Self { address, road, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the fault has happened.
    pub fn happened(&self) -> bool {
        self.road.happened()
    }

    /// Lets the held request through.
    pub fn let_go(&self) {
        self.road.let_go();
    }

    /// Cuts all connections there are.
    pub fn cut(&self) {
        self.road.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Road {
    /// Prepares an accident for the next request with `trigger` in it.
    pub fn arm(&self, trigger: &str, fault: Fault) {
        *self.armed.lock().unwrap() = Some((trigger.to_owned(), fault));
    }

    /// Whether an accident has happened.
    pub fn happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }

    /// Lets the held request through, now or when it comes.
    pub fn let_go(&self) {
        self.go.notify_one();
    }

    /// Whether the held request has been passed on.
    pub fn arrived(&self) -> bool {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Cuts all connections there are.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Makes everything take this long, in each direction.
    pub fn slow(&self, delay: Duration) {
        self.delay.store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    async fn pass(self: Arc<Self>, client: TcpStream, member: IpAddr) {
        let mut cuts = self.cuts.subscribe();
        let this = self.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(server) = TcpStream::connect((member, 2379)).await else { return };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let both = async {
            tokio::join!(
                self.requests(from_client, to_server),
                self.replies(from_server, to_client, this)
            )
        };
        tokio::select! {
            _ = both => {}
            _ = cuts.changed() => {}
        }
    }

    /// The accident these bytes meet with, if any.
    fn accident(&self, bytes: &[u8]) -> Option<Fault> {
        let mut armed = self.armed.lock().unwrap();
        let (trigger, fault) = armed.as_ref()?;
        if !bytes.windows(trigger.len()).any(|w| w == trigger.as_bytes()) {
            return None;
        }
        let fault = *fault;
        *armed = None;
        if fault == Fault::LoseReplies {
            self.lost_before.store(self.connections.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        self.happened.store(true, Ordering::SeqCst);
        Some(fault)
    }

    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let bytes = &buffer[..read];
            self.dawdle().await;
            if self.accident(bytes) == Some(Fault::HoldRequest) {
                self.go.notified().await;
                let _ = to.write_all(bytes).await;
                self.arrived.store(true, Ordering::SeqCst);
                // etcd shall not learn that the client has hung up.
                std::future::pending::<()>().await;
            }
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }

    async fn replies(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, this: u64) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.dawdle().await;
            let lost = this < self.lost_before.load(Ordering::SeqCst);
            if !lost && to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    async fn dawdle(&self) {
        let delay = self.delay.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }
}
