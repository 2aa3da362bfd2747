//! What happened over all rounds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// Counts of all lanes.
#[derive(Clone)]
pub struct Tally {
    began: Instant,
    sums: Arc<Mutex<Sums>>,
}

#[derive(Default)]
struct Sums {
    rounds: u64,
    admissions: usize,
    lost_tickets: usize,
    revisions: usize,
    events: BTreeMap<&'static str, usize>,
    /// Longest time from the last accident's end until everybody had had its turns.
    longest: Duration,
    failures: Vec<String>,
}

/// What a sound round was.
pub struct Sound {
    pub admissions: usize,
    pub lost_tickets: usize,
    pub revisions: usize,
    /// From the last accident's end until everybody had had its turns.
    pub afterwards: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Self { began: Instant::now(), sums: Arc::default() }
    }
}

impl Tally {
    /// Something happened.
    pub fn count(&self, event: &'static str) {
        *self.sums.lock().unwrap().events.entry(event).or_default() += 1;
    }

    pub fn sound(&self, round: &Sound) {
        let mut sums = self.sums.lock().unwrap();
        sums.rounds += 1;
        sums.admissions += round.admissions;
        sums.lost_tickets += round.lost_tickets;
        sums.revisions += round.revisions;
        sums.longest = sums.longest.max(round.afterwards);
    }

    pub fn fail(&self, why: String) {
        self.sums.lock().unwrap().failures.push(why);
    }

    pub fn failed(&self) -> bool {
        !self.sums.lock().unwrap().failures.is_empty()
    }

    pub fn failures(&self) -> Vec<String> {
        self.sums.lock().unwrap().failures.clone()
    }

    pub fn rounds(&self) -> u64 {
        self.sums.lock().unwrap().rounds
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums = self.sums.lock().unwrap();
        let took = self.began.elapsed();
        let rate = f64::from(u32::try_from(sums.rounds).unwrap_or(u32::MAX)) / took.as_secs_f64();
        writeln!(f, "{} sound rounds in {took:.1?}, {rate:.1} a second", sums.rounds)?;
        writeln!(
            f,
            "{} revisions, {} admissions, {} tickets lost to a fault, all done at most {:.1?} after it",
            sums.revisions, sums.admissions, sums.lost_tickets, sums.longest
        )?;
        for (event, times) in &sums.events {
            writeln!(f, "{times:>6} {event}")?;
        }
        Ok(())
    }
}
