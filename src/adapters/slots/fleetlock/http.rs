//! One request to a FleetLock server, and what its answer means. Servers differ; see
//! `docs/fleet-lock.md`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, StatusCode};

use super::Server;
use super::wire::{
    BUSY, ClientParams, DUPLICATE, HEADER, HEADER_VALUE, PRE_REBOOT, Problem, Request,
    STEADY_STATE, TOKEN_HEADER,
};
use crate::adapters::http::{self, Peer};
use crate::adapters::slots::{StoreError, Token};
use crate::observe::logging::chain;

/// More of an error's body than this is not read.
const LONGEST_BODY: usize = 64 * 1024;
/// More of it than this is not shown.
const LONGEST_TEXT: usize = 300;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// A slot.
    Lock,
    /// To take it back.
    Unlock,
}

/// Why a request was not granted.
#[derive(Debug)]
pub(super) enum Refused {
    /// Not now: ask again.
    Busy {
        /// What the server said.
        problem: Box<Problem>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Somebody else uses our id; who, in the server's words.
    Duplicate(String),
    /// It cannot be told, or asking again is vain.
    Failed(StoreError),
}

/// The way to a server. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Http {
    server: Arc<Server>,
    client: Arc<Mutex<Option<Client>>>,
    /// Held while a request is under way. Requests of one client must not overtake each other: a
    /// late lock after an unlock would take a slot that nobody gives back.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Http {
    pub(super) fn new(server: &Server) -> Self {
        Self { server: Arc::new(server.clone()), client: Arc::default(), turn: Arc::default() }
    }

    pub(super) fn url(&self) -> &str {
        &self.server.url
    }

    /// Asks once. A request that has begun is ended even when this is dropped, and the next one
    /// waits for that.
    pub(super) async fn post(&self, verb: Verb, group: &str, id: &str) -> Result<Token, Refused> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (http, params) =
            (self.clone(), ClientParams { id: id.to_owned(), group: group.to_owned() });
        let asked = tokio::spawn(async move {
            let answer = http.ask(verb, params).await;
            drop(turn);
            answer
        });
        asked.await.unwrap_or_else(|error| Err(self.unreachable(&chain(&error))))
    }

    async fn ask(&self, verb: Verb, client_params: ClientParams) -> Result<Token, Refused> {
        let path = match verb {
            Verb::Lock => PRE_REBOOT,
            Verb::Unlock => STEADY_STATE,
        };
        let url = format!("{}{path}", self.server.url.trim_end_matches('/'));
        let body = serde_json::to_vec(&Request { client_params })
            .map_err(|error| self.unusable(&chain(&error)))?;
        let mut request = self
            .client()
            .map_err(|why| self.unusable(&why))?
            .post(url)
            .header(HEADER, HEADER_VALUE)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(path) = &self.server.token_file {
            request = request.bearer_auth(http::token(path).map_err(|why| self.unusable(&why))?);
        }
        match request.send().await {
            Ok(answer) => self.understand(answer).await,
            Err(error) => {
                // Certificates may have been renewed: read them again next time.
                *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Err(self.unreachable(&http::cause(&error)))
            }
        }
    }

    async fn understand(&self, mut answer: reqwest::Response) -> Result<Token, Refused> {
        let status = answer.status();
        if status.is_success() {
            let token = header(answer.headers(), TOKEN_HEADER).and_then(|text| text.parse().ok());
            return Ok(token.unwrap_or_default());
        }
        let retry_after = header(answer.headers(), RETRY_AFTER.as_str())
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs);
        let location = header(answer.headers(), LOCATION.as_str()).map(str::to_owned);
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = answer.chunk().await {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST_BODY {
                break;
            }
        }
        let problem = serde_json::from_slice(&body)
            .unwrap_or_else(|_| synthetic(status, location.as_deref(), &body));
        Err(self.sort(status, problem, retry_after))
    }

    /// What a refusal means, whatever server it is of.
    fn sort(&self, status: StatusCode, problem: Problem, retry_after: Option<Duration>) -> Refused {
        let text = format!("{} {}", status.as_u16(), said(&problem));
        if problem.kind == DUPLICATE {
            Refused::Duplicate(problem.value)
        } else if BUSY.contains(&problem.kind.as_str())
            || [StatusCode::LOCKED, StatusCode::CONFLICT].contains(&status)
        {
            Refused::Busy { problem: Box::new(problem), retry_after }
        } else if status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
        {
            self.unreachable(&text)
        } else {
            self.unusable(&text)
        }
    }

    /// The server does not take a slot back.
    pub(super) fn unwilling(&self, problem: &Problem) -> StoreError {
        StoreError::Unreachable { what: format!("{}: {}", self.server.url, said(problem)) }
    }

    fn unreachable(&self, what: &str) -> Refused {
        Refused::Failed(StoreError::Unreachable { what: format!("{}: {what}", self.server.url) })
    }

    fn unusable(&self, what: &str) -> Refused {
        Refused::Failed(StoreError::Unusable { what: format!("{}: {what}", self.server.url) })
    }

    fn client(&self) -> Result<Client, String> {
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.as_ref() {
            return Ok(client.clone());
        }
        let Server { ca_file, identity, timeout, .. } = &*self.server;
        let client = http::client(&Peer {
            ca_file: ca_file.as_deref(),
            identity: identity.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path())),
            timeout: *timeout,
        })?;
        *known = Some(client.clone());
        Ok(client)
    }
}

/// A refusal in one line.
pub(super) fn said(problem: &Problem) -> String {
    format!("{}: {}", printable(&problem.kind), printable(&problem.value))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What is said of an answer that is not the protocol's.
fn synthetic(status: StatusCode, location: Option<&str>, body: &[u8]) -> Problem {
    let text = String::from_utf8_lossy(body);
    let value = match location {
        Some(location) => format!("redirected to {location}; write that into the URL"),
        None if text.trim().is_empty() => status.canonical_reason().unwrap_or("no text").to_owned(),
        None => text.trim().to_owned(),
    };
    Problem { kind: format!("generic_http_{}", status.as_u16()), value, view: None }
}

/// A text from outside, on one line and not too long.
fn printable(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    clean.take(LONGEST_TEXT).collect()
}
