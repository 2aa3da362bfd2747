//! The lock's promises, checked on a trace, revision by revision.

use std::collections::{BTreeMap, BTreeSet};

use super::fleet::{Fleet, Group, Seat, Written};
use super::{Intent, Trace};

/// How much is known beside the trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Everybody wrote intents: nothing may happen that nobody intended.
    pub intents: bool,
    /// No waiter was silent for as long as its ticket lives: no ticket may be lost.
    pub calm: bool,
    /// So many overdue holders do not count.
    pub quarantine: u32,
}

/// An admission of a node that had queued for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The fencing token.
    pub revision: i64,
    pub node: String,
    pub groups: BTreeSet<String>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub revision: i64,
    pub what: String,
}

/// A sound trace.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// In order, so with growing tokens.
    pub admissions: Vec<Admission>,
    /// How things were in the end.
    pub fleet: Fleet,
    /// Tickets that went away with their lease, or that nobody said to take away.
    pub lost_tickets: usize,
}

/// Replays what happened under `prefix`.
///
/// # Errors
/// The first promise that was broken.
pub fn check(prefix: &str, trace: &Trace, rules: Rules) -> Result<Checked, Violation> {
    let mut replay = Replay { rules, ..Replay::default() };
    for (revision, changes) in trace {
        let before = replay.sound.fleet.clone();
        let fleet = &mut replay.sound.fleet;
        let done = fleet.apply(prefix, *revision, changes).and_then(|written| {
            let after = replay.sound.fleet.clone();
            replay.judge(&Turn { revision: *revision, before, after, written })
        });
        done.map_err(|what| Violation { revision: *revision, what })?;
    }
    Ok(replay.sound)
}

#[derive(Default)]
struct Replay {
    rules: Rules,
    sound: Checked,
    /// The standing admission of each node that is in: its revision.
    tokens: BTreeMap<String, i64>,
    /// Since when nodes have been leaving.
    leaving: BTreeMap<String, i64>,
}

/// One revision.
struct Turn {
    revision: i64,
    before: Fleet,
    after: Fleet,
    written: Written,
}

type Kept = Result<(), String>;

fn promise(kept: bool, broken: impl FnOnce() -> String) -> Kept {
    if kept { Ok(()) } else { Err(broken()) }
}

impl Turn {
    fn before(&self, group: &str) -> Group {
        self.before.groups.get(group).cloned().unwrap_or_default()
    }

    /// Whether some admin was about to do this.
    fn intended(&self, intent: &Intent) -> bool {
        self.before.intents.values().any(|i| i == intent)
    }

    fn unlocked(&self, group: &str, node: &str) -> bool {
        self.intended(&Intent::Unlock { group: group.to_owned(), node: node.to_owned() })
    }

    fn intent(&self, node: &str) -> &Intent {
        self.before.intents.get(node).unwrap_or(&Intent::Rest)
    }
}

impl Replay {
    fn judge(&mut self, turn: &Turn) -> Kept {
        let admitted = admissions(&turn.before, &turn.after, self.rules.quarantine)?;
        for (name, group) in &turn.after.groups {
            let before = turn.before(name);
            for holder in group.new_since(&before).filter(|holder| holder.by_hand()) {
                self.by_hand(turn, name, &holder.node)?;
            }
            whole(name, &before, group, turn)?;
            self.administered(name, &before, group, turn)?;
            self.gone(name, &before, group, turn)?;
        }
        for (node, groups) in admitted {
            self.admitted(turn, node, groups)?;
        }
        self.all_or_nothing(turn)?;
        self.tickets(turn)?;
        self.left(turn)?;
        self.declared(turn)
    }

    /// An admission that was queued for is one that was wanted.
    fn admitted(&mut self, turn: &Turn, node: String, groups: BTreeSet<String>) -> Kept {
        let may = [Intent::Acquire, Intent::Leave];
        promise(!self.rules.intents || may.contains(turn.intent(&node)), || {
            format!("{node} was admitted when it no longer wanted ({:?})", turn.intent(&node))
        })?;
        self.tokens.insert(node.clone(), turn.revision);
        self.sound.admissions.push(Admission { revision: turn.revision, node, groups });
        Ok(())
    }

    fn by_hand(&self, turn: &Turn, group: &str, node: &str) -> Kept {
        let meant = turn.intended(&Intent::Lock { group: group.to_owned(), node: node.to_owned() });
        promise(!self.rules.intents || meant, || format!("nobody locked for {node}"))
    }

