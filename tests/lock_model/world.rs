//! The store and the processes that want its slots. Each waiter decides with the real
//! `core::turn::Look::step`; what it then sends is what `adapters/slots/etcd/wait.rs` sends.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::core::slots::Holder;
use lockkeeper::core::turn::{Awaited, GroupLook, Look, Step, Waiting};

use crate::real;
use crate::store::{Cast, Group, Landed, Mutant, Proc, Seen, Store, Write};
use crate::trace;

/// Where a process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// It does not want a slot yet.
    Out,
    /// It is about to look.
    Fresh,
    /// It has looked, and is about to do what follows.
    Looked(Vec<Group>),
    /// It waits until something of what it looked at is another.
    Waits(Vec<Group>, Vec<Awaited>),
    /// It was told that it holds a slot of every group.
    Holds,
    /// It takes its tickets back, as after an acquire that was given up.
    Leaving,
    /// It left, or gave its slots back.
    Done,
    /// Another installation uses its node id.
    Refused,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    pub at: At,
    pub lease: Option<u8>,
    /// A join of unknown outcome may still arrive.
    in_doubt: bool,
    /// An admin took a slot away from it.
    robbed: bool,
    /// It has sent a release, and may not have heard of its end.
    released: bool,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub store: Store,
    pub procs: Vec<Waiter>,
    /// Transactions whose callers gave up, and which may still arrive.
    pub flying: Vec<Write>,
    /// Mishaps that may still happen.
    pub mishaps: u8,
}

/// What becomes of a transaction and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It is decided, but the answer is lost.
    Lost,
    /// It arrives later, or never.
    Late,
}

/// What a watch tells of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Slots,
    Settle,
    Halt,
}

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start(Proc),
    Look(Proc),
    /// Its watch tells of one change that it waits for.
    Hears(Proc, Heard, usize),
    Act(Proc, Fate),
    Arrives(usize),
    /// It dies, and comes back: to acquire, or to leave.
    Dies(Proc, bool),
    LeaseEnds(u8),
    Settled(usize),
    Halts(usize),
    /// For a time.
    HaltsFor(usize),
    /// The time is over.
    HaltEnds(usize),
    Resumes(usize),
    Unlocks(Proc, usize),
    RaisesMax(usize),
}

impl World {
    pub fn new(cast: &Cast, groups: usize, mishaps: u8) -> Self {
        let out =
            Waiter { at: At::Out, lease: None, in_doubt: false, robbed: false, released: false };
        let procs = vec![out; cast.procs.len()];
        Self { store: Store::new(groups), procs, flying: Vec::new(), mishaps }
    }

    /// What can happen. Mishaps come last, so that the first action is the fair course of things.
    pub fn actions(&self, cast: &Cast) -> Vec<Action> {
        let mut fair: Vec<Action> = (0..self.flying.len()).map(Action::Arrives).collect();
        let mut bad = Vec::new();
        for (index, waiter) in self.procs.iter().enumerate() {
            let proc = Proc::try_from(index).unwrap();
            match &waiter.at {
                At::Out => fair.push(Action::Start(proc)),
                At::Fresh => fair.push(Action::Look(proc)),
                At::Waits(seen, on) if self.gone(cast, proc, seen, on) => {
                    fair.push(Action::Look(proc));
                }
                At::Waits(seen, on) => {
                    let news = self.news(cast, proc, seen, on);
                    if cast.hears_by_half {
                        fair.extend(news.map(|(what, g)| Action::Hears(proc, what, g)));
                    } else {
                        fair.extend(news.take(1).map(|_| Action::Look(proc)));
                    }
                }
                At::Looked(_) | At::Holds | At::Leaving => {
                    fair.push(Action::Act(proc, Fate::Answered));
                    bad.extend([Fate::Lost, Fate::Late].map(|fate| Action::Act(proc, fate)));
                }
                At::Done | At::Refused => {}
            }
            match &waiter.at {
                At::Fresh | At::Looked(_) | At::Waits(..) => {
                    bad.extend([true, false].map(|acquires| Action::Dies(proc, acquires)));
                }
                // The phase is durable: who dies here comes back to where it was.
                At::Holds | At::Leaving | At::Out | At::Done | At::Refused => {}
            }
            for g in cast.groups(proc).iter().filter(|g| self.holds(**g, proc)) {
                bad.push(Action::Unlocks(proc, *g));
            }
        }
        let owned: BTreeSet<u8> = self.procs.iter().filter_map(|w| w.lease).collect();
        for lease in &self.store.leases {
            let action = Action::LeaseEnds(*lease);
            if owned.contains(lease) { bad.push(action) } else { fair.push(action) }
        }
        for (g, group) in self.store.groups.iter().enumerate() {
            if group.settling {
                fair.push(Action::Settled(g));
            }
            if group.halt_lasts {
                fair.push(Action::HaltEnds(g));
            } else if group.halted {
                fair.push(Action::Resumes(g));
            } else {
                bad.extend([Action::Halts(g), Action::HaltsFor(g)]);
            }
            if group.max == 1 {
                bad.push(Action::RaisesMax(g));
            }
        }
        if self.mishaps > 0 {
            fair.extend(bad);
        }
        fair
    }

