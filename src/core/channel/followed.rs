//! What a node that follows a channel has of it: what it remembers, and what people are shown.

use std::collections::BTreeSet;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::release::Urgency;
use crate::core::verdict::Verdict;

/// Format of [`Memory`].
pub const SCHEMA: u32 = 1;

/// What a node remembers of releases. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The release that it runs: all of its packages that the node has were seen to be installed.
    pub current: Option<Version>,
    /// A release of which something was installed since, and not all.
    #[serde(default)]
    pub partial: Option<Version>,
    /// Releases that failed here, and were gone back from.
    pub denied: BTreeSet<Version>,
    /// The release whose packages may be installed, by the last look at the channel.
    #[serde(default)]
    pub allowed: Option<Version>,
}

impl Memory {
    /// Something of a release was installed, or there was nothing to install of it; `complete`: all of
    /// it is there. What failed here is not remembered as anything else. Whether that is news.
    pub fn runs(&mut self, version: &Version, complete: bool) -> bool {
        if self.denied.contains(version) {
            return false;
        }
        let before = (self.current.clone(), self.partial.clone());
        if complete {
            (self.current, self.partial) = (Some(version.clone()), None);
        } else {
            self.partial = Some(version.clone()).filter(|_| self.current.as_ref() != Some(version));
        }
        before != (self.current.clone(), self.partial.clone())
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            current: None,
            partial: None,
            denied: BTreeSet::new(),
            allowed: None,
        }
    }
}

/// The release that a plan was made from. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Which one.
    pub version: Version,
    /// Until when the channel may be believed: afterwards the plan is not begun.
    pub until: Timestamp,
    /// With the plan all of it is installed.
    pub complete: bool,
}

/// What a look at the channel has found, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The channel's name; empty where none is followed.
    pub channel: String,
    /// The release that runs here.
    pub current: Option<Version>,
    /// The release of which only a part does.
    pub partial: Option<Version>,
    /// The release to update to.
    pub target: Option<Version>,
    /// What it is about.
    pub notes: String,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Why not another, one sentence each.
    pub held: Vec<String>,
    /// What the target has that cannot be had, one sentence each.
    pub lacks: Vec<String>,
    /// Why the channel could not be seen, or is not believed.
    pub problem: Option<String>,
    /// When the answer may become another by itself.
    pub again: Option<Timestamp>,
    /// How many seconds to wait until the next look, if the channel says so.
    pub wait: Option<u64>,
}

/// So many of what is lacking are named.
const NAMED: usize = 5;

impl Report {
    /// What an admin should know.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let channel = &self.channel;
        if channel.is_empty() {
            return Vec::new();
        }
        let release = match (&self.current, &self.target) {
            (None, None) => format!("no release of {channel} runs here yet"),
            (Some(current), None) => format!("release {current} of {channel} runs here"),
            (current, Some(target)) => {
                let from = current.as_ref().map_or_else(
                    || "no release runs here yet".to_owned(),
                    |current| format!("{current} runs here"),
                );
                let notes =
                    if self.notes.is_empty() { String::new() } else { format!(": {}", self.notes) };
                let urgency = self.urgency.word();
                format!("release {target} of {channel} is offered ({urgency}); {from}{notes}")
            }
        };
        let release = match &self.partial {
            Some(partial) => format!("{release}; a part of {partial} is installed"),
            None => release,
        };
        let held = (!self.held.is_empty()).then(|| self.held.join("; "));
        let lacks = (!self.lacks.is_empty()).then(|| {
            let more = self.lacks.len().saturating_sub(NAMED);
            let named = self.lacks.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>();
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("not all of it can be had: {}{more}", named.join("; "))
        });
        let problem = self.problem.as_ref().map(|why| format!("{channel}: {why}"));
        [
            Some(Verdict::new("release", release)),
            held.map(|text| Verdict::new("release-held", text)),
            lacks.map(|text| Verdict::new("release-incomplete", text)),
            problem.map(|text| Verdict::new("channel-problem", text)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_release_is_remembered_until_a_whole_one_is_there() {
        let mut memory = Memory::default();
        let [one, two] = [1, 2].map(|major| Version::new(major, 0, 0));
        assert!(memory.runs(&one, true) && !memory.runs(&one, true));
        assert!(memory.runs(&two, false));
        assert_eq!((&memory.current, &memory.partial), (&Some(one.clone()), &Some(two.clone())));
        assert!(memory.runs(&two, true));
        assert_eq!((&memory.current, &memory.partial), (&Some(two.clone()), &None));
        assert!(!memory.runs(&two, false), "a package more of the one that runs");
        memory.denied.insert(one.clone());
        assert!(!memory.runs(&one, true), "it was gone back from");
    }

    #[test]
    fn a_node_that_follows_nothing_says_nothing_and_one_that_does_says_where_it_stands() {
        assert!(Report::default().verdicts().is_empty());
        let version = |text: &str| Some(Version::parse(text).unwrap());
        let stands = Report {
            channel: "stable".to_owned(),
            current: version("1.0.0"),
            target: version("1.1.0"),
            notes: "September".to_owned(),
            held: vec!["2.0.0 is not within <2".to_owned()],
            lacks: (1..=7).map(|n| format!("p{n} 1")).collect(),
            problem: Some("timestamp: it cannot be fetched".to_owned()),
            ..Report::default()
        };
        let said: Vec<_> = stands.verdicts().into_iter().map(|v| (v.code, v.text)).collect();
        let expected = [
            ("release", "release 1.1.0 of stable is offered (medium); 1.0.0 runs here: September"),
            ("release-held", "2.0.0 is not within <2"),
            (
                "release-incomplete",
                "not all of it can be had: p1 1; p2 1; p3 1; p4 1; p5 1; and 2 more",
            ),
            ("channel-problem", "stable: timestamp: it cannot be fetched"),
        ];
        assert_eq!(said, expected.map(|(code, text)| (code.to_owned(), text.to_owned())));
        let fresh = Report { channel: "stable".to_owned(), ..Report::default() };
        assert_eq!(fresh.verdicts()[0].text, "no release of stable runs here yet");
    }
}
