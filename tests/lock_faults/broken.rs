//! Histories with something wrong in them, to show that each wrong is found.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockkeeper::core::slots::{Halt, Slots, Ticket};

use crate::agent::claim;
use crate::trace::{Change, Checked, Intent, Rules, Trace, Violation, check, intent_key};

const PREFIX: &str = "/p";
const LEASE: i64 = 7;

/// A history that is told step by step.
#[derive(Default)]
struct Story {
    trace: Trace,
    now: i64,
    created: BTreeMap<String, i64>,
    slots: BTreeMap<String, Slots>,
}

impl Story {
    /// Writes a key in the next revision, under a lease unless that is 0.
    fn put(&mut self, key: &str, value: impl Into<Vec<u8>>, lease: i64) {
        let key = format!("{PREFIX}/{key}");
        let create = *self.created.entry(key.clone()).or_insert(self.now + 1);
        let change = Change { key, value: Some(value.into()), create, lease };
        self.trace.entry(self.now + 1).or_default().push(change);
    }

    fn delete(&mut self, key: &str) {
        let key = format!("{PREFIX}/{key}");
        self.created.remove(&key);
        let change = Change { key, value: None, create: 0, lease: 0 };
        self.trace.entry(self.now + 1).or_default().push(change);
    }

    /// Ends the revision.
    fn done(&mut self) -> i64 {
        self.now += 1;
        self.now
    }

    fn intends(&mut self, who: &str, intent: &Intent) {
        let key = intent_key("", who);
        self.put(key.trim_start_matches('/'), serde_json::to_vec(intent).unwrap(), 0);
        self.done();
    }

    /// Puts a group's semaphore, and tells of it in the history.
    fn semaphore(&mut self, group: &str, change: impl Fn(&mut Slots)) {
        let mut slots = self.slots.remove(group).unwrap_or_default();
        change(&mut slots);
        self.put(&format!("groups/{group}/slots"), serde_json::to_vec(&slots).unwrap(), 0);
        self.put(&format!("groups/{group}/history/{}", self.now), "{}", LEASE);
        self.slots.insert(group.to_owned(), slots);
    }

    fn ticket(&mut self, group: &str, node: &str, lease: i64) {
        let ticket = Ticket::of(&claim(node, node));
        self.put(
            &format!("groups/{group}/queue/{node}"),
            serde_json::to_vec(&ticket).unwrap(),
            lease,
        );
    }

    /// `node` stands in the queues of `groups`.
    fn queues(&mut self, groups: &[&str], node: &str) {
        self.intends(node, &Intent::Acquire);
        for group in groups {
            self.ticket(group, node, LEASE);
        }
        self.done();
    }

    /// Everything an admission writes for one group.
    fn enter(&mut self, group: &str, node: &str) {
        self.semaphore(group, |slots| slots.holders.push(claim(node, node)));
        self.put(&format!("groups/{group}/holder/{node}"), node, 0);
        self.delete(&format!("groups/{group}/queue/{node}"));
    }

    fn admitted(&mut self, groups: &[&str], node: &str) -> i64 {
        for group in groups {
            self.enter(group, node);
        }
        self.done()
    }

    /// Everything a release writes for one group.
    fn exit(&mut self, group: &str, node: &str) {
        self.semaphore(group, |slots| slots.holders.retain(|h| h.node != node));
        self.delete(&format!("groups/{group}/holder/{node}"));
    }

    fn back(&mut self, groups: &[&str], node: &str, token: i64) {
        self.intends(node, &Intent::Release(token));
        for group in groups {
            self.exit(group, node);
        }
        self.done();
    }

    fn told(&self, rules: Rules) -> Result<Checked, Violation> {
        check(PREFIX, &self.trace, rules)
    }
}

fn halt() -> Halt {
    let (reason, by) = ("x".to_owned(), "y".to_owned());
    Halt { reason, by, since: Timestamp::UNIX_EPOCH, release: None, expires: None }
}

const STRICT: Rules = Rules { intents: true, calm: true, quarantine: 0 };

#[test]
fn a_sound_history_is_found_sound() {
    let mut story = Story::default();
    story.queues(&["g"], "a");
    story.queues(&["f", "g"], "b");
    let token = story.admitted(&["g"], "a");
    story.back(&["g"], "a", token);
    let token = story.admitted(&["f", "g"], "b");
    story.back(&["f", "g"], "b", token);
    let sound = story.told(STRICT).unwrap();
    let nodes: Vec<_> = sound.admissions.iter().map(|a| a.node.as_str()).collect();
    assert_eq!(nodes, ["a", "b"]);
    assert_eq!(sound.admissions[1].revision, token);
    assert!(sound.fleet.groups.values().all(|group| group.slots.holders.is_empty()));
}

#[test]
fn overdue_holders_that_are_passed_by_do_not_count_as_far_as_that_is_allowed() {
    let mut story = Story::default();
    story.queues(&["g"], "a");
    story.admitted(&["g"], "a");
    story.semaphore("g", |slots| slots.holders[0].overdue = true);
    story.done();
    story.queues(&["g"], "b");
    story.admitted(&["g"], "b");
    assert!(story.told(STRICT).is_err());
    story.told(Rules { quarantine: 1, ..STRICT }).unwrap();
}