    /// Whether anything is left to happen by itself.
    pub fn fair(&self, cast: &Cast) -> Option<Action> {
        Self { mishaps: 0, ..self.clone() }.actions(cast).first().copied()
    }

    /// Everybody has had it, or has left.
    pub fn at_rest(&self) -> bool {
        self.procs.iter().all(|w| matches!(w.at, At::Done | At::Refused))
    }

    fn holds(&self, group: usize, proc: Proc) -> bool {
        self.store.groups[group].holders.contains(&proc)
    }

    /// Is a ticket that `proc` waits for gone, or gone and another in its place? Then it looks again.
    fn gone(&self, cast: &Cast, proc: Proc, seen: &[Group], on: &[Awaited]) -> bool {
        on.iter().any(|awaited| {
            let Awaited::Ticket(name, node) = awaited else { return false };
            let g = index(name);
            let of = |group: &Group| {
                let mut tickets = group.tickets.iter();
                tickets.find(|t| cast.node(t.proc).to_string() == *node).map(|t| t.create)
            };
            of(&self.store.groups[g]) != of(&seen[cast.place(proc, g)])
        })
    }

    /// The changes of what `proc` waits for that its watch has not told of yet; of each key in order,
    /// but one key may be heard of before another.
    fn news<'a>(
        &'a self,
        cast: &'a Cast,
        proc: Proc,
        seen: &'a [Group],
        on: &'a [Awaited],
    ) -> impl Iterator<Item = (Heard, usize)> + 'a {
        on.iter().filter_map(move |awaited| {
            let (what, name) = match awaited {
                Awaited::Slots(name) => (Heard::Slots, name),
                Awaited::Settle(name) => (Heard::Settle, name),
                Awaited::Halt(name) => (Heard::Halt, name),
                Awaited::Ticket(..) => return None,
            };
            let g = index(name);
            let (is, was) = (&self.store.groups[g], &seen[cast.place(proc, g)]);
            let new = match what {
                Heard::Slots => is.revision != was.revision,
                Heard::Settle => is.settling != was.settling,
                Heard::Halt => is.halt_lasts != was.halt_lasts,
            };
            new.then_some((what, g))
        })
    }

    fn hears(&mut self, cast: &Cast, p: Proc, what: Heard, g: usize) {
        let At::Waits(seen, _) = &self.procs[usize::from(p)].at else { return };
        let mut seen = seen.clone();
        let (is, known) = (&self.store.groups[g], &mut seen[cast.place(p, g)]);
        match what {
            Heard::Slots => {
                known.holders.clone_from(&is.holders);
                (known.max, known.revision) = (is.max, is.revision);
                (known.halted, known.timed) = (is.halted, is.timed);
            }
            Heard::Settle => known.settling = is.settling,
            Heard::Halt => known.halt_lasts = is.halt_lasts,
        }
        // A commit of its own that comes late is looked at again.
        let own = known.holders.contains(&p);
        self.at(p, if own { At::Fresh } else { At::Looked(seen) });
    }

    /// Takes one step; says which promise it breaks, if it breaks one.
    pub fn take(&mut self, cast: &Cast, action: Action) -> Result<(), String> {
        if self.is_mishap(action) {
            self.mishaps -= 1;
        }
        match action {
            Action::Start(p) => self.at(p, At::Fresh),
            Action::Look(p) => {
                let groups = cast.groups(p).iter();
                let seen = groups.map(|g| self.store.groups[*g].clone()).collect();
                self.at(p, At::Looked(seen));
            }
            Action::Hears(p, what, g) => self.hears(cast, p, what, g),
            Action::Act(p, fate) => self.act(cast, p, fate)?,
            Action::Arrives(index) => {
                let write = self.flying.remove(index);
                self.land(cast, &write)?;
            }
            Action::Dies(p, acquires) => {
                self.at(p, At::Leaving);
                if acquires {
                    self.at(p, At::Fresh);
                }
            }
            Action::LeaseEnds(lease) => {
                self.store.end(lease);
                for waiter in self.procs.iter_mut().filter(|w| w.lease == Some(lease)) {
                    waiter.lease = None;
                    if matches!(waiter.at, At::Waits(..)) {
                        waiter.at = At::Fresh;
                    }
                }
            }
            Action::Settled(g) => {
                self.store.groups[g].settling = false;
            }
            Action::HaltEnds(g) => self.store.groups[g].halt_lasts = false,
            Action::Halts(g) | Action::HaltsFor(g) | Action::Resumes(g) | Action::RaisesMax(g) => {
                self.store.revision += 1;
                let group = &mut self.store.groups[g];
                group.revision = self.store.revision;
                let timed = matches!(action, Action::HaltsFor(_));
                match action {
                    Action::RaisesMax(_) => group.max = 2,
                    Action::Resumes(_) => (group.halted, group.timed) = (false, false),
                    _ => (group.halted, group.timed, group.halt_lasts) = (true, timed, timed),
                }
            }
            Action::Unlocks(p, g) => {
                self.store.revision += 1;
                let group = &mut self.store.groups[g];
                group.revision = self.store.revision;
                group.holders.retain(|holder| *holder != p);
                self.procs[usize::from(p)].robbed = true;
            }
        }
        self.promises(cast)
    }

    fn is_mishap(&self, action: Action) -> bool {
        match action {
            Action::Act(_, fate) => fate != Fate::Answered,
            Action::Dies(..)
            | Action::Halts(_)
            | Action::HaltsFor(_)
            | Action::Unlocks(..)
            | Action::RaisesMax(_) => true,
            Action::LeaseEnds(lease) => self.procs.iter().any(|w| w.lease == Some(lease)),
            Action::Start(_)
            | Action::Look(_)
            | Action::Arrives(_)
            | Action::Hears(..)
            | Action::Settled(_)
            | Action::HaltEnds(_)
            | Action::Resumes(_) => false,
        }
    }

    fn at(&mut self, proc: Proc, at: At) {
        let waiter = &mut self.procs[usize::from(proc)];
        if !matches!(at, At::Fresh | At::Looked(_) | At::Waits(..)) {
            // Nobody keeps the lease alive any more.
            (waiter.lease, waiter.in_doubt) = (None, false);
        }
        waiter.at = at;
    }

    fn act(&mut self, cast: &Cast, p: Proc, fate: Fate) -> Result<(), String> {
        let waiter = self.procs[usize::from(p)].clone();
        match &waiter.at {
            At::Looked(seen) => self.step(cast, p, &waiter, seen, fate),
            At::Holds => {
                let done = self.release(cast, p, fate, true)? || cast.mutant == Mutant::NoReadBack;
                self.at(p, if done { At::Done } else { At::Holds });
                Ok(())
            }
            At::Leaving => self.leave(cast, p, fate),
            _ => Ok(()),
        }
    }

    /// What `wait.rs` does with a look.
    fn step(
        &mut self,
        cast: &Cast,
        p: Proc,
        waiter: &Waiter,
        seen: &[Group],
        fate: Fate,
    ) -> Result<(), String> {
        let claim = real::claim(cast, p);
        let look = self.look(cast, p, seen);
        let step = look.step(Waiting { claim: &claim, lease: number(waiter.lease), quarantine: 0 });
        let step = mistaken(cast.mutant, step, &look, &claim);
        match step {
            Step::Held(_) => return self.told(cast, p),
            Step::Refused(_) => {
                let write = self.leaving(cast, p);
                let Write::Leave { changed, .. } = &write else { return Ok(()) };
                let out = changed.is_empty();
                if !out {
                    self.send(cast, write, fate)?;
                }
                self.at(p, if out { At::Refused } else { At::Fresh });
            }
            Step::Wait(on) => self.at(p, At::Waits(seen.to_vec(), on)),
            Step::GiveBack => {
                self.release(cast, p, fate, false)?;
                self.at(p, At::Fresh);
            }
            Step::Requeue => {
                let write = self.leaving(cast, p);
                self.send(cast, write, fate)?;
                self.at(p, At::Fresh);
            }
            Step::Join if waiter.in_doubt => {
                let own = &mut self.procs[usize::from(p)];
                (own.in_doubt, own.lease, own.at) = (false, None, At::Fresh);
                if let Some(lease) = waiter.lease {
                    self.store.end(lease);
                }
            }
            Step::Join => {
                let lease = self.lease(p);
                let landed = self.send(cast, Write::Join { proc: p, lease }, fate)?;
                self.procs[usize::from(p)].in_doubt = landed.is_none();
                self.after_lease(p, landed);
            }
            Step::Adopt => {
                let lease = self.lease(p);
                let each = cast.groups(p).iter().zip(seen);
                let changed = each
                    .filter_map(|(g, group)| Some((*g, real::ticket_of(cast, group, p)?.changed)));
                let write = Write::Adopt { proc: p, lease, changed: changed.collect() };
                let landed = self.send(cast, write, fate)?;
                self.after_lease(p, landed);
            }
            Step::Try(next) => {
                let names = next.keys().map(|name| name.parse::<usize>().unwrap());
                let guards = names.map(|g| {
                    let place = cast.place(p, g);
                    let create = real::ticket_of(cast, &seen[place], p).map_or(0, |t| t.create);
                    let (slots, halted) = (seen[place].revision, seen[place].halted);
                    Seen { group: g, slots, create, halted }
                });
                let write = Write::Enter { proc: p, seen: guards.collect() };
                match self.send(cast, write, fate)? {
                    Some(Landed::Done) if cast.mutant != Mutant::GroupByGroup => {
                        return self.told(cast, p);
                    }
                    _ => self.at(p, At::Fresh),
                }
            }
        }
        Ok(())
    }

    fn told(&mut self, cast: &Cast, p: Proc) -> Result<(), String> {
        self.at(p, At::Holds);
        let robbed = self.procs[usize::from(p)].robbed;
        let all = cast.groups(p).iter().all(|g| self.holds(*g, p));
        if all || robbed {
            Ok(())
        } else {
            Err(format!("{p} is told that it holds what it does not"))
        }
    }

    /// Reads and writes at once: the real one runs again when somebody was faster. Whether it is known
    /// to be done.
    fn release(&mut self, cast: &Cast, p: Proc, fate: Fate, settle: bool) -> Result<bool, String> {
        let anybody = cast.mutant == Mutant::ReleasesAnybody;
        let node = cast.node(p);
        let has = |g: &&usize| {
            let holders = &self.store.groups[**g].holders;
            holders.iter().any(|h| *h == p || (anybody && cast.node(*h) == node))
        };
        let held = cast.groups(p).iter().filter(has);
        let seen: Vec<_> = held.map(|g| (*g, self.store.groups[*g].revision)).collect();
        if seen.is_empty() {
            return Ok(true);
        }
        self.procs[usize::from(p)].released = true;
        Ok(self.send(cast, Write::Release { proc: p, seen, settle }, fate)?.is_some())
    }

    fn leave(&mut self, cast: &Cast, p: Proc, fate: Fate) -> Result<(), String> {
        let write = self.leaving(cast, p);
        let Write::Leave { changed, .. } = &write else { return Ok(()) };
        if changed.is_empty() {
            let held = cast.groups(p).iter().any(|g| self.holds(*g, p));
            self.at(p, if held { At::Holds } else { At::Done });
            return Ok(());
        }
        self.send(cast, write, fate).map(|_| ())
    }

    fn leaving(&self, cast: &Cast, p: Proc) -> Write {
        let own = |g: &usize| {
            let ticket = self.store.ticket(cast, *g, p).filter(|ticket| ticket.proc == p)?;
            Some((*g, ticket.changed))
        };
        Write::Leave { proc: p, changed: cast.groups(p).iter().filter_map(own).collect() }
    }

    /// `None`: nothing is known.
    fn send(&mut self, cast: &Cast, write: Write, fate: Fate) -> Result<Option<Landed>, String> {
        match fate {
            Fate::Answered => self.land(cast, &write).map(Some),
            Fate::Lost => self.land(cast, &write).map(|_| None),
            Fate::Late => {
                self.flying.push(write);
                Ok(None)
            }
        }
    }

    fn after_lease(&mut self, p: Proc, landed: Option<Landed>) {
        if landed == Some(Landed::LeaseGone) {
            self.procs[usize::from(p)].lease = None;
        }
        self.at(p, At::Fresh);
    }

    fn lease(&mut self, p: Proc) -> u8 {
        let flying = self.flying.iter().filter_map(|write| match write {
            Write::Join { lease, .. } | Write::Adopt { lease, .. } => Some(*lease),
            Write::Enter { .. } | Write::Leave { .. } | Write::Release { .. } => None,
        });
        let used = self.procs.iter().filter_map(|w| w.lease).chain(flying).collect();
        if let Some(lease) = self.procs[usize::from(p)].lease {
            return lease;
        }
        let lease = self.store.grant(&used);
        self.procs[usize::from(p)].lease = Some(lease);
        lease
    }

    /// Decides a transaction, and judges an admission by the moment before it.
    fn land(&mut self, cast: &Cast, write: &Write) -> Result<Landed, String> {
        let before = self.store.clone();
        let landed = self.store.land(cast, write);
        let (Write::Enter { proc, .. }, Landed::Done) = (write, landed) else { return Ok(landed) };
        let waiter = &mut self.procs[usize::from(*proc)];
        (waiter.robbed, waiter.released) = (false, false);
        let (before, after) = (real::fleet(cast, &before), real::fleet(cast, &self.store));
        trace::admissions(&before, &after, 0).map(|_| landed)
    }

    /// What is true in every state.
    fn promises(&self, cast: &Cast) -> Result<(), String> {
        for (index, waiter) in self.procs.iter().enumerate() {
            let p = Proc::try_from(index).unwrap();
            let held = cast.groups(p).iter().filter(|g| self.holds(**g, p)).count();
            if matches!(waiter.at, At::Done | At::Refused) && held > 0 {
                return Err(format!("{p} is done, and holds a slot"));
            }
            if !waiter.robbed && held > 0 && held < cast.groups(p).len() {
                return Err(format!("{p} holds a part of its groups"));
            }
            let kept = waiter.robbed || waiter.released || held == cast.groups(p).len();
            if waiter.at == At::Holds && !kept {
                return Err(format!("{p} lost its slot"));
            }
            // All of them it may hold, by a write that came late: it is about to hear of that.
            let part = held > 0 && held < cast.groups(p).len();
            if matches!(waiter.at, At::Waits(..)) && part {
                return Err(format!("{p} waits, and keeps a part of its groups"));
            }
        }
        Ok(())
    }

    fn look(&self, cast: &Cast, p: Proc, seen: &[Group]) -> Look {
        let each = cast.groups(p).iter().zip(seen);
        let groups = each.map(|(g, group)| (g.to_string(), real::group_look(cast, group, p)));
        Look { revision: self.store.revision, groups: groups.collect::<BTreeMap<_, _>>() }
    }
}

