//! One poll: a look, and at most the writes that join the queue or take a slot.
//!
//! A ticket hangs on a lease of its own, which each poll renews: that is no write. So nothing has to
//! be remembered between polls, and any process may serve the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};
use tokio::time::Instant;

use super::client::Call;
use super::failure::{Failure, Kind};
use super::line::Line;
use super::look::Reading;
use super::wait::{Backoff, absent, admission, dated_all, revision_of};
use super::{DOUBTS, EtcdStore, ROUNDS, encode, look};
use crate::adapters::slots::StoreError;
use crate::adapters::slots::poll::Polled;
use crate::core::slots::{Holder, Slots, SlotsView, Ticket};
use crate::core::turn::{GroupLook, Look, Step, Waiting};

/// Tickets before one's own are counted up to here.
const COUNTED: i64 = 1000;

/// What became of one try.
enum Tried {
    /// The poll is done.
    Done(Polled),
    /// Things are as this look shows them.
    Look(Look),
    /// Somebody was faster: look again after a pause.
    Lost,
    /// Look again.
    Stale,
}

/// A claim that polls.
struct Poller<'a> {
    store: &'a EtcdStore,
    groups: &'a [String; 1],
    claim: &'a Holder,
    ttl: Duration,
    since: Instant,
}

impl EtcdStore {
    /// See [`crate::adapters::slots::SlotStore::poll`].
    pub(in crate::adapters::slots) async fn poll(
        &self,
        group: &str,
        claim: &Holder,
        ttl: Duration,
    ) -> Result<Polled, StoreError> {
        let groups = [group.to_owned()];
        let poller = Poller { store: self, groups: &groups, claim, ttl, since: Instant::now() };
        let (mut backoff, mut doubts, mut known) = (Backoff::conflict(), 0, None);
        for _ in 0..ROUNDS {
            let look = match known.take() {
                Some(look) => look,
                None => poller.look().await?,
            };
            match poller.go_on(&look).await {
                Ok(Tried::Done(outcome)) => return Ok(outcome),
                Ok(Tried::Look(look)) => known = Some(look),
                Ok(Tried::Lost) => backoff.pause().await,
                Ok(Tried::Stale) => {}
                // A write may have happened: read back, as often as that may help.
                Err(StoreError::Unreachable { .. }) if doubts < DOUBTS => doubts += 1,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unreachable { what: format!("{group} never rests") })
    }
}

impl Poller<'_> {
    /// Does what this look asks for.
    async fn go_on(&self, look: &Look) -> Result<Tried, StoreError> {
        let group = look.groups.get(self.group()).ok_or_else(|| look::incomplete(self.group()))?;
        let lease = group.own.as_ref().map(|own| own.lease);
        let quarantine = self.store.quarantine;
        let waiting = Waiting { claim: self.claim, lease, quarantine };
        match look.step(waiting) {
            Step::Held(token) => {
                if group.own.is_some() {
                    // A slot that came late: no ticket of ours may block the queue.
                    self.store.leave(self.groups, &self.claim.node, &self.claim.nonce).await?;
                }
                Ok(Tried::Done(Polled::Granted(token)))
            }
            Step::Refused(refusal) => Err(refusal.into()),
            Step::Join => self.begin(look, group).await,
            Step::Try(next) => self.enter(look, next, Vec::new()).await,
            Step::Wait(_) => self.stay(group).await,
            // Of several groups, or of another process's lease: a poller has one of each.
            Step::GiveBack | Step::Requeue | Step::Adopt => Ok(Tried::Stale),
        }
    }

    fn group(&self) -> &str {
        &self.groups[0]
    }

    /// Without a ticket: takes a slot where nobody waits and one is free, else joins the queue.
    async fn begin(&self, look: &Look, group: &GroupLook) -> Result<Tried, StoreError> {
        self.store.fence(self.group(), &self.claim.node).await?;
        let free = group.effective().admit(self.claim, self.store.quarantine);
        match free {
            Ok(slots) if group.ahead.is_none() && !group.settling => {
                let queue = self.store.keys.queue(self.group());
                let nobody = Compare::create_revision(queue, CompareOp::Equal, 0).with_prefix();
                let next = [(self.group().to_owned(), slots)].into();
                let node = &self.claim.node;
                self.store.doubt(self.group(), node, true);
                let entered = self.enter(look, next, vec![nobody]).await;
                if entered.is_ok() {
                    self.store.doubt(self.group(), node, false);
                }
                entered
            }
            _ => self.join().await,
        }
    }

