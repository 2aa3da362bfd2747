//! The alerts that a Prometheus server has firing (its HTTP API, `/api/v1/alerts`).

use std::time::Duration;

use serde::Deserialize;

use super::http::{self, Peer};
use crate::{
    config::settings::Alerts,
    core::{health::Evidence, record::any_matches},
    observe::logging::chain,
};

/// The server must answer within this.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More of an answer than this is not read.
const LONGEST: usize = 4 * 1024 * 1024;
/// So many alerts are named.
const NAMED: usize = 5;
/// Letters of a name, and of what a server says of an error: what is shown, stored and published is short,
/// whatever it sends.
const NAME: usize = 100;
const ERROR: usize = 200;

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    #[serde(default)]
    labels: Labels,
    state: String,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(default)]
    alertname: String,
    #[serde(default)]
    instance: String,
}

/// Does an alert fire that is not to be ignored? A server that does not answer is *unknown*.
pub async fn firing(alerts: &Alerts) -> Evidence {
    let judged = ask(alerts).await.and_then(|text| judge(&text, &alerts.ignore));
    judged.unwrap_or_else(|why| Evidence::Unknown {
        why: format!("{}: {}", alerts.url, short(&why, ERROR)),
    })
}

async fn ask(alerts: &Alerts) -> Result<Vec<u8>, String> {
    let peer = Peer { ca_file: alerts.ca_file.as_deref(), identity: None, timeout: TIMEOUT };
    let url = format!("{}/api/v1/alerts", alerts.url.trim_end_matches('/'));
    let mut request = http::client(&peer)?.get(url);
    if let Some(path) = &alerts.token_file {
        request = request.bearer_auth(http::token(path)?);
    }
    let answer = request.send().await.map_err(|error| http::cause(&error))?;
    let status = answer.status();
    let body = http::body(answer, LONGEST).await?;
    if status.is_success() || says_why(&body) {
        Ok(body)
    } else {
        Err(format!("the answer is {status}"))
    }
}

/// An error of the API says why in the form of an answer. One that says that all is well does not.
fn says_why(body: &[u8]) -> bool {
    serde_json::from_slice::<Answer>(body).is_ok_and(|answer| answer.status != "success")
}

/// What an answer of the server comes to.
///
/// # Errors
/// When it is none, or one that says that something is wrong.
pub fn judge(text: &[u8], ignore: &[String]) -> Result<Evidence, String> {
    let answer: Answer = serde_json::from_slice(text)
        .map_err(|error| format!("the answer is not Prometheus's: {}", chain(&error)))?;
    let ("success", Some(data)) = (answer.status.as_str(), answer.data) else {
        return Err(format!("the answer is {:?}: {}", answer.status, answer.error));
    };
    let counts = |alert: &&Alert| {
        // `pending` has not fired yet; what is neither nor is taken for a reason.
        !matches!(alert.state.as_str(), "pending" | "inactive")
            && !any_matches(ignore, &alert.labels.alertname)
    };
    let firing: Vec<&Alert> = data.alerts.iter().filter(counts).collect();
    let mut reasons: Vec<String> = firing.iter().take(NAMED).map(|alert| sentence(alert)).collect();
    if firing.len() > NAMED {
        reasons.push(format!("{} more alerts", firing.len() - NAMED));
    }
    Ok(if reasons.is_empty() { Evidence::No } else { Evidence::Yes { reasons } })
}

fn sentence(Alert { labels, .. }: &Alert) -> String {
    let (name, instance) = (short(&labels.alertname, NAME), short(&labels.instance, NAME));
    if instance.is_empty() {
        format!("alert {name} is firing")
    } else {
        format!("alert {name} is firing ({instance})")
    }
}

/// The beginning of a text of somebody else's, without what could move a terminal's cursor.
fn short(text: &str, most: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(alerts: &str, ignore: &[&str]) -> Result<Evidence, String> {
        let ignore: Vec<String> = ignore.iter().map(|name| (*name).to_owned()).collect();
        let text = format!(r#"{{"status":"success","data":{{"alerts":[{alerts}]}}}}"#);
        judge(text.as_bytes(), &ignore)
    }

    #[test]
    fn only_what_fires_and_is_not_ignored_counts() {
        let disk = r#"{"labels":{"alertname":"DiskFull","instance":"db-1"},"state":"firing"}"#;
        let dog = r#"{"labels":{"alertname":"Watchdog"},"state":"firing"}"#;
        let soon = r#"{"labels":{"alertname":"Soon"},"state":"pending"}"#;
        let yes = |reason: &str| Ok(Evidence::Yes { reasons: vec![reason.to_owned()] });
        assert_eq!(judged("", &[]), Ok(Evidence::No));
        assert_eq!(judged(soon, &[]), Ok(Evidence::No));
        assert_eq!(judged(disk, &[]), yes("alert DiskFull is firing (db-1)"));
        assert_eq!(judged(dog, &["Watch*"]), Ok(Evidence::No));
        assert_eq!(judged(&format!("{dog},{disk}"), &["Watchdog"]), judged(disk, &[]));
        let many = [dog; 7].join(",");
        let Ok(Evidence::Yes { reasons }) = judged(&many, &[]) else { panic!("not yes") };
        assert_eq!((reasons.len(), reasons[5].as_str()), (6, "2 more alerts"));
        assert_ne!(judged(r#"{"state":"odd"}"#, &[]), Ok(Evidence::No));
    }

    #[test]
    fn an_answer_of_another_kind_is_an_error() {
        for text in
            ["", "<html>", "{}", r#"{"status":"success"}"#, r#"{"status":"error","error":"x"}"#]
        {
            assert!(judge(text.as_bytes(), &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_with_the_words_of_a_success_is_an_error() {
        assert!(says_why(br#"{"status":"error","error":"too many"}"#));
        for body in [r#"{"status":"success","data":{"alerts":[]}}"#, "<html>", ""] {
            assert!(!says_why(body.as_bytes()), "{body}");
        }
    }

    #[tokio::test]
    async fn what_a_server_says_is_not_taken_over_at_any_length() {
        use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpListener};
        let escape = "\\u001b[2J".repeat(100_000);
        let odd = format!(r#"{{"status":"{escape}","error":"{escape}"}}"#);
        for body in [odd, format!(r#"{{"status":"success","data":"{escape}"}}"#)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let serving = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            });
            let alerts =
                Alerts { url: url.clone(), ignore: Vec::new(), token_file: None, ca_file: None };
            let Evidence::Unknown { why } = firing(&alerts).await else { panic!("not unknown") };
            assert!(why.starts_with(&url) && why.len() < 300, "{} bytes", why.len());
            assert!(!why.contains('\x1b'), "{why}");
            serving.await.unwrap();
        }
    }
}
