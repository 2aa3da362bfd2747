//! What a waiter knows of its group, and what it does next. No I/O here.

use etcd_client::{
    GetOptions, GetResponse, KeyValue, ResponseHeader, SortOrder, SortTarget, TxnOp, TxnOpResponse,
    TxnResponse,
};

use super::keys::Keys;
use super::watch::Change;
use crate::adapters::slots::{StoreError, Token, parse_slots};
use crate::core::slots::{Holder, Refusal, Slots, SlotsView, Ticket};

/// The semaphore as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) slots: Slots,
    /// Revision of its last change; 0 when the key does not exist yet.
    pub(super) revision: i64,
}

/// A ticket as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ticket: Ticket,
    /// Revision that put it into the queue: the order.
    pub(super) create: i64,
    /// Revision of its last change.
    pub(super) changed: i64,
    pub(super) lease: i64,
}

/// One look at a group by one waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The store's revision when it was read. Changes taken over later leave it as it is: those of
    /// one revision may come one by one, each key's in order.
    pub(super) revision: i64,
    pub(super) seen: Seen,
    pub(super) settling: bool,
    /// Revision of our admission, if we hold a slot.
    pub(super) token: Token,
    /// Our ticket.
    pub(super) own: Option<Place>,
    /// The ticket just before ours.
    pub(super) ahead: Option<Ticket>,
}

/// What a waiter does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// We hold a slot.
    Held(Token),
    /// Another machine has our node id.
    Refused(Refusal),
    /// We have no ticket.
    Join,
    /// Our ticket hangs on a lease of an earlier run of ours.
    Adopt(Place),
    /// It is our turn, and this is the value with us in it.
    Try { create: i64, next: Box<Slots> },
    /// Wait until one of these keys changes.
    Wait(Vec<String>),
}

impl Look {
    /// What to read for a look. With the revision of our ticket the one before it can be found;
    /// without, the two youngest are read: ours, when it was just made, and the one before.
    pub(super) fn ops(keys: &Keys, node: &str, create: Option<i64>) -> Vec<TxnOp> {
        let youngest = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(2);
        let before = match create {
            Some(create) => youngest.with_max_create_revision(create - 1).with_limit(1),
            None => youngest,
        };
        vec![
            TxnOp::get(keys.slots(), None),
            TxnOp::get(keys.settle(), None),
            TxnOp::get(keys.holder(node), None),
            TxnOp::get(keys.ticket(node), None),
            TxnOp::get(keys.queue(), Some(before)),
        ]
    }

    /// The answer to [`Look::ops`].
    ///
    /// # Errors
    /// When the semaphore cannot be understood.
    pub(super) fn read(keys: &Keys, node: &str, answer: &TxnResponse) -> Result<Self, StoreError> {
        let answers = answer.op_responses();
        let reads: Vec<_> = answers.iter().filter_map(as_get).collect();
        let [slots, settle, holder, own, before] = reads.as_slice() else {
            return Err(StoreError::Unusable {
                what: format!("{}: incomplete answer", keys.slots()),
            });
        };
        let own_key = keys.ticket(node);
        Ok(Self {
            revision: answer.header().map_or(0, ResponseHeader::revision),
            seen: Seen::read(&keys.slots(), slots)?,
            settling: !settle.kvs().is_empty(),
            token: holder.kvs().first().map_or(0, KeyValue::mod_revision),
            own: own.kvs().first().map(|kv| place(keys, kv)),
            ahead: before
                .kvs()
                .iter()
                .find(|kv| kv.key() != own_key.as_bytes())
                .map(|kv| ticket(keys, kv)),
        })
    }

    /// What `claim`, whose ticket hangs on `lease`, does next.
    pub(super) fn step(&self, keys: &Keys, claim: &Holder, lease: Option<i64>) -> Step {
        let slots = &self.seen.slots;
        if slots.held_by(&claim.node, &claim.nonce) {
            return Step::Held(if self.token > 0 { self.token } else { self.seen.revision });
        }
        let admitted = slots.admit(claim);
        if let Err(refusal @ Refusal::DuplicateNode { .. }) = admitted {
            return Step::Refused(refusal);
        }
        let Some(own) = &self.own else { return Step::Join };
        if own.ticket.nonce != claim.nonce {
            return Step::Refused(Refusal::DuplicateNode {
                node: own.ticket.node.clone(),
                name: own.ticket.name.clone(),
            });
        }
        if Some(own.lease) != lease {
            return Step::Adopt(own.clone());
        }
        match (&self.ahead, admitted) {
            (Some(ahead), _) => Step::Wait(vec![keys.ticket(&ahead.node)]),
            (None, Ok(next)) if !self.settling => {
                Step::Try { create: own.create, next: Box::new(next) }
            }
            (None, _) => Step::Wait(vec![keys.slots(), keys.settle()]),
        }
    }