    /// Who is no longer in gave it back, or an admin took it away.
    fn gone(&self, name: &str, before: &Group, after: &Group, turn: &Turn) -> Kept {
        if !self.rules.intents {
            return Ok(());
        }
        for holder in &before.slots.holders {
            let node = &holder.node;
            if after.slots.held_by(node, &holder.nonce) {
                continue;
            }
            let own = self.tokens.get(node).map(|token| Intent::Release(*token));
            let meant = own.is_some_and(|own| turn.intent(node) == &own)
                || turn.unlocked(name, node)
                // What is left after an unlock is given back before the node queues again.
                || (*turn.intent(node) == Intent::Acquire && self.in_part(&turn.before, node));
            promise(meant, || {
                format!("{node} lost its slot of {name} and nobody gave it back or took it away")
            })?;
        }
        Ok(())
    }

    /// `max` and the halt change only by an admin's hand.
    fn administered(&self, name: &str, before: &Group, after: &Group, turn: &Turn) -> Kept {
        if !self.rules.intents {
            return Ok(());
        }
        let (old, new) = (before.effective(), after.effective());
        let group = name.to_owned();
        let set = Intent::SetMax { group: group.clone(), max: new.max };
        promise(old.max == new.max || turn.intended(&set), || {
            format!("nobody set max of {name} to {}", new.max)
        })?;
        // A timed halt is over when its key goes.
        if before.slots == after.slots && before.halt_lasts && !after.halt_lasts {
            return Ok(());
        }
        let wanted =
            if new.halt.is_some() { Intent::Halt { group } } else { Intent::Resume { group } };
        promise(old.halt == new.halt || turn.intended(&wanted), || {
            format!("nobody meant the halt of {name} to become {:?}", new.halt)
        })
    }

    /// The groups of its standing admission in which a node still is.
    fn still_in(&self, fleet: &Fleet, node: &str) -> Option<(usize, usize)> {
        let token = self.tokens.get(node)?;
        let admission = self.sound.admissions.iter().rev().find(|a| a.revision == *token)?;
        let inside = |name: &&String| {
            let slots = fleet.groups.get(*name).map(|group| &group.slots);
            slots.and_then(|slots| slots.holder(node)).is_some_and(|h| !h.by_hand())
        };
        Some((admission.groups.iter().filter(inside).count(), admission.groups.len()))
    }

    fn in_part(&self, fleet: &Fleet, node: &str) -> bool {
        self.still_in(fleet, node).is_some_and(|(inside, of)| inside < of)
    }

    /// A node that gives back gives all back.
    fn all_or_nothing(&mut self, turn: &Turn) -> Kept {
        let mut gone = Vec::new();
        for node in self.tokens.keys() {
            let (inside, of) = self.still_in(&turn.after, node).unwrap_or_default();
            if inside == 0 {
                gone.push(node.clone());
            }
            let before = self.still_in(&turn.before, node).unwrap_or_default().0;
            let taken_away = turn.after.groups.keys().any(|group| turn.unlocked(group, node));
            promise(inside == 0 || inside >= before || taken_away || !self.rules.intents, || {
                format!("{node} gave back only some of its slots and has {inside} of {of}")
            })?;
        }
        for node in gone {
            self.tokens.remove(&node);
        }
        Ok(())
    }

    /// Tickets hang on a lease, and go only with their waiter.
    fn tickets(&mut self, turn: &Turn) -> Kept {
        for (name, group) in &turn.after.groups {
            let before = turn.before(name);
            for (node, seat) in &group.tickets {
                promise(seat.lease != 0, || format!("{node}'s ticket in {name} has no lease"))?;
            }
            for node in before.tickets.keys().filter(|n| !group.tickets.contains_key(*n)) {
                let admitted = group.slots.holder(node).is_some_and(|h| !h.by_hand());
                if admitted || *turn.intent(node) == Intent::Leave {
                    continue;
                }
                self.sound.lost_tickets += 1;
                promise(!self.rules.calm, || format!("{node} lost its ticket in {name}"))?;
            }
        }
        Ok(())
    }

    /// A node that has left has no ticket. One that was on its way may come later; it goes with its
    /// lease.
    fn left(&mut self, turn: &Turn) -> Kept {
        for (who, intent) in &turn.after.intents {
            if *intent == Intent::Leave {
                self.leaving.entry(who.clone()).or_insert(turn.revision);
            } else if let Some(since) = self.leaving.remove(who) {
                let mut tickets = turn.after.groups.values().filter_map(|g| g.tickets.get(who));
                promise(tickets.all(|seat| seat.create > since), || {
                    format!("{who} has left and its ticket is still there")
                })?;
            }
        }
        Ok(())
    }

    /// A node that says which token it has says the truth.
    fn declared(&self, turn: &Turn) -> Kept {
        for (who, intent) in &turn.after.intents {
            let Intent::Release(token) = intent else { continue };
            let known = self.sound.admissions.iter().rev().find(|a| a.node == *who);
            promise(known.is_some_and(|a| a.revision == *token), || {
                format!("{who} was told token {token} and was admitted by {known:?}")
            })?;
        }
        Ok(())
    }
}

