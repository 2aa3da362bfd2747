//! The client library, made dependable: a deadline for every call, and another member when one fails.
//!
//! The library itself balances over all endpoints without failing over, connects lazily and never
//! gives up waiting. So each endpoint has a client of its own here, made when first needed.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, Error, GetOptions, GetResponse, MemberListResponse, Txn, TxnResponse};
use tokio::time::{Instant, timeout_at};

use super::access::Access;
use super::failure::{Failure, Kind, is_broken, is_without_users};

/// What a call does, and so what may be done when its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Changes nothing: ask the next member.
    Read,
    /// May have happened: the caller must read back first.
    Write,
}

impl Call {
    fn may_go_on(self, failure: Kind) -> bool {
        match failure {
            Kind::NotSent | Kind::NotEtcd | Kind::Untrusted => true,
            Kind::Unknown => self == Self::Read,
            Kind::Denied | Kind::Stranger | Kind::LeaseGone => false,
        }
    }
}

/// Clients of every endpoint. Clones share them.
#[derive(Clone)]
pub(super) struct Pool {
    access: Arc<Access>,
    members: Arc<[Member]>,
    /// The endpoint that answered last.
    preferred: Arc<AtomicUsize>,
}

struct Member {
    url: String,
    /// Let it refuse to answer while it sees no leader.
    led: bool,
    client: Mutex<Option<Client>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<_> = self.members.iter().map(|m| &m.url).collect();
        f.debug_struct("Pool").field("urls", &urls).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(access: &Access) -> Self {
        Self {
            access: Arc::new(access.clone()),
            members: access.endpoints.iter().map(|url| Member::new(url, true)).collect(),
            preferred: Arc::default(),
        }
    }

    pub(super) async fn txn(&self, call: Call, txn: Txn) -> Result<TxnResponse, Failure> {
        self.call(call, |mut client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        })
        .await
    }

    pub(super) async fn get(&self, key: &str, how: GetOptions) -> Result<GetResponse, Failure> {
        self.call(Call::Read, |mut client| {
            let how = how.clone();
            async move { client.get(key, Some(how)).await }
        })
        .await
    }

    /// A new lease. One whose reply is lost expires by itself, so this may be asked anywhere.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<i64, Failure> {
        let secs = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let granted =
            self.call(Call::Read, |mut client| async move { client.lease_grant(secs, None).await });
        Ok(granted.await?.id())
    }

    /// Ends a lease, and with it what hangs on it; what is put under it later fails. May be done
    /// twice, so this may be asked anywhere.
    pub(super) async fn revoke(&self, lease: i64) -> Result<(), Failure> {
        let revoked = self.call(Call::Read, |mut client| async move {
            client.lease_revoke(lease).await.map(|_| ())
        });
        match revoked.await {
            Err(Failure { kind: Kind::LeaseGone, .. }) => Ok(()),
            done => done,
        }
    }

    /// Renews a lease once. A stream for each renewal costs little at this rate, and unlike a
    /// standing one it needs no watching over.
    pub(super) async fn keep_alive(&self, lease: i64) -> Result<(), Failure> {
        self.call(Call::Read, |mut client| async move {
            client.lease_keep_alive(lease).await.map(|_| ())
        })
        .await
    }

    pub(super) async fn members(&self) -> Result<MemberListResponse, Failure> {
        self.call(Call::Read, |mut client| async move { client.member_list().await }).await
    }

    /// For each attempt at one endpoint.
    pub(super) fn timeout(&self) -> Duration {
        self.access.timeout
    }

    /// The endpoints, in the order they are configured in.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.url.as_str())
    }

    /// Calls `op` at the one member behind `url`, which need not be one of our endpoints, whether it
    /// sees a leader or not. The connection is made for this call. A user's name is given only where
    /// it is asked for: giving it takes a quorum, which may be what is missing.
    pub(super) async fn at<T, F, Fut>(
        &self,
        url: &str,
        deadline: Duration,
        op: F,
    ) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let access = Access { timeout: deadline, ..(*self.access).clone() };
        let anonymous = access.anonymous();
        let asked = Member::new(url, false);
        match Box::pin(asked.attempt(&anonymous, Call::Read, &op)).await {
            Err(failure)
                if access.user.is_some()
                    && matches!(failure.kind, Kind::Denied | Kind::Stranger) =>
            {
                Box::pin(Member::new(url, false).attempt(&access, Call::Read, &op)).await
            }
            outcome => outcome,
        }
    }

    /// Calls `op` at the preferred endpoint, then at the others as far as `call` allows.
    pub(super) async fn call<T, F, Fut>(&self, call: Call, op: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        if self.members.is_empty() {
            return Err(Failure::new(Kind::Denied, "etcd", "no endpoints are configured"));
        }
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for step in 0..self.members.len() {
            let index = (first + step) % self.members.len();
            match Box::pin(self.members[index].attempt(&self.access, call, &op)).await {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) => {
                    let kind = failure.kind;
                    failures.push(failure);
                    if !call.may_go_on(kind) {
                        return Err(self.give_up(index, kind, &failures));
                    }
                }
            }
        }
        Err(Failure::all(&failures))
    }

    /// Asks another endpoint first from now on: the one that answered last has fallen silent.
    pub(super) fn pass_over(&self) {
        let next = self.preferred.load(Ordering::Relaxed) + 1;
        self.preferred.store(next % self.members.len().max(1), Ordering::Relaxed);
    }

    /// Ends a call at the endpoint `index`; one that left us in doubt is not asked first next time.
    fn give_up(&self, index: usize, kind: Kind, failures: &[Failure]) -> Failure {
        let next = if kind == Kind::Unknown { index + 1 } else { index };
        self.preferred.store(next % self.members.len(), Ordering::Relaxed);
        Failure { kind, ..Failure::all(failures) }
    }
}

