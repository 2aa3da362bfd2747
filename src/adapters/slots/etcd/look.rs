//! Reading a [`Look`] out of etcd, and keeping it true by what a watch brings. No I/O here.

use std::collections::BTreeMap;

use etcd_client::{GetResponse, KeyValue, ResponseHeader, TxnOp, TxnOpResponse, TxnResponse};

use super::keys::{self, Keys};
use super::line::Line;
use super::watch::Change;
use crate::adapters::slots::{StoreError, parse_slots};
use crate::core::slots::{Holder, Slots, Ticket};
use crate::core::turn::{GroupLook, Look, Place};

/// A look at some groups of a node: what to read for it, and how to understand the answer.
pub(super) struct Reading<'a> {
    keys: &'a Keys,
    node: &'a str,
    groups: Vec<(&'a str, Line)>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        keys: &'a Keys,
        node: &'a str,
        groups: impl Iterator<Item = (&'a str, Line)>,
    ) -> Self {
        Self { keys, node, groups: groups.collect() }
    }

    /// What to read.
    pub(super) fn ops(&self) -> Vec<TxnOp> {
        let of_group = |(group, line): &(&str, Line)| {
            let one_each = self.each(group).map(|key| TxnOp::get(key, None));
            one_each.into_iter().chain(line.reads(self.keys, group)).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of_group).collect()
    }

    fn each(&self, group: &str) -> [String; 5] {
        let Self { keys, node, .. } = self;
        [
            keys.slots(group),
            keys.settle(group),
            keys.halt(group),
            keys.holder(group, node),
            keys.ticket(group, node),
        ]
    }

    /// The answer to [`Self::ops`], which stand last in the transaction. `None` when it takes a
    /// search of the queue to tell who is before us.
    ///
    /// # Errors
    /// When a semaphore cannot be understood.
    pub(super) fn understand(&self, answer: &TxnResponse) -> Result<Option<Look>, StoreError> {
        let answers = answer.op_responses();
        let mut reads: Vec<_> = answers.iter().filter_map(as_get).collect();
        let mut groups = BTreeMap::new();
        for (group, line) in &self.groups {
            let wanted = self.each(group).len() + line.reads(self.keys, group).len();
            if reads.len() < wanted {
                return Err(incomplete(&self.keys.slots(group)));
            }
            let rest = reads.split_off(wanted);
            let Some(look) = self.of_group(group, line, &reads)? else { return Ok(None) };
            groups.insert((*group).to_owned(), look);
            reads = rest;
        }
        Ok(Some(Look { revision: answer.header().map_or(0, ResponseHeader::revision), groups }))
    }

    fn of_group(
        &self,
        group: &str,
        line: &Line,
        reads: &[&GetResponse],
    ) -> Result<Option<GroupLook>, StoreError> {
        let [slots, settle, halt, holder, own, queue @ ..] = reads else {
            return Err(incomplete(&self.keys.slots(group)));
        };
        let own_key = self.keys.ticket(group, self.node);
        let (slots, revision) = semaphore(&self.keys.slots(group), slots)?;
        let Ok(ahead) = line.ahead(self.keys, group, &own_key, queue) else { return Ok(None) };
        Ok(Some(GroupLook {
            slots,
            revision,
            settling: !settle.kvs().is_empty(),
            halt_lasts: !halt.kvs().is_empty(),
            token: holder.kvs().first().map_or(0, KeyValue::mod_revision),
            own: own.kvs().first().map(|kv| place(self.keys, group, kv)),
            ahead,
        }))
    }
}

/// A look with `changes` made, or `None` when they can only be understood by another look.
///
/// # Errors
/// When a semaphore cannot be understood.
pub(super) fn after(
    mut look: Look,
    keys: &Keys,
    claim: &Holder,
    changes: &[Change],
) -> Result<Option<Look>, StoreError> {
    for change in changes.iter().filter(|c| c.revision > look.revision) {
        let group = keys.group_of(&change.key).unwrap_or_default().to_owned();
        let Some(known) = look.groups.get_mut(&group) else { return Ok(None) };
        if change.key == keys.slots(&group) {
            (known.slots, known.revision) = changed(change)?;
        } else if change.key == keys.settle(&group) {
            known.settling = change.value.is_some();
        } else if change.key == keys.halt(&group) {
            known.halt_lasts = change.value.is_some();
        } else if change.value.is_none()
            && known
                .ahead
                .as_ref()
                .is_some_and(|ahead| change.key == keys.ticket(&group, &ahead.ticket.node))
        {
            return Ok(None);
        }
    }
    let late_commit = look.groups.values().any(|g| g.slots.held_by(&claim.node, &claim.nonce));
    Ok((!late_commit).then_some(look))
}

/// A semaphore as read, with the revision of its last change (0 when the key does not exist yet).
pub(super) fn semaphore(key: &str, answer: &GetResponse) -> Result<(Slots, i64), StoreError> {
    match answer.kvs().first() {
        None => Ok((Slots::default(), 0)),
        Some(kv) => Ok((parse_slots(kv.value(), key)?, kv.mod_revision())),
    }
}

fn changed(change: &Change) -> Result<(Slots, i64), StoreError> {
    match &change.value {
        None => Ok((Slots::default(), 0)),
        Some(value) => Ok((parse_slots(value, &change.key)?, change.revision)),
    }
}

