//! etcd's v2 API, as far as a reader needs it.

use std::collections::BTreeMap;

use reqwest::{Client, StatusCode};
use serde::Deserialize;

use crate::adapters::{
    http::{self, Peer},
    slots::{StoreError, etcd::Access},
};

/// Keys that do not exist, in the API's own numbers.
const NOT_FOUND: u32 = 100;

#[derive(Deserialize)]
struct Answer {
    node: Node,
}

#[derive(Deserialize)]
struct Node {
    key: String,
    value: Option<String>,
    #[serde(default)]
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_code: u32,
    message: String,
}

/// All values below `prefix`, from the first endpoint that can be reached.
pub(super) async fn read(
    access: &Access,
    prefix: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut last = StoreError::Unusable { what: "no endpoints are given".to_owned() };
    for url in &access.endpoints {
        match at(access, url, prefix).await {
            Err(error @ StoreError::Unreachable { .. }) => last = error,
            outcome => return outcome,
        }
    }
    Err(last)
}

async fn at(
    access: &Access,
    url: &str,
    prefix: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let unusable = |what: String| StoreError::Unusable { what: format!("{url}: {what}") };
    let base = url.trim_end_matches('/');
    // A quorum's answer, not what this member happens to know.
    let query = "recursive=true&quorum=true";
    let path = format!("{base}/v2/keys/{}?{query}", prefix.trim_matches('/'));
    let mut request = client(access, url).map_err(unusable)?.get(path);
    if let Some((user, password)) = access.login().map_err(unusable)? {
        request = request.basic_auth(user, Some(password));
    }
    let lost = |error: reqwest::Error| StoreError::Unreachable {
        what: format!("{url}: {}", http::cause(&error)),
    };
    let answer = request.send().await.map_err(lost)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(lost)?;
    understand(status, &body).map_err(unusable)
}

fn client(access: &Access, url: &str) -> Result<Client, String> {
    access.goes_with(url)?;
    http::client(&Peer {
        ca_file: access.ca_file.as_deref(),
        identity: access.cert_file.as_deref().zip(access.key_file.as_deref()),
        timeout: access.timeout,
    })
}

fn understand(status: StatusCode, body: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if status.is_success() {
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|error| format!("its answer is not etcd's ({error})"))?;
        let mut values = BTreeMap::new();
        gather(answer.node, &mut values);
        return Ok(values);
    }
    match serde_json::from_slice(body) {
        Ok(Refusal { error_code: NOT_FOUND, .. }) => Ok(BTreeMap::new()),
        Ok(Refusal { error_code, message }) => Err(format!("etcd says: {message} ({error_code})")),
        Err(_) if status == StatusCode::NOT_FOUND => Err(
            "does not serve etcd's v2 API, in which locksmith keeps its lock: start that etcd with \
             --enable-v2 (3.6 and later cannot)"
                .to_owned(),
        ),
        Err(_) => Err(format!("answers {status}")),
    }
}

/// The leaves of the tree.
fn gather(node: Node, values: &mut BTreeMap<String, String>) {
    if let Some(value) = node.value {
        values.insert(node.key, value);
    }
    for below in node.nodes {
        gather(below, values);
    }
}
