//! What an admin wants of a workload after a disturbance.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest time a container may be given to become healthy.
pub const LONGEST_HEALTH_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// More letters of a word that is not understood are not repeated.
const LONGEST_WORD: usize = 40;

/// Whether a workload is started again, and judged. The strictest comes last.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Restore {
    /// Neither started nor judged.
    No,
    /// Started; reported if it does not come, but the node does not fail for it.
    BestEffort,
    /// It must be back, or the node has failed. What nobody has said anything about is.
    #[default]
    Required,
}

impl Restore {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::No, Self::BestEffort, Self::Required];

    /// Its word in labels and unit files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::BestEffort => "best-effort",
            Self::Required => "required",
        }
    }
}

/// What a label, or a unit file, says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Nothing when nothing is said.
    pub restore: Option<Restore>,
    /// How long a container may take after its start until it is healthy.
    pub health_timeout: Option<Duration>,
    /// Sentences for what could not be understood, or not be read.
    pub doubts: Vec<String>,
}

impl Wish {
    /// Takes what one key says.
    pub fn take_restore(&mut self, subject: &str, key: &str, value: &str) {
        let known = Restore::ALL.into_iter().find(|choice| choice.name() == value);
        self.restore = Some(known.unwrap_or_default());
        let value = shown(value);
        if known.is_none() {
            self.doubts.push(format!(
                "{subject}: {key}={value} is none of no, best-effort and required: it counts as required"
            ));
        }
    }

    /// Takes a time limit; `parsed`: the value, or why it is none.
    pub fn take_health_timeout(
        &mut self,
        subject: &str,
        key: &str,
        value: &str,
        parsed: Result<Duration, String>,
    ) {
        let value = shown(value);
        match parsed {
            Ok(limit) if limit <= LONGEST_HEALTH_TIMEOUT => self.health_timeout = Some(limit),
            Ok(_) => self.doubts.push(format!(
                "{subject}: {key}={value} is more than the {} minutes there are: it counts as not set",
                LONGEST_HEALTH_TIMEOUT.as_secs() / 60
            )),
            Err(why) => self
                .doubts
                .push(format!("{subject}: {key}={value} {why}: it counts as not set")),
        }
    }

    /// This, and where it says nothing, what `other` says.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            restore: self.restore.or(other.restore),
            health_timeout: self.health_timeout.or(other.health_timeout),
            doubts: self.doubts.clone(),
        }
    }

    /// The node fails when the workload does.
    #[must_use]
    pub fn judged(&self) -> bool {
        self.restore() == Restore::Required
    }

    /// What counts: required unless something else is said.
    #[must_use]
    pub fn restore(&self) -> Restore {
        self.restore.unwrap_or_default()
    }
}

/// A word of somebody else's, as it fits into a sentence: labels may be of any length, and hold anything.
#[must_use]
pub fn shown(word: &str) -> String {
    let plain: String = word.chars().take(LONGEST_WORD).flat_map(char::escape_debug).collect();
    if word.chars().nth(LONGEST_WORD).is_some() { plain + "…" } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_counts_as_required_and_is_named() {
        let mut wish = Wish::default();
        assert_eq!(wish.restore(), Restore::Required);
        for choice in Restore::ALL {
            wish.take_restore("web.service", "Restore", choice.name());
            assert_eq!(wish.restore(), choice);
        }
        assert!(wish.doubts.is_empty());
        wish.take_restore("web.service", "Restore", "never");
        assert_eq!(wish.restore(), Restore::Required);
        assert_eq!(
            wish.doubts,
            [
                "web.service: Restore=never is none of no, best-effort and required: it counts as required"
            ]
        );
    }

    #[test]
    fn a_time_limit_that_is_none_or_too_long_is_not_set() {
        let mut wish = Wish::default();
        let mut take = |value: &str, parsed| wish.take_health_timeout("db", "limit", value, parsed);
        take("soon", Err("has no number".to_owned()));
        take("2h", Ok(Duration::from_secs(7200)));
        assert_eq!(wish.health_timeout, None);
        assert_eq!(wish.doubts.len(), 2);
        wish.take_health_timeout("db", "limit", "2m", Ok(Duration::from_secs(120)));
        assert_eq!(wish.health_timeout, Some(Duration::from_secs(120)));
    }

    #[test]
    fn the_first_word_counts() {
        let said = |restore| Wish { restore, ..Wish::default() };
        let no = said(Some(Restore::No));
        assert_eq!(no.or(&said(Some(Restore::Required))).restore(), Restore::No);
        assert_eq!(said(None).or(&no).restore(), Restore::No);
        assert_eq!(said(None).or(&said(None)).restore(), Restore::Required);
    }

    #[test]
    fn what_a_label_says_is_not_repeated_at_any_length_nor_letter_by_letter() {
        let mut wish = Wish::default();
        wish.take_restore("db", "restore", &"\x1b[2J\n".repeat(100_000));
        wish.take_health_timeout("db", "limit", &"9".repeat(100_000), Err("is odd".to_owned()));
        for doubt in &wish.doubts {
            assert!(doubt.len() < 300 && !doubt.contains(char::is_control), "{doubt:?}");
        }
        assert_eq!((shown("näin"), shown(&"é".repeat(41))), ("näin".into(), "é".repeat(40) + "…"));
    }
}
