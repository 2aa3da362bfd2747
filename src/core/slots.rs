//! The reboot semaphore as a plain value: who may be down, and why nobody else may.
//!
//! Stores (etcd, a local file) keep this value and change it only with these functions, inside a
//! compare-and-swap on the revision they read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The group of the nodes that carry a member of etcd: one slot, whatever other groups they are in.
pub const MEMBERS_GROUP: &str = "etcd-members";

/// Groups a node may be in. etcd takes 128 operations in one transaction, and a look needs up to seven a group.
pub const MOST_GROUPS: usize = 8;

/// Whether a group may be called so: letters, digits, `.` and `-`.
#[must_use]
pub fn is_group_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    !text.is_empty() && text.bytes().all(good)
}

/// What one look at several groups shows, by group.
pub type Views = BTreeMap<String, SlotsView>;

/// Format of the stored value; a store refuses a newer one rather than truncate it.
pub const SCHEMA: u32 = 1;

/// The value under `<prefix>/groups/<group>/slots`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slots {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How many nodes may be down at once; at least 1.
    pub max: u32,
    /// Who holds a slot now, sorted by node.
    pub holders: Vec<Holder>,
    /// While present, nobody is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
}

/// One holder of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// Node id: the application-specific machine id, 32 hex digits.
    pub node: String,
    /// Host name, for people.
    pub name: String,
    /// Tells two machines with one (cloned) node id apart; empty when an admin locked.
    pub nonce: String,
    /// The holder's own wall clock when it took the slot; for people only, never compared.
    pub since: Timestamp,
    /// Why it wants to be down.
    pub reason: String,
    /// The plan it applies, if any (its id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Boot id it took the slot in.
    pub boot_id: String,
    /// How long it expects to need the slot, in seconds; 0 when it does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expected_secs: u64,
    /// Somebody who waits has seen it hold the slot for longer than it expected to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(secs: &u64) -> bool {
    *secs == 0
}

/// The group is stopped: nobody is admitted until an admin resumes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Halt {
    /// What went wrong, in words.
    pub reason: String,
    /// Host name of the node, or the admin, that halted.
    pub by: String,
    /// Wall clock of whoever halted; for people only.
    pub since: Timestamp,
    /// The plan that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// When it ends by itself, by the wall clock of whoever halted; for people only: the store keeps
    /// the time. Without, it ends when an admin resumes the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// One waiter, in queue order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// Node id.
    pub node: String,
    /// Host name, for people.
    pub name: String,
    /// As in [`Holder::nonce`].
    pub nonce: String,
    /// Why it waits.
    pub reason: String,
    /// The plan it wants to apply, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// What one look at a group shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotsView {
    /// The semaphore.
    pub slots: Slots,
    /// Waiters, first in line first.
    pub queue: Vec<Ticket>,
    /// The group settles after an unlock: nobody is admitted yet.
    pub settling: bool,
}

/// Why a slot was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// All slots are taken.
    #[error("all {max} slot(s) are taken")]
    Full {
        /// The semaphore's max.
        max: u32,
    },
    /// The group is halted.
    #[error("the group is halted by {}: {}", .0.by, .0.reason)]
    Halted(Halt),
    /// Another machine holds a slot, or waits for one, under this node id.
    #[error(
        "node id {node} is in use by another installation ({name}): two machines share one machine-id"
    )]
    DuplicateNode {
        /// The shared node id.
        node: String,
        /// Host name of the other machine.
        name: String,
    },
    /// The node has a slot already: an admin took it by hand, or the node did and an admin asks.
    #[error("{name} already has a slot: {reason}")]
    AlreadyHeld {
        /// Host name in the holder's record.
        name: String,
        /// Why the slot was taken.
        reason: String,
    },
    /// `max` would be less than 1.
    #[error("max must be at least 1")]
    BadMax,
}

impl Default for Slots {
    fn default() -> Self {
        Self { schema: SCHEMA, max: 1, holders: Vec::new(), halt: None }
    }
}

impl Holder {
    /// Taken by an admin's hand: no installation stands behind it.
    #[must_use]
    pub fn by_hand(&self) -> bool {
        self.nonce.is_empty()
    }

    /// Why `claim`, for the same node but not the same claim, cannot have this slot too.
    fn refuses(&self, claim: &Self) -> Refusal {
        if self.by_hand() || claim.by_hand() {
            return Refusal::AlreadyHeld { name: self.name.clone(), reason: self.reason.clone() };
        }
        Refusal::DuplicateNode { node: self.node.clone(), name: self.name.clone() }
    }
}