/// A wrong, the words it is found by, and how it comes about after `a` and then `b` have queued.
type Wrong = (&'static str, fn(&mut Story));

const WRONGS: [Wrong; 26] = [
    ("2 hold slots of g, max is 1", |s| {
        s.admitted(&["g"], "a");
        s.admitted(&["g"], "b");
    }),
    ("b was admitted to g out of turn", |s| {
        s.admitted(&["g"], "b");
    }),
    ("c queued for {} and was admitted to {\"g\"}", |s| {
        s.admitted(&["g"], "c");
    }),
    ("which is halted", |s| {
        s.intends("admin", &Intent::Halt { group: "g".into() });
        s.semaphore("g", |slots| slots.halt = Some(halt()));
        s.done();
        s.admitted(&["g"], "a");
    }),
    ("admitted while g settles", |s| {
        let token = s.admitted(&["g"], "a");
        s.intends("a", &Intent::Release(token));
        s.exit("g", "a");
        s.put("groups/g/settle", "", LEASE);
        s.done();
        s.admitted(&["g"], "b");
    }),
    ("its ticket is still there", |s| {
        s.enter("g", "a");
        s.ticket("g", "a", LEASE);
        s.done();
    }),
    ("a lost its slot of g", |s| {
        s.admitted(&["g"], "a");
        s.exit("g", "a");
        s.done();
    }),
    ("slots hang on a lease", |s| {
        s.semaphore("g", |slots| slots.max = 2);
        s.trace.get_mut(&(s.now + 1)).unwrap()[0].lease = LEASE;
        s.done();
    }),
    ("ticket in g has no lease", |s| {
        s.ticket("g", "c", 0);
        s.done();
    }),
    ("g settles without a lease", |s| {
        let token = s.admitted(&["g"], "a");
        s.intends("a", &Intent::Release(token));
        s.exit("g", "a");
        s.put("groups/g/settle", "", 0);
        s.done();
    }),
    ("g settles though nobody gave a slot back", |s| {
        s.put("groups/g/settle", "", LEASE);
        s.done();
    }),
    ("a write changed nothing", |s| {
        s.admitted(&["g"], "a");
        s.semaphore("g", |_| {});
        s.done();
    }),
    ("with keys of []", |s| {
        s.semaphore("g", |slots| slots.holders.push(claim("a", "a")));
        s.delete("groups/g/queue/a");
        s.done();
    }),
    ("a's token in g changed", |s| {
        s.admitted(&["g"], "a");
        s.put("groups/g/holder/a", "a", 0);
        s.done();
    }),
    ("a's key in g is", |s| {
        s.admitted(&["g"], "a");
        s.put("groups/g/holder/a", "another", 0);
        s.done();
    }),
    ("holds g twice", |s| {
        s.semaphore("g", |slots| {
            slots.max = 2;
            slots.holders = vec![claim("a", "a"), claim("a", "a")];
        });
        s.done();
    }),
    ("nobody set max of g to 3", |s| {
        s.semaphore("g", |slots| slots.max = 3);
        s.done();
    }),
    ("nobody meant the halt", |s| {
        s.semaphore("g", |slots| slots.halt = Some(halt()));
        s.done();
    }),
    ("when it no longer wanted", |s| {
        s.intends("a", &Intent::Rest);
        s.admitted(&["g"], "a");
    }),
    ("a was told token", |s| {
        let token = s.admitted(&["g"], "a");
        s.intends("a", &Intent::Release(token - 1));
    }),
    ("a has left and its ticket is still there", |s| {
        s.intends("a", &Intent::Leave);
        s.intends("a", &Intent::Rest);
    }),
    ("nobody locked for c", |s| {
        s.semaphore("g", |slots| slots.holders.push(claim("c", "")));
        s.put("groups/g/holder/c", "", 0);
        s.done();
    }),
    ("a lost its ticket", |s| {
        s.delete("groups/g/queue/a");
        s.done();
    }),
    ("history does not tell", |s| {
        s.enter("g", "a");
        s.trace.get_mut(&(s.now + 1)).unwrap().retain(|c| !c.key.contains("history"));
        s.done();
    }),
    ("history was written over", |s| {
        let token = s.admitted(&["g"], "a");
        s.intends("a", &Intent::Release(token));
        s.exit("g", "a");
        s.trace.get_mut(&(s.now + 1)).unwrap()[1].create = 1;
        s.done();
    }),
    ("unreadable", |s| {
        s.put("groups/g/slots", "locksmith", 0);
        s.done();
    }),
];

#[test]
fn every_wrong_is_found_and_named() {
    for (words, wrong) in WRONGS {
        let mut story = Story::default();
        story.queues(&["g"], "a");
        story.queues(&["g"], "b");
        wrong(&mut story);
        let found = story.told(STRICT).expect_err(words);
        assert!(found.what.contains(words), "{words}: {found:?}");
    }
}

#[test]
fn a_node_in_two_groups_never_has_only_one() {
    let broken = |story: &Story, words: &str| {
        let found = story.told(STRICT).expect_err(words);
        assert!(found.what.contains(words), "{words}: {found:?}");
    };
    let mut part = Story::default();
    part.queues(&["f", "g"], "a");
    part.admitted(&["f"], "a");
    broken(&part, "queued for {\"f\", \"g\"} and was admitted to {\"f\"}");

    let mut apart = Story::default();
    apart.queues(&["f"], "a");
    apart.queues(&["g"], "a");
    apart.admitted(&["f", "g"], "a");
    broken(&apart, "several places in line");

    let mut kept = Story::default();
    kept.queues(&["f", "g"], "a");
    let token = kept.admitted(&["f", "g"], "a");
    kept.back(&["f"], "a", token);
    broken(&kept, "gave back only some of its slots and has 1 of 2");
}
