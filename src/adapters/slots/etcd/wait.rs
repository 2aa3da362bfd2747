//! Waiting in the queue, and getting a slot of every group.
//!
//! Safety comes from the transaction that admits us, fairness from the queue: tickets are ordered by
//! the revision that created them, so whoever once was the head stays it while its ticket lives.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, ResponseHeader, Txn, TxnOp, TxnResponse};
use tokio::time::{Instant, sleep, sleep_until};

use super::client::Call;
use super::failure::{Failure, Kind};
use super::watch::{News, Watch};
use super::{EtcdStore, encode};
use super::{ledger, look};
use crate::adapters::clock;
use crate::adapters::slots::{StoreError, Token, dated};
use crate::core::history::{Entry, What};
use crate::core::slots::{Holder, Slots, Ticket, Views};
use crate::core::turn::{Look, Step, Waiting};

/// Pauses while the store cannot be reached: doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Pauses after lost races, which the head loses only against releases and admins.
const CONFLICT: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// A pause that doubles.
pub(super) struct Backoff {
    next: Duration,
    range: (Duration, Duration),
}

impl Backoff {
    pub(super) fn conflict() -> Self {
        Self { next: CONFLICT.0, range: CONFLICT }
    }

    fn retry() -> Self {
        Self { next: RETRY.0, range: RETRY }
    }

    pub(super) async fn pause(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.range.1);
    }

    fn reset(&mut self) {
        self.next = self.range.0;
    }
}

/// What ended a step of the wait.
enum Woken {
    /// The look as it is now.
    Look(Box<Look>),
    /// Look again.
    Stale,
    /// Our ticket is gone with its lease.
    Dropped,
}

/// One claim on its way through the queue.
struct Waiter<'a, F> {
    store: &'a EtcdStore,
    groups: &'a [String],
    claim: &'a Holder,
    since: Instant,
    seen: F,
    told: Option<Views>,
    lease: Option<i64>,
    /// Tickets under our lease may be on their way: the outcome of putting them is unknown.
    in_doubt: bool,
    renew_at: Instant,
    /// Revision of our tickets, as far as we know.
    create: Option<i64>,
}

/// See [`crate::adapters::slots::SlotStore::acquire`].
pub(super) async fn acquire<F>(
    store: &EtcdStore,
    groups: &[String],
    claim: &Holder,
    seen: F,
) -> Result<Token, StoreError>
where
    F: Fn(Result<Views, StoreError>),
{
    let now = Instant::now();
    let mut waiter = Waiter {
        store,
        groups,
        claim,
        since: now,
        seen,
        told: None,
        lease: None,
        in_doubt: false,
        renew_at: now,
        create: None,
    };
    let mut backoff = Backoff::retry();
    loop {
        match waiter.run(&mut backoff).await {
            Err(error @ StoreError::Unreachable { .. }) => {
                waiter.told = None;
                (waiter.seen)(Err(error));
                backoff.pause().await;
            }
            done => return done,
        }
    }
}

