//! What is to be done, as tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockkeeper::core::{
    migrate::{Here, Move, Source, plan},
    slots::{Halt, Holder, Slots, SlotsView},
};

const ROOT: &str = "/coreos.com/updateengine/rebootlock/semaphore";

fn holder(node: &str) -> Holder {
    Holder {
        node: node.to_owned(),
        name: node.to_owned(),
        nonce: "n".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        reason: "update".to_owned(),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    }
}

fn here(max: u32, holders: &[&str], max_set: bool) -> Here {
    let holders = holders.iter().map(|node| holder(node)).collect();
    let slots = Slots { max, holders, ..Slots::default() };
    Here { known: true, view: SlotsView { slots, ..SlotsView::default() }, max_set }
}

fn halted() -> Here {
    let mut here = here(1, &[], false);
    let since = Timestamp::UNIX_EPOCH;
    let (reason, by) = ("bad release".into(), "web-1".into());
    here.view.slots.halt = Some(Halt { reason, by, since, release: None, expires: None });
    here
}

/// The plan for one group, in words.
fn said(source: Source, key: &str, value: &str, here: Here) -> (bool, String) {
    let values = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let found = source.read(&values, |id| (id == "M").then(|| "ours".to_owned()));
    let group = found.keys().next().unwrap().clone();
    let plan = plan(source, &found, &BTreeMap::from([(group, here)]));
    (plan.refuses(), plan.to_string())
}

#[test]
fn values_that_are_not_understood_are_refused() {
    for (value, why) in [
        ("", "not a semaphore of locksmith's"),
        ("[]", "not a semaphore of locksmith's"),
        (r#"{"total_slots":1,"holders":[]}"#, "not a semaphore of locksmith's"),
        (r#"{"semaphore":0,"max":0,"holders":null}"#, "its max is no number of slots"),
        (r#"{"semaphore":-2,"max":-2,"holders":[]}"#, "its max is no number of slots"),
        (r#"{"semaphore":0,"max":99999999999,"holders":[]}"#, "its max is no number of slots"),
        (r#"{"semaphore":-1,"max":1,"holders":["a","b"]}"#, "2 hold a slot, and its max is 1"),
        (r#"{"semaphore":1,"max":1,"holders":["a"]}"#, "do not add up"),
        (r#"{"semaphore":0,"max":1,"holders":[]}"#, "do not add up"),
        (r#"{"semaphore":0,"max":1,"holders":[""]}"#, "cannot be that of a node"),
        (r#"{"semaphore":0,"max":1,"holders":["a b"]}"#, "cannot be that of a node"),
        (r#"{"semaphore":0,"max":2,"holders":["a","a"]}"#, "a holds two slots"),
        (r#"{"semaphore":0,"max":2,"holders":["M","ours"]}"#, "ours holds two slots"),
    ] {
        let (refused, text) = said(Source::Locksmith, ROOT, value, Here::default());
        assert!(refused && text.contains(why), "{value}: {text}");
        assert!(text.contains("nothing is changed"), "{text}");
    }
}

#[test]
fn keys_that_are_no_groups_here_are_refused() {
    let locksmith = "/coreos.com/updateengine/rebootlock/";
    for (source, key, why) in [
        (Source::Locksmith, format!("{locksmith}groups/a_b/semaphore"), "name of a group here"),
        (Source::Locksmith, format!("{locksmith}groups/a%2Fb/semaphore"), "name of a group here"),
        (Source::Locksmith, format!("{locksmith}holders/a"), "not a key of a semaphore"),
        (
            Source::Locksmith,
            format!("{locksmith}groups/etcd-members/semaphore"),
            "of lockkeeper's own",
        ),
        (Source::Airlock, "com.coreos.airlock/groups/a/v2/semaphore".to_owned(), "not a key"),
        (Source::Airlock, "com.coreos.airlock/groups//v1/semaphore".to_owned(), "not a key"),
    ] {
        let value = r#"{"semaphore":1,"max":1,"holders":[]}"#;
        let (refused, text) = said(source, &key, value, Here::default());
        assert!(refused && text.contains(why), "{key}: {text}");
    }
}

#[test]
fn a_group_is_carried_over_as_it_fits_to_what_is_here() {
    let two = r#"{"semaphore":1,"max":3,"holders":["M","b"]}"#;
    for (here, refused, words) in [
        (
            Here::default(),
            false,
            "default (new):\n  max 1 -> 3\n  lock ours (machine M)\n  lock b\n",
        ),
        (here(1, &[], false), false, "default:\n  max 1 -> 3\n  lock ours (machine M)\n  lock b\n"),
        (here(3, &["x"], true), false, "default:\n  lock ours (machine M)\n  lock b\n"),
        (
            here(3, &["ours"], true),
            false,
            "default:\n  lock b\n  has a slot already: ours (machine M)\n",
        ),
        (here(1, &[], true), true, "was set to 1 here"),
        (here(2, &[], false), true, "was set to 2 here: make them equal (`rebootctl set-max 3"),
        (here(3, &["x", "y"], true), true, "4 would hold a slot together"),
        (halted(), true, "halted here by web-1: bad release"),
    ] {
        let (was, text) = said(Source::Locksmith, ROOT, two, here);
        assert_eq!(was, refused, "{text}");
        assert!(if refused { text.contains(words) } else { text == words }, "{text}");
    }
}

#[test]
fn two_semaphores_for_one_group_are_refused() {
    let named = "/coreos.com/updateengine/rebootlock/groups/default/semaphore";
    let value = r#"{"semaphore":1,"max":1,"holders":null}"#.to_owned();
    let values = BTreeMap::from([(ROOT.to_owned(), value.clone()), (named.to_owned(), value)]);
    let found = Source::Locksmith.read(&values, |_| None);
    let plan = plan(Source::Locksmith, &found, &BTreeMap::new());
    let Move::Refused(why) = &plan.groups["default"] else { panic!("{plan}") };
    assert_eq!(why, "two semaphores would become the group \"default\"");
}

#[test]
fn slots_that_fit_are_taken_before_max_is_raised() {
    let value = r#"{"total_slots":3,"holders":["a","b"]}"#.to_owned();
    let key = "com.coreos.airlock/groups/default/v1/semaphore".to_owned();
    let found = Source::Airlock.read(&BTreeMap::from([(key, value)]), |_| None);
    let none = plan(Source::Airlock, &found, &BTreeMap::new());
    let Move::Go(changes) = &none.groups["default"] else { panic!("{none}") };
    assert_eq!((changes.take.len(), changes.first), (2, 1));
}
