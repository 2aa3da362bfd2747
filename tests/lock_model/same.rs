//! Two worlds that differ only in the numbers of revisions and leases are one.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Group, Write};
use crate::world::{At, World};

impl World {
    /// The same world with revisions and leases numbered anew, in order.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        let (mut revisions, mut leases) = (BTreeSet::new(), BTreeSet::new());
        self.numbers(
            &mut |revision| {
                revisions.insert(*revision);
            },
            &mut |lease| {
                leases.insert(*lease);
            },
        );
        revisions.remove(&0);
        leases.extend(self.store.leases.iter().copied());
        let ranks: BTreeMap<i64, i64> = revisions.into_iter().zip(1..).collect();
        let names: BTreeMap<u8, u8> = leases.into_iter().zip(1..).collect();
        self.numbers(
            &mut |revision| *revision = ranks.get(revision).copied().unwrap_or(0),
            &mut |lease| *lease = names[lease],
        );
        self.store.leases = self.store.leases.iter().map(|lease| names[lease]).collect();
        self.store.revision = i64::try_from(ranks.len()).unwrap();
        self
    }

    /// Visits every revision and every lease.
    fn numbers(&mut self, revision: &mut dyn FnMut(&mut i64), lease: &mut dyn FnMut(&mut u8)) {
        let mut group = |group: &mut Group| {
            revision(&mut group.revision);
            for ticket in &mut group.tickets {
                revision(&mut ticket.create);
                revision(&mut ticket.changed);
                lease(&mut ticket.lease);
            }
        };
        self.store.groups.iter_mut().for_each(&mut group);
        for waiter in &mut self.procs {
            if let At::Looked(seen) | At::Waits(seen, _) = &mut waiter.at {
                seen.iter_mut().for_each(&mut group);
            }
        }
        for waiter in &mut self.procs {
            waiter.lease.iter_mut().for_each(&mut *lease);
        }
        for write in &mut self.flying {
            match write {
                Write::Join { lease: own, .. } => lease(own),
                Write::Adopt { lease: own, changed, .. } => {
                    lease(own);
                    for (_, rev) in changed {
                        revision(rev);
                    }
                }
                Write::Leave { changed, .. } => {
                    for (_, rev) in changed {
                        revision(rev);
                    }
                }
                Write::Enter { seen, .. } => seen.iter_mut().for_each(|seen| {
                    revision(&mut seen.slots);
                    revision(&mut seen.create);
                }),
                Write::Release { seen, .. } => {
                    for (_, rev) in seen {
                        revision(rev);
                    }
                }
            }
        }
    }
}