impl<F: Fn(Result<Views, StoreError>)> Waiter<'_, F> {
    /// From wherever we are to the slots, or to the first trouble with the store.
    async fn run(&mut self, backoff: &mut Backoff) -> Result<Token, StoreError> {
        let keys = &self.store.keys;
        let mut conflict = Backoff::conflict();
        let mut watch: Option<Watch> = None;
        let mut look = self.look().await?;
        loop {
            backoff.reset();
            self.tell(&look);
            look = match look.step(self.waiting()) {
                Step::Held(token) => return self.out().await.map(|()| token),
                Step::Refused(refusal) => {
                    self.out().await?;
                    return Err(refusal.into());
                }
                Step::GiveBack => {
                    let (node, nonce) = (&self.claim.node, &self.claim.nonce);
                    self.store.release(self.groups, node, nonce, Duration::ZERO).await?;
                    self.look().await?
                }
                Step::Requeue => {
                    self.out().await?;
                    self.look().await?
                }
                Step::Join => self.join().await?,
                Step::Adopt => self.adopt(&look).await?,
                Step::Try(next) => match self.enter(&look, next).await? {
                    Ok(token) => return Ok(token),
                    Err(lost) => {
                        conflict.pause().await;
                        lost
                    }
                },
                Step::Wait(on) => {
                    let on: Vec<String> = on.iter().map(|awaited| keys.awaited(awaited)).collect();
                    match self.wait(&mut watch, &on, look).await? {
                        Woken::Look(look) => *look,
                        Woken::Stale => self.look().await?,
                        Woken::Dropped => self.join().await?,
                    }
                }
            };
        }
    }

    fn waiting(&self) -> Waiting<'_> {
        Waiting { claim: self.claim, lease: self.lease, quarantine: self.store.quarantine }
    }

    /// Puts our tickets at the end of the queues, unless there are any.
    async fn join(&mut self) -> Result<Look, StoreError> {
        self.call_back().await?;
        // Asked for now, so that it is there when it is our turn.
        self.store.ledger.lease(&self.store.pool).await?;
        let tickets: Vec<String> = self.tickets().collect();
        let value = encode(&Ticket::of(self.claim))?;
        let under = PutOptions::new().with_lease(self.lease().await?);
        let puts =
            tickets.iter().map(|key| TxnOp::put(key.as_str(), value.clone(), Some(under.clone())));
        let reads = look::ops(&self.store.keys, self.groups, &self.claim.node, None);
        let ops: Vec<_> = puts.chain(reads).collect();
        let none: Vec<_> = tickets.iter().map(|key| absent(key.as_str())).collect();
        let put = self.write(Txn::new().when(none).and_then(ops)).await;
        self.in_doubt = matches!(put, Err(Failure { kind: Kind::Unknown, .. }));
        match put? {
            Some(answer) if answer.succeeded() => {
                self.create = Some(revision_of(&answer));
                self.read(&answer)
            }
            _ => self.look().await,
        }
    }

    /// Sees to it that tickets on their way cannot arrive any more. They would stand in the queue
    /// when we have had our turn, and nobody would be there to use them or to take them out.
    async fn call_back(&mut self) -> Result<(), Failure> {
        if let Some(lease) = self.lease.filter(|_| self.in_doubt) {
            self.store.pool.revoke(lease).await?;
            self.lease = None;
        }
        self.in_doubt = false;
        Ok(())
    }

    /// Hangs tickets an earlier run of ours left on our own lease. They keep their places.
    async fn adopt(&mut self, look: &Look) -> Result<Look, StoreError> {
        let keys = &self.store.keys;
        let value = encode(&Ticket::of(self.claim))?;
        let under = PutOptions::new().with_lease(self.lease().await?);
        let places = look.groups.iter().filter_map(|(group, g)| Some((group, g.own.as_ref()?)));
        let (mut unchanged, mut puts) = (Vec::new(), Vec::new());
        for (group, place) in places {
            let key = keys.ticket(group, &self.claim.node);
            unchanged.push(Compare::mod_revision(key.as_str(), CompareOp::Equal, place.changed));
            puts.push(TxnOp::put(key, value.clone(), Some(under.clone())));
        }
        self.write(Txn::new().when(unchanged).and_then(puts)).await?;
        self.look().await
    }

    /// Tries to take a slot of every group; fails with a fresh look when somebody was faster.
    async fn enter(
        &mut self,
        look: &Look,
        next: BTreeMap<String, Slots>,
    ) -> Result<Result<Token, Look>, StoreError> {
        let (store, node) = (self.store, &self.claim.node);
        let keys = &store.keys;
        let waited = self.since.elapsed();
        let (guards, admit) = admission(store, look, self.claim, next, waited).await?;
        let again = look::ops(keys, self.groups, node, self.create);
        let txn = Txn::new().when(guards).and_then(admit).or_else(again);
        let answer = match store.pool.txn(Call::Write, txn).await {
            Err(Failure { kind: Kind::LeaseGone, .. }) => {
                store.ledger.forget();
                return self.look().await.map(Err);
            }
            answer => answer?,
        };
        if answer.succeeded() {
            return Ok(Ok(revision_of(&answer)));
        }
        self.read(&answer).map(Err)
    }

    /// Reads our groups, and with them who is before us.
    async fn look(&mut self) -> Result<Look, StoreError> {
        loop {
            let ops = look::ops(&self.store.keys, self.groups, &self.claim.node, self.create);
            let answer = self.store.pool.txn(Call::Read, Txn::new().and_then(ops)).await?;
            let look = self.read(&answer)?;
            let create = look.groups.values().find_map(|g| g.own.as_ref()).map(|own| own.create);
            if create.is_none() || create == self.create {
                return Ok(look);
            }
            self.create = create;
        }
    }

    fn read(&self, answer: &TxnResponse) -> Result<Look, StoreError> {
        look::read(&self.store.keys, self.groups, &self.claim.node, answer)
    }

    fn tickets(&self) -> impl Iterator<Item = String> + '_ {
        self.groups.iter().map(|group| self.store.keys.ticket(group, &self.claim.node))
    }

    /// Waits until something `on` these keys may let us go on. Keeps our ticket alive meanwhile.
    async fn wait(
        &mut self,
        watch: &mut Option<Watch>,
        on: &[String],
        look: Look,
    ) -> Result<Woken, StoreError> {
        let Some(open) = watch.as_mut().filter(|w| w.is_on(on)) else {
            *watch = Some(Watch::open(&self.store.pool, on).await?);
            return Ok(Woken::Stale);
        };
        let look_again = Instant::now() + self.store.timing.look_again;
        loop {
            tokio::select! {
                news = open.next() => return self.hear(news, watch, look),
                () = sleep_until(self.renew_at) => if !self.renew().await? {
                    return Ok(Woken::Dropped);
                },
                () = sleep_until(look_again) => return Ok(Woken::Stale),
            }
        }
    }

    fn hear(&self, news: News, watch: &mut Option<Watch>, look: Look) -> Result<Woken, StoreError> {
        match news {
            News::Changes(changes) => {
                let after = look::after(look, &self.store.keys, self.claim, &changes)?;
                Ok(after.map_or(Woken::Stale, |look| Woken::Look(Box::new(look))))
            }
            News::Lost(why) => {
                tracing::debug!(why, "watch lost");
                *watch = None;
                Ok(Woken::Stale)
            }
        }
    }

    /// Our lease, granted if need be.
    async fn lease(&mut self) -> Result<i64, Failure> {
        if let Some(lease) = self.lease {
            return Ok(lease);
        }
        let ttl = self.store.timing.ticket_lease;
        let lease = self.store.pool.grant(ttl).await?;
        self.renew_at = Instant::now() + ttl / 3;
        self.lease = Some(lease);
        Ok(lease)
    }

    /// Keeps our ticket alive; false when it is too late for that.
    async fn renew(&mut self) -> Result<bool, Failure> {
        let Some(lease) = self.lease else { return Ok(false) };
        self.renew_at = Instant::now() + self.store.timing.ticket_lease / 3;
        match self.store.pool.keep_alive(lease).await {
            Ok(()) => Ok(true),
            Err(Failure { kind: Kind::LeaseGone, .. }) => {
                self.lease = None;
                Ok(false)
            }
            Err(failure) => {
                self.renew_at = Instant::now();
                Err(failure)
            }
        }
    }

    /// Writes under our lease; `None` when it turns out to be gone. The next one will be new.
    async fn write(&mut self, txn: Txn) -> Result<Option<TxnResponse>, Failure> {
        match self.store.pool.txn(Call::Write, txn).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure { kind: Kind::LeaseGone, .. }) => {
                self.lease = None;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// No ticket of ours may block a queue.
    async fn out(&mut self) -> Result<(), StoreError> {
        self.create = None;
        self.store.leave(self.groups, &self.claim.node, &self.claim.nonce).await.map(|_| ())
    }

    fn tell(&mut self, look: &Look) {
        let views = look.views();
        if self.told.as_ref() != Some(&views) {
            (self.seen)(Ok(views.clone()));
            self.told = Some(views);
        }
    }
}

