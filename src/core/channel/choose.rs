//! Which release of a channel may this node have, and why none of the others?

use std::{cmp::Reverse, collections::BTreeSet, fmt};

use jiff::Timestamp;
use semver::{Version, VersionReq};

use super::{
    graph::Paced,
    listing::{Listing, Offer},
    rollout::Position,
};

/// What matters of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its identity; with a release it makes its place in the order of the rollout.
    pub id: String,
    /// The release it runs; `None` when it has had none yet.
    pub current: Option<Version>,
    /// A release of which it has installed something, and not all.
    pub partial: Option<Version>,
    /// The version of lockkeeper on it.
    pub agent: Version,
    /// The releases that its admin allows; `None`: all.
    pub within: Option<VersionReq>,
    /// Releases that failed here.
    pub denied: BTreeSet<Version>,
    /// What a server lets it have next, where one paces.
    pub paced: Option<Paced>,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    /// The release to update to; `None`: stay.
    pub target: Option<&'a Offer>,
    /// The target is older than what was withdrawn here, and the channel says to go back to it.
    pub back: bool,
    /// Why not another that would be newer, the newest first; and what is to be known of the one
    /// that runs.
    pub held: Vec<Held>,
}

/// A release that is not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Which one.
    pub version: Version,
    /// Why.
    pub why: Why,
}

/// Why a release is not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// The one that runs leads nowhere.
    DeadEnd(String),
    /// The channel has withdrawn it.
    Recalled(String),
    /// It failed on this node.
    Denied,
    /// The admin of this node does not allow it.
    NotWithin(VersionReq),
    /// The server that paces does not let this node have it now.
    NotPaced(String),
    /// Another has to be run before.
    Barrier {
        /// That one.
        version: Version,
        /// Its reason.
        reason: String,
    },
    /// It is no update from what runs.
    NotFrom(VersionReq),
    /// Another lockkeeper is needed.
    Agent(Version),
    /// Its time is over.
    Expired(Timestamp),
    /// It is not this node's turn.
    Rollout {
        /// The share it is offered to.
        share: f64,
        /// The node's place.
        position: f64,
        /// When it is this node's turn; `None` when that is not decided.
        at: Option<Timestamp>,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = &self.version;
        match &self.why {
            Why::DeadEnd(why) => write!(f, "{version}, which runs here, is a dead end: {why}"),
            Why::Recalled(why) => write!(f, "{version} was recalled: {why}"),
            Why::Denied => write!(f, "{version} failed on this node"),
            Why::NotWithin(req) => write!(f, "{version} is not within {req}"),
            Why::NotPaced(by) => write!(f, "{version} is not what {by} lets this node have now"),
            Why::Barrier { version: barrier, reason } => {
                write!(f, "{version} is held by barrier {barrier}: {reason}")
            }
            Why::NotFrom(req) => write!(f, "{version} is an update from {req} only"),
            Why::Agent(need) => write!(f, "{version} needs lockkeeper {need}"),
            Why::Expired(at) => write!(f, "{version} expired at {at}"),
            Why::Rollout { share, position, at } => {
                let (share, position) = (percent(*share), percent(*position));
                write!(f, "{version} is offered to {share}, this node is at {position}")?;
                match at {
                    Some(at) => write!(f, ", about {at}"),
                    None => f.write_str(", and the rollout does not go on by itself"),
                }
            }
        }
    }
}

