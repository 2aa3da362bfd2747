//! etcd as the lock sees it: values with revisions, tickets under leases, transactions with guards.

use std::collections::BTreeSet;

/// A process of an agent: an index. Two may share a node id.
pub type Proc = u8;

/// A ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub proc: Proc,
    pub create: i64,
    pub changed: i64,
    pub lease: u8,
}

/// One group.
#[allow(clippy::struct_excessive_bools, reason = "as many keys in etcd")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Group {
    pub holders: Vec<Proc>,
    pub max: u32,
    pub halted: bool,
    /// The halt ends with its time …
    pub timed: bool,
    /// … which is not over: its key is there.
    pub halt_lasts: bool,
    pub revision: i64,
    pub settling: bool,
    pub tickets: Vec<Ticket>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    pub groups: Vec<Group>,
    pub revision: i64,
    /// Leases that have not ended.
    pub leases: BTreeSet<u8>,
}

/// A transaction, with what it was built on. Groups are indices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    Join {
        proc: Proc,
        lease: u8,
    },
    Adopt {
        proc: Proc,
        lease: u8,
        changed: Vec<(usize, i64)>,
    },
    Enter {
        proc: Proc,
        seen: Vec<Seen>,
    },
    Leave {
        proc: Proc,
        changed: Vec<(usize, i64)>,
    },
    /// `settle`: the groups settle after it.
    Release {
        proc: Proc,
        seen: Vec<(usize, i64)>,
        settle: bool,
    },
}

/// What an admission to a group is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    pub group: usize,
    /// Revision of the slots.
    pub slots: i64,
    /// Revision of our ticket.
    pub create: i64,
    /// The slots have a halt, which seems to be over.
    pub halted: bool,
}

/// What came of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    Done,
    /// A guard did not hold.
    Refused,
    LeaseGone,
}

/// Deliberate mistakes. The model must find each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    #[default]
    None,
    /// Entering does not look whether the tickets are still there.
    NoTicketGuard,
    /// Entering does not look whether the slots are as they were.
    NoSlotsGuard,
    /// Entering does not look whether the group settles.
    NoSettleGuard,
    /// Entering does not look whether a halt that seemed to be over is.
    NoHaltGuard,
    /// A release without an answer is taken for done.
    NoReadBack,
    /// The settle time is not looked at at all.
    IgnoresSettle,
    /// A slot is taken as soon as one group has one.
    GroupByGroup,
    /// Whoever waits tries, not only the head.
    AnybodyTries,
    /// What is held in part is kept while waiting.
    KeepsAPart,
    /// Releasing takes the node's entry, whoever made it.
    ReleasesAnybody,
}

/// Who is who.
pub struct Cast {
    /// Node id and groups of each process.
    pub procs: Vec<(u8, Vec<usize>)>,
    /// A watch may tell of one key before another. Otherwise waiters hear of all at once.
    pub hears_by_half: bool,
    pub mutant: Mutant,
}

impl Cast {
    pub fn node(&self, proc: Proc) -> u8 {
        self.procs[usize::from(proc)].0
    }

    /// Which of the groups of `proc` this one is.
    pub fn place(&self, proc: Proc, group: usize) -> usize {
        self.groups(proc).iter().position(|own| *own == group).unwrap()
    }

    pub fn groups(&self, proc: Proc) -> &[usize] {
        &self.procs[usize::from(proc)].1
    }
}

impl Store {
    pub fn new(groups: usize) -> Self {
        let group = Group { max: 1, ..Group::default() };
        Self { groups: vec![group; groups], revision: 0, leases: BTreeSet::new() }
    }

    /// A new lease: the smallest number that is free; `used` are in somebody's hands.
    pub fn grant(&mut self, used: &BTreeSet<u8>) -> u8 {
        let free = |id: &u8| !self.leases.contains(id) && !used.contains(id);
        let lease = (1..=u8::MAX).find(free).expect("few leases");
        self.leases.insert(lease);
        lease
    }

