//! A way to etcd on which replies get lost.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on. Once a request has the `trigger` in it, the connections there are carry
/// requests but no replies; new ones carry both.
pub struct Proxy {
    address: SocketAddr,
    mute: Arc<AtomicBool>,
}

impl Proxy {
    pub async fn to(member: IpAddr, trigger: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(AtomicBool::new(false));
        let mute = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect((member, 2379)).await else { continue };
                let late = shared.load(Ordering::SeqCst);
                let mute = if late { Arc::default() } else { shared.clone() };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let trigger = if late { None } else { Some(trigger.as_bytes()) };
                tokio::spawn(requests(from_client, to_server, mute.clone(), trigger));
                tokio::spawn(replies(from_server, to_client, mute));
            }
        });
        Self { address, mute }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn is_mute(&self) -> bool {
        self.mute.load(Ordering::SeqCst)
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mute: Arc<AtomicBool>,
    trigger: Option<&[u8]>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..read];
        if trigger.is_some_and(|trigger| bytes.windows(trigger.len()).any(|w| w == trigger)) {
            mute.store(true, Ordering::SeqCst);
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mute: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !mute.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