impl Slots {
    /// Slots free now: never negative, also when `max` was lowered below the number of holders.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.free(0)
    }

    /// Slots free now when up to `quarantine` overdue holders do not count.
    fn free(&self, quarantine: u32) -> u32 {
        let overdue = self.holders.iter().filter(|h| h.overdue).count();
        let counted = self.holders.len() - overdue.min(quarantine as usize);
        self.max.saturating_sub(u32::try_from(counted).unwrap_or(u32::MAX))
    }

    /// Whether this very claim (node and nonce) holds a slot.
    #[must_use]
    pub fn held_by(&self, node: &str, nonce: &str) -> bool {
        self.holder(node).is_some_and(|h| h.nonce == nonce)
    }

    /// The holder entry of `node`.
    #[must_use]
    pub fn holder(&self, node: &str) -> Option<&Holder> {
        self.holders.iter().find(|h| h.node == node)
    }

    /// The value with `claim` admitted. Idempotent: a claim that already holds (same node, same
    /// nonce) leaves the value as it is, also when the group has been halted since.
    ///
    /// # Errors
    /// [`Refusal`] when it may not be admitted.
    pub fn admit(&self, claim: &Holder, quarantine: u32) -> Result<Self, Refusal> {
        if let Some(held) = self.holder(&claim.node) {
            if held.nonce == claim.nonce {
                return Ok(self.clone());
            }
            return Err(held.refuses(claim));
        }
        if let Some(halt) = &self.halt {
            return Err(Refusal::Halted(halt.clone()));
        }
        if self.free(quarantine) == 0 {
            return Err(Refusal::Full { max: self.max });
        }
        let mut next = self.clone();
        next.holders.push(claim.clone());
        next.holders.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(next)
    }

    /// The value without `node`; the same value when it holds nothing.
    #[must_use]
    pub fn without(&self, node: &str) -> Self {
        let mut next = self.clone();
        next.holders.retain(|h| h.node != node);
        next
    }

    /// The value with another `max`. Present holders stay even when there are more of them.
    ///
    /// # Errors
    /// When `max` is 0.
    pub fn with_max(&self, max: u32) -> Result<Self, Refusal> {
        if max == 0 {
            return Err(Refusal::BadMax);
        }
        Ok(Self { max, ..self.clone() })
    }

    /// The value halted. The first halt wins, since its reason is the one to look into; but one that
    /// ends by itself makes room for one that does not.
    #[must_use]
    pub fn halted(&self, halt: Halt) -> Self {
        let mut next = self.clone();
        next.halt = match next.halt {
            Some(first) if first.expires.is_none() || halt.expires.is_some() => Some(first),
            Some(_) | None => Some(halt),
        };
        next
    }

    /// The value without its halt.
    #[must_use]
    pub fn resumed(&self) -> Self {
        Self { halt: None, ..self.clone() }
    }

    /// The value as it counts now: without a halt whose time is over. `halt_lasts` tells what the
    /// store's clock says of a halt that ends by itself.
    #[must_use]
    pub fn effective(&self, halt_lasts: bool) -> Self {
        let over = self.halt.as_ref().is_some_and(|h| h.expires.is_some()) && !halt_lasts;
        if over { self.resumed() } else { self.clone() }
    }

    /// The value with this very holder (node and nonce) marked as overdue.
    #[must_use]
    pub fn with_overdue(&self, node: &str, nonce: &str) -> Self {
        let mut next = self.clone();
        for holder in next.holders.iter_mut().filter(|h| h.node == node && h.nonce == nonce) {
            holder.overdue = true;
        }
        next
    }
}

