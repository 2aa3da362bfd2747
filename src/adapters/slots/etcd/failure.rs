//! What a failed call means: may it have happened, and is there any point in asking elsewhere?

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::time::Duration;

use etcd_client::Error;
use tonic::{Code, Status};

use crate::adapters::slots::StoreError;

/// A failed call to one endpoint, or to all of them.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// Endpoint and cause, short.
    pub(super) what: String,
}

/// What a failure lets us conclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing was done: not connected, or turned away before it was proposed.
    NotSent,
    /// A write may or may not have happened, or may happen yet.
    Unknown,
    /// Something answers there, but it is not etcd v3; or the URL cannot be one.
    NotEtcd,
    /// etcd refuses us: access, or a request it does not understand. Asking another member is vain.
    Denied,
    /// The lease named in the request is gone.
    LeaseGone,
}

impl Failure {
    pub(super) fn new(kind: Kind, url: &str, cause: &str) -> Self {
        Self { kind, what: format!("{url}: {cause}") }
    }

    /// No answer within the deadline.
    pub(super) fn late(url: &str, deadline: Duration) -> Self {
        Self::new(Kind::Unknown, url, &format!("no answer within {deadline:?}"))
    }

    /// The client's error, sorted.
    pub(super) fn of(url: &str, error: &Error) -> Self {
        let (kind, cause) = match error {
            Error::GRpcStatus(status) => of_status(status),
            Error::InvalidArgs(what) => (Kind::NotEtcd, what.clone()),
            Error::InvalidUri(what) => (Kind::NotEtcd, format!("not a URL ({what})")),
            Error::LeaseKeepAliveError(what) => (Kind::LeaseGone, what.clone()),
            other => (Kind::Unknown, root_cause(other)),
        };
        Self::new(kind, url, &cause)
    }

    /// One failure out of those of every endpoint asked.
    pub(super) fn all(failures: &[Self]) -> Self {
        let kind = if failures.iter().all(|f| f.kind == Kind::NotEtcd) {
            Kind::NotEtcd
        } else if failures.iter().any(|f| f.kind == Kind::Unknown) {
            Kind::Unknown
        } else {
            Kind::NotSent
        };
        let mut what = String::new();
        for failure in failures {
            let gap = if what.is_empty() { "" } else { "; " };
            let _ = write!(what, "{gap}{}", failure.what);
        }
        Self { kind, what }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let what = failure.what;
        match failure.kind {
            Kind::NotSent | Kind::Unknown | Kind::LeaseGone => Self::Unreachable { what },
            Kind::NotEtcd | Kind::Denied => Self::Unusable { what },
        }
    }
}

fn of_status(status: &Status) -> (Kind, String) {
    if let Some(error) = status.source() {
        return of_transport(status, error);
    }
    let said = status.message().strip_prefix("etcdserver: ").unwrap_or(status.message());
    let kind = match status.code() {
        _ if turned_away(said) => Kind::NotSent,
        Code::NotFound if said.contains("lease not found") => Kind::LeaseGone,
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::NotFound => Kind::Denied,
        Code::Unimplemented => return (Kind::NotEtcd, not_etcd(said)),
        _ if said.contains("grpc-status") => return (Kind::NotEtcd, not_etcd(said)),
        _ => Kind::Unknown,
    };
    (kind, said.to_owned())
}

/// Answers etcd gives before it proposes anything (etcd's `rpctypes/error.go`, 3.3 to 3.5).
fn turned_away(said: &str) -> bool {
    ["no leader", "not capable", "too many requests", "mvcc: database space exceeded"]
        .contains(&said)
        || said.contains("not supported for learner")
}

fn of_transport(status: &Status, error: &(dyn StdError + 'static)) -> (Kind, String) {
    let cause = root_cause(error);
    if chain(error).any(<dyn StdError>::is::<tonic::ConnectError>) {
        return (Kind::NotSent, cause);
    }
    // Our side found that the peer does not speak HTTP/2 (a peer that merely hangs up, or says
    // good-bye in HTTP/2, words it otherwise).
    if status.code() == Code::Internal && cause.contains("connection error detected") {
        return (Kind::NotEtcd, not_etcd(&cause));
    }
    (Kind::Unknown, cause)
}

fn not_etcd(cause: &str) -> String {
    format!("what answers is not etcd ({cause})")
}

/// The innermost error, which names the cause ("connection refused") and not the layers above it.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let Some(root) = chain(error).last() else { return String::new() };
    let text = root.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => text.to_owned(),
    }
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(code: Code, message: &str) -> Kind {
        Failure::of("u", &Error::GRpcStatus(Status::new(code, message))).kind
    }

    #[test]
    fn answers_of_etcd_are_sorted_by_what_they_let_us_conclude() {
        let table = [
            (Code::Unavailable, "etcdserver: no leader", Kind::NotSent),
            (Code::Unavailable, "etcdserver: rpc not supported for learner", Kind::NotSent),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Kind::NotSent),
            (Code::Unavailable, "etcdserver: request timed out", Kind::Unknown),
            (Code::Unavailable, "etcdserver: leader changed", Kind::Unknown),
            (Code::NotFound, "etcdserver: requested lease not found", Kind::LeaseGone),
            (Code::PermissionDenied, "etcdserver: permission denied", Kind::Denied),
            (Code::InvalidArgument, "etcdserver: user name is empty", Kind::Denied),
            (Code::Unimplemented, "unknown service etcdserverpb.KV", Kind::NotEtcd),
            (
                Code::Unknown,
                "grpc-status header missing, mapped from HTTP status code 301",
                Kind::NotEtcd,
            ),
        ];
        for (code, message, kind) in table {
            assert_eq!(kind_of(code, message), kind, "{message}");
        }
    }

    #[test]
    fn one_endpoint_that_may_come_back_outweighs_others_that_are_not_etcd() {
        let of = |kinds: &[Kind]| {
            let failures: Vec<_> = kinds.iter().map(|k| Failure::new(*k, "u", "x")).collect();
            Failure::all(&failures).kind
        };
        assert_eq!(of(&[Kind::NotEtcd, Kind::NotEtcd]), Kind::NotEtcd);
        assert_eq!(of(&[Kind::NotEtcd, Kind::NotSent]), Kind::NotSent);
        assert_eq!(of(&[Kind::NotSent, Kind::Unknown]), Kind::Unknown);
    }

    #[test]
    fn several_causes_are_told_in_one_line() {
        let both = Failure::all(&[
            Failure::new(Kind::NotSent, "http://a", "connection refused"),
            Failure::late("http://b", Duration::from_secs(5)),
        ]);
        assert_eq!(both.what, "http://a: connection refused; http://b: no answer within 5s");
    }
}
