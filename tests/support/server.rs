//! A web server for a folder, with all the vices that one may have.
#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use url::Url;

/// What a server does instead of sending a file.
#[derive(Clone, Debug)]
pub enum Vice {
    /// Sends this text.
    Text(Vec<u8>),
    /// Sends without end.
    Endless,
    /// Sends one byte now and then.
    Drip,
    /// Sends nothing, and keeps the connection.
    Silent,
    /// Sends so much and hangs up, once.
    CutOnce(usize),
    /// Sends so much, and says that this is all.
    Short(usize),
    /// Sends it with this much behind it.
    Long(usize),
    /// Says that it is elsewhere.
    Elsewhere(String),
    /// Says that it is compressed.
    Compressed,
    /// Sends the wrong part when asked for one.
    WrongPart,
    /// Sends all when asked for a part.
    NoParts,
    /// Sends this status.
    Status(u16),
}

type Vices = Arc<Mutex<BTreeMap<String, Vice>>>;

/// It ends with the value.
pub struct Server {
    pub url: Url,
    vices: Vices,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn of(folder: &Path) -> Self {
        Self::start(folder, None).await
    }

    pub async fn with_tls(folder: &Path, acceptor: TlsAcceptor) -> Self {
        Self::start(folder, Some(acceptor)).await
    }

    async fn start(folder: &Path, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (vices, asked) = (Vices::default(), Arc::new(Mutex::new(vec![])));
        let served =
            Served { folder: folder.to_owned(), vices: vices.clone(), asked: asked.clone() };
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (served, tls) = (served.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => served.answer(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => served.answer(stream).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        let url = Url::parse(&format!("{scheme}://localhost:{port}/")).unwrap();
        Self { url, vices, asked, task }
    }

    /// From now on, with every file whose path ends so.
    pub fn vice(&self, ending: &str, vice: Vice) {
        self.vices.lock().unwrap().insert(ending.to_owned(), vice);
    }

    pub fn repent(&self) {
        self.vices.lock().unwrap().clear();
    }

    /// What it was asked for, with the range.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Served {
    folder: PathBuf,
    vices: Vices,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Served {
    /// One request; `None` when the other end has gone.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Option<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.ok()?);
        }
        let request = String::from_utf8(request).ok()?;
        let path = request.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        let range = request.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let bytes = value.strip_prefix("bytes=")?.strip_suffix('-')?;
            name.eq_ignore_ascii_case("range").then(|| bytes.parse::<usize>().ok())?
        });
        let from = range.unwrap_or(0);
        self.asked.lock().unwrap().push(match range {
            Some(from) => format!("{path} from {from}"),
            None => path.clone(),
        });
        let vice = {
            let mut vices = self.vices.lock().unwrap();
            let found = vices.iter().find(|(ending, _)| path.ends_with(ending.as_str()));
            let found = found.map(|(ending, vice)| (ending.clone(), vice.clone()));
            if let Some((ending, Vice::CutOnce(_))) = &found {
                vices.remove(ending);
            }
            found.map(|(_, vice)| vice)
        };
        let file = path.split('?').next().unwrap_or_default();
        let text = std::fs::read(self.folder.join(file)).ok();
        let Some(text) = text.or_else(|| vice.is_some().then(Vec::new)) else {
            return head(&mut stream, 404, "Content-Length: 0").await;
        };
        let part =
            |from: usize| format!("Content-Range: bytes {from}-{}/{}", text.len() - 1, text.len());
        let size = |bytes: usize| format!("Content-Length: {bytes}");
        match vice {
            Some(Vice::Status(status)) => head(&mut stream, status, "Content-Length: 0").await,
            Some(Vice::Elsewhere(to)) => {
                head(&mut stream, 302, &format!("Location: {to}\r\nContent-Length: 0")).await
            }
            Some(Vice::Endless) => {
                head(&mut stream, 200, "X: y").await?;
                loop {
                    stream.write_all(&vec![b' '; 65536]).await.ok()?;
                }
            }
            Some(Vice::Drip) => {
                head(&mut stream, 200, &size(text.len())).await?;
                for byte in text {
                    stream.write_all(&[byte]).await.ok()?;
                    stream.flush().await.ok()?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Some(())
            }
            Some(Vice::Silent) => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                None
            }
            Some(Vice::Compressed) => {
                let how = format!("Content-Encoding: gzip\r\n{}", size(text.len()));
                head(&mut stream, 200, &how).await?;
                body(&mut stream, &text).await
            }
            Some(Vice::Text(text)) => {
                head(&mut stream, 200, &size(text.len())).await?;
                body(&mut stream, &text).await
            }
            Some(Vice::CutOnce(count)) => {
                head(&mut stream, 200, &size(text.len())).await?;
                body(&mut stream, &text[..count]).await
            }
            Some(Vice::Short(count)) => {
                head(&mut stream, 200, &size(count)).await?;
                body(&mut stream, &text[..count]).await
            }
            Some(Vice::Long(count)) => {
                head(&mut stream, 200, &size(text.len() + count)).await?;
                body(&mut stream, &[text, vec![b' '; count]].concat()).await
            }
            Some(Vice::WrongPart) if range.is_some() => {
                head(&mut stream, 206, &format!("{}\r\n{}", part(0), size(text.len()))).await?;
                body(&mut stream, &text).await
            }
            None | Some(Vice::WrongPart) if range.is_some() => {
                let how = format!("{}\r\n{}", part(from), size(text.len() - from));
                head(&mut stream, 206, &how).await?;
                body(&mut stream, &text[from..]).await
            }
            None | Some(Vice::NoParts | Vice::WrongPart) => {
                head(&mut stream, 200, &size(text.len())).await?;
                body(&mut stream, &text).await
            }
        }
    }
}

async fn head<S: AsyncWrite + Unpin>(stream: &mut S, status: u16, fields: &str) -> Option<()> {
    let text = match status {
        404 => "404 Not Found".to_owned(),
        status => format!("{status} So"),
    };
    let text = format!("HTTP/1.1 {text}\r\nConnection: close\r\n{fields}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.ok()
}

async fn body<S: AsyncWrite + Unpin>(stream: &mut S, text: &[u8]) -> Option<()> {
    stream.write_all(text).await.ok()?;
    stream.shutdown().await.ok()
}
