//! Serves one request of one client: takes slots and gives them back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};

use super::answer::Answer;
use crate::{
    adapters::{
        clock,
        slots::{
            SlotStore, StoreError,
            fleetlock::wire::{ClientParams, FULL, HALTED, NONCE, QUEUED, SETTLING},
            poll::Polled,
        },
    },
    config::hub::Hub,
    core::slots::{Holder, SlotsView},
};

/// By which rules it is served.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Who has not polled for this long has left the queue.
    pub ticket_ttl: Duration,
    /// Nobody is admitted for this long after a slot was given back.
    pub settle: Duration,
    /// When a waiting client is told to ask again; zero: it is not told.
    pub ask_again: Duration,
}

impl Rules {
    /// Those of a configuration.
    #[must_use]
    pub fn of(hub: &Hub) -> Self {
        Self { ticket_ttl: hub.ticket_ttl, settle: hub.settle, ask_again: hub.ask_again }
    }
}

/// Serves clients.
#[derive(Debug)]
pub struct Desk {
    store: SlotStore,
    rules: Rules,
    /// Clients with a request under way. What one client asks is done in turn: a late lock after an
    /// unlock would take a slot that nobody gives back.
    turns: Mutex<BTreeMap<ClientParams, Weak<tokio::sync::Mutex<()>>>>,
}

impl Desk {
    /// A desk over `store`.
    #[must_use]
    pub fn new(store: SlotStore, rules: Rules) -> Self {
        Self { store, rules, turns: Mutex::default() }
    }

    /// `pre-reboot`
    pub(super) async fn lock(&self, client: ClientParams) -> Answer {
        let _turn = self.turn(&client).await;
        match self.store.poll(&client.group, &claim(&client), self.rules.ticket_ttl).await {
            Ok(Polled::Granted(token)) => {
                info!(group = client.group, id = ?client.id, token, "has a slot");
                Answer::Granted(token)
            }
            Ok(Polled::Waiting { ahead, view }) => self.waiting(&client.id, ahead, view),
            Err(error) => failed(&error),
        }
    }

    /// `steady-state`
    pub(super) async fn unlock(&self, client: ClientParams) -> Answer {
        let _turn = self.turn(&client).await;
        let ClientParams { id, group } = &client;
        match self.store.depart(group, id, NONCE, self.rules.settle).await {
            Ok(held) => {
                if held {
                    info!(group, ?id, "gave its slot back");
                }
                Answer::Ok
            }
            Err(error) => failed(&error),
        }
    }

    /// Does the store answer?
    pub(super) async fn health(&self) -> Answer {
        match self.store.held(&["default".to_owned()], "", NONCE).await {
            Ok(_) => Answer::Ok,
            Err(error) => Answer::of_store(&error),
        }
    }

    fn waiting(&self, id: &str, ahead: u64, view: SlotsView) -> Answer {
        let (kind, value) = why(id, ahead, &view);
        let ask_again = Some(self.rules.ask_again).filter(|pause| !pause.is_zero());
        Answer::waiting(kind, value, view, ask_again)
    }

    async fn turn(&self, client: &ClientParams) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(client).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let new = Arc::default();
                turns.insert(client.clone(), Arc::downgrade(&new));
                new
            })
        };
        turn.lock_owned().await
    }
}

fn failed(error: &StoreError) -> Answer {
    warn!("the store: {error}");
    Answer::of_store(error)
}

/// The claim of a client. Its id is all that is known of it.
fn claim(client: &ClientParams) -> Holder {
    let shown = client.id.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    Holder {
        node: client.id.clone(),
        name: shown.collect(),
        nonce: NONCE.to_owned(),
        since: clock::wall(),
        reason: "fleet-lock".to_owned(),
        release: None,
        boot_id: String::new(),
        expected_secs: 0,
        overdue: false,
    }
}

/// Why a client waits: what stands in the way of everybody first, then its place.
fn why(id: &str, ahead: u64, view: &SlotsView) -> (&'static str, String) {
    let slots = &view.slots;
    let place = match ahead {
        0 => "you are next".to_owned(),
        1 => "1 node is before you".to_owned(),
        _ => format!("{ahead} nodes are before you"),
    };
    if let Some(halt) = &slots.halt {
        return (HALTED, format!("the group is halted by {}: {}", halt.by, halt.reason));
    }
    if let Some(by_hand) = slots.holder(id).filter(|holder| holder.by_hand()) {
        return (QUEUED, format!("an admin has taken a slot for this id: {}", by_hand.reason));
    }
    if slots.available() == 0 {
        let holders: Vec<&str> = slots.holders.iter().map(|h| h.name.as_str()).collect();
        let holders = holders.join(", ");
        return (FULL, format!("all {} slot(s) are taken, by {holders}; {place}", slots.max));
    }
    if view.settling {
        return (SETTLING, format!("the group settles after an unlock; {place}"));
    }
    (QUEUED, format!("a slot is free; {place}"))
}
