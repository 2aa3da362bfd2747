//! Where things are in etcd.

use crate::core::turn::Awaited;

/// Key names of one fleet.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
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
        self.in_group(group, &format!("queue/{node}"))
    }

    /// Written with the admission of `node` and deleted with it: its modification revision is the
    /// fencing token, which the semaphore's own revision cannot be once others come and go.
    pub(super) fn holder(&self, group: &str, node: &str) -> String {
        self.in_group(group, &format!("holder/{node}"))
    }

    /// All that happened.
    pub(super) fn history(&self, group: &str) -> String {
        self.in_group(group, "history/")
    }

    /// What was done by a change made on top of what was read at `revision`.
    pub(super) fn entry(&self, group: &str, revision: i64) -> String {
        self.in_group(group, &format!("history/{revision:020}"))
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

    /// Nodes whose agent runs.
    pub(super) fn all_alive(&self) -> String {
        format!("{}/alive/", self.prefix)
    }

    /// Present while the agent of `node` runs.
    pub(super) fn alive(&self, node: &str) -> String {
        format!("{}/alive/{node}", self.prefix)
    }

    /// What a waiter waits for.
    pub(super) fn awaited(&self, awaited: &Awaited) -> String {
        match awaited {
            Awaited::Slots(group) => self.slots(group),
            Awaited::Settle(group) => self.settle(group),
            Awaited::Halt(group) => self.halt(group),
            Awaited::Ticket(group, node) => self.ticket(group, node),
        }
    }

    fn in_group(&self, group: &str, what: &str) -> String {
        format!("{}/groups/{group}/{what}", self.prefix)
    }
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
    fn entries_of_a_history_sort_by_revision() {
        let keys = Keys::new("/p");
        assert!(keys.entry("g", 9) < keys.entry("g", 10));
    }
}
