//! The words of the FleetLock protocol, for its client and its server alike.

use serde::{Deserialize, Serialize};

use crate::core::slots::{SlotsView, is_group_name};

/// Takes a slot; asked again by its holder it changes nothing.
pub const PRE_REBOOT: &str = "/v1/pre-reboot";
/// Gives the slot back, if one is held.
pub const STEADY_STATE: &str = "/v1/steady-state";
/// Every request carries this header, so that none is made by a stray redirection.
pub const HEADER: &str = "fleet-lock-protocol";
/// The value of [`HEADER`].
pub const HEADER_VALUE: &str = "true";
/// Our addition to an answer that grants: the fencing token. Other clients do not look at it.
pub const TOKEN_HEADER: &str = "fleet-lock-token";

/// The nonce of every claim that is made over FleetLock. It is one for all, so that any instance of
/// the hub can give back what another one granted, and tells them from the claims of agents.
pub const NONCE: &str = "fleet-lock";

/// Bytes of an id, at most. Zincati's has 32.
pub const LONGEST_ID: usize = 256;
/// Bytes of a group's name, at most.
pub const LONGEST_GROUP: usize = 128;

/// Kind of a refusal: all slots are taken.
pub const FULL: &str = "failed_lock_semaphore_full";
/// Kind of a refusal: a slot is free, and others came first.
pub const QUEUED: &str = "failed_lock_queued";
/// Kind of a refusal: nobody is admitted until an admin resumes the group.
pub const HALTED: &str = "failed_lock_halted";
/// Kind of a refusal: the group settles after an unlock.
pub const SETTLING: &str = "failed_lock_settling";
/// Kind of a refusal: an agent, or another machine, uses this id.
pub const DUPLICATE: &str = "failed_lock_duplicate_id";

/// Kinds with which servers say that a slot may be free later: the specification's and ours, that of
/// poseidon, and that of airlock (which says so of lost races, too).
pub const BUSY: [&str; 6] = [FULL, QUEUED, HALTED, SETTLING, "lock_held", "failed_lock"];

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Who, and of which group.
    pub client_params: ClientParams,
}

/// See [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientParams {
    /// Identifies the holder; any text.
    pub id: String,
    /// `^[a-zA-Z0-9.-]+$`
    pub group: String,
}

/// What a server says when it does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One of few words, for programs.
    pub kind: String,
    /// A sentence, for people.
    pub value: String,
    /// Our addition to a refusal: the group. Other clients do not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<SlotsView>,
}

impl ClientParams {
    /// What is wrong with them, if anything.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        if self.id.is_empty() {
            return Some("client_params.id is empty".to_owned());
        }
        if self.id.len() > LONGEST_ID {
            return Some(format!("client_params.id has more than {LONGEST_ID} bytes"));
        }
        if self.group.is_empty() {
            return Some("client_params.group is empty".to_owned());
        }
        if self.group.len() > LONGEST_GROUP {
            return Some(format!("client_params.group has more than {LONGEST_GROUP} bytes"));
        }
        if !is_group_name(&self.group) {
            return Some(
                "client_params.group may have letters, digits, \".\" and \"-\" only".to_owned(),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_any_text_of_bounded_length_and_a_group_may_not() {
        let good = |id: &str, group: &str| {
            ClientParams { id: id.to_owned(), group: group.to_owned() }.mistake().is_none()
        };
        assert!(good("a/b %\n\u{1f512}", "rack-1.Az"));
        assert!(good(&"i".repeat(LONGEST_ID), &"g".repeat(LONGEST_GROUP)));
        for (id, group) in
            [("", "g"), ("a", ""), ("a", "g/h"), ("a", "g_h"), ("a", "ä"), ("a", "g ")]
        {
            assert!(!good(id, group), "{id:?} {group:?}");
        }
        assert!(!good(&"i".repeat(LONGEST_ID + 1), "g"));
        assert!(!good("a", &"g".repeat(LONGEST_GROUP + 1)));
    }

    #[test]
    fn what_else_a_body_says_is_not_looked_at() {
        let text = r#"{"client_params":{"id":"a","group":"g","more":1},"other":[]}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.client_params, ClientParams { id: "a".into(), group: "g".into() });
        let problem: Problem = serde_json::from_str(r#"{"kind":"k","value":"v"}"#).unwrap();
        assert_eq!(serde_json::to_string(&problem).unwrap(), r#"{"kind":"k","value":"v"}"#);
    }
}