    /// Takes a slot, unless somebody was faster.
    async fn enter(
        &self,
        look: &Look,
        next: BTreeMap<String, Slots>,
        also: Vec<Compare>,
    ) -> Result<Tried, StoreError> {
        let next = dated_all(next, self.claim, self.since.elapsed());
        let (mut guards, admit) = admission(self.store, look, self.claim, &next).await?;
        guards.extend(also);
        match self.store.pool.txn(Call::Write, Txn::new().when(guards).and_then(admit)).await {
            Ok(answer) if answer.succeeded() => {
                Ok(Tried::Done(Polled::Granted(revision_of(&answer))))
            }
            Ok(_) => Ok(Tried::Lost),
            Err(Failure { kind: Kind::LeaseGone, .. }) => {
                self.store.ledger.forget();
                Ok(Tried::Stale)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Puts our ticket at the end of the queue, unless there is one.
    async fn join(&self) -> Result<Tried, StoreError> {
        let key = self.store.keys.ticket(self.group(), &self.claim.node);
        let lease = self.store.pool.grant(self.ttl).await?;
        let under = PutOptions::new().with_lease(lease);
        let put = TxnOp::put(key.as_str(), encode(&Ticket::of(self.claim))?, Some(under));
        let ops: Vec<_> = [put].into_iter().chain(self.reading().ops()).collect();
        let answer = match self
            .store
            .pool
            .txn(Call::Write, Txn::new().when([absent(key)]).and_then(ops))
            .await
        {
            Err(Failure { kind: Kind::LeaseGone, .. }) => return Ok(Tried::Stale),
            answer => answer?,
        };
        if answer.succeeded() {
            return self.read(&answer).map(Tried::Look);
        }
        Ok(Tried::Stale)
    }

    /// With a ticket, and not in turn: keeps it.
    async fn stay(&self, group: &GroupLook) -> Result<Tried, StoreError> {
        let Some(own) = &group.own else { return Ok(Tried::Stale) };
        let (kept, ahead) = tokio::join!(
            self.store.pool.keep_alive(own.lease),
            self.ahead(group.ahead.is_some(), own.create)
        );
        match kept {
            Err(Failure { kind: Kind::LeaseGone, .. }) => return Ok(Tried::Stale),
            kept => kept?,
        }
        let (slots, settling) = (group.effective(), group.settling);
        let view = SlotsView { slots, queue: vec![own.ticket.clone()], settling };
        Ok(Tried::Done(Polled::Waiting { ahead: ahead?, view }))
    }

    /// How many are before a ticket of this revision.
    async fn ahead(&self, any: bool, create: i64) -> Result<u64, StoreError> {
        if !any {
            return Ok(0);
        }
        let before = GetOptions::new()
            .with_prefix()
            .with_keys_only()
            .with_max_create_revision(create - 1)
            .with_limit(COUNTED);
        let found = self.store.pool.get(&self.store.keys.queue(self.group()), before).await?;
        Ok(found.kvs().len() as u64)
    }

    async fn look(&self) -> Result<Look, StoreError> {
        let reads = self.reading().ops();
        let answer = self.store.pool.txn(Call::Read, Txn::new().and_then(reads)).await?;
        self.read(&answer)
    }

    fn reading(&self) -> Reading<'_> {
        let groups = self.groups.iter().map(|group| (group.as_str(), Line::First));
        Reading::new(&self.store.keys, &self.claim.node, groups)
    }

    fn read(&self, answer: &etcd_client::TxnResponse) -> Result<Look, StoreError> {
        self.reading().understand(answer)?.ok_or_else(|| look::incomplete(self.group()))
    }
}