pub(super) fn incomplete(place: &str) -> StoreError {
    StoreError::Unusable { what: format!("{place}: incomplete answer") }
}

/// The reads among a transaction's answers.
pub(super) fn as_get(answer: &TxnOpResponse) -> Option<&GetResponse> {
    match answer {
        TxnOpResponse::Get(get) => Some(get),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    }
}

/// A ticket as stored. One that cannot be read still holds its place: it stands under its key's name.
pub(super) fn ticket(keys: &Keys, group: &str, kv: &KeyValue) -> Ticket {
    let key = String::from_utf8_lossy(kv.key());
    let node = keys::node_of(key.strip_prefix(&keys.queue(group)).unwrap_or(&key));
    let mut ticket = serde_json::from_slice(kv.value()).unwrap_or_else(|_| Ticket {
        node: node.clone(),
        name: node.clone(),
        nonce: String::new(),
        reason: "(a ticket in a form not known here)".to_owned(),
        release: None,
    });
    ticket.node = node;
    ticket
}

/// A ticket with its place in the queue.
pub(super) fn place(keys: &Keys, group: &str, kv: &KeyValue) -> Place {
    Place {
        ticket: ticket(keys, group, kv),
        create: kv.create_revision(),
        changed: kv.mod_revision(),
        lease: kv.lease(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn keys() -> Keys {
        Keys::new("/p")
    }

    fn claim(node: &str) -> Holder {
        Holder {
            node: node.into(),
            name: format!("host-{node}"),
            nonce: format!("nonce-{node}"),
            since: Timestamp::UNIX_EPOCH,
            reason: "update".into(),
            release: None,
            boot_id: "b".into(),
            expected_secs: 0,
            overdue: false,
        }
    }

    fn full() -> Slots {
        Slots::default().admit(&claim("other"), 0).unwrap()
    }

    fn look(slots: Slots) -> Look {
        let group = GroupLook { slots, revision: 9, ..GroupLook::default() };
        Look { revision: 10, groups: [("g".to_owned(), group)].into() }
    }

    fn changes(look: Look, changes: &[Change]) -> Option<GroupLook> {
        let after = after(look, &keys(), &claim("me"), changes).unwrap();
        after.map(|mut look| look.groups.remove("g").unwrap())
    }

    fn slots_change(slots: &Slots, revision: i64) -> Change {
        let value = Some(serde_json::to_vec(slots).unwrap());
        Change { key: keys().slots("g"), value, revision }
    }

    #[test]
    fn changes_of_the_semaphore_are_taken_over_unless_they_are_older_than_the_look() {
        let freed = changes(look(full()), &[slots_change(&Slots::default(), 11)]).unwrap();
        assert_eq!((freed.slots, freed.revision), (Slots::default(), 11));
        let stale = changes(look(full()), &[slots_change(&Slots::default(), 10)]).unwrap();
        assert_eq!((stale.slots, stale.revision), (full(), 9));
    }

    #[test]
    fn changes_of_one_revision_that_come_one_by_one_are_all_taken_over() {
        let settle = Change { key: keys().settle("g"), value: Some(vec![]), revision: 11 };
        let settling = after(look(full()), &keys(), &claim("me"), &[settle]).unwrap().unwrap();
        let both = changes(settling, &[slots_change(&Slots::default(), 11)]).unwrap();
        assert_eq!((both.settling, both.slots.available()), (true, 1));
    }

    #[test]
    fn the_end_of_a_halts_time_is_taken_over() {
        let mut halted = look(full());
        halted.groups.get_mut("g").unwrap().halt_lasts = true;
        let over = Change { key: keys().halt("g"), value: None, revision: 11 };
        assert!(!changes(halted, &[over]).unwrap().halt_lasts);
    }

    #[test]
    fn a_commit_of_ours_that_comes_late_is_looked_at_again() {
        let ours = Slots::default().admit(&claim("me"), 0).unwrap();
        assert_eq!(changes(look(Slots::default()), &[slots_change(&ours, 12)]), None);
    }

    #[test]
    fn a_ticket_before_ours_that_is_renewed_is_no_news_and_one_that_goes_is() {
        let change = |node, value| Change { key: keys().ticket("g", node), value, revision: 11 };
        let second = || {
            let mut look = look(full());
            let ticket = Ticket::of(&claim("a"));
            let ahead = Place { ticket, create: 5, changed: 5, lease: 7 };
            look.groups.get_mut("g").unwrap().ahead = Some(ahead);
            look
        };
        assert!(changes(second(), &[change("a", Some(vec![]))]).is_some());
        assert_eq!(changes(second(), &[change("a", None)]), None);
        assert!(changes(second(), &[change("b", None)]).is_some(), "watched once, long gone");
    }

    #[test]
    fn a_semaphore_that_cannot_be_read_is_an_error_that_names_its_key() {
        let change = Change { key: keys().slots("g"), value: Some(b"{}".to_vec()), revision: 11 };
        let error = after(look(full()), &keys(), &claim("me"), &[change]).unwrap_err();
        assert!(error.to_string().starts_with("/p/groups/g/slots: "), "{error}");
    }
}
