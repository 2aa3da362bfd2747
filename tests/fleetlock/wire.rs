//! HTTP by hand.

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::within;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The kind and the value of a refusal, which is JSON and says so.
    pub fn problem(&self) -> (String, String) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        assert!(!text("kind").is_empty() && !text("value").is_empty());
        (text("kind"), text("value"))
    }

    pub fn kind(&self) -> String {
        self.problem().0
    }
}

/// The host and port of a URL.
pub fn host(url: &str) -> &str {
    url.split_once("://").unwrap().1
}

pub async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(host(url)).await.unwrap()
}

/// A body as clients send it.
pub fn body(id: &str, group: &str) -> String {
    serde_json::json!({ "client_params": { "id": id, "group": group } }).to_string()
}

/// The text of a request; `extra` are whole header lines.
pub fn request(method: &str, path: &str, extra: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: lock\r\n{extra}Content-Length: {length}\r\n\r\n{body}"
    )
}

pub const HEADER: &str = "fleet-lock-protocol: true\r\n";

/// Reads one answer.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        assert_ne!(within("an answer", stream.read_buf(&mut bytes)).await.unwrap(), 0, "hung up");
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head: text, body: String::new() };
    let length = answer.header("content-length").map_or(0, |l| l.parse().unwrap());
    while bytes.len() < head + length {
        assert_ne!(within("the body", stream.read_buf(&mut bytes)).await.unwrap(), 0, "hung up");
    }
    answer.body = String::from_utf8(bytes[head..].to_vec()).unwrap();
    answer
}

/// Sends a text on a connection, and reads one answer.
pub async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> Answer {
    stream.write_all(text.as_bytes()).await.unwrap();
    read(stream).await
}

/// Sends a text on a connection of its own.
pub async fn once(url: &str, text: &str) -> Answer {
    ask(&mut connect(url).await, text).await
}

/// `pre-reboot`
pub async fn lock(url: &str, id: &str, group: &str) -> Answer {
    once(url, &request("POST", "/v1/pre-reboot", HEADER, &body(id, group))).await
}

/// `steady-state`
pub async fn unlock(url: &str, id: &str, group: &str) -> Answer {
    once(url, &request("POST", "/v1/steady-state", HEADER, &body(id, group))).await
}