fn index(name: &str) -> usize {
    name.parse().unwrap()
}

fn number(lease: Option<u8>) -> Option<i64> {
    lease.map(i64::from)
}

/// A deliberate mistake in what follows from a look.
fn mistaken(mutant: Mutant, step: Step, look: &Look, claim: &Holder) -> Step {
    let admitting = || {
        let each = look.groups.iter();
        each.filter_map(|(name, g)| Some((name.clone(), g.slots.admit(claim, 0).ok()?)))
    };
    let free = || admitting().filter(|(name, _)| !look.groups[name].settling);
    match (mutant, step) {
        (Mutant::AnybodyTries, Step::Wait(_)) if free().count() == look.groups.len() => {
            Step::Try(free().collect())
        }
        (Mutant::IgnoresSettle, Step::Wait(_))
            if look.groups.values().all(|g| g.ahead.is_none())
                && admitting().count() == look.groups.len() =>
        {
            Step::Try(admitting().collect())
        }
        (Mutant::GroupByGroup, Step::Try(all)) => Step::Try(all.into_iter().take(1).collect()),
        (Mutant::KeepsAPart, Step::GiveBack) => {
            let step = Look { groups: missing(look, claim), ..look.clone() };
            let lease = step.groups.values().find_map(|g| g.own.as_ref()).map(|own| own.lease);
            step.step(Waiting { claim, lease, quarantine: 0 })
        }
        (_, step) => step,
    }
}

/// The groups in which the claim holds nothing yet.
fn missing(look: &Look, claim: &Holder) -> BTreeMap<String, GroupLook> {
    let lacks = |g: &GroupLook| !g.slots.held_by(&claim.node, &claim.nonce);
    look.groups.iter().filter(|(_, g)| lacks(g)).map(|(n, g)| (n.clone(), g.clone())).collect()
}
