//! Waiting in the queue, and getting a slot of every group.
//!
//! Safety comes from the transaction that admits us, fairness from the queue: tickets are ordered by
//! the revision that created them, so whoever once was the head stays it while its ticket lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, ResponseHeader, Txn, TxnOp, TxnResponse};
use tokio::time::{Instant, sleep, sleep_until};

use super::client::Call;
use super::failure::{Failure, Kind};
use super::keys::Range;
use super::line::Line;
use super::look::Reading;
use super::watch::{News, Watch};
use super::{EtcdStore, encode};
use super::{ledger, look};
use crate::adapters::clock;
use crate::adapters::slots::{StoreError, Token, dated};
use crate::core::history::{Entry, What};
use crate::core::slots::{Holder, Slots, Ticket, Views};
use crate::core::turn::{Awaited, Look, Step, Waiting};

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
    /// Look again: it may be our turn.
    Next,
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
    /// Where those stand, by group, as far as we know.
    lines: BTreeMap<String, Line>,
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
        lines: BTreeMap::new(),
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

impl<'a, F: Fn(Result<Views, StoreError>)> Waiter<'a, F> {
    /// From wherever we are to the slots, or to the first trouble with the store.
    async fn run(&mut self, backoff: &mut Backoff) -> Result<Token, StoreError> {
        let keys = &self.store.keys;
        let mut conflict = Backoff::conflict();
        let mut watch: Option<Watch> = None;
        // Nothing of this claim is known to the store yet, in most cases.
        let mut look = match self.lease {
            None => self.join(self.first()).await?,
            Some(_) => self.look().await?,
        };
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
                Step::Join => self.join(Vec::new()).await?,
                Step::Adopt => self.adopt(&look).await?,
                Step::Try(next) => match self.enter(&look, next).await? {
                    Ok(token) => return Ok(token),
                    Err(lost) => {
                        conflict.pause().await;
                        lost
                    }
                },
                Step::Wait(on) => {
                    let on: BTreeSet<Range> =
                        on.iter().map(|awaited| keys.awaited(awaited)).collect();
                    match self.wait(&mut watch, &on, look).await? {
                        Woken::Look(look) => *look,
                        Woken::Stale => self.look().await?,
                        Woken::Next => self.next(&mut watch).await?,
                        Woken::Dropped => self.join(Vec::new()).await?,
                    }
                }
            };
        }
    }

    fn waiting(&self) -> Waiting<'_> {
        Waiting { claim: self.claim, lease: self.lease, quarantine: self.store.quarantine }
    }

    /// What must hold for tickets without a look before.
    fn first(&self) -> Vec<Compare> {
        let holder = |group: &String| absent(self.store.keys.holder(group, &self.claim.node));
        self.groups.iter().map(holder).collect()
    }

    /// Puts our tickets at the end of the queues, unless there are any; then, and when not all of
    /// `also` holds, it is no more than a look.
    async fn join(&mut self, also: Vec<Compare>) -> Result<Look, StoreError> {
        self.call_back().await?;
        self.forget();
        let store = self.store;
        // The ledger's is asked for now, so that it is there when it is our turn.
        let (history, lease) = tokio::join!(store.ledger.lease(&store.pool), self.lease());
        history?;
        let under = PutOptions::new().with_lease(lease?);
        let tickets: Vec<String> = self.tickets().collect();
        let value = encode(&Ticket::of(self.claim))?;
        let puts =
            tickets.iter().map(|key| TxnOp::put(key.as_str(), value.clone(), Some(under.clone())));
        let reading = self.reading();
        let ops: Vec<_> = puts.chain(reading.ops()).collect();
        let none = tickets.iter().map(|key| absent(key.as_str()));
        let txn = Txn::new().when(none.chain(also).collect::<Vec<_>>());
        let put = self.write(txn.and_then(ops).or_else(reading.ops())).await;
        self.in_doubt = matches!(put, Err(Failure { kind: Kind::Unknown, .. }));
        let Some(answer) = put? else { return self.look().await };
        if answer.succeeded() {
            self.create = Some(revision_of(&answer));
        }
        self.learn(&reading, &answer).await
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
        let store = self.store;
        let next = dated_all(next, self.claim, self.since.elapsed());
        let (guards, admit) = admission(store, look, self.claim, &next).await?;
        let again = self.reading();
        let txn = Txn::new().when(guards).and_then(admit).or_else(again.ops());
        let answer = match store.pool.txn(Call::Write, txn).await {
            Err(Failure { kind: Kind::LeaseGone, .. }) => {
                store.ledger.forget();
                return self.look().await.map(Err);
            }
            answer => answer?,
        };
        if answer.succeeded() {
            let token = revision_of(&answer);
            store.admitted.keep(next, token);
            return Ok(Ok(token));
        }
        self.learn(&again, &answer).await.map(Err)
    }

    /// Reads our groups, and with them who is before us.
    async fn look(&mut self) -> Result<Look, StoreError> {
        loop {
            let reading = self.reading();
            let txn = Txn::new().and_then(reading.ops());
            let answer = self.store.pool.txn(Call::Read, txn).await?;
            if let Some(look) = self.understand(&reading, &answer)? {
                return Ok(look);
            }
        }
    }

    /// The look in this answer, or another when that does not tell who is before us.
    async fn learn(
        &mut self,
        reading: &Reading<'_>,
        answer: &TxnResponse,
    ) -> Result<Look, StoreError> {
        match self.understand(reading, answer)? {
            Some(look) => Ok(look),
            None => self.look().await,
        }
    }

    /// The look in this answer, which the next one builds on.
    fn understand(
        &mut self,
        reading: &Reading<'_>,
        answer: &TxnResponse,
    ) -> Result<Option<Look>, StoreError> {
        let look = reading.understand(answer)?;
        let own =
            |look: &Look| look.groups.values().find_map(|group| Some(group.own.as_ref()?.create));
        let create = look.as_ref().and_then(own);
        let known = create.is_none() || create == self.create;
        self.create = create.or(self.create);
        self.lines.clear();
        let Some(look) = look.filter(|_| known) else { return Ok(None) };
        if create.is_some() {
            let lines = look.groups.iter().map(|(name, group)| (name.clone(), Line::after(group)));
            self.lines = lines.collect();
        }
        Ok(Some(look))
    }

    fn reading(&self) -> Reading<'a> {
        let unknown = self.create.map_or(Line::Youngest, Line::Before);
        let line = |group: &String| self.lines.get(group).unwrap_or(&unknown).clone();
        let groups = self.groups.iter().map(|group| (group.as_str(), line(group)));
        Reading::new(&self.store.keys, &self.claim.node, groups)
    }

    fn tickets(&self) -> impl Iterator<Item = String> + '_ {
        self.groups.iter().map(|group| self.store.keys.ticket(group, &self.claim.node))
    }

    /// Waits until something `on` these keys may let us go on. Keeps our ticket alive meanwhile.
    async fn wait(
        &mut self,
        watch: &mut Option<Watch>,
        on: &BTreeSet<Range>,
        look: Look,
    ) -> Result<Woken, StoreError> {
        let Some(open) = watch.as_mut().filter(|watch| watch.is_on(on)) else {
            *watch = Some(Watch::on(&self.store.pool, on, watch.take()).await?);
            // What changed between the look and the watch is not heard of, and what changed while
            // it was opened may be heard of late.
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

    /// Looks again, and listens first to what the head of a queue waits for: if it is our turn, it is
    /// often not over yet for whoever was before us.
    async fn next(&mut self, watch: &mut Option<Watch>) -> Result<Look, StoreError> {
        let slots = |group: &String| self.store.keys.awaited(&Awaited::Slots(group.clone()));
        let on: BTreeSet<Range> = self.groups.iter().map(slots).collect();
        if watch.as_ref().is_some_and(|watch| watch.is_on(&on)) {
            return self.look().await;
        }
        let pool = &self.store.pool;
        let (open, look) = tokio::join!(Watch::on(pool, &on, watch.take()), self.look());
        let (open, look) = (watch.insert(open?), look?);
        // What changed between the look and the watch is not heard of.
        if open.follows(look.revision) { Ok(look) } else { self.look().await }
    }

    fn hear(&self, news: News, watch: &mut Option<Watch>, look: Look) -> Result<Woken, StoreError> {
        match news {
            News::Changes(changes) => {
                let after = look::after(look, &self.store.keys, self.claim, &changes)?;
                Ok(after.map_or(Woken::Next, |look| Woken::Look(Box::new(look))))
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
        self.forget();
        self.store.leave(self.groups, &self.claim.node, &self.claim.nonce).await.map(|_| ())
    }

    /// What was known of our tickets counts for no others.
    fn forget(&mut self) {
        self.create = None;
        self.lines.clear();
    }

    fn tell(&mut self, look: &Look) {
        let views = look.views();
        if self.told.as_ref() != Some(&views) {
            (self.seen)(Ok(views.clone()));
            self.told = Some(views);
        }
    }
}

/// The values of an admission, dated: see [`dated`].
pub(super) fn dated_all(
    next: BTreeMap<String, Slots>,
    claim: &Holder,
    waited: Duration,
) -> BTreeMap<String, Slots> {
    next.into_iter().map(|(group, slots)| (group, dated(slots, claim, waited))).collect()
}

/// What must hold, and what to write, for `claim` to be admitted to these groups of a look as `next`.
pub(super) async fn admission(
    store: &EtcdStore,
    look: &Look,
    claim: &Holder,
    next: &BTreeMap<String, Slots>,
) -> Result<(Vec<Compare>, Vec<TxnOp>), Failure> {
    let (keys, node) = (&store.keys, &claim.node);
    let history = store.ledger.lease(&store.pool).await?;
    let entry = Entry::own(What::Locked, claim, clock::wall());
    let (mut guards, mut admit) = (Vec::new(), Vec::new());
    for (group, slots) in next {
        let Some(seen) = look.groups.get(group) else { continue };
        let create = seen.own.as_ref().map_or(0, |own| own.create);
        let ticket = keys.ticket(group, node);
        guards.extend([
            Compare::mod_revision(keys.slots(group), CompareOp::Equal, seen.revision),
            absent(keys.settle(group)),
            Compare::create_revision(ticket.as_str(), CompareOp::Equal, create),
        ]);
        // One that seems to be over may be one whose time was not heard of.
        guards.extend(seen.slots.halt.is_some().then(|| absent(keys.halt(group))));
        let stamp = look.revision.max(seen.revision);
        admit.extend([
            TxnOp::put(keys.slots(group), encode(slots)?, None),
            TxnOp::put(keys.holder(group, node), claim.nonce.as_str(), None),
            TxnOp::delete(ticket, None),
            ledger::put(keys.entry(group, stamp), &entry, history)?,
        ]);
        // Tells whoever is next that it is the first now.
        admit
            .extend((create > 0).then(|| TxnOp::put(keys.served(group), create.to_string(), None)));
    }
    Ok((guards, admit))
}

pub(super) fn revision_of(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, ResponseHeader::revision)
}

pub(super) fn absent(key: impl Into<Vec<u8>>) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, 0)
}
