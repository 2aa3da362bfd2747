//! Who is before us? Finding the one ticket a waiter waits for, with as little search as possible.
//!
//! etcd keeps keys by name: to order a queue by create revision it reads all of it. A waiter does
//! that once, when it joins.

use etcd_client::{GetOptions, GetResponse, SortOrder, SortTarget, TxnOp};

use super::keys::Keys;
use super::look::place;
use crate::core::turn::{GroupLook, Place};

/// It takes a search of the queue to tell who is before us.
pub(super) struct Unclear;

/// How the ticket that stands before ours is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is the first of all, if that is not ours.
    First,
    /// It is the youngest or, if that is ours, the one before it: ours was just made, if there is one.
    Youngest,
    /// It is the youngest that is older than ours, of this create revision.
    Before(i64),
    /// It is this node's, of this create revision, or there is none any more. Of all ways this is the
    /// one that takes no search of the queue.
    Behind { node: String, create: i64 },
    /// There is none: our tickets are the first, and stay it.
    Head,
}

impl Line {
    /// What to read for it.
    pub(super) fn reads(&self, keys: &Keys, group: &str) -> Vec<TxnOp> {
        let sorted = |order, limit| {
            GetOptions::new().with_prefix().with_sort(SortTarget::Create, order).with_limit(limit)
        };
        let queue = |how| vec![TxnOp::get(keys.queue(group), Some(how))];
        match self {
            Self::First => queue(sorted(SortOrder::Ascend, 1)),
            Self::Youngest => queue(sorted(SortOrder::Descend, 2)),
            Self::Before(create) => {
                queue(sorted(SortOrder::Descend, 1).with_max_create_revision(create - 1))
            }
            Self::Behind { node, .. } => {
                [keys.ticket(group, node), keys.served(group)].map(|k| TxnOp::get(k, None)).into()
            }
            Self::Head => Vec::new(),
        }
    }

    /// What was read for it: the ticket before `own`.
    pub(super) fn ahead(
        &self,
        keys: &Keys,
        group: &str,
        own: &str,
        reads: &[&GetResponse],
    ) -> Result<Option<Place>, Unclear> {
        let found = reads.first().map(|get| get.kvs()).unwrap_or_default();
        let other = found.iter().find(|kv| kv.key() != own.as_bytes());
        let place = other.map(|kv| place(keys, group, kv));
        match self {
            Self::First | Self::Youngest | Self::Before(_) | Self::Head => Ok(place),
            Self::Behind { create, .. } => {
                let stands = place.filter(|place| place.create == *create);
                // Whoever was admitted was the first: now we are.
                let served = reads.get(1).and_then(|get| get.kvs().first());
                let admitted = served.is_some_and(|kv| kv.value() == create.to_string().as_bytes());
                if stands.is_some() || admitted { Ok(stands) } else { Err(Unclear) }
            }
        }
    }

    /// As it is after a look that found out.
    pub(super) fn after(group: &GroupLook) -> Self {
        match &group.ahead {
            None => Self::Head,
            Some(place) => Self::Behind { node: place.ticket.node.clone(), create: place.create },
        }
    }
}
