//! Where things are in etcd.

/// Key names of one fleet and one group.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    group: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, group: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned(), group: group.to_owned() }
    }

    /// The semaphore. No lease: it outlives the holder's reboot.
    pub(super) fn slots(&self) -> String {
        self.in_group("slots")
    }

    /// Present while the group settles after an unlock; its lease is the clock.
    pub(super) fn settle(&self) -> String {
        self.in_group("settle")
    }

    /// All tickets.
    pub(super) fn queue(&self) -> String {
        self.in_group("queue/")
    }

    /// The ticket of `node`, under a lease its waiter keeps alive.
    pub(super) fn ticket(&self, node: &str) -> String {
        self.in_group(&format!("queue/{node}"))
    }

    /// Written with the admission of `node` and deleted with it: its modification revision is the
    /// fencing token, which the semaphore's own revision cannot be once others come and go.
    pub(super) fn holder(&self, node: &str) -> String {
        self.in_group(&format!("holder/{node}"))
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

    /// Present while the agent of `node` runs.
    pub(super) fn alive(&self, node: &str) -> String {
        format!("{}/alive/{node}", self.prefix)
    }

    fn in_group(&self, what: &str) -> String {
        format!("{}/groups/{}/{what}", self.prefix, self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_the_design_puts_them() {
        let keys = Keys::new("/lockkeeper/v1/", "default");
        assert_eq!(keys.slots(), "/lockkeeper/v1/groups/default/slots");
        assert_eq!(keys.ticket("ab"), "/lockkeeper/v1/groups/default/queue/ab");
        assert_eq!(keys.node("ab"), "/lockkeeper/v1/nodes/ab");
        assert!(keys.ticket("ab").starts_with(&keys.queue()));
    }
}
