//! What a failed call means: may it have happened, and is there any point in asking elsewhere?

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use etcd_client::Error;
use tonic::{Code, Status};

use super::tls;
use crate::adapters::slots::StoreError;

/// A failed call to one endpoint, or to all of them.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// Endpoint and cause, short.
    pub(super) what: String,
    /// The peer took the connection, and closed it without an answer.
    pub(super) closed: bool,
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
    /// The TLS handshake failed: their certificate or ours is not accepted.
    Untrusted,
    /// etcd does not know us, or not well enough, on this connection: tokens expire, die with a
    /// member, and are of no use before users are asked for.
    Stranger,
    /// The lease named in the request is gone.
    LeaseGone,
}

impl Kind {
    /// May another connection, made from the files as they are now, fare better?
    pub(super) fn is_of_connection(self) -> bool {
        matches!(self, Self::Untrusted | Self::Stranger)
    }
}

impl Failure {
    pub(super) fn new(kind: Kind, url: &str, cause: &str) -> Self {
        Self { kind, what: format!("{url}: {cause}"), closed: false }
    }

    /// Something on our side is wrong, whatever the endpoint.
    pub(super) fn ours(what: String) -> Self {
        Self { kind: Kind::Denied, what, closed: false }
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
            // Before 3.5 an unknown token is told so, too.
            Error::WatchError(what) if is_stranger(what) => (Kind::Stranger, what.clone()),
            other => (Kind::Unknown, root_cause(other)),
        };
        Self { closed: is_hang_up(error), ..Self::new(kind, url, &cause) }
    }

    /// One failure out of those of every endpoint asked.
    pub(super) fn all(failures: &[Self]) -> Self {
        let unusable = |f: &Self| matches!(f.kind, Kind::NotEtcd | Kind::Untrusted);
        let kind = if failures.iter().all(unusable) {
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
        Self { kind, what, closed: false }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let what = failure.what;
        match failure.kind {
            Kind::NotSent | Kind::Unknown | Kind::LeaseGone => Self::Unreachable { what },
            Kind::NotEtcd | Kind::Denied | Kind::Untrusted | Kind::Stranger => {
                Self::Unusable { what }
            }
        }
    }
}

fn of_status(status: &Status) -> (Kind, String) {
    if let Some(error) = status.source() {
        return of_transport(status, error);
    }
    let said = status.message();
    let said = said.strip_prefix("etcdserver: ").or(said.strip_prefix("auth: ")).unwrap_or(said);
    let kind = match status.code() {
        _ if turned_away(said) => Kind::NotSent,
        Code::Unauthenticated | Code::PermissionDenied => Kind::Stranger,
        _ if is_stranger(said) => Kind::Stranger,
        Code::NotFound if said.contains("lease not found") => Kind::LeaseGone,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::NotFound => Kind::Denied,
        Code::Unimplemented => return (Kind::NotEtcd, not_etcd(said)),
        _ if said.contains("grpc-status") => return (Kind::NotEtcd, not_etcd(said)),
        _ => Kind::Unknown,
    };
    (kind, with_advice(said))
}

const DENIED: &str = "permission denied";

/// Answers of etcd to a call with a token that it does not know, or that is of another time, or with
/// none, or from a user without the role.
fn is_stranger(said: &str) -> bool {
    ["invalid auth token", "revision of auth store is old", "user name is empty", DENIED]
        .iter()
        .any(|words| said.contains(words))
}

/// Whether what answered has no users at all.
pub(super) fn is_without_users(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().ends_with("authentication is not enabled"))
}

/// Whether the peer took the connection and closed it again.
fn is_hang_up(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    let never_there = |error: &(dyn StdError + 'static)| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(
            kind,
            Some(
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::TimedOut
            )
        )
    };
    status.source().is_some_and(|error| !chain(error).any(never_there))
}

/// Whether the connection itself is broken, or was never made.
pub(super) fn is_broken(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => status.source().is_some(),
        Error::TransportError(_) | Error::IoError(_) => true,
        _ => false,
    }
}

/// etcd's words, and what to do where they alone would puzzle.
fn with_advice(said: &str) -> String {
    let advice = match said {
        DENIED => "this user lacks a role for lockkeeper's keys",
        "user name is empty" => {
            "etcd wants a user: give user and password, or a certificate with its name"
        }
        "authentication failed, invalid user ID or password" => {
            "etcd knows no such user with this password"
        }
        _ => return said.to_owned(),
    };
    format!("{said} ({advice})")
}

/// Answers etcd gives before it proposes anything (etcd's `rpctypes/error.go`, 3.3 to 3.5).
fn turned_away(said: &str) -> bool {
    ["no leader", "not capable", "too many requests", "mvcc: database space exceeded"]
        .contains(&said)
        || said.contains("not supported for learner")
}

fn of_transport(status: &Status, error: &(dyn StdError + 'static)) -> (Kind, String) {
    if let Some(why) = chain(error).find_map(tls::refusal) {
        return (Kind::Untrusted, why);
    }
    let mut cause = root_cause(error);
    // A plain etcd closes so, and one that is going down.
    if cause == "tls handshake eof" {
        cause += " (does it speak TLS?)";
    }
    if cause.contains("HTTP/2 was not negotiated") {
        return (Kind::NotEtcd, not_etcd(&cause));
    }
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
            (Code::PermissionDenied, "etcdserver: permission denied", Kind::Stranger),
            (Code::Unknown, "auth: permission denied", Kind::Stranger),
            (Code::Unknown, "auth: user name is empty", Kind::Stranger),
            (Code::InvalidArgument, "etcdserver: user name is empty", Kind::Stranger),
            (Code::Unauthenticated, "etcdserver: invalid auth token", Kind::Stranger),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", Kind::Stranger),
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
