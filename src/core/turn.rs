//! Whose turn is it? What one waiter knows of its groups, and what it does next.
//!
//! A node may be in several groups. Its tickets are put in one transaction, so they share one create
//! revision, and it is admitted to all of its groups in one transaction or to none. Order is by create
//! revision, so the oldest waiter of all is the head of every queue it stands in: somebody can always
//! go on, and nothing is ever held in part.

use std::collections::BTreeMap;

use super::slots::{Holder, Refusal, Slots, SlotsView, Ticket, Views};

/// A ticket as read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The ticket.
    pub ticket: Ticket,
    /// Revision that put it into the queue: the order.
    pub create: i64,
    /// Revision of its last change.
    pub changed: i64,
    /// The lease it hangs on; 0 for none.
    pub lease: i64,
}

/// One group as read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GroupLook {
    /// The semaphore.
    pub slots: Slots,
    /// Revision of its last change; 0 when it has never been written.
    pub revision: i64,
    /// The group settles after an unlock.
    pub settling: bool,
    /// The time of a halt that ends by itself is not over yet, as far as has been heard: the
    /// admission is guarded by the halt's own key as well.
    pub halt_lasts: bool,
    /// Revision of our admission; 0 when there is none.
    pub token: i64,
    /// Our ticket.
    pub own: Option<Place>,
    /// The ticket just before ours.
    pub ahead: Option<Place>,
}

/// One look at every group of a waiter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Look {
    /// The store's revision when it was read. Changes taken over later leave it as it is: those of
    /// one revision may come one by one, each key's in order.
    pub revision: i64,
    /// By group.
    pub groups: BTreeMap<String, GroupLook>,
}

/// Something whose change may let a waiter go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Awaited {
    /// The semaphore of a group.
    Slots(String),
    /// The settle time of a group.
    Settle(String),
    /// The time of a halt of a group.
    Halt(String),
    /// The ticket of a node in a group.
    Ticket(String, String),
}

/// What a waiter does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// We hold a slot of every group, since this revision.
    Held(i64),
    /// Another machine has our node id.
    Refused(Refusal),
    /// We hold slots of some groups only (an admin took one away, or the groups changed): give them
    /// back before waiting, since who holds while it waits can block others for ever.
    GiveBack,
    /// Our tickets are not of one transaction: take them out and queue anew.
    Requeue,
    /// We have no ticket.
    Join,
    /// Our tickets hang on a lease of an earlier run of ours.
    Adopt,
    /// It is our turn in every group, and these are the values with us in them.
    Try(BTreeMap<String, Slots>),
    /// Wait until one of these changes.
    Wait(Vec<Awaited>),
}

/// Who waits, and by which rules.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// The claim.
    pub claim: &'a Holder,
    /// The lease our tickets should hang on, if there is one yet.
    pub lease: Option<i64>,
    /// See [`Slots::admit`].
    pub quarantine: u32,
}

impl GroupLook {
    /// The semaphore as it counts now.
    #[must_use]
    pub fn effective(&self) -> Slots {
        self.slots.effective(self.halt_lasts)
    }
}

impl Look {
    /// What this waiter does next.
    #[must_use]
    pub fn step(&self, waiting: Waiting<'_>) -> Step {
        let claim = waiting.claim;
        let looks = || self.groups.values();
        let held = looks().filter(|g| g.slots.held_by(&claim.node, &claim.nonce)).count();
        if held == self.groups.len() {
            let since = |g: &GroupLook| if g.token > 0 { g.token } else { g.revision };
            return Step::Held(looks().map(since).max().unwrap_or_default());
        }
        if let Some(refusal) = looks().find_map(|group| group.duplicate(claim)) {
            return Step::Refused(refusal);
        }
        if held > 0 {
            return Step::GiveBack;
        }
        let own: Vec<&Place> = looks().filter_map(|group| group.own.as_ref()).collect();
        let Some(first) = own.first() else { return Step::Join };
        if own.len() < self.groups.len() || own.iter().any(|place| place.create != first.create) {
            return Step::Requeue;
        }
        if own.iter().any(|place| Some(place.lease) != waiting.lease) {
            return Step::Adopt;
        }
        self.turn(waiting)
    }