impl Ticket {
    /// The ticket that waits for `claim`.
    #[must_use]
    pub fn of(claim: &Holder) -> Self {
        Self {
            node: claim.node.clone(),
            name: claim.name.clone(),
            nonce: claim.nonce.clone(),
            reason: claim.reason.clone(),
            release: claim.release.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(node: &str, nonce: &str) -> Holder {
        Holder {
            node: node.into(),
            name: format!("host-{node}"),
            nonce: nonce.into(),
            since: Timestamp::UNIX_EPOCH,
            reason: "update".into(),
            release: None,
            boot_id: "b".into(),
            expected_secs: 0,
            overdue: false,
        }
    }

    fn halt(reason: &str) -> Halt {
        Halt {
            reason: reason.into(),
            by: "web-1".into(),
            since: Timestamp::UNIX_EPOCH,
            release: None,
            expires: None,
        }
    }

    #[test]
    fn a_claim_is_admitted_while_a_slot_is_free() {
        let one = Slots::default().admit(&claim("a", "n"), 0).unwrap();
        assert!(one.held_by("a", "n"));
        assert_eq!(one.available(), 0);
        assert_eq!(one.admit(&claim("b", "n"), 0), Err(Refusal::Full { max: 1 }));
    }

    #[test]
    fn admitting_twice_changes_nothing_even_after_a_halt() {
        let held = Slots::default().admit(&claim("a", "n"), 0).unwrap().halted(halt("x"));
        assert_eq!(held.admit(&claim("a", "n"), 0), Ok(held));
    }

    #[test]
    fn a_cloned_node_id_is_told_from_a_slot_taken_by_hand() {
        let held = Slots::default().admit(&claim("a", "n"), 0).unwrap();
        assert!(matches!(held.admit(&claim("a", "m"), 0), Err(Refusal::DuplicateNode { .. })));
        assert!(matches!(held.admit(&claim("a", ""), 0), Err(Refusal::AlreadyHeld { .. })));
        let by_hand = Slots::default().admit(&claim("a", ""), 0).unwrap();
        assert!(matches!(by_hand.admit(&claim("a", "n"), 0), Err(Refusal::AlreadyHeld { .. })));
    }

    #[test]
    fn a_halted_group_admits_nobody_until_it_is_resumed() {
        let halted = Slots::default().halted(halt("bad release")).halted(halt("later"));
        assert_eq!(halted.admit(&claim("a", "n"), 0), Err(Refusal::Halted(halt("bad release"))));
        assert!(halted.resumed().admit(&claim("a", "n"), 0).is_ok());
    }

    #[test]
    fn max_below_the_number_of_holders_keeps_them_and_admits_nobody() {
        let two = Slots::default().with_max(2).unwrap();
        let full = two.admit(&claim("a", "n"), 0).unwrap().admit(&claim("b", "n"), 0).unwrap();
        let lowered = full.with_max(1).unwrap();
        assert_eq!((lowered.holders.len(), lowered.available()), (2, 0));
        assert_eq!(lowered.without("a").available(), 0);
        assert_eq!(lowered.without("a").without("b").available(), 1);
        assert_eq!(full.with_max(0), Err(Refusal::BadMax));
    }

    #[test]
    fn an_overdue_holder_stops_counting_only_where_quarantine_allows_it() {
        let held = Slots::default().admit(&claim("a", "n"), 0).unwrap();
        let overdue = held.with_overdue("a", "n");
        assert_eq!(held.with_overdue("a", "other"), held);
        assert_eq!(overdue.admit(&claim("b", "n"), 0), Err(Refusal::Full { max: 1 }));
        assert_eq!(held.admit(&claim("b", "n"), 1), Err(Refusal::Full { max: 1 }));
        let both = overdue.admit(&claim("b", "n"), 1).unwrap();
        assert_eq!(
            both.with_overdue("b", "n").admit(&claim("c", "n"), 1),
            Err(Refusal::Full { max: 1 })
        );
    }

    #[test]
    fn a_halt_that_ends_by_itself_counts_as_long_as_the_store_says() {
        let expires = Some(Timestamp::UNIX_EPOCH);
        let timed = Slots::default().halted(Halt { expires, ..halt("x") });
        assert_eq!(timed.effective(true), timed);
        assert_eq!(timed.effective(false), Slots::default());
        let lasting = Slots::default().halted(halt("x"));
        assert_eq!(lasting.effective(false), lasting);
        assert_eq!(timed.halted(halt("bad release")).halt, Some(halt("bad release")));
        assert_eq!(timed.halted(Halt { expires, ..halt("later") }), timed);
    }

    #[test]
    fn the_stored_form_is_stable() {
        let held = Slots::default().admit(&claim("a", "n"), 0).unwrap();
        let json = serde_json::to_string(&held).unwrap();
        assert_eq!(
            json,
            r#"{"schema":1,"max":1,"holders":[{"node":"a","name":"host-a","nonce":"n","since":"1970-01-01T00:00:00Z","reason":"update","boot_id":"b"}]}"#
        );
        assert_eq!(serde_json::from_str::<Slots>(&json).unwrap(), held);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Admit(u8, bool),
        Without(u8),
        Max(u32),
        Halt,
        Resume,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => (0u8..5, any::<bool>()).prop_map(|(n, m)| Op::Admit(n, m)),
            3 => (0u8..5).prop_map(Op::Without),
            1 => (0u32..4).prop_map(Op::Max),
            1 => Just(Op::Halt),
            1 => Just(Op::Resume),
        ];
        prop::collection::vec(op, 0..60)
    }

    fn apply(slots: &Slots, op: &Op) -> Result<Slots, Refusal> {
        match op {
            Op::Admit(n, m) => slots.admit(&claim(&n.to_string(), if *m { "m" } else { "n" }), 0),
            Op::Without(n) => Ok(slots.without(&n.to_string())),
            Op::Max(max) => slots.with_max(*max),
            Op::Halt => Ok(slots.halted(halt("x"))),
            Op::Resume => Ok(slots.resumed()),
        }
    }

    proptest! {
        #[test]
        fn nobody_is_ever_admitted_beyond_max_or_into_a_halt(ops in ops()) {
            let mut slots = Slots::default();
            for op in ops {
                let Ok(next) = apply(&slots, &op) else { continue };
                if next.holders.len() > slots.holders.len() {
                    prop_assert!(next.holders.len() <= next.max as usize);
                    prop_assert!(slots.halt.is_none());
                }
                prop_assert!(next.max >= 1);
                prop_assert!(next.holders.windows(2).all(|w| w[0].node < w[1].node));
                slots = next;
            }
        }
    }
}