    /// This look with `changes` made, or `None` when they can only be understood by another look.
    ///
    /// # Errors
    /// When the semaphore cannot be understood.
    pub(super) fn after(
        mut self,
        keys: &Keys,
        claim: &Holder,
        changes: &[Change],
    ) -> Result<Option<Self>, StoreError> {
        for change in changes.iter().filter(|c| c.revision > self.revision) {
            if change.key == keys.slots() {
                self.seen = Seen::changed(change)?;
            } else if change.key == keys.settle() {
                self.settling = change.value.is_some();
            } else if change.value.is_none() {
                return Ok(None);
            }
        }
        let late_commit = self.seen.slots.held_by(&claim.node, &claim.nonce);
        Ok((!late_commit).then_some(self))
    }

    /// What a waiter can tell of its group: the queue is only the ticket before its own, if any, and
    /// its own, since whoever waits looks no further.
    pub(super) fn view(&self) -> SlotsView {
        let own = self.own.as_ref().map(|place| place.ticket.clone());
        SlotsView {
            slots: self.seen.slots.clone(),
            queue: self.ahead.clone().into_iter().chain(own).collect(),
            settling: self.settling,
        }
    }
}

impl Seen {
    pub(super) fn read(key: &str, answer: &GetResponse) -> Result<Self, StoreError> {
        match answer.kvs().first() {
            None => Ok(Self { slots: Slots::default(), revision: 0 }),
            Some(kv) => {
                Ok(Self { slots: parse_slots(kv.value(), key)?, revision: kv.mod_revision() })
            }
        }
    }

    fn changed(change: &Change) -> Result<Self, StoreError> {
        match &change.value {
            None => Ok(Self { slots: Slots::default(), revision: 0 }),
            Some(value) => {
                Ok(Self { slots: parse_slots(value, &change.key)?, revision: change.revision })
            }
        }
    }
}

/// The reads among a transaction's answers.
pub(super) fn as_get(answer: &TxnOpResponse) -> Option<&GetResponse> {
    match answer {
        TxnOpResponse::Get(get) => Some(get),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    }
}

