//! From an HTTP request to an answer. Strict about what the protocol says, and easy about what it
//! leaves open: any content type, and whatever else the body has in it.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::AUTHORIZATION,
};
use tokio::time::timeout;
use tracing::debug;

use super::{answer::Answer, desk::Desk, secrets::Secrets};
use crate::adapters::slots::fleetlock::wire::{
    self, ClientParams, HEADER, HEADER_VALUE, PRE_REBOOT, STEADY_STATE,
};

/// Bytes of a body, at most. A request has about a hundred.
const LONGEST_BODY: usize = 16 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Lock,
    Unlock,
}

/// Answers one request. `patience`: how long its body may take.
pub(super) async fn serve(
    desk: Arc<Desk>,
    secrets: Arc<Secrets>,
    patience: Duration,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = answer(desk, &secrets, patience, request).await;
    debug!(%method, path, kind = answer.kind(), "answered");
    answer.into_response()
}

async fn answer(
    desk: Arc<Desk>,
    secrets: &Secrets,
    patience: Duration,
    request: Request<Incoming>,
) -> Answer {
    let verb = match request.uri().path() {
        PRE_REBOOT => Verb::Lock,
        STEADY_STATE => Verb::Unlock,
        "/healthz" if [Method::GET, Method::HEAD].contains(request.method()) => {
            return desk.health().await;
        }
        "/healthz" => return Answer::method("GET"),
        _ => {
            let value = format!("here are {PRE_REBOOT} and {STEADY_STATE}");
            return Answer::problem(StatusCode::NOT_FOUND, "not_found", value);
        }
    };
    let client = match read(secrets, patience, request).await {
        Ok(client) => client,
        Err(refusal) => return refusal,
    };
    // In a task of its own: a client that hangs up does not cut a change of the store in half.
    let served = tokio::spawn(async move {
        match verb {
            Verb::Lock => desk.lock(client).await,
            Verb::Unlock => desk.unlock(client).await,
        }
    });
    served.await.unwrap_or_else(|error| {
        let (status, kind) = (StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
        Answer::problem(status, kind, error.to_string())
    })
}

/// The client of a request that is as it should be.
async fn read(
    secrets: &Secrets,
    patience: Duration,
    request: Request<Incoming>,
) -> Result<ClientParams, Answer> {
    let bad = |kind, value: String| Answer::problem(StatusCode::BAD_REQUEST, kind, value);
    if request.method() != Method::POST {
        return Err(Answer::method("POST"));
    }
    let authorization =
        request.headers().get(AUTHORIZATION).map(hyper::header::HeaderValue::as_bytes);
    if !secrets.admit(authorization) {
        let value = "this server wants a token: Authorization: Bearer …";
        return Err(Answer::problem(StatusCode::UNAUTHORIZED, "unauthorized", value));
    }
    let header = request.headers().get(HEADER);
    if header.is_none_or(|value| value.as_bytes() != HEADER_VALUE.as_bytes()) {
        let value =
            format!("this is no FleetLock request: header {HEADER}: {HEADER_VALUE} is missing");
        return Err(bad("missing_header", value));
    }
    let body = body(patience, request.into_body()).await?;
    let request: wire::Request = serde_json::from_slice(&body).map_err(|error| {
        bad(
            "invalid_body",
            format!("the body is not {{\"client_params\":{{\"id\",\"group\"}}}}: {error}"),
        )
    })?;
    match request.client_params.mistake() {
        Some(mistake) => Err(bad("invalid_client_params", mistake)),
        None => Ok(request.client_params),
    }
}

async fn body(patience: Duration, body: Incoming) -> Result<Bytes, Answer> {
    let too_large = || {
        let value = format!("the body has more than {LONGEST_BODY} bytes");
        Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", value)
    };
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_large());
    }
    match timeout(patience, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            let value = format!("the body cannot be read: {error}");
            Err(Answer::problem(StatusCode::BAD_REQUEST, "invalid_body", value))
        }
        Err(_) => {
            let value = format!("the body did not come within {patience:?}");
            Err(Answer::problem(StatusCode::REQUEST_TIMEOUT, "slow_body", value))
        }
    }
}