/// `40 %`, with a digit more where it makes the difference.
fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if (percent - percent.round()).abs() < 0.05 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// The greatest release that nothing stands against. Greater than what runs, but where what runs was
/// recalled and the channel names releases to go back to.
#[must_use]
pub fn choose<'a>(listing: &'a Listing, node: &Node, now: Timestamp) -> Choice<'a> {
    let mut held = Vec::new();
    let runs = node.current.as_ref();
    let current = runs.and_then(|version| listing.offer(version));
    if let Some(offer) = current
        && let Some(why) = &offer.dead_end
    {
        let held = vec![Held { version: offer.version.clone(), why: Why::DeadEnd(why.clone()) }];
        return Choice { target: None, back: false, held };
    }
    // What is installed of two releases was withdrawn as soon as one of them was.
    let mut installed: Vec<&Offer> = [node.partial.as_ref(), runs]
        .into_iter()
        .flatten()
        .filter_map(|version| listing.offer(version))
        .filter(|offer| offer.recalled.is_some())
        .collect();
    installed.sort_by_key(|offer| &offer.version);
    let withdrawn = installed.pop();
    let forward = |offer: &Offer| {
        runs.is_none_or(|runs| offer.version > *runs)
            && node.partial.as_ref().is_none_or(|partial| offer.version >= *partial)
    };
    let back = |offer: &Offer| {
        offer.downgrade && withdrawn.is_some_and(|withdrawn| offer.version < withdrawn.version)
    };
    let leads_on = |offer: &&Offer| forward(offer) || back(offer);
    let mut candidates: Vec<&Offer> = listing.releases.iter().filter(leads_on).collect();
    candidates.sort_by_key(|offer| Reverse(&offer.version));
    // The lowest one that has not been passed.
    let ahead = |offer: &&&Offer| offer.barrier.is_some() && forward(offer);
    let barrier = candidates.iter().rfind(ahead).copied();
    let mut target = None;
    for offer in candidates {
        match objection(offer, barrier, node, now) {
            None => {
                target = Some(offer);
                break;
            }
            Some(why) => held.push(Held { version: offer.version.clone(), why }),
        }
    }
    if let Some(offer) = withdrawn
        && let Some(why) = &offer.recalled
        && held.iter().all(|held| held.version != offer.version)
    {
        held.push(Held { version: offer.version.clone(), why: Why::Recalled(why.clone()) });
    }
    let back = target.is_some_and(|offer| !forward(offer));
    Choice { target, back, held }
}

/// What stands against a release; what no time mends comes first.
fn objection(offer: &Offer, barrier: Option<&Offer>, node: &Node, now: Timestamp) -> Option<Why> {
    if let Some(why) = &offer.recalled {
        return Some(Why::Recalled(why.clone()));
    }
    if node.denied.contains(&offer.version) {
        return Some(Why::Denied);
    }
    if let Some(within) = node.within.as_ref().filter(|within| !within.matches(&offer.version)) {
        return Some(Why::NotWithin(within.clone()));
    }
    if let Some(paced) =
        node.paced.as_ref().filter(|paced| !paced.versions.contains(&offer.version))
    {
        return Some(Why::NotPaced(paced.by.clone()));
    }
    if let Some(barrier) = barrier.filter(|barrier| barrier.version < offer.version) {
        let reason = barrier.barrier.clone().unwrap_or_default();
        return Some(Why::Barrier { version: barrier.version.clone(), reason });
    }
    let fits = |from: &VersionReq| node.current.as_ref().is_some_and(|runs| from.matches(runs));
    if let Some(from) = offer.from.as_ref().filter(|from| !fits(from)) {
        return Some(Why::NotFrom(from.clone()));
    }
    if let Some(need) = offer.min_agent.as_ref().filter(|need| node.agent < **need) {
        return Some(Why::Agent(need.clone()));
    }
    if let Some(at) = offer.expires.filter(|at| *at <= now) {
        return Some(Why::Expired(at));
    }
    let (share, position) = (offer.rollout.share(now), Position::of(&node.id, &offer.version));
    (!position.is_within(share)).then(|| Why::Rollout {
        share,
        position: position.fraction(),
        at: offer.rollout.reaches(position),
    })
}

