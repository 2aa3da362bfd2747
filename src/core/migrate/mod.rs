//! Carrying another program's reboot lock over: their semaphores and ours in, a plan out.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use serde::Serialize;

pub use self::foreign::{Found, Held, Semaphore, Source};
use super::slots::{Slots, SlotsView};

mod foreign;
pub mod unattended;

/// What is here under a group's name.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// The store knows the group.
    pub known: bool,
    /// The group as it is, or as it would be if it were made.
    pub view: SlotsView,
    /// Somebody has set its max by hand.
    pub max_set: bool,
}

/// What is to be done, group by group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whose lock is carried over.
    pub source: Source,
    /// The groups, by name.
    pub groups: BTreeMap<String, Move>,
}

/// What is to be done in one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// To be changed; perhaps in nothing.
    Go(Changes),
    /// Nothing of the group is changed, and why.
    Refused(String),
    /// Changed in part: somebody else was quicker. Running it again does the rest, or says why not.
    Stopped(String),
}

/// What is to be changed in one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// The group is not known here yet.
    pub created: bool,
    /// Max before and after, where it changes.
    pub max: Option<(u32, u32)>,
    /// Who gets a slot.
    pub take: Vec<Held>,
    /// Who has one already.
    pub present: Vec<Held>,
    /// So many of `take` fit in before max is raised. They go first, so that nobody else takes the
    /// slots that are theirs.
    #[serde(skip)]
    pub first: usize,
}

/// Decides what is to be done for `found`; `here` has what is in our store under the same names.
#[must_use]
pub fn plan(source: Source, found: &Found, here: &BTreeMap<String, Here>) -> Plan {
    let none = Here::default();
    let step = |(group, theirs): (&String, &Result<Semaphore, String>)| {
        let ours = here.get(group).unwrap_or(&none);
        let changes = theirs.clone().and_then(|theirs| changes(source, group, &theirs, ours));
        (group.clone(), changes.map_or_else(Move::Refused, Move::Go))
    };
    Plan { source, groups: found.iter().map(step).collect() }
}

fn changes(
    source: Source,
    group: &str,
    theirs: &Semaphore,
    here: &Here,
) -> Result<Changes, String> {
    let slots = &here.view.slots;
    let max = new_max(source, group, theirs.max, here)?;
    let holds = |held: &&Held| slots.holder(&held.node).is_some();
    let (present, take): (Vec<_>, Vec<_>) = theirs.held.iter().partition(holds);
    let take: Vec<Held> = take.into_iter().cloned().collect();
    if !take.is_empty() {
        admits(group, theirs.max, take.len(), slots)?;
    }
    let first = take.len().min(slots.available() as usize);
    let present = present.into_iter().cloned().collect();
    Ok(Changes {
        created: !here.known && (max.is_some() || !take.is_empty()),
        max,
        take,
        present,
        first,
    })
}

/// Max before and after. A max that somebody chose here is not overruled.
fn new_max(
    source: Source,
    group: &str,
    theirs: u32,
    here: &Here,
) -> Result<Option<(u32, u32)>, String> {
    let ours = here.view.slots.max;
    if ours == theirs {
        return Ok(None);
    }
    if here.max_set || ours != Slots::default().max {
        return Err(format!(
            "max is {theirs} in {}, and was set to {ours} here: make them equal (`rebootctl set-max \
             {theirs} --group {group}`)",
            source.word()
        ));
    }
    Ok(Some((ours, theirs)))
}

/// Whether so many more holders fit in.
fn admits(group: &str, max: u32, more: usize, slots: &Slots) -> Result<(), String> {
    if let Some(halt) = &slots.halt {
        return Err(format!(
            "halted here by {}: {}; lift the halt first (`rebootctl resume --group {group}`)",
            halt.by, halt.reason
        ));
    }
    let all = slots.holders.len() + more;
    if all > max as usize {
        return Err(format!("{all} would hold a slot together with those here, and max is {max}"));
    }
    Ok(())
}

impl Plan {
    /// Whether something of it is not done, or not to be done.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.groups.values().any(|step| !matches!(step, Move::Go(_)))
    }
}

impl Changes {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.max.is_none() && self.take.is_empty()
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.groups.is_empty() {
            return writeln!(f, "nothing to migrate: no semaphore of {}'s", self.source.word());
        }
        for (group, step) in &self.groups {
            match step {
                Move::Refused(why) => writeln!(f, "{group}: refused, nothing is changed: {why}")?,
                Move::Stopped(why) => writeln!(f, "{group}: stopped halfway: {why}")?,
                Move::Go(changes) if changes.created => write!(f, "{group} (new):\n{changes}")?,
                Move::Go(changes) => write!(f, "{group}:\n{changes}")?,
            }
        }
        Ok(())
    }
}

impl Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "  nothing to do")?;
        }
        if let Some((from, to)) = self.max {
            writeln!(f, "  max {from} -> {to}")?;
        }
        for held in &self.take {
            writeln!(f, "  lock {held}")?;
        }
        for held in &self.present {
            writeln!(f, "  has a slot already: {held}")?;
        }
        Ok(())
    }
}

impl Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node)?;
        if self.id == self.node { Ok(()) } else { write!(f, " (machine {})", self.id) }
    }
}
