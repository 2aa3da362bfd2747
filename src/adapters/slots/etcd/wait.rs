//! Waiting in the queue, and getting a slot.
//!
//! Safety comes from the transaction that admits us, fairness from the queue: tickets are ordered by
//! the revision that created them, so whoever once was the head stays it while its ticket lives.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, ResponseHeader, Txn, TxnOp, TxnResponse};
use tokio::time::{Instant, sleep, sleep_until};

use super::client::Call;
use super::failure::{Failure, Kind};
use super::look::{Look, Place, Step};
use super::watch::{News, Watch};
use super::{EtcdStore, encode};
use crate::adapters::slots::{StoreError, Token, dated};
use crate::core::slots::{Holder, Slots, SlotsView, Ticket};

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
    claim: &'a Holder,
    since: Instant,
    seen: F,
    told: Option<SlotsView>,
    lease: Option<i64>,
    renew_at: Instant,
    /// Revision of our ticket, as far as we know.
    create: Option<i64>,
}

/// See [`crate::adapters::slots::SlotStore::acquire`].
pub(super) async fn acquire<F>(
    store: &EtcdStore,
    claim: &Holder,
    seen: F,
) -> Result<Token, StoreError>
where
    F: Fn(Result<SlotsView, StoreError>),
{
    let now = Instant::now();
    let mut waiter = Waiter {
        store,
        claim,
        since: now,
        seen,
        told: None,
        lease: None,
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

impl<F: Fn(Result<SlotsView, StoreError>)> Waiter<'_, F> {
    /// From wherever we are to the slot, or to the first trouble with the store.
    async fn run(&mut self, backoff: &mut Backoff) -> Result<Token, StoreError> {
        let keys = &self.store.keys;
        let mut conflict = Backoff::conflict();
        let mut watch: Option<Watch> = None;
        let mut look = self.look().await?;
        loop {
            backoff.reset();
            self.tell(&look);
            look = match look.step(keys, self.claim, self.lease) {
                Step::Held(token) => return self.out(&look).await.map(|()| token),
                Step::Refused(refusal) => {
                    self.out(&look).await?;
                    return Err(refusal.into());
                }
                Step::Join => self.join().await?,
                Step::Adopt(place) => self.adopt(&place).await?,
                Step::Try { create, next } => match self.enter(&look, create, &next).await? {
                    Ok(token) => return Ok(token),
                    Err(lost) => {
                        conflict.pause().await;
                        lost
                    }
                },
                Step::Wait(on) => match self.wait(&mut watch, &on, look).await? {
                    Woken::Look(look) => *look,
                    Woken::Stale => self.look().await?,
                    Woken::Dropped => self.join().await?,
                },
            };
        }
    }

    /// Puts our ticket at the end of the queue, unless there is one.
    async fn join(&mut self) -> Result<Look, StoreError> {
        let keys = &self.store.keys;
        let node = &self.claim.node;
        let key = keys.ticket(node);
        let under = PutOptions::new().with_lease(self.lease().await?);
        let put = TxnOp::put(key.clone(), encode(&Ticket::of(self.claim))?, Some(under));
        let ops: Vec<_> = [put].into_iter().chain(Look::ops(keys, node, None)).collect();
        let txn = Txn::new().when([absent(key)]).and_then(ops);
        match self.write(txn).await? {
            Some(answer) if answer.succeeded() => {
                self.create = Some(revision_of(&answer));
                Look::read(keys, node, &answer)
            }
            _ => self.look().await,
        }
    }

    /// Hangs a ticket an earlier run of ours left on our own lease. It keeps its place.
    async fn adopt(&mut self, place: &Place) -> Result<Look, StoreError> {
        let key = self.store.keys.ticket(&self.claim.node);
        let under = PutOptions::new().with_lease(self.lease().await?);
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Equal, place.changed);
        let put = TxnOp::put(key, encode(&Ticket::of(self.claim))?, Some(under));
        self.write(Txn::new().when([unchanged]).and_then([put])).await?;
        self.look().await
    }

    /// Tries to take a slot; fails with a fresh look when somebody was faster.
    async fn enter(
        &mut self,
        look: &Look,
        create: i64,
        next: &Slots,
    ) -> Result<Result<Token, Look>, StoreError> {
        let keys = &self.store.keys;
        let node = &self.claim.node;
        let next = dated(next.clone(), self.claim, self.since.elapsed());
        let guards = [
            Compare::mod_revision(keys.slots(), CompareOp::Equal, look.seen.revision),
            absent(keys.settle()),
            Compare::create_revision(keys.ticket(node), CompareOp::Equal, create),
        ];
        let admit = [
            TxnOp::put(keys.slots(), encode(&next)?, None),
            TxnOp::put(keys.holder(node), self.claim.nonce.as_str(), None),
            TxnOp::delete(keys.ticket(node), None),
        ];
        let again = Look::ops(keys, node, Some(create));
        let txn = Txn::new().when(guards).and_then(admit).or_else(again);
        let answer = self.store.pool.txn(Call::Write, txn).await?;
        if answer.succeeded() {
            return Ok(Ok(revision_of(&answer)));
        }
        Look::read(keys, node, &answer).map(Err)
    }

    /// Reads the group, and with it who is before us.
    async fn look(&mut self) -> Result<Look, StoreError> {
        let keys = &self.store.keys;
        let node = &self.claim.node;
        loop {
            let ops = Look::ops(keys, node, self.create);
            let answer = self.store.pool.txn(Call::Read, Txn::new().and_then(ops)).await?;
            let look = Look::read(keys, node, &answer)?;
            let create = look.own.as_ref().map(|place| place.create);
            if create.is_none() || create == self.create {
                return Ok(look);
            }
            self.create = create;
        }
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
                let after = look.after(&self.store.keys, self.claim, &changes)?;
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

    /// We are done waiting: no ticket of ours may block the queue.
    async fn out(&mut self, look: &Look) -> Result<(), StoreError> {
        if look.own.as_ref().is_some_and(|own| own.ticket.nonce == self.claim.nonce) {
            self.store.leave(&self.claim.node, &self.claim.nonce).await?;
        }
        Ok(())
    }

    fn tell(&mut self, look: &Look) {
        let view = look.view();
        if self.told.as_ref() != Some(&view) {
            (self.seen)(Ok(view.clone()));
            self.told = Some(view);
        }
    }
}

fn revision_of(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, ResponseHeader::revision)
}

fn absent(key: String) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, 0)
}