impl Choice<'_> {
    /// The release whose packages the node may have now: the one to update to, or the one that runs,
    /// while the channel still has it and has not withdrawn it.
    #[must_use]
    pub fn wanted<'l>(&self, listing: &'l Listing, node: &Node) -> Option<&'l Offer> {
        let version = self.target.map(|offer| &offer.version).or(node.current.as_ref())?;
        listing.offer(version).filter(|offer| offer.recalled.is_none())
    }

    /// When the answer may become another by itself.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let turns = self.held.iter().filter_map(|held| match held.why {
            Why::Rollout { at, .. } => at.filter(|at| *at > now),
            _ => None,
        });
        turns.min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::channel::rollout::Rollout;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn listing(versions: &[&str]) -> Listing {
        let mut listing = Listing::new("stable");
        let offers = versions.iter().map(|v| Offer::new(version(v), Rollout::EVERYBODY));
        listing.releases.extend(offers);
        listing
    }

    fn node(current: Option<&str>) -> Node {
        Node {
            id: "0123".to_owned(),
            current: current.map(version),
            partial: None,
            agent: version("1.2.0"),
            within: None,
            denied: BTreeSet::new(),
            paced: None,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// The version that is taken, and the sentences.
    fn decide(listing: &Listing, node: &Node) -> (Option<String>, Vec<String>) {
        let choice = choose(listing, node, now());
        let target = choice.target.map(|offer| offer.version.to_string());
        (target, choice.held.iter().map(ToString::to_string).collect())
    }

    fn taken(version: &str) -> Option<String> {
        Version::parse(version).ok().map(|version| version.to_string())
    }

    #[test]
    fn the_greatest_release_is_taken_and_an_older_one_never() {
        let listing = listing(&["2026.10.0", "2026.8.0", "2026.9.0"]);
        assert_eq!(decide(&listing, &node(None)), (taken("2026.10.0"), vec![]));
        assert_eq!(decide(&listing, &node(Some("2026.9.0"))), (taken("2026.10.0"), vec![]));
        assert_eq!(decide(&listing, &node(Some("2026.10.0"))), (None, vec![]));
        assert_eq!(decide(&listing, &node(Some("2026.11.0"))), (None, vec![]));
    }

    #[test]
    fn every_barrier_is_run_before_what_comes_after_it() {
        let mut listing = listing(&["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"]);
        for barrier in ["1.1.0", "1.3.0"] {
            listing.offer_mut(&version(barrier)).unwrap().barrier = Some("new format".to_owned());
        }
        let mut walk = vec![];
        let mut runs = node(None);
        while let Some(offer) = choose(&listing, &runs, now()).target {
            walk.push(offer.version.to_string());
            runs.current = Some(offer.version.clone());
        }
        assert_eq!(walk, ["1.1.0", "1.3.0", "1.4.0"]);
        let (_, held) = decide(&listing, &node(Some("1.2.0")));
        assert_eq!(held, ["1.4.0 is held by barrier 1.3.0: new format"]);
        // Nothing leads past a barrier that was withdrawn.
        listing.offer_mut(&version("1.1.0")).unwrap().recalled = Some("broken".to_owned());
        assert_eq!(decide(&listing, &node(None)).0, taken("1.0.0"));
        assert_eq!(decide(&listing, &node(Some("1.0.0"))).0, None);
    }

    #[test]
    fn each_condition_has_its_sentence() {
        type Change = fn(&mut Offer, &mut Node);
        let cases: [(Change, &str); 9] = [
            (|o, _| o.recalled = Some("boots no more".into()), "2.0.0 was recalled: boots no more"),
            (|o, n| n.denied = [o.version.clone()].into(), "2.0.0 failed on this node"),
            (|_, n| n.within = Some("<2".parse().unwrap()), "2.0.0 is not within <2"),
            (
                |_, n| n.paced = Some(Paced { by: "a server".into(), versions: BTreeSet::new() }),
                "2.0.0 is not what a server lets this node have now",
            ),
            (|o, _| o.from = Some(">=1.5".parse().unwrap()), "2.0.0 is an update from >=1.5 only"),
            (|o, _| o.min_agent = Some(version("1.3.0")), "2.0.0 needs lockkeeper 1.3.0"),
            (|o, _| o.expires = Some(now()), "2.0.0 expired at 2027-01-15T08:00:00Z"),
            (
                |o, _| o.rollout = Rollout::Share(0.0),
                "2.0.0 is offered to 0 %, this node is at 51.4 %, \
                 and the rollout does not go on by itself",
            ),
            (
                |o, _| {
                    let start = now() - Duration::from_secs(36_000);
                    o.rollout = Rollout::Ramp { start, seconds: 86_400, from: 0.0 };
                },
                "2.0.0 is offered to 41.7 %, this node is at 51.4 %, about 2027-01-15T10:20:07Z",
            ),
        ];
        for (change, sentence) in cases {
            let (mut listing, mut node) = (listing(&["2.0.0"]), node(Some("1.0.0")));
            change(&mut listing.releases[0], &mut node);
            assert_eq!(decide(&listing, &node), (None, vec![sentence.to_owned()]));
        }
    }

    #[test]
    fn a_node_may_have_what_it_is_to_run_or_else_what_it_runs() {
        let mut listing = listing(&["1.0.0", "2.0.0"]);
        let wanted = |listing: &Listing, current: Option<&str>| {
            let node = node(current);
            let offer = choose(listing, &node, now()).wanted(listing, &node).cloned();
            offer.map(|offer| offer.version.to_string())
        };
        assert_eq!(wanted(&listing, None), taken("2.0.0"));
        listing.releases[1].rollout = Rollout::Share(0.0);
        assert_eq!(wanted(&listing, Some("1.0.0")), taken("1.0.0"));
        assert_eq!(wanted(&listing, Some("0.9.0")), taken("1.0.0"));
        listing.releases[0].recalled = Some("broken".to_owned());
        assert_eq!(wanted(&listing, Some("1.0.0")), None);
        assert_eq!(wanted(&listing, Some("1.5.0")), None, "the channel does not have it any more");
        assert_eq!(wanted(&listing, None), None);
    }

    #[test]
    fn nothing_but_a_withdrawal_leads_from_a_part_of_a_release_to_an_older_one() {
        let mut listing = listing(&["1.0.0", "2.0.0", "3.0.0"]);
        let part = Node { partial: Some(version("3.0.0")), ..node(Some("1.0.0")) };
        assert_eq!(decide(&listing, &part).0, taken("3.0.0"), "the rest of it");
        let denied = Node { denied: [version("3.0.0")].into(), ..part.clone() };
        assert_eq!(decide(&listing, &denied).0, None);
        listing.offer_mut(&version("3.0.0")).unwrap().rollout = Rollout::Share(0.0);
        assert_eq!(decide(&listing, &part).0, None);
        listing.offer_mut(&version("3.0.0")).unwrap().recalled = Some("broken".to_owned());
        assert_eq!(decide(&listing, &part).0, None, "the channel does not say to go back");
    }

    #[test]
    fn it_is_known_when_to_look_again() {
        let mut listing = listing(&["2.0.0"]);
        let start = now() - Duration::from_secs(36_000);
        listing.releases[0].rollout = Rollout::Ramp { start, seconds: 86_400, from: 0.0 };
        let node = node(Some("1.0.0"));
        let turn = choose(&listing, &node, now()).next_change(now()).unwrap();
        assert!(choose(&listing, &node, turn).target.is_some());
        assert!(choose(&listing, &node, turn - Duration::from_secs(5)).target.is_none());
    }

    #[test]
    fn a_dead_end_stays_where_it_is() {
        let mut listing = listing(&["1.0.0", "2.0.0"]);
        listing.offer_mut(&version("1.0.0")).unwrap().dead_end = Some("install anew".to_owned());
        let sentence = "1.0.0, which runs here, is a dead end: install anew";
        assert_eq!(decide(&listing, &node(Some("1.0.0"))), (None, vec![sentence.to_owned()]));
        assert_eq!(decide(&listing, &node(None)).0, taken("2.0.0"));
    }

    #[test]
    fn only_a_recalled_release_is_left_backwards_and_only_to_where_the_channel_says() {
        let mut listing = listing(&["1.0.0", "1.1.0", "2.0.0"]);
        listing.offer_mut(&version("1.0.0")).unwrap().downgrade = true;
        let runs = node(Some("2.0.0"));
        assert_eq!(decide(&listing, &runs), (None, vec![]));
        listing.offer_mut(&version("2.0.0")).unwrap().recalled = Some("eats disks".to_owned());
        let said = "2.0.0 was recalled: eats disks".to_owned();
        assert_eq!(decide(&listing, &runs), (taken("1.0.0"), vec![said.clone()]));
        listing.offer_mut(&version("1.0.0")).unwrap().downgrade = false;
        assert_eq!(decide(&listing, &runs), (None, vec![said.clone()]));
        // So is one of which only a part is there.
        let part = Node { partial: Some(version("2.0.0")), ..node(Some("1.1.0")) };
        assert_eq!(decide(&listing, &part), (None, vec![said.clone()]));
        listing.offer_mut(&version("1.1.0")).unwrap().downgrade = true;
        assert_eq!(decide(&listing, &part), (taken("1.1.0"), vec![said.clone()]));
        assert!(choose(&listing, &part, now()).back);
        // And so is one that was left, as long as not all of the older one is there.
        let between = Node { partial: Some(version("1.1.0")), ..node(Some("2.0.0")) };
        assert_eq!(decide(&listing, &between), (taken("1.1.0"), vec![said.clone()]));
        listing.offer_mut(&version("1.1.0")).unwrap().downgrade = false;
        // What mends it goes before the way back.
        listing.offer_mut(&version("1.0.0")).unwrap().downgrade = true;
        listing.releases.push(Offer::new(version("2.0.1"), Rollout::EVERYBODY));
        assert_eq!(decide(&listing, &runs), (taken("2.0.1"), vec![said]));
    }
}