/// What a change of the fleet must keep whenever somebody comes in, judged by the moment before and
/// after alone: on etcd's history and in the model. Answers with who was admitted from the queue, and
/// to which groups.
///
/// # Errors
/// The promise that is broken.
pub fn admissions(
    before: &Fleet,
    after: &Fleet,
    quarantine: u32,
) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let was = |name: &str| before.groups.get(name).cloned().unwrap_or_default();
    let mut admitted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, group) in &after.groups {
        let before = was(name);
        for holder in group.new_since(&before) {
            fits(name, &before, group, quarantine)?;
            if !holder.by_hand() {
                admitted.entry(holder.node.clone()).or_default().insert(name.clone());
            }
        }
    }
    for (node, groups) in &admitted {
        in_turn(before, after, node, groups)?;
    }
    Ok(admitted)
}

/// Nobody comes in beyond `max`, into a halt, or as a second installation of a node.
fn fits(name: &str, before: &Group, after: &Group, quarantine: u32) -> Kept {
    let (holders, max) = (&after.slots.holders, after.slots.max as usize);
    let overdue = holders.iter().filter(|h| h.overdue).count();
    let counted = holders.len() - overdue.min(quarantine as usize);
    promise(counted <= max, || format!("{counted} hold slots of {name}, max is {max}"))?;
    let nodes: BTreeSet<_> = holders.iter().map(|h| &h.node).collect();
    promise(nodes.len() == holders.len(), || format!("a node holds {name} twice"))?;
    let halted = before.effective().halt.is_some() || after.effective().halt.is_some();
    promise(!halted, || format!("somebody was admitted to {name}, which is halted"))
}

/// An admission that was queued for: all groups at once, at the head of each, when it may be.
fn in_turn(before: &Fleet, after: &Fleet, node: &str, groups: &BTreeSet<String>) -> Kept {
    let seat = |(name, group): (&String, &Group)| Some((name.clone(), *group.tickets.get(node)?));
    let seats: BTreeMap<String, Seat> = before.groups.iter().filter_map(seat).collect();
    let queued: BTreeSet<_> = seats.keys().cloned().collect();
    promise(queued == *groups, || {
        format!("{node} queued for {queued:?} and was admitted to {groups:?}")
    })?;
    let places: BTreeSet<_> = seats.values().map(|seat| seat.create).collect();
    promise(places.len() == 1, || format!("{node} has several places in line: {places:?}"))?;
    for name in groups {
        let (before, after) = (&before.groups[name], &after.groups[name]);
        let head = before.head();
        promise(head == Some(node), || {
            format!("{node} was admitted to {name} out of turn, before {head:?}")
        })?;
        promise(!before.settling, || format!("{node} was admitted while {name} settles"))?;
        promise(!after.tickets.contains_key(node), || {
            format!("{node} was admitted to {name} and its ticket is still there")
        })?;
    }
    Ok(())
}

/// The value and the keys beside it belong together.
fn whole(name: &str, before: &Group, after: &Group, turn: &Turn) -> Kept {
    let nodes: BTreeSet<_> = after.slots.holders.iter().map(|h| &h.node).collect();
    promise(after.holders.keys().eq(nodes.iter().copied()), || {
        format!("{nodes:?} hold {name}, with keys of {:?}", after.holders.keys())
    })?;
    for holder in &after.slots.holders {
        let key = &after.holders[&holder.node];
        promise(key.nonce == holder.nonce && key.lease == 0, || {
            format!("{}'s key in {name} is {key:?}", holder.node)
        })?;
        let new = !before.slots.held_by(&holder.node, &holder.nonce);
        promise(new || before.holders.get(&holder.node) == Some(key), || {
            format!("{}'s token in {name} changed while it holds", holder.node)
        })?;
    }
    promise(!turn.written.leased.contains(name), || format!("{name}'s slots hang on a lease"))?;
    let wrote = turn.written.slots.contains(name);
    promise(!wrote || before.slots != after.slots, || {
        format!("a write changed nothing in {name}")
    })?;
    promise(wrote == turn.written.history.contains(name), || {
        format!("{name}'s history does not tell of every change and of nothing else")
    })?;
    promise(turn.written.overwritten.is_empty(), || {
        format!("history was written over: {:?}", turn.written.overwritten)
    })?;
    if let Some(lease) = turn.written.settle.get(name) {
        promise(*lease != 0, || format!("{name} settles without a lease"))?;
        let freed = before.slots.holders.iter().any(|h| after.slots.holder(&h.node).is_none());
        promise(freed, || format!("{name} settles though nobody gave a slot back"))?;
    }
    Ok(())
}
