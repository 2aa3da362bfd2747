//! Which holders need longer than they expected to?
//!
//! No clocks are compared across machines: each observer measures, on its own monotonic clock, how
//! long it has seen one and the same holder. One that has just started to look is patient again.

use std::collections::BTreeMap;

use super::{
    slots::{Holder, Views},
    time::Mono,
};

/// What an observer remembers of the holders it sees.
#[derive(Clone, Debug, Default)]
pub struct Overdue {
    first_seen: BTreeMap<Stay, Mono>,
}

/// One holder's stay in one group.
type Stay = (String, String, String, jiff::Timestamp);

impl Overdue {
    /// Looks at the groups; answers the holders that are overdue and not marked so yet, with their
    /// groups. A holder that does not say how long it needs is never overdue.
    pub fn look(&mut self, views: &Views, now: Mono) -> Vec<(String, Holder)> {
        let mut seen = BTreeMap::new();
        let mut found = Vec::new();
        for (group, view) in views {
            for holder in &view.slots.holders {
                let stay = (group.clone(), holder.node.clone(), holder.nonce.clone(), holder.since);
                let since = *self.first_seen.get(&stay).unwrap_or(&now);
                seen.insert(stay, since);
                let late = now.since(since).as_secs() >= holder.expected_secs;
                if holder.expected_secs > 0 && late && !holder.overdue {
                    found.push((group.clone(), holder.clone()));
                }
            }
        }
        // Groups that are not in these views are remembered.
        self.first_seen.retain(|(group, ..), _| !views.contains_key(group));
        self.first_seen.extend(seen);
        found
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::slots::{Slots, SlotsView};

    fn holder(node: &str, expected_secs: u64) -> Holder {
        Holder {
            node: node.into(),
            name: node.into(),
            nonce: "n".into(),
            since: Timestamp::UNIX_EPOCH,
            reason: String::new(),
            release: None,
            boot_id: String::new(),
            expected_secs,
            overdue: false,
        }
    }

    fn views(slots: Slots) -> Views {
        [("g".to_owned(), SlotsView { slots, ..SlotsView::default() })].into()
    }

    fn late(overdue: &mut Overdue, slots: &Slots, secs: u64) -> Vec<String> {
        let found = overdue.look(&views(slots.clone()), Mono(secs * 1000));
        found.into_iter().map(|(_, holder)| holder.node).collect()
    }

    #[test]
    fn a_holder_is_overdue_after_its_own_time_by_the_observers_clock() {
        let mut observer = Overdue::default();
        let held = Slots::default().admit(&holder("a", 60), 0).unwrap();
        assert_eq!(late(&mut observer, &held, 1000), [""; 0]);
        assert_eq!(late(&mut observer, &held, 1059), [""; 0]);
        assert_eq!(late(&mut observer, &held, 1060), ["a"]);
        assert_eq!(late(&mut observer, &held.with_overdue("a", "n"), 1100), [""; 0], "once");
        assert_eq!(late(&mut Overdue::default(), &held, 1100), [""; 0], "a new observer waits");
    }

    #[test]
    fn another_stay_of_the_same_node_starts_anew_and_one_that_says_nothing_is_never_late() {
        let mut observer = Overdue::default();
        let held = Slots::default().admit(&holder("a", 60), 0).unwrap();
        late(&mut observer, &held, 0);
        late(&mut observer, &Slots::default(), 50);
        assert_eq!(late(&mut observer, &held, 61), [""; 0]);
        let by_hand = Slots::default().admit(&holder("b", 0), 0).unwrap();
        late(&mut observer, &by_hand, 0);
        assert_eq!(late(&mut observer, &by_hand, 1_000_000), [""; 0]);
    }
}
