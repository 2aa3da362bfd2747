//! The reboot lock of a FleetLock server: airlock, poseidon's, our own hub.
//!
//! The protocol has two requests and no way to look: it tells neither who holds a slot nor whether
//! we do. So a wait is a poll, [`FleetLockStore::held`] is never answered, and a halt is only the
//! slot that a failed node keeps. Our own hub says more in its refusals, and that is believed.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use self::http::{Http, Refused, Verb};
use super::{StoreError, Token};
use crate::core::change::{AdminOp, Change};
use crate::core::slots::{Halt, Holder, Refusal, Slots, SlotsView, Ticket, Views};

mod http;
pub mod wire;

/// A server may not have us wait for longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Where a server is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Base URL, `http://` or `https://`; the protocol's paths come after it.
    pub url: String,
    /// A file with a token that is sent along, read anew for each request.
    pub token_file: Option<PathBuf>,
    /// PEM file with the authorities that the server's certificate may be of; otherwise the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files with our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Time between two polls, where the server does not say when to ask again.
    pub interval: Duration,
}

/// The lock at a FleetLock server. A claim is for one group.
#[derive(Clone, Debug)]
pub struct FleetLockStore {
    http: Http,
    interval: Duration,
    /// What the last refusal told of the group.
    known: Arc<Mutex<Views>>,
}

impl FleetLockStore {
    /// The lock at `server`. Does not connect yet.
    #[must_use]
    pub fn new(server: &Server) -> Self {
        Self { http: Http::new(server), interval: server.interval, known: Arc::default() }
    }

    /// See [`super::SlotStore::acquire`]. The token is 0 where the server has none.
    pub(super) async fn acquire(
        &self,
        groups: &[String],
        claim: &Holder,
        seen: impl Fn(Result<Views, StoreError>),
    ) -> Result<Token, StoreError> {
        let group = self.only(groups)?;
        let mut told = None;
        loop {
            let pause = match self.http.post(Verb::Lock, group, &claim.node).await {
                Ok(token) => {
                    self.learn(Views::new());
                    return Ok(token);
                }
                Err(Refused::Busy { problem, retry_after }) => {
                    let view = problem.view.clone().unwrap_or_else(|| self.guess(claim, &problem));
                    let views = Views::from([(group.to_owned(), view)]);
                    self.learn(views.clone());
                    if told.as_ref() != Some(&views) {
                        seen(Ok(views.clone()));
                        told = Some(views);
                    }
                    retry_after
                }
                Err(Refused::Duplicate(name)) => {
                    let node = claim.node.clone();
                    return Err(Refusal::DuplicateNode { node, name }.into());
                }
                Err(Refused::Failed(error @ StoreError::Unreachable { .. })) => {
                    told = None;
                    seen(Err(error));
                    None
                }
                Err(Refused::Failed(error)) => return Err(error),
            };
            sleep(jittered(pause.unwrap_or(self.interval).min(LONGEST_PAUSE))).await;
        }
    }

    /// See [`super::SlotStore::leave`]. The protocol cannot tell whether a slot was granted, so none
    /// is kept: a request under way is ended first, then the slot is given back.
    pub(super) async fn leave(
        &self,
        groups: &[String],
        node: &str,
    ) -> Result<Option<Token>, StoreError> {
        self.release(groups, node).await.map(|()| None)
    }

    /// See [`super::SlotStore::held`].
    ///
    /// # Errors
    /// Always: the protocol has no such question, and neither *yes* nor *no* would be safe to guess.
    pub(super) fn held(&self) -> Result<Option<Token>, StoreError> {
        Err(self.cannot("tell who holds a slot"))
    }

    /// See [`super::SlotStore::release`]. How long a group settles is the server's to decide.
    pub(super) async fn release(&self, groups: &[String], node: &str) -> Result<(), StoreError> {
        match self.http.post(Verb::Unlock, self.only(groups)?, node).await {
            Ok(_) => Ok(()),
            // "Held by another", says a server that takes an unlock by a non-holder for a mistake.
            Err(Refused::Busy { problem, .. }) if problem.kind == "lock_held" => Ok(()),
            Err(Refused::Busy { problem, .. }) => Err(self.http.unwilling(&problem)),
            Err(Refused::Duplicate(_)) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    /// See [`super::SlotStore::view`]: what the last refusal told, which may be nothing.
    pub(super) fn view(&self) -> Views {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// See [`super::SlotStore::admin`]. A halt is taken: the slot that the failed node keeps is what
    /// stops the others, as far as a FleetLock server can stop them.
    pub(super) fn admin(&self, group: &str, change: &Change) -> Result<SlotsView, StoreError> {
        if let AdminOp::Halt { .. } = change.op {
            let url = self.http.url();
            tracing::warn!(
                url,
                "FleetLock has no halt: only the slot this node keeps stops others"
            );
            return Ok(self.view().remove(group).unwrap_or_default());
        }
        Err(self.cannot("change a group: do it at the server"))
    }

    fn only<'a>(&self, groups: &'a [String]) -> Result<&'a str, StoreError> {
        match groups {
            [group] => Ok(group),
            _ => Err(self.cannot("take slots of several groups at once: name one")),
        }
    }

    fn learn(&self, views: Views) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = views;
    }

    /// What a refusal without particulars lets us tell.
    fn guess(&self, claim: &Holder, problem: &wire::Problem) -> SlotsView {
        let said = http::said(problem);
        let mut slots = Slots::default();
        if problem.kind == wire::HALTED {
            slots = slots.halted(Halt {
                reason: said,
                by: self.http.url().to_owned(),
                since: Timestamp::UNIX_EPOCH,
                release: None,
                expires: None,
            });
        } else {
            slots.holders.push(somebody(&said));
        }
        SlotsView { slots, queue: vec![Ticket::of(claim)], settling: false }
    }

    pub(super) fn cannot(&self, what: &str) -> StoreError {
        StoreError::Unusable { what: format!("{}: FleetLock cannot {what}", self.http.url()) }
    }
}

/// A holder of whom only what the server `said` is known.
fn somebody(said: &str) -> Holder {
    Holder {
        node: String::new(),
        name: format!("another node ({said})"),
        nonce: String::new(),
        since: Timestamp::UNIX_EPOCH,
        reason: String::new(),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    }
}

/// Up to a tenth longer, so that clients do not ask in step.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    pause + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_vary_by_up_to_a_tenth_and_are_never_shorter() {
        let pauses: Vec<_> = (0..100).map(|_| jittered(Duration::from_secs(10))).collect();
        let all = Duration::from_secs(10)..=Duration::from_secs(11);
        assert!(pauses.iter().all(|pause| all.contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