impl Member {
    fn new(url: &str, led: bool) -> Self {
        Self { url: url.to_owned(), led, client: Mutex::new(None) }
    }

    /// One call, on the connection there is or on a new one. Where the connection is what is wrong
    /// (a token that expired, a certificate that was renewed), the call is made again on another.
    async fn attempt<T, F, Fut>(&self, access: &Access, call: Call, op: &F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + access.timeout;
        if let Some(client) = self.kept() {
            match self.ask(access, until, op(client)).await {
                Err(failure) if failure.kind.is_of_connection() => {
                    tracing::debug!(why = failure.what, "connecting anew");
                }
                outcome => return outcome,
            }
        }
        let outcome = match self.connect(access, until).await {
            Ok(client) => self.ask(access, until, op(client)).await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Err(failure) if failure.closed && call.may_go_on(failure.kind) => {
                Err(match access.diagnose(&self.url).await {
                    Some(why) => Failure::new(Kind::Untrusted, &self.url, &why),
                    None => failure,
                })
            }
            outcome => outcome,
        }
    }

    async fn ask<T>(
        &self,
        access: &Access,
        until: Instant,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let failure = Failure::of(&self.url, &error);
                if is_broken(&error) || failure.kind.is_of_connection() {
                    self.keep(None);
                }
                Err(failure)
            }
            Err(_late) => {
                // The connection may lead nowhere: make another next time.
                self.keep(None);
                Err(Failure::late(&self.url, access.timeout))
            }
        }
    }

    /// A new client of this endpoint; with a user, it is known to etcd by then. Whatever fails here,
    /// the call has not been sent.
    async fn connect(&self, access: &Access, until: Instant) -> Result<Client, Failure> {
        let client = match timeout_at(until, connect(&self.url, self.led, access)).await {
            Ok(client) => client?,
            Err(_late) => {
                let late = Failure::late(&self.url, access.timeout);
                return Err(Failure { kind: Kind::NotSent, ..late });
            }
        };
        self.keep(Some(client.clone()));
        Ok(client)
    }

    fn kept(&self) -> Option<Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, client: Option<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// A client of one endpoint. Without a user it does not connect yet.
async fn connect(url: &str, led: bool, access: &Access) -> Result<Client, Failure> {
    let refused = match Client::connect([url], Some(access.options(url, led)?)).await {
        Ok(client) => return Ok(client),
        Err(error) => error,
    };
    if is_without_users(&refused) {
        // Users are often made before they are asked for; then etcd says so, and we name ours.
        tracing::debug!(url, "etcd has no users: going on without ours");
        return Box::pin(connect(url, led, &access.anonymous())).await;
    }
    let failure = Failure::of(url, &refused);
    let kind = if failure.kind == Kind::Unknown { Kind::NotSent } else { failure.kind };
    Err(Failure { kind, ..failure })
}
