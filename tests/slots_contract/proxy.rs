//! A way to etcd on which one request or one reply meets with an accident.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What happens to the request that has the trigger in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It gets through; its reply and all later ones on the connections there are do not.
    LoseReplies,
    /// It is kept back until [`Proxy::let_go`]; nothing after it gets through.
    HoldRequest,
}

/// Passes connections on. Those made after the fault has happened are sound.
pub struct Proxy {
    address: SocketAddr,
    road: Arc<Road>,
}

struct Road {
    trigger: &'static str,
    fault: Fault,
    happened: AtomicBool,
    go: Notify,
    cuts: watch::Sender<u32>,
}

impl Proxy {
    pub async fn to(member: IpAddr, trigger: &'static str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let happened = AtomicBool::new(false);
        let (go, cuts) = (Notify::new(), watch::Sender::new(0));
        let road = Arc::new(Road { trigger, fault, happened, go, cuts });
        let shared = road.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(shared.clone().pass(client, member));
            }
        });
        Self { address, road }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the fault has happened.
    pub fn happened(&self) -> bool {
        self.road.happened.load(Ordering::SeqCst)
    }

    /// Lets the held request through.
    pub fn let_go(&self) {
        self.road.go.notify_one();
    }

    /// Cuts all connections there are.
    pub fn cut(&self) {
        self.road.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Road {
    async fn pass(self: Arc<Self>, client: TcpStream, member: IpAddr) {
        let Ok(server) = TcpStream::connect((member, 2379)).await else { return };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let faulty = !self.happened.load(Ordering::SeqCst);
        let mut cuts = self.cuts.subscribe();
        let both = async {
            tokio::join!(
                self.requests(from_client, to_server, faulty),
                self.replies(from_server, to_client, faulty)
            )
        };
        tokio::select! {
            _ = both => {}
            _ = cuts.changed() => {}
        }
    }

    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faulty: bool) {
        let trigger = self.trigger.as_bytes();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let bytes = &buffer[..read];
            let hit = faulty && bytes.windows(trigger.len()).any(|w| w == trigger);
            if hit {
                self.happened.store(true, Ordering::SeqCst);
            }
            if hit && self.fault == Fault::HoldRequest {
                self.go.notified().await;
                let _ = to.write_all(bytes).await;
                // etcd shall not learn that the client has hung up.
                std::future::pending::<()>().await;
            }
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }

    async fn replies(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faulty: bool) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let lost =
                faulty && self.fault == Fault::LoseReplies && self.happened.load(Ordering::SeqCst);
            if !lost && to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
