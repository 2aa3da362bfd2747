//! Asks a service whether it answers, as its clients would.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use super::http::{Peer, cause, client, plain};

/// Asks for `url`, of which only the status is looked at; redirections are not followed. `ca_file`: the
/// authorities its certificate may be of, instead of the system's.
pub async fn http(
    url: &str,
    ca_file: Option<&Path>,
    good: &RangeInclusive<u16>,
    limit: Duration,
) -> Result<(), String> {
    let client = client(&Peer { ca_file, identity: None, timeout: limit })?;
    let answer = client.get(url).send().await.map_err(|error| cause(&error))?;
    let status = answer.status();
    if good.contains(&status.as_u16()) { Ok(()) } else { Err(status.to_string()) }
}

/// Whether a connection is taken at `address`, `HOST:PORT`.
pub async fn tcp(address: &str, limit: Duration) -> Result<(), String> {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(plain(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A server that gives each of these answers once.
    fn serve(answers: &[&str]) -> (String, std::thread::JoinHandle<()>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let task = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).unwrap();
                let text = format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n");
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        (address, task)
    }

    #[tokio::test]
    async fn the_status_decides_and_is_named() {
        let moved = "301 Moved Permanently\r\nLocation: /elsewhere\r\nContent-Length: 0";
        let none = "Content-Length: 0";
        let (address, task) = serve(&[
            &format!("204 No Content\r\n{none}"),
            &format!("503 Service Unavailable\r\n{none}"),
            moved,
            moved,
        ]);
        let url = format!("http://{address}/healthz");
        let ask = async |good| http(&url, None, &good, LIMIT).await;
        assert_eq!(ask(200..=299).await, Ok(()));
        assert_eq!(ask(200..=299).await, Err("503 Service Unavailable".to_owned()));
        assert_eq!(ask(200..=299).await, Err("301 Moved Permanently".to_owned()));
        assert_eq!(ask(301..=301).await, Ok(()));
        task.join().unwrap();
        assert_eq!(ask(200..=299).await, Err("connection refused".to_owned()));
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let short = Duration::from_millis(300);
        let url = format!("http://{address}/");
        assert_eq!(http(&url, None, &(200..=299), short).await, Err("no answer in time".into()));
        assert_eq!(tcp(&address, LIMIT).await, Ok(()));
        drop(listener);
        assert_eq!(tcp(&address, LIMIT).await, Err("connection refused".to_owned()));
    }

    #[tokio::test]
    async fn an_authority_that_cannot_be_read_is_named() {
        let file = Path::new("/nowhere/ca.pem");
        let why = http("https://127.0.0.1:1/", Some(file), &(200..=299), LIMIT).await.unwrap_err();
        assert!(why.contains("/nowhere/ca.pem"), "{why}");
    }
}