    /// With tickets in every queue: try, or wait for whoever is before us.
    fn turn(&self, waiting: Waiting<'_>) -> Step {
        let before_us = |(name, group): (&String, &GroupLook)| {
            Some(Awaited::Ticket(name.clone(), group.ahead.as_ref()?.ticket.node.clone()))
        };
        let ahead: Vec<Awaited> = self.groups.iter().filter_map(before_us).collect();
        if !ahead.is_empty() {
            return Step::Wait(ahead);
        }
        let mut next = BTreeMap::new();
        let mut blocked = Vec::new();
        for (name, group) in &self.groups {
            match group.effective().admit(waiting.claim, waiting.quarantine) {
                Ok(slots) if !group.settling => {
                    next.insert(name.clone(), slots);
                }
                Ok(_) | Err(_) => {
                    blocked.extend([Awaited::Slots(name.clone()), Awaited::Settle(name.clone())]);
                    // One that begins later is written into the semaphore, too.
                    blocked.extend(group.halt_lasts.then(|| Awaited::Halt(name.clone())));
                }
            }
        }
        if blocked.is_empty() { Step::Try(next) } else { Step::Wait(blocked) }
    }

    /// What a waiter can tell of its groups: a queue is only the ticket before its own, if any, and
    /// its own, since whoever waits looks no further.
    #[must_use]
    pub fn views(&self) -> Views {
        let view = |group: &GroupLook| {
            let places = group.ahead.iter().chain(&group.own);
            SlotsView {
                slots: group.effective(),
                queue: places.map(|place| place.ticket.clone()).collect(),
                settling: group.settling,
            }
        };
        self.groups.iter().map(|(name, group)| (name.clone(), view(group))).collect()
    }
}

