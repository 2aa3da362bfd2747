//! The lock itself: halts, and holders and nodes that say nothing any more.

use std::collections::BTreeMap;

use super::{Finding, Node, Severity, Store, note, trouble, warning, well};
use crate::core::slots::{Holder, SlotsView};

pub(super) fn examine(store: &Store) -> Vec<Finding> {
    if store.cluster.as_ref().map_or(true, |cluster| !cluster.has_quorum()) {
        // Nothing can be read, and why is said already.
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (group, seen) in &store.groups {
        match seen {
            Err(why) => findings.push(unreadable(&format!("the lock of group {group}"), why)),
            Ok(view) => findings.extend(of_group(store, group, view)),
        }
    }
    match &store.nodes {
        Err(why) => findings.push(unreadable("what nodes say of themselves", why)),
        Ok(nodes) => findings.extend(silent_nodes(store, nodes)),
    }
    if findings.is_empty() {
        let groups: Vec<&str> = store.groups.keys().map(String::as_str).collect();
        let groups = if groups.is_empty() { "no group yet".to_owned() } else { groups.join(", ") };
        let text = format!("{groups}: no halt, and every holder is heard");
        findings.push(well("lock-well", text));
    }
    findings
}

fn unreadable(what: &str, why: &str) -> Finding {
    trouble("lock-unreadable", format!("{what} cannot be read: {why}"))
}

fn of_group(store: &Store, group: &str, view: &SlotsView) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(halt) = &view.slots.halt {
        // By an admin it is meant; after a failed update somebody must look.
        let severity = if halt.release.is_some() { Severity::Trouble } else { Severity::Warning };
        let text =
            format!("group {group} is halted by {}: {}; nobody is admitted", halt.by, halt.reason);
        let resume = format!("rebootctl resume{}  # once that is mended", target(store, group));
        findings.push(Finding::new(severity, "halted", text).mend([resume]));
    }
    let holders = view.slots.holders.iter();
    findings.extend(holders.filter_map(|holder| of_holder(store, group, holder)));
    findings
}

fn of_holder(store: &Store, group: &str, holder: &Holder) -> Option<Finding> {
    let (id, name) = (&holder.node, &holder.name);
    let holds = format!("{name} ({id}) holds a slot of group {group}");
    if holder.by_hand() {
        let text = format!("{holds}, taken by hand: {}", holder.reason);
        let unlock = unlock(store, group, id, "when it is no longer needed");
        return Some(note("held-by-hand", text).mend([unlock]));
    }
    let nodes = store.nodes.as_ref().ok()?;
    match nodes.get(id) {
        Some(node) if node.alive => heard(holder, node, &holds),
        silent => Some(unheard(store, group, holder, silent, &holds)),
    }
}

/// A holder whose agent runs.
fn heard(holder: &Holder, node: &Node, holds: &str) -> Option<Finding> {
    let look = format!("rebootctl explain  # on {}", holder.name);
    if node.phase == "failed" {
        let text = format!("{holds}: its update failed, and it keeps the slot until it is mended");
        return Some(trouble("holder-failed", text).mend([look]));
    }
    let text = format!("{holds} for longer than it expected to ({})", node.phase);
    holder.overdue.then(|| warning("holder-overdue", text).mend([look]))
}

/// A holder whose agent says nothing; `node` is what it said last, if anything.
fn unheard(
    store: &Store,
    group: &str,
    holder: &Holder,
    node: Option<&Node>,
    holds: &str,
) -> Finding {
    let (id, name) = (&holder.node, &holder.name);
    let unlock = |when: &str| unlock(store, group, id, when);
    let nodes = store.nodes.as_ref();
    if let Some(new) = nodes.ok().and_then(|nodes| twin(nodes, id, name)) {
        let text = format!(
            "{holds} under an id that is heard no more, and {name} now has the id {new}: the machine \
             was replaced, or installed anew, while it held the slot (unless two machines bear that \
             name)"
        );
        return trouble("holder-replaced", text).mend([unlock("the old id will not come back")]);
    }
    let gone = format!("only if {name} is gone for good, or is up and back in service");
    if node.is_some_and(|node| node.phase == "rebooting") {
        let severity = if holder.overdue { Severity::Trouble } else { Severity::Warning };
        let late = if holder.overdue { ", longer ago than it expected to need" } else { "" };
        let text = format!(
            "{holds} and has not been heard since it began its reboot{late}; it gives the slot back \
             when it is up, and keeps it if it never is"
        );
        return Finding::new(severity, "holder-down", text).mend([unlock(&gone)]);
    }
    let last = node.map_or("nothing", |node| &node.phase);
    let text = format!(
        "{holds}, but its agent is not heard (last: {last}); nobody takes the slot from it"
    );
    let look = format!("systemctl status lockkeeperd  # on {name}");
    trouble("holder-ghost", text).mend([look, unlock(&gone)])
}

