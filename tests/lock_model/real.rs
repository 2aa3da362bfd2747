//! The model's values as the program's own: what the real decisions and the real promises work on.

use jiff::Timestamp;
use lockkeeper::core::slots::{Halt, Holder, Slots, Ticket as RealTicket};
use lockkeeper::core::turn::{GroupLook, Place};

use crate::store::{Cast, Group, Proc, Store, Ticket};
use crate::trace::fleet::{self, Fleet, Seat};

/// The ticket under the node id of a process.
pub fn ticket_of<'a>(cast: &Cast, group: &'a Group, p: Proc) -> Option<&'a Ticket> {
    group.tickets.iter().find(|ticket| cast.node(ticket.proc) == cast.node(p))
}

/// The claim of a process: its number is its installation's nonce.
pub fn claim(cast: &Cast, p: Proc) -> Holder {
    Holder {
        node: cast.node(p).to_string(),
        name: p.to_string(),
        nonce: format!("n{p}"),
        since: Timestamp::UNIX_EPOCH,
        reason: String::new(),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    }
}

pub fn group_look(cast: &Cast, group: &Group, p: Proc) -> GroupLook {
    let place = |t: &Ticket| Place {
        ticket: RealTicket::of(&claim(cast, t.proc)),
        create: t.create,
        changed: t.changed,
        lease: i64::from(t.lease),
    };
    let own = ticket_of(cast, group, p);
    let before = |t: &&Ticket| own.is_none_or(|own| t.create < own.create);
    let others = group.tickets.iter().filter(|t| cast.node(t.proc) != cast.node(p));
    let ahead = others.filter(before).max_by_key(|t| t.create);
    GroupLook {
        slots: slots(cast, group),
        revision: group.revision,
        settling: group.settling,
        halt_lasts: group.halt_lasts,
        token: 0,
        own: own.map(place),
        ahead: ahead.map(place),
    }
}

/// The semaphore as it is stored.
fn slots(cast: &Cast, group: &Group) -> Slots {
    let halt = group.halted.then(|| Halt {
        reason: String::new(),
        by: String::new(),
        since: Timestamp::UNIX_EPOCH,
        release: None,
        expires: group.timed.then_some(Timestamp::UNIX_EPOCH),
    });
    let holders = group.holders.iter().map(|holder| claim(cast, *holder)).collect();
    Slots { max: group.max, holders, halt, ..Slots::default() }
}

/// All groups, as a trace has them.
pub fn fleet(cast: &Cast, store: &Store) -> Fleet {
    let seat = |t: &Ticket| {
        let seat = Seat { create: t.create, lease: i64::from(t.lease) };
        (cast.node(t.proc).to_string(), seat)
    };
    let group = |(g, group): (usize, &Group)| {
        let as_traced = fleet::Group {
            slots: slots(cast, group),
            tickets: group.tickets.iter().map(seat).collect(),
            settling: group.settling,
            halt_lasts: group.halt_lasts,
            ..fleet::Group::default()
        };
        (g.to_string(), as_traced)
    };
    let groups = store.groups.iter().enumerate().map(group).collect();
    Fleet { groups, ..Fleet::default() }
}