impl GroupLook {
    /// Another machine holds a slot, or waits for one, under our node id.
    fn duplicate(&self, claim: &Holder) -> Option<Refusal> {
        if let Err(refusal @ Refusal::DuplicateNode { .. }) = self.slots.admit(claim, 0) {
            return Some(refusal);
        }
        let foreign = |place: &&Place| place.ticket.nonce != claim.nonce;
        self.own.as_ref().filter(foreign).map(|place| Refusal::DuplicateNode {
            node: place.ticket.node.clone(),
            name: place.ticket.name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::slots::Halt;

    const LEASE: i64 = 7;

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

    fn place(create: i64) -> Place {
        place_of("me", create)
    }

    fn place_of(node: &str, create: i64) -> Place {
        Place { ticket: Ticket::of(&claim(node)), create, changed: create, lease: LEASE }
    }

    fn head(slots: Slots) -> GroupLook {
        GroupLook { slots, revision: 9, own: Some(place(5)), ..GroupLook::default() }
    }

    fn with<const N: usize>(groups: [(&str, GroupLook); N]) -> Look {
        let groups = groups.into_iter().map(|(name, group)| (name.to_owned(), group));
        Look { revision: 10, groups: groups.collect() }
    }

    fn step<const N: usize>(groups: [(&str, GroupLook); N]) -> Step {
        let me = claim("me");
        with(groups).step(Waiting { claim: &me, lease: Some(LEASE), quarantine: 0 })
    }

    fn full() -> Slots {
        Slots::default().admit(&claim("other"), 0).unwrap()
    }

    fn waits_for(group: &str) -> Step {
        Step::Wait(vec![Awaited::Slots(group.into()), Awaited::Settle(group.into())])
    }

    fn halt(expires: Option<Timestamp>) -> Halt {
        let (reason, by) = ("x".into(), "y".into());
        Halt { reason, by, since: Timestamp::UNIX_EPOCH, release: None, expires }
    }

    #[test]
    fn the_head_tries_only_when_a_slot_is_free_and_nothing_settles_or_is_halted() {
        let free = head(Slots::default());
        assert!(matches!(step([("g", free.clone())]), Step::Try(_)));
        assert_eq!(step([("g", GroupLook { settling: true, ..free })]), waits_for("g"));
        assert_eq!(step([("g", head(full()))]), waits_for("g"));
        assert_eq!(step([("g", head(Slots::default().halted(halt(None))))]), waits_for("g"));
    }

    #[test]
    fn a_halt_whose_time_is_over_is_gone_from_the_value_that_admits() {
        let timed = head(Slots::default().halted(halt(Some(Timestamp::UNIX_EPOCH))));
        let lasting = GroupLook { halt_lasts: true, ..timed.clone() };
        let Step::Wait(on) = step([("g", lasting)]) else { panic!("does not wait") };
        assert!(on.contains(&Awaited::Halt("g".into())), "its end changes no semaphore");
        let Step::Try(next) = step([("g", timed)]) else { panic!("does not try") };
        assert_eq!(next["g"].halt, None);
    }

    #[test]
    fn who_is_not_the_head_everywhere_waits_for_the_tickets_before_and_for_nothing_else() {
        let second = GroupLook { ahead: Some(place_of("a", 4)), ..head(full()) };
        let waits = Step::Wait(vec![Awaited::Ticket("g".into(), "a".into())]);
        assert_eq!(step([("g", second.clone())]), waits);
        assert_eq!(step([("f", head(full())), ("g", second)]), waits);
    }

    #[test]
    fn a_slot_of_every_group_is_taken_at_once_or_none() {
        let free = || head(Slots::default());
        let Step::Try(next) = step([("f", free()), ("g", free())]) else { panic!("does not try") };
        assert!(next.values().all(|slots| slots.held_by("me", "nonce-me")) && next.len() == 2);
        assert_eq!(step([("f", free()), ("g", head(full()))]), waits_for("g"));
    }

    #[test]
    fn slots_of_every_group_end_the_wait_whatever_else_is_true() {
        let held = head(Slots::default().admit(&claim("me"), 0).unwrap());
        let gone = GroupLook { token: 8, own: None, settling: true, ..held.clone() };
        assert_eq!(step([("g", gone)]), Step::Held(8));
        assert_eq!(step([("g", held)]), Step::Held(9), "without its key: the value's revision");
    }

    #[test]
    fn slots_of_some_groups_only_are_given_back_first() {
        let held = head(Slots::default().admit(&claim("me"), 0).unwrap());
        assert_eq!(step([("f", held), ("g", head(Slots::default()))]), Step::GiveBack);
    }

    #[test]
    fn a_foreign_nonce_in_slot_or_queue_is_refused_but_an_admins_lock_is_waited_for() {
        let foreign = Holder { nonce: "other".into(), ..claim("me") };
        let held = head(Slots::default().admit(&foreign, 0).unwrap());
        let refused = |step| matches!(step, Step::Refused(Refusal::DuplicateNode { .. }));
        assert!(refused(step([("f", head(Slots::default())), ("g", held)])));
        let mut queued = head(Slots::default());
        queued.own.as_mut().unwrap().ticket.nonce = "other".into();
        assert!(refused(step([("g", queued)])));
        let by_hand = Holder { nonce: String::new(), ..claim("me") };
        let locked = head(Slots::default().admit(&by_hand, 0).unwrap());
        assert_eq!(step([("g", locked)]), waits_for("g"));
    }

    #[test]
    fn tickets_are_made_together_kept_together_and_adopted_together() {
        let without = || GroupLook { own: None, ..head(Slots::default()) };
        assert_eq!(step([("f", without()), ("g", without())]), Step::Join);
        assert_eq!(step([("f", without()), ("g", head(Slots::default()))]), Step::Requeue);
        let younger = GroupLook { own: Some(place(6)), ..head(Slots::default()) };
        assert_eq!(step([("f", head(Slots::default())), ("g", younger)]), Step::Requeue);
        let me = claim("me");
        let new_run = Waiting { claim: &me, lease: None, quarantine: 0 };
        assert_eq!(with([("g", head(Slots::default()))]).step(new_run), Step::Adopt);
    }

    #[test]
    fn quarantine_lets_the_head_pass_an_overdue_holder() {
        let overdue = head(full().with_overdue("other", "nonce-other"));
        assert_eq!(step([("g", overdue.clone())]), waits_for("g"));
        let me = claim("me");
        let may = Waiting { claim: &me, lease: Some(LEASE), quarantine: 1 };
        assert!(matches!(with([("g", overdue)]).step(may), Step::Try(_)));
    }
}
