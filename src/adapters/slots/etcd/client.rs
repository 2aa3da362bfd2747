//! The client library, made dependable: a deadline for every call, and another member when one fails.
//!
//! The library itself balances over all endpoints without failing over, connects lazily and never
//! gives up waiting. So each endpoint has a client of its own here, made when first needed.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, Error, GetOptions, GetResponse, MemberListResponse, Txn, TxnResponse,
};
use tokio::time::timeout;

use super::failure::{Failure, Kind};

/// Pings on a connection that has calls under way: silent peers are found within 13 s.
/// etcd closes connections that ping more often than every 5 s.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// A member that does not take the connection within this is passed over.
const CONNECT: Duration = Duration::from_secs(2);

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
            Kind::NotSent | Kind::NotEtcd => true,
            Kind::Unknown => self == Self::Read,
            Kind::Denied | Kind::LeaseGone => false,
        }
    }
}

/// Clients of every endpoint. Clones share them.
#[derive(Clone)]
pub(super) struct Pool {
    members: Arc<[Member]>,
    /// The endpoint that answered last.
    preferred: Arc<AtomicUsize>,
    deadline: Duration,
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
    /// `deadline` is for each attempt at one endpoint.
    pub(super) fn new(endpoints: &[String], deadline: Duration) -> Self {
        Self {
            members: endpoints.iter().map(|url| Member::new(url, true)).collect(),
            preferred: Arc::default(),
            deadline,
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

    /// The endpoints, in the order they are configured in.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.url.as_str())
    }

    /// Calls `op` at the one member behind `url`, which need not be one of our endpoints, whether it
    /// sees a leader or not. The connection is made for this call.
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
        Box::pin(Member::new(url, false).attempt(deadline, &op)).await
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
            match Box::pin(self.members[index].attempt(self.deadline, &op)).await {
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

    async fn attempt<T, F, Fut>(&self, deadline: Duration, op: &F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let ask = async { op(self.client(deadline).await?).await };
        match timeout(deadline, ask).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&self.url, &error)),
            Err(_late) => {
                // The connection may lead nowhere: make another next time.
                self.keep(None);
                Err(Failure::late(&self.url, deadline))
            }
        }
    }

    async fn client(&self, deadline: Duration) -> Result<Client, Error> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = connect(&self.url, self.led, deadline).await?;
        self.keep(Some(client.clone()));
        Ok(client)
    }

    fn keep(&self, client: Option<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// A client of one endpoint. Does not connect yet.
async fn connect(url: &str, led: bool, deadline: Duration) -> Result<Client, Error> {
    if !url.starts_with("http://") {
        let what = if url.starts_with("https://") {
            "https is not supported by this version of lockkeeper"
        } else {
            "an endpoint looks like http://192.0.2.10:2379"
        };
        return Err(Error::InvalidArgs(what.into()));
    }
    let options = ConnectOptions::new()
        // A member cut off from the others must say so rather than serve a watch that is stale.
        .with_require_leader(led)
        // Before the deadline: a call that never left is not one of unknown outcome.
        .with_connect_timeout(CONNECT.min(deadline / 2))
        .with_keep_alive(PING.0, PING.1)
        .with_keep_alive_while_idle(false);
    Client::connect([url], Some(options)).await
}