/// What must hold, and what to write, for `claim` to be admitted to these groups of a look as `next`.
pub(super) async fn admission(
    store: &EtcdStore,
    look: &Look,
    claim: &Holder,
    next: BTreeMap<String, Slots>,
    waited: Duration,
) -> Result<(Vec<Compare>, Vec<TxnOp>), Failure> {
    let (keys, node) = (&store.keys, &claim.node);
    let history = store.ledger.lease(&store.pool).await?;
    let entry = Entry::own(What::Locked, claim, clock::wall());
    let (mut guards, mut admit) = (Vec::new(), Vec::new());
    for (group, slots) in next {
        let Some(seen) = look.groups.get(&group) else { continue };
        let create = seen.own.as_ref().map_or(0, |own| own.create);
        let slots = dated(slots, claim, waited);
        let ticket = keys.ticket(&group, node);
        guards.extend([
            Compare::mod_revision(keys.slots(&group), CompareOp::Equal, seen.revision),
            absent(keys.settle(&group)),
            Compare::create_revision(ticket.as_str(), CompareOp::Equal, create),
        ]);
        let stamp = look.revision.max(seen.revision);
        admit.extend([
            TxnOp::put(keys.slots(&group), encode(&slots)?, None),
            TxnOp::put(keys.holder(&group, node), claim.nonce.as_str(), None),
            TxnOp::delete(ticket, None),
            ledger::put(keys.entry(&group, stamp), &entry, history)?,
        ]);
    }
    Ok((guards, admit))
}

pub(super) fn revision_of(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, ResponseHeader::revision)
}

pub(super) fn absent(key: impl Into<Vec<u8>>) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, 0)
}
