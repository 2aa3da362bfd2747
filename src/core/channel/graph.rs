//! What a server says a node may be updated to next: the graph of the Cincinnati protocol
//! (<https://github.com/openshift/cincinnati/blob/master/docs/design/cincinnati.md>).
//!
//! Nobody signs a graph, so it only ever narrows what the channel has.

use std::collections::BTreeSet;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::document::DocumentError;

/// A graph is not read beyond this many releases, or ways between them.
const MOST: usize = 100_000;

/// Releases, and which leads to which. Whatever else a server says of them is left out, also ways that it
/// makes depend on something (`conditionalEdges`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Graph {
    nodes: Vec<Release>,
    edges: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Release {
    version: String,
}

/// What a server lets a node have next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paced {
    /// The server, for people.
    pub by: String,
    /// These, and no others.
    pub versions: BTreeSet<Version>,
}

impl Graph {
    /// Reads what a server has answered.
    ///
    /// # Errors
    /// When it is no graph.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        let graph: Self = serde_json::from_slice(text)?;
        let Self { nodes, edges } = &graph;
        if nodes.len() > MOST || edges.len() > MOST {
            return Err(DocumentError::Value(format!("it has more than {MOST} releases or ways")));
        }
        let outside =
            |(from, to): &&(usize, usize)| nodes.get(*from).is_none() || nodes.get(*to).is_none();
        if let Some((from, to)) = edges.iter().find(outside) {
            let text = format!("it leads from {from} to {to}, and has {} releases", nodes.len());
            return Err(DocumentError::Value(text));
        }
        let distinct: BTreeSet<&str> = nodes.iter().map(|node| node.version.as_str()).collect();
        if distinct.len() != nodes.len() {
            return Err(DocumentError::Value("it has a release twice".to_owned()));
        }
        Ok(graph)
    }

    /// The releases that one leads to; where none runs yet, all that there are. What is no version of ours
    /// leads nowhere.
    #[must_use]
    pub fn next(&self, current: Option<&Version>) -> BTreeSet<Version> {
        let version = |at: usize| Version::parse(&self.nodes[at].version).ok();
        let Some(current) = current else {
            return (0..self.nodes.len()).filter_map(version).collect();
        };
        let ways = self.edges.iter().filter(|(from, _)| version(*from).as_ref() == Some(current));
        ways.filter_map(|(_, to)| version(*to)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: &str = r#"{
        "version": 1,
        "nodes": [
            {"version": "1.0.0", "payload": "x", "metadata": {"a": "b"}},
            {"version": "1.1.0", "payload": ""},
            {"version": "39.20231101.3.0", "payload": ""},
            {"version": "2.0.0"}
        ],
        "edges": [[0, 1], [1, 3], [0, 2], [2, 3]],
        "conditionalEdges": [{"edges": [{"from": "1.0.0", "to": "2.0.0"}], "risks": []}]
    }"#;

    fn next(current: Option<&str>) -> Vec<String> {
        let current = current.map(|text| Version::parse(text).unwrap());
        let found = Graph::parse(GRAPH.as_bytes()).unwrap().next(current.as_ref());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_release_leads_where_the_graph_says_and_no_further() {
        assert_eq!(next(Some("1.0.0")), ["1.1.0"]);
        assert_eq!(next(Some("1.1.0")), ["2.0.0"]);
        assert_eq!(next(Some("2.0.0")), Vec::<String>::new());
        assert_eq!(next(Some("3.0.0")), Vec::<String>::new(), "it does not know that one");
        assert_eq!(next(None), ["1.0.0", "1.1.0", "2.0.0"]);
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        for (text, why) in [
            ("[]", "cannot be read"),
            (r#"{"nodes": [], "edges": [[0, 1]]}"#, "leads from 0 to 1, and has 0 releases"),
            (r#"{"nodes": [{"version": "1.0.0"}], "edges": [[0, -1]]}"#, "cannot be read"),
            (r#"{"nodes": [{"version": "1"}, {"version": "1"}], "edges": []}"#, "a release twice"),
            (r#"{"kind": "missing_params", "value": "x"}"#, "cannot be read"),
        ] {
            let said = Graph::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