    /// The end of a lease, and of what hangs on it.
    pub fn end(&mut self, lease: u8) {
        self.leases.remove(&lease);
        for group in &mut self.groups {
            group.tickets.retain(|ticket| ticket.lease != lease);
        }
    }

    /// The ticket under the node id of `proc`.
    pub fn ticket(&self, cast: &Cast, group: usize, proc: Proc) -> Option<&Ticket> {
        let same = |ticket: &&Ticket| cast.node(ticket.proc) == cast.node(proc);
        self.groups[group].tickets.iter().find(same)
    }

    fn own(&self, cast: &Cast, group: usize, proc: Proc, changed: i64) -> bool {
        self.ticket(cast, group, proc).is_some_and(|t| t.changed == changed)
    }

    /// Decides a transaction.
    pub fn land(&mut self, cast: &Cast, write: &Write) -> Landed {
        let mutant = cast.mutant;
        let good = match write {
            Write::Join { proc, .. } => {
                cast.groups(*proc).iter().all(|g| self.ticket(cast, *g, *proc).is_none())
            }
            Write::Adopt { proc, changed, .. } | Write::Leave { proc, changed } => {
                changed.iter().all(|(g, rev)| self.own(cast, *g, *proc, *rev))
            }
            Write::Enter { proc, seen } => seen.iter().all(|seen| {
                let group = &self.groups[seen.group];
                let ticket = self.ticket(cast, seen.group, *proc);
                let no_settle = [Mutant::IgnoresSettle, Mutant::NoSettleGuard].contains(&mutant);
                (group.revision == seen.slots || mutant == Mutant::NoSlotsGuard)
                    && (!group.settling || no_settle)
                    && (!(seen.halted && group.halt_lasts) || mutant == Mutant::NoHaltGuard)
                    && (ticket.is_some_and(|t| t.create == seen.create)
                        || mutant == Mutant::NoTicketGuard)
            }),
            Write::Release { seen, .. } => {
                seen.iter().all(|(g, slots)| self.groups[*g].revision == *slots)
            }
        };
        if !good {
            return Landed::Refused;
        }
        if let Write::Join { lease, .. } | Write::Adopt { lease, .. } = write
            && !self.leases.contains(lease)
        {
            return Landed::LeaseGone;
        }
        self.revision += 1;
        self.apply(cast, write);
        Landed::Done
    }

    fn apply(&mut self, cast: &Cast, write: &Write) {
        let now = self.revision;
        match write {
            Write::Join { proc, lease } => {
                for g in cast.groups(*proc) {
                    let ticket = Ticket { proc: *proc, create: now, changed: now, lease: *lease };
                    self.groups[*g].tickets.push(ticket);
                }
            }
            Write::Adopt { proc, lease, changed } => {
                for (g, _) in changed {
                    let node = cast.node(*proc);
                    for t in &mut self.groups[*g].tickets {
                        if cast.node(t.proc) == node {
                            (t.proc, t.changed, t.lease) = (*proc, now, *lease);
                        }
                    }
                }
            }
            Write::Enter { proc, seen } => {
                for Seen { group, .. } in seen {
                    let group = &mut self.groups[*group];
                    group.tickets.retain(|t| cast.node(t.proc) != cast.node(*proc));
                    if !group.holders.contains(proc) {
                        group.holders.push(*proc);
                        group.holders.sort_unstable();
                    }
                    group.revision = now;
                }
            }
            Write::Leave { proc, changed } => {
                for (g, _) in changed {
                    self.groups[*g].tickets.retain(|t| cast.node(t.proc) != cast.node(*proc));
                }
            }
            Write::Release { proc, seen, settle } => {
                let anybody = cast.mutant == Mutant::ReleasesAnybody;
                for (g, _) in seen {
                    let group = &mut self.groups[*g];
                    group
                        .holders
                        .retain(|h| h != proc && !(anybody && cast.node(*h) == cast.node(*proc)));
                    group.revision = now;
                    group.settling |= *settle;
                }
            }
        }
    }
}