fn unlock(store: &Store, group: &str, id: &str, when: &str) -> String {
    format!("rebootctl unlock {id}{}  # {when}", target(store, group))
}

fn silent_nodes(store: &Store, nodes: &BTreeMap<String, Node>) -> Vec<Finding> {
    let holds = |id: &str| {
        let views = store.groups.values().flatten();
        views.flat_map(|view| &view.slots.holders).any(|holder| holder.node == id)
    };
    let silent = nodes.iter().filter(|(id, node)| !node.alive && !holds(id));
    silent.map(|(id, node)| of_silent(store, nodes, id, node)).collect()
}

fn of_silent(store: &Store, nodes: &BTreeMap<String, Node>, id: &str, node: &Node) -> Finding {
    let name = &node.name;
    let del = |what: &str| format!("{} del {}/{what}/{id}", store.etcdctl, store.prefix);
    let forget = |when: &str| [format!("{}  # {when}", del("nodes")), del("service")];
    if let Some(new) = twin(nodes, id, name) {
        let text = format!(
            "{name} is known as {id} too, which is heard no more: its id is {new} now; the old record \
             only clutters `rebootctl nodes`"
        );
        return note("node-replaced", text).mend(forget("forgets the old id"));
    }
    let text = format!(
        "{name} ({id}) is not heard (last: {}): its agent or the machine is down",
        node.phase
    );
    warning("node-silent", text)
        .mend([format!("systemctl status lockkeeperd  # on {name}")])
        .mend(forget(&format!("only if {name} is gone for good")))
}

/// The id of another node of this name that is heard.
fn twin<'a>(nodes: &'a BTreeMap<String, Node>, id: &str, name: &str) -> Option<&'a String> {
    let same = |(other, node): &(&String, &Node)| *other != id && node.name == name && node.alive;
    nodes.iter().find(same).map(|(other, _)| other)
}

