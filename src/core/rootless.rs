//! What a user's own process says of what the user runs without root. It is the user's word: it counts,
//! where an admin has said that it does, and is kept within bounds.

use serde::{Deserialize, Serialize};

use super::{
    outlook::{Outlook, Row},
    standing::Restarts,
};

/// So many sentences of one user are passed on.
const SENTENCES: usize = 20;
/// So many letters of each.
const LETTERS: usize = 400;

/// What one look says of the workloads: of the system's, or of a user's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What is wrong, one sentence each.
    pub failing: Vec<String>,
    /// How often each of what runs was restarted by itself.
    pub restarts: Restarts,
    /// Names of what needs no sentence for a restart: it has one, or is excused.
    pub known: Vec<String>,
}

impl Judgement {
    /// With what was said of `user`'s workloads.
    pub fn add(&mut self, user: &str, said: Self) {
        self.failing.extend(sentences(user, said.failing));
        let restarts = said.restarts.into_iter().map(|(name, count)| (named(user, &name), count));
        self.restarts.extend(restarts);
        self.known.extend(said.known.iter().map(|name| named(user, name)));
    }
}

impl Outlook {
    /// With what was said of `user`'s workloads.
    pub fn add(&mut self, user: &str, said: Self) {
        self.workloads.extend(said.workloads.into_iter().map(|row| Row {
            user: Some(user.to_owned()),
            name: plain(&row.name),
            why: plain(&row.why),
            ..row
        }));
        self.failing.extend(sentences(user, said.failing));
        self.blocking.extend(sentences(user, said.blocking));
        self.doubts.extend(sentences(user, said.doubts));
    }
}

/// The sentences, each with the user's name: not more of them, nor longer ones, than a person reads, and
/// nothing that could move a terminal's cursor.
#[must_use]
pub fn sentences(user: &str, said: Vec<String>) -> Vec<String> {
    let more = said.len().saturating_sub(SENTENCES);
    let mut kept: Vec<String> =
        said.into_iter().take(SENTENCES).map(|text| named(user, &text)).collect();
    if more > 0 {
        kept.push(format!("{user}: and {more} more"));
    }
    kept
}

fn named(user: &str, text: &str) -> String {
    format!("{user}: {}", plain(text))
}

fn plain(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(LETTERS).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::standing::restarted;

    #[test]
    fn what_a_user_says_is_named_after_the_user_and_kept_within_bounds() {
        let endless = "x".repeat(LETTERS + 1);
        let said = vec!["web is down\u{1b}[2J\nfine".to_owned(), endless];
        let kept = sentences("alice", said);
        assert_eq!(kept[0], "alice: web is down [2J fine");
        assert_eq!(kept[1].chars().count(), "alice: ".len() + LETTERS);
        let flood = sentences("alice", vec!["no".to_owned(); SENTENCES + 3]);
        assert_eq!(flood.len(), SENTENCES + 1);
        assert_eq!(flood[SENTENCES], "alice: and 3 more");
    }

    #[test]
    fn a_user_speaks_of_nobody_elses_workloads() {
        let restarts = |count| Restarts::from([("web.service".to_owned(), count)]);
        let looks = |own, of_alice, known: &[&str]| {
            let known = known.iter().map(|name| (*name).to_owned()).collect();
            let mut all = Judgement { restarts: restarts(own), ..Judgement::default() };
            let said = Judgement { restarts: restarts(of_alice), known, ..Judgement::default() };
            all.add("alice", said);
            all
        };
        let before = looks(1, 1, &[]);
        let news = |now: &Judgement| restarted(&before.restarts, &now.restarts, &now.known);
        let text = "web.service was restarted by itself (2 times by now)";
        assert_eq!(news(&looks(1, 2, &[])), [format!("alice: {text}")]);
        assert!(news(&looks(1, 2, &["web.service"])).is_empty());
        // What alice excuses is alice's.
        assert_eq!(news(&looks(2, 1, &["web.service"])), [text]);
    }
}
