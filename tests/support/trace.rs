//! What really happened to the lock: every revision of its keys, in etcd's own order, and whether
//! that kept the lock's promises.
//!
//! Who acted is not in etcd's history. So tests may write *intents* into it, before they act and
//! when they are done: then the trace shows not only that a slot was given back but by whom.
#![allow(dead_code)] // each test program uses a part of it

use std::collections::BTreeMap;

use etcd_client::{Event, EventType};
use serde::{Deserialize, Serialize};

#[path = "trace/fleet.rs"]
pub mod fleet;
#[path = "trace/rules.rs"]
mod rules;

#[allow(unused_imports)] // each test program uses a part of it
pub use rules::{Admission, Checked, Rules, Violation, admissions, check};

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    /// The new value; `None` when the key was deleted.
    pub value: Option<Vec<u8>>,
    /// Revision that created the key.
    pub create: i64,
    /// 0 when it hangs on none.
    pub lease: i64,
}

/// The changes of each revision.
pub type Trace = BTreeMap<i64, Vec<Change>>;

/// What somebody is about to do. Written under `<prefix>/intents/<who>`; the newest one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// Nothing: what was intended before is done, or given up without effect.
    Rest,
    /// Node: get slots.
    Acquire,
    /// Node: leave the queue. An admission may still come in between.
    Leave,
    /// Node: give back what was got at this revision.
    Release(i64),
    /// Admin: take the slot of a group away from a node.
    Unlock { group: String, node: String },
    /// Admin: take a slot of a group for a node.
    Lock { group: String, node: String },
    /// Admin.
    SetMax { group: String, max: u32 },
    /// Admin.
    Halt { group: String },
    /// Admin.
    Resume { group: String },
}

/// Where `who` writes its intents.
pub fn intent_key(prefix: &str, who: &str) -> String {
    format!("{prefix}/intents/{who}")
}

/// Takes what a watch brought into the trace. What is there already is not taken twice.
pub fn take(trace: &mut Trace, events: &[Event]) {
    let mut new: Trace = BTreeMap::new();
    for event in events {
        let Some(kv) = event.kv() else { continue };
        let put = event.event_type() == EventType::Put;
        new.entry(kv.mod_revision()).or_default().push(Change {
            key: String::from_utf8_lossy(kv.key()).into_owned(),
            value: put.then(|| kv.value().to_vec()),
            create: kv.create_revision(),
            lease: kv.lease(),
        });
    }
    trace.extend(new);
}

/// The trace in words, for people who look for what went wrong.
pub fn told(trace: &Trace) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (revision, changes) in trace {
        for change in changes {
            let value = change.value.as_deref().map(String::from_utf8_lossy);
            let value = value.unwrap_or("deleted".into());
            let _ =
                writeln!(text, "{revision:>7} {} = {value} (lease {:x})", change.key, change.lease);
        }
    }
    text
}