/// What `rebootctl` needs to come to `group`.
fn target(store: &Store, group: &str) -> String {
    format!("{} --group {group}", store.target)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::quorum::{Cluster, Leader, Member, Place, Status};
    use crate::core::slots::{Halt, Slots};

    fn one_member() -> Cluster {
        let status = Status {
            version: "3.5.16".to_owned(),
            leader: Leader::Member(1),
            raft_index: Some(1),
            db_size: 1,
            db_in_use: 1,
            db_quota: None,
            errors: Vec::new(),
        };
        let member = Member {
            id: 1,
            name: "m".to_owned(),
            client_urls: Vec::new(),
            peer_urls: Vec::new(),
            learner: false,
            place: Place::Elsewhere,
            answer: Ok(status),
        };
        Cluster { members: vec![member], alarms: Vec::new(), endpoints: Vec::new() }
    }

    fn holder(node: &str, name: &str, nonce: &str) -> Holder {
        Holder {
            node: node.to_owned(),
            name: name.to_owned(),
            nonce: nonce.to_owned(),
            since: Timestamp::UNIX_EPOCH,
            reason: "update".to_owned(),
            release: None,
            boot_id: "b".to_owned(),
            expected_secs: 3600,
            overdue: false,
        }
    }

    fn node(name: &str, phase: &str, alive: bool) -> Node {
        Node { name: name.to_owned(), phase: phase.to_owned(), alive }
    }

    fn store(holders: Vec<Holder>, nodes: &[(&str, Node)]) -> Store {
        let slots = Slots { holders, ..Slots::default() };
        let view = SlotsView { slots, queue: Vec::new(), settling: false };
        Store {
            etcdctl: "etcdctl --endpoints=http://192.0.2.1:2379".to_owned(),
            target: " --endpoint http://192.0.2.1:2379".to_owned(),
            prefix: "/lockkeeper/v1".to_owned(),
            cluster: Ok(one_member()),
            groups: BTreeMap::from([("web".to_owned(), Ok(view))]),
            nodes: Ok(nodes.iter().map(|(id, node)| ((*id).to_owned(), node.clone())).collect()),
        }
    }

    fn only(store: &Store) -> Finding {
        let mut found = examine(store);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_holder_is_well_while_it_is_heard() {
        let heard = [("a", node("web-1", "applying", true))];
        assert_eq!(only(&store(vec![holder("a", "web-1", "n")], &heard)).code, "lock-well");
        let failed = [("a", node("web-1", "failed", true))];
        let found = only(&store(vec![holder("a", "web-1", "n")], &failed));
        assert_eq!((found.code.as_str(), found.severity), ("holder-failed", Severity::Trouble));
    }

    #[test]
    fn a_holder_that_is_not_heard_is_a_ghost_unless_it_reboots() {
        let held = || vec![holder("a", "web-1", "n")];
        let unlock = "rebootctl unlock a --endpoint http://192.0.2.1:2379 --group web";
        for nodes in [vec![], vec![("a", node("web-1", "applying", false))]] {
            let found = only(&store(held(), &nodes));
            assert_eq!((found.code.as_str(), found.severity), ("holder-ghost", Severity::Trouble));
            assert!(found.commands[1].starts_with(unlock), "{found:?}");
        }
        let found = only(&store(held(), &[("a", node("web-1", "rebooting", false))]));
        assert_eq!((found.code.as_str(), found.severity), ("holder-down", Severity::Warning));
        assert!(found.commands[0].starts_with(unlock), "{found:?}");
    }

    #[test]
    fn an_overdue_holder_is_a_warning_while_it_is_heard_and_trouble_when_it_is_down() {
        let late = || vec![Holder { overdue: true, ..holder("a", "web-1", "n") }];
        let found = only(&store(late(), &[("a", node("web-1", "applying", true))]));
        assert_eq!((found.code.as_str(), found.severity), ("holder-overdue", Severity::Warning));
        let found = only(&store(late(), &[("a", node("web-1", "rebooting", false))]));
        assert_eq!((found.code.as_str(), found.severity), ("holder-down", Severity::Trouble));
    }

    #[test]
    fn a_holder_that_was_replaced_is_told_with_both_ids() {
        let nodes =
            [("a", node("web-1", "rebooting", false)), ("b", node("web-1", "steady", true))];
        let found = only(&store(vec![holder("a", "web-1", "n")], &nodes));
        assert_eq!((found.code.as_str(), found.severity), ("holder-replaced", Severity::Trouble));
        assert!(found.text.contains("web-1 (a)") && found.text.contains("the id b"), "{found:?}");
        assert!(found.commands[0].starts_with("rebootctl unlock a "), "{found:?}");
        let unheard = only(&store(vec![holder("a", "web-1", "n")], &nodes[1..]));
        assert_eq!(unheard.code, "holder-replaced");
    }

    #[test]
    fn two_nodes_of_one_name_that_are_both_heard_are_nobodys_replacement() {
        let nodes = [("a", node("web", "applying", true)), ("b", node("web", "steady", true))];
        assert_eq!(only(&store(vec![holder("a", "web", "n")], &nodes)).code, "lock-well");
    }

    #[test]
    fn a_slot_taken_by_hand_has_no_agent_to_be_heard() {
        let found = only(&store(vec![holder("a", "web-1", "")], &[]));
        assert_eq!((found.code.as_str(), found.severity), ("held-by-hand", Severity::Note));
    }

    #[test]
    fn a_silent_node_is_told_from_the_old_id_of_a_replaced_one() {
        let found = only(&store(vec![], &[("a", node("web-1", "steady", false))]));
        assert_eq!((found.code.as_str(), found.severity), ("node-silent", Severity::Warning));
        let nodes = [("a", node("web-1", "steady", false)), ("b", node("web-1", "steady", true))];
        let found = only(&store(vec![], &nodes));
        assert_eq!((found.code.as_str(), found.severity), ("node-replaced", Severity::Note));
        let forget = "etcdctl --endpoints=http://192.0.2.1:2379 del /lockkeeper/v1/nodes/a";
        assert!(found.commands[0].starts_with(forget), "{found:?}");
    }

    #[test]
    fn a_halt_is_trouble_after_a_failed_update_and_a_warning_when_it_is_meant() {
        let halted = |release: Option<&str>| {
            let mut store = store(vec![], &[]);
            let halt = Halt {
                reason: "web.service failed".to_owned(),
                by: "web-1".to_owned(),
                since: Timestamp::UNIX_EPOCH,
                release: release.map(str::to_owned),
                expires: None,
            };
            let view = store.groups.get_mut("web").unwrap().as_mut().unwrap();
            view.slots.halt = Some(halt);
            only(&store)
        };
        assert_eq!(halted(Some("p")).severity, Severity::Trouble);
        let meant = halted(None);
        assert_eq!((meant.code.as_str(), meant.severity), ("halted", Severity::Warning));
        assert!(meant.commands[0].starts_with("rebootctl resume --endpoint"), "{meant:?}");
    }

    #[test]
    fn on_a_node_rebootctl_needs_no_endpoint() {
        let mut store = store(vec![holder("a", "web-1", "n")], &[]);
        store.target = String::new();
        assert!(only(&store).commands[1].starts_with("rebootctl unlock a --group web  # "));
    }

    #[test]
    fn what_cannot_be_read_is_trouble_unless_etcd_is_the_reason() {
        let mut store = store(vec![], &[]);
        let newer = "written by a newer lockkeeper (schema 2, known here 1): update this one";
        store.groups.insert("web".to_owned(), Err(newer.to_owned()));
        let found = only(&store);
        assert_eq!((found.code.as_str(), found.severity), ("lock-unreadable", Severity::Trouble));
        assert!(found.text.contains(newer));
        store.nodes = Err("permission denied".to_owned());
        assert_eq!(examine(&store).len(), 2);
        store.cluster = Err("connection refused".to_owned());
        assert_eq!(examine(&store), []);
    }
}
