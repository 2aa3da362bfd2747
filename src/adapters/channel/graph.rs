//! A server of the Cincinnati protocol, asked what a node may be updated to next.

use std::{path::Path, time::Duration};

use reqwest::header;
use semver::Version;
use url::Url;

use crate::{
    adapters::http,
    core::channel::graph::{Graph, Paced},
    observe::logging::chain,
};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most: those of a large distribution have a few hundred thousand.
const LONGEST: usize = 16 * 1024 * 1024;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// The node's id.
    pub node: &'a str,
    /// Its architecture, as Rust has it: `x86_64`.
    pub arch: &'a str,
    /// The release that runs.
    pub current: Option<&'a Version>,
}

/// Asks `url` (the whole address, such as `https://updates.example.com/v1/graph`). The parameters are those
/// of both dialects; servers leave out what they do not know.
///
/// # Errors
/// Why there is no answer, or none that can be used.
pub async fn ask(url: &Url, ca_file: Option<&Path>, who: Asking<'_>) -> Result<Paced, String> {
    let said = |error: reqwest::Error| format!("{url}: {}", http::cause(&error));
    let client = http::builder(ca_file)?.timeout(PATIENCE).build().map_err(said)?;
    let mut address = url.clone();
    {
        let mut pairs = address.query_pairs_mut();
        pairs.append_pair("channel", who.channel).append_pair("stream", who.channel);
        pairs.append_pair("arch", debian(who.arch)).append_pair("basearch", who.arch);
        pairs.append_pair("id", who.node).append_pair("node_uuid", who.node);
        if let Some(current) = who.current {
            let current = current.to_string();
            pairs.append_pair("version", &current).append_pair("os_version", &current);
        }
    }
    let request = client.get(address).header(header::ACCEPT, "application/json");
    let answer = request.send().await.map_err(said)?;
    if !answer.status().is_success() {
        return Err(format!("{url}: {}", answer.status()));
    }
    let text = http::body(answer, LONGEST).await.map_err(|why| format!("{url}: {why}"))?;
    let graph = Graph::parse(&text).map_err(|error| format!("{url}: {}", chain(&error)))?;
    Ok(Paced { by: url.to_string(), versions: graph.next(who.current) })
}

/// Debian's, and Go's, name of an architecture.
fn debian(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
