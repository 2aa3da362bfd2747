//! Where things are in etcd.

use crate::core::turn::Awaited;

/// Key names of one fleet.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// Keys that are watched together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) from: String,
    /// The last of them.
    pub(super) last: String,
}

impl Range {
    fn one(key: String) -> Self {
        Self { from: key.clone(), last: key }
    }
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// All groups.
    pub(super) fn groups(&self) -> String {
        format!("{}/groups/", self.prefix)
    }

    /// The group a key of a group is of.
    pub(super) fn group_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.groups())?.split_once('/').map(|(group, _)| group)
    }

    /// The semaphore. No lease: it outlives the holder's reboot.
    pub(super) fn slots(&self, group: &str) -> String {
        self.in_group(group, "slots")
    }

    /// Present while the group settles after an unlock; its lease is the clock.
    pub(super) fn settle(&self, group: &str) -> String {
        self.in_group(group, "settle")
    }

    /// Present while a halt lasts that ends by itself; its lease is the clock.
    pub(super) fn halt(&self, group: &str) -> String {
        self.in_group(group, "halt")
    }

    /// All tickets.
    pub(super) fn queue(&self, group: &str) -> String {
        self.in_group(group, "queue/")
    }

    /// The ticket of `node`, under a lease its waiter keeps alive.
    pub(super) fn ticket(&self, group: &str, node: &str) -> String {
        self.in_group(group, &format!("queue/{}", segment(node)))
    }

    /// The create revision of the ticket that was admitted last.
    pub(super) fn served(&self, group: &str) -> String {
        self.in_group(group, "served")
    }

    /// Written with the admission of `node` and deleted with it: its modification revision is the
    /// fencing token, which the semaphore's own revision cannot be once others come and go.
    pub(super) fn holder(&self, group: &str, node: &str) -> String {
        self.in_group(group, &format!("holder/{}", segment(node)))
    }

    /// All that happened.
    pub(super) fn history(&self, group: &str) -> String {
        self.in_group(group, "history/")
    }

    /// What was done by a change made on top of what was read at `revision`.
    pub(super) fn entry(&self, group: &str, revision: i64) -> String {
        self.in_group(group, &format!("history/{revision:020}"))
    }

    /// All that the nodes of the group have verified.
    pub(super) fn all_verified(&self, group: &str) -> String {
        self.in_group(group, "verified/")
    }

    /// What `node` has verified. No lease: it holds while the node is away.
    pub(super) fn verified(&self, group: &str, node: &str) -> String {
        self.in_group(group, &format!("verified/{}", segment(node)))
    }

    /// All records of nodes.
    pub(super) fn nodes(&self) -> String {
        format!("{}/nodes/", self.prefix)
    }

    /// The record of `node`.
    pub(super) fn node(&self, node: &str) -> String {
        format!("{}/nodes/{node}", self.prefix)
    }

    /// Whether `node` is in service, alone, for load balancers.
    pub(super) fn service(&self, node: &str) -> String {
        format!("{}/service/{node}", self.prefix)
    }

    /// Where load balancers reach `node`, without a port. No lease: it holds while the node is down.
    pub(super) fn address(&self, node: &str) -> String {
        format!("{}/address/{node}", self.prefix)
    }

    /// The host name of `node`, alone, for load balancers.
    pub(super) fn name(&self, node: &str) -> String {
        format!("{}/name/{node}", self.prefix)
    }

    /// Nodes whose agent runs.
    pub(super) fn all_alive(&self) -> String {
        format!("{}/alive/", self.prefix)
    }

    /// Present while the agent of `node` runs.
    pub(super) fn alive(&self, node: &str) -> String {
        format!("{}/alive/{node}", self.prefix)
    }

    /// What a waiter waits for.
    pub(super) fn awaited(&self, awaited: &Awaited) -> Range {
        match awaited {
            // Next to each other, and awaited together: one watch brings both.
            Awaited::Slots(group) | Awaited::Settle(group) => {
                Range { from: self.settle(group), last: self.slots(group) }
            }
            Awaited::Halt(group) => Range::one(self.halt(group)),
            Awaited::Ticket(group, node) => Range::one(self.ticket(group, node)),
        }
    }

    fn in_group(&self, group: &str, what: &str) -> String {
        format!("{}/groups/{group}/{what}", self.prefix)
    }
}

/// A node id as a part of a key. Those of agents are hexadecimal and stay as they are; one that came
/// over FleetLock may be any text.
fn segment(node: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let part = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    node.bytes().map(part).collect()
}

/// The node id that a part of a key stands for.
pub(super) fn node_of(segment: &str) -> String {
    let mut parts = segment.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part
            .split_at_checked(2)
            .and_then(|(hex, rest)| Some((u8::from_str_radix(hex, 16).ok()?, rest)))
        {
            Some((byte, rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            None => bytes.extend_from_slice(format!("%{part}").as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_the_design_puts_them() {
        let keys = Keys::new("/lockkeeper/v1/");
        assert_eq!(keys.slots("default"), "/lockkeeper/v1/groups/default/slots");
        assert_eq!(keys.ticket("db", "ab"), "/lockkeeper/v1/groups/db/queue/ab");
        assert_eq!(keys.node("ab"), "/lockkeeper/v1/nodes/ab");
        assert!(keys.ticket("db", "ab").starts_with(&keys.queue("db")));
        assert_eq!(keys.group_of(&keys.ticket("db", "ab")), Some("db"));
        assert_eq!(keys.group_of(&keys.node("ab")), None);
    }

    #[test]
    fn no_other_key_is_between_settle_time_and_slots() {
        let keys = Keys::new("/p");
        let Range { from, last } = keys.awaited(&Awaited::Slots("g".into()));
        assert_eq!((from.as_str(), last.as_str()), ("/p/groups/g/settle", "/p/groups/g/slots"));
        let others = [
            keys.served("g"),
            keys.halt("g"),
            keys.ticket("g", "n"),
            keys.holder("g", "n"),
            keys.entry("g", 1),
            keys.verified("g", "n"),
            keys.slots("h"),
        ];
        assert!(others.iter().all(|key| *key < from || *key > last));
    }

    #[test]
    fn any_text_can_be_a_node_id_and_is_one_part_of_a_key() {
        let keys = Keys::new("/p");
        assert_eq!(keys.ticket("g", "a/b %ü"), "/p/groups/g/queue/a%2Fb%20%25%C3%BC");
        for id in
            ["69d27b356a94476da859461d3a3bc6fd", "a/b", "../x", "%", "%2F", "ü\n", "a b", "%%zz"]
        {
            let key = keys.holder("g", id);
            let part = key.strip_prefix("/p/groups/g/holder/").unwrap();
            assert!(!part.contains('/') && node_of(part) == id, "{id:?} {part}");
        }
        assert_eq!(node_of("100%"), "100%", "somebody else's key");
    }

    #[test]
    fn entries_of_a_history_sort_by_revision() {
        let keys = Keys::new("/p");
        assert!(keys.entry("g", 9) < keys.entry("g", 10));
    }
}
