//! What the hub answers, and how that looks in HTTP.

use std::time::Duration;

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::adapters::slots::{
    StoreError, Token,
    fleetlock::wire::{DUPLICATE, Problem, TOKEN_HEADER},
};
use crate::core::slots::SlotsView;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A slot is held; its fencing token.
    Granted(Token),
    /// Done, or nothing was to be done.
    Ok,
    /// Not done.
    Problem(Box<Trouble>),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    status: StatusCode,
    problem: Problem,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

impl Answer {
    /// A refusal.
    pub(super) fn problem(status: StatusCode, kind: &str, value: impl Into<String>) -> Self {
        let problem = Problem { kind: kind.to_owned(), value: value.into(), view: None };
        Self::Problem(Box::new(Trouble { status, problem, retry_after: None, allow: None }))
    }

    /// A slot may be free later. Nothing is wrong with the request, and nothing with the server: the
    /// group is locked.
    pub(super) fn waiting(
        kind: &str,
        value: String,
        view: SlotsView,
        ask_again: Option<Duration>,
    ) -> Self {
        let problem = Problem { kind: kind.to_owned(), value, view: Some(view) };
        let status = StatusCode::LOCKED;
        Self::Problem(Box::new(Trouble { status, problem, retry_after: ask_again, allow: None }))
    }

    /// Another method than `allow` was used.
    pub(super) fn method(allow: &'static str) -> Self {
        let (status, kind) = (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed".to_owned());
        let problem = Problem { kind, value: format!("use {allow}"), view: None };
        Self::Problem(Box::new(Trouble { status, problem, retry_after: None, allow: Some(allow) }))
    }

    /// What the store says instead of doing it.
    pub(super) fn of_store(error: &StoreError) -> Self {
        let (status, kind) = match error {
            StoreError::Refused(_) => (StatusCode::CONFLICT, DUPLICATE),
            StoreError::Unreachable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unreachable")
            }
            StoreError::Unusable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "store_unusable"),
        };
        Self::problem(status, kind, error.to_string())
    }

    /// The kind of a refusal, for the log.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Granted(_) => "granted",
            Self::Ok => "ok",
            Self::Problem(trouble) => &trouble.problem.kind,
        }
    }

    /// In HTTP.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let (status, body) = match &self {
            Self::Granted(_) | Self::Ok => (StatusCode::OK, Bytes::new()),
            Self::Problem(trouble) => {
                let text = serde_json::to_vec(&trouble.problem).unwrap_or_default();
                (trouble.status, Bytes::from(text))
            }
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Granted(token) => {
                headers.insert(TOKEN_HEADER, HeaderValue::from(token));
            }
            Self::Ok => {}
            Self::Problem(trouble) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                if let Some(pause) = trouble.retry_after {
                    headers.insert(RETRY_AFTER, HeaderValue::from(pause.as_secs().max(1)));
                }
                if let Some(methods) = trouble.allow {
                    headers.insert(ALLOW, HeaderValue::from_static(methods));
                }
                if trouble.status == StatusCode::UNAUTHORIZED {
                    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
            }
        }
        response
    }
}