/// A ticket as stored. One that cannot be read still holds its place: it stands under its key's name.
pub(super) fn ticket(keys: &Keys, kv: &KeyValue) -> Ticket {
    let key = String::from_utf8_lossy(kv.key());
    let node = key.strip_prefix(&keys.queue()).unwrap_or(&key).to_owned();
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

fn place(keys: &Keys, kv: &KeyValue) -> Place {
    Place {
        ticket: ticket(keys, kv),
        create: kv.create_revision(),
        changed: kv.mod_revision(),
        lease: kv.lease(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::slots::Halt;

    const LEASE: i64 = 7;

    fn keys() -> Keys {
        Keys::new("/p", "g")
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
        }
    }

    fn head(slots: Slots) -> Look {
        let own = Place { ticket: Ticket::of(&claim("me")), create: 5, changed: 5, lease: LEASE };
        Look {
            revision: 10,
            seen: Seen { slots, revision: 9 },
            settling: false,
            token: 0,
            own: Some(own),
            ahead: None,
        }
    }

    fn step(look: &Look) -> Step {
        look.step(&keys(), &claim("me"), Some(LEASE))
    }

    fn waits_for_slots() -> Step {
        Step::Wait(vec!["/p/groups/g/slots".into(), "/p/groups/g/settle".into()])
    }

    #[test]
    fn the_head_tries_only_when_a_slot_is_free_and_nothing_settles_or_is_halted() {
        let free = head(Slots::default());
        assert!(matches!(step(&free), Step::Try { create: 5, .. }));
        assert_eq!(step(&Look { settling: true, ..free.clone() }), waits_for_slots());
        let full = head(Slots::default().admit(&claim("other")).unwrap());
        assert_eq!(step(&full), waits_for_slots());
        let halt = Halt {
            reason: "x".into(),
            by: "y".into(),
            since: Timestamp::UNIX_EPOCH,
            release: None,
        };
        assert_eq!(step(&head(Slots::default().halted(halt))), waits_for_slots());
    }

    #[test]
    fn who_is_not_the_head_waits_for_the_ticket_before_and_for_nothing_else() {
        let second = Look { ahead: Some(Ticket::of(&claim("a"))), ..head(Slots::default()) };
        assert_eq!(step(&second), Step::Wait(vec!["/p/groups/g/queue/a".into()]));
    }

    #[test]
    fn a_slot_we_hold_ends_the_wait_whatever_else_is_true() {
        let held = head(Slots::default().admit(&claim("me")).unwrap());
        let look = Look { token: 8, own: None, settling: true, ..held.clone() };
        assert_eq!(step(&look), Step::Held(8));
        assert_eq!(step(&held), Step::Held(9), "without its key the token is the value's revision");
    }

    #[test]
    fn a_foreign_nonce_in_slot_or_queue_is_refused_but_an_admins_lock_is_waited_for() {
        let foreign = Holder { nonce: "other".into(), ..claim("me") };
        let held = head(Slots::default().admit(&foreign).unwrap());
        assert!(matches!(step(&held), Step::Refused(Refusal::DuplicateNode { .. })));
        let mut queued = head(Slots::default());
        queued.own.as_mut().unwrap().ticket.nonce = "other".into();
        assert!(matches!(step(&queued), Step::Refused(Refusal::DuplicateNode { .. })));
        let by_hand = Holder { nonce: String::new(), ..claim("me") };
        assert_eq!(step(&head(Slots::default().admit(&by_hand).unwrap())), waits_for_slots());
    }

    #[test]
    fn without_a_ticket_we_join_and_with_one_of_an_earlier_run_we_adopt_it() {
        assert_eq!(step(&Look { own: None, ..head(Slots::default()) }), Step::Join);
        let look = head(Slots::default());
        assert!(matches!(look.step(&keys(), &claim("me"), None), Step::Adopt(_)));
    }

    fn slots_change(slots: &Slots, revision: i64) -> Change {
        let value = Some(serde_json::to_vec(slots).unwrap());
        Change { key: keys().slots(), value, revision }
    }

    #[test]
    fn changes_of_the_semaphore_are_taken_over_unless_they_are_older_than_the_look() {
        let full = Slots::default().admit(&claim("other")).unwrap();
        let look = head(full.clone());
        let freed = slots_change(&Slots::default(), 11);
        let next = look.clone().after(&keys(), &claim("me"), &[freed]).unwrap().unwrap();
        assert_eq!(next.seen, Seen { slots: Slots::default(), revision: 11 });
        let stale = slots_change(&Slots::default(), 10);
        assert_eq!(look.clone().after(&keys(), &claim("me"), &[stale]).unwrap(), Some(look));
    }

    #[test]
    fn changes_of_one_revision_that_come_one_by_one_are_all_taken_over() {
        let full = Slots::default().admit(&claim("other")).unwrap();
        let settle = Change { key: keys().settle(), value: Some(vec![]), revision: 11 };
        let settling = head(full).after(&keys(), &claim("me"), &[settle]).unwrap().unwrap();
        let freed = slots_change(&Slots::default(), 11);
        let both = settling.after(&keys(), &claim("me"), &[freed]).unwrap().unwrap();
        assert_eq!((both.settling, both.seen.slots.available()), (true, 1));
    }

    #[test]
    fn a_commit_of_ours_that_comes_late_is_looked_at_again() {
        let ours = Slots::default().admit(&claim("me")).unwrap();
        let look = head(Slots::default());
        let after = look.after(&keys(), &claim("me"), &[slots_change(&ours, 12)]).unwrap();
        assert_eq!(after, None);
    }

    #[test]
    fn a_ticket_before_ours_that_is_renewed_is_no_news_and_one_that_goes_is() {
        let look = Look { ahead: Some(Ticket::of(&claim("a"))), ..head(Slots::default()) };
        let change = |value| Change { key: keys().ticket("a"), value, revision: 11 };
        let renewed = look.clone().after(&keys(), &claim("me"), &[change(Some(vec![]))]).unwrap();
        assert_eq!(renewed.unwrap().ahead, look.ahead);
        assert_eq!(look.after(&keys(), &claim("me"), &[change(None)]).unwrap(), None);
    }

    #[test]
    fn a_semaphore_that_cannot_be_read_is_an_error_that_names_its_key() {
        let change = Change { key: keys().slots(), value: Some(b"{}".to_vec()), revision: 11 };
        let error = head(Slots::default()).after(&keys(), &claim("me"), &[change]).unwrap_err();
        assert!(error.to_string().starts_with("/p/groups/g/slots: "), "{error}");
    }
}
