//! What really happened: every revision etcd kept, replayed and checked.

use std::collections::BTreeMap;

use etcd_client::{Client, EventType, WatchOptions};
use lockkeeper::core::slots::Slots;

use crate::bench::PREFIX;
use crate::wait::within;

/// An admission, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub revision: i64,
    pub node: String,
}

/// The group as it was at some revision.
#[derive(Default)]
struct Group {
    slots: Slots,
    /// Create revision of each ticket.
    tickets: BTreeMap<String, i64>,
    settling: bool,
}

/// One change of a key.
struct Change {
    key: String,
    value: Option<Vec<u8>>,
    create: i64,
}

/// Replays the group's history.
///
/// # Panics
/// When more than `max` were admitted, or somebody out of turn, or into a halt or a settle time.
pub async fn replay(client: &mut Client) -> Vec<Admission> {
    let mut group = Group::default();
    let mut admissions = Vec::new();
    for (revision, changes) in revisions(client).await {
        let before = std::mem::take(&mut group);
        group = before.after(&changes);
        let new = group.slots.holders.iter().filter(|h| before.slots.holder(&h.node).is_none());
        for holder in new.filter(|h| !h.by_hand()) {
            before.check(&group, &holder.node, revision);
            admissions.push(Admission { revision, node: holder.node.clone() });
        }
    }
    admissions
}

impl Group {
    fn after(&self, changes: &[Change]) -> Self {
        let mut next = Self {
            slots: self.slots.clone(),
            tickets: self.tickets.clone(),
            settling: self.settling,
        };
        let group = format!("{PREFIX}/groups/default/");
        for change in changes {
            let Some(key) = change.key.strip_prefix(&group) else { continue };
            match (key, &change.value) {
                ("slots", Some(value)) => next.slots = serde_json::from_slice(value).unwrap(),
                ("settle", value) => next.settling = value.is_some(),
                _ => match (key.strip_prefix("queue/"), &change.value) {
                    (Some(node), Some(_)) => {
                        next.tickets.insert(node.to_owned(), change.create);
                    }
                    (Some(node), None) => {
                        next.tickets.remove(node);
                    }
                    (None, _) => {}
                },
            }
        }
        next
    }

    /// Was it right to admit `node` into this group, which made it `after`?
    fn check(&self, after: &Self, node: &str, revision: i64) {
        let head = self.tickets.iter().min_by_key(|(_, create)| **create).map(|(node, _)| node);
        assert_eq!(head.map(String::as_str), Some(node), "out of turn at revision {revision}");
        let holders = after.slots.holders.len();
        assert!(holders <= after.slots.max as usize, "{holders} hold at revision {revision}");
        assert_eq!(after.slots.halt, None, "admitted into a halt at revision {revision}");
        assert!(!self.settling, "admitted into a settle time at revision {revision}");
        assert!(!after.tickets.contains_key(node), "a ticket is left at revision {revision}");
    }
}

/// Every revision of our keys until now.
async fn revisions(client: &mut Client) -> BTreeMap<i64, Vec<Change>> {
    let end = format!("{PREFIX}/end-of-test");
    let last = client.put(end, "", None).await.unwrap().header().unwrap().revision();
    let from_the_start = WatchOptions::new().with_prefix().with_start_revision(1);
    let mut stream = client.watch(PREFIX, Some(from_the_start)).await.unwrap();
    let mut found: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
    while found.keys().next_back().is_none_or(|newest| *newest < last) {
        let answer = within("history", stream.message()).await.unwrap().expect("history");
        assert!(!answer.canceled(), "history is gone");
        for event in answer.events() {
            let kv = event.kv().unwrap();
            let put = event.event_type() == EventType::Put;
            found.entry(kv.mod_revision()).or_default().push(Change {
                key: kv.key_str().unwrap().to_owned(),
                value: put.then(|| kv.value().to_vec()),
                create: kv.create_revision(),
            });
        }
    }
    found
}
