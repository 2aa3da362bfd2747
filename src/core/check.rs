//! What the admin's own checks say of a node, and what of it counts against an update.

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `check 10-disk.sh`, `probe shop`
    pub name: String,
    /// A node it fails on is not healthy. Otherwise it is only reported.
    pub required: bool,
    /// What it says.
    pub answer: Answer,
}

/// What a check says; the texts are whole sentences without a full stop, and name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All is well.
    Good,
    /// Something is wrong, or it was not found out in time.
    Bad(String),
    /// It may not be executed, or could not be: nobody can say how the node is by it.
    Unable(String),
}

/// What is wrong with the node. A check of `known` failed before the node was disturbed already, and is
/// not held against it; but one that cannot be made is.
#[must_use]
pub fn failing(findings: &[Finding], known: &[String]) -> Vec<String> {
    let counts = |finding: &&Finding| finding.required;
    let sentence = |finding: &Finding| match &finding.answer {
        Answer::Bad(text) if !known.contains(&finding.name) => Some(text.clone()),
        Answer::Unable(text) => Some(text.clone()),
        Answer::Good | Answer::Bad(_) => None,
    };
    findings.iter().filter(counts).filter_map(sentence).collect()
}

/// What is wrong, and does not count: with checks that are only reported.
#[must_use]
pub fn remarks(findings: &[Finding]) -> Vec<&str> {
    let reported = findings.iter().filter(|finding| !finding.required);
    reported.filter_map(|finding| finding.answer.sentence()).collect()
}

/// The names and sentences of the checks that fail already, before the node is disturbed.
///
/// # Errors
/// The sentences of those that cannot be made: they would keep the node from ever being healthy, and to
/// leave them out would be to update it without them.
pub fn beforehand(findings: &[Finding]) -> Result<Vec<(&str, &str)>, Vec<&str>> {
    let (mut failing, mut unable) = (Vec::new(), Vec::new());
    for finding in findings.iter().filter(|finding| finding.required) {
        match &finding.answer {
            Answer::Good => {}
            Answer::Bad(text) => failing.push((finding.name.as_str(), text.as_str())),
            Answer::Unable(text) => unable.push(text.as_str()),
        }
    }
    if unable.is_empty() { Ok(failing) } else { Err(unable) }
}

impl Answer {
    fn sentence(&self) -> Option<&str> {
        match self {
            Self::Good => None,
            Self::Bad(text) | Self::Unable(text) => Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, required: bool, answer: Answer) -> Finding {
        Finding { name: name.to_owned(), required, answer }
    }

    fn bad(text: &str) -> Answer {
        Answer::Bad(text.to_owned())
    }

    fn unable(text: &str) -> Answer {
        Answer::Unable(text.to_owned())
    }

    #[test]
    fn what_failed_before_is_excused_and_what_cannot_be_made_is_not() {
        let findings = [
            found("a", true, Answer::Good),
            found("b", true, bad("b fails")),
            found("c", true, bad("c fails")),
            found("d", true, unable("d cannot be made")),
            found("e", false, bad("e fails")),
        ];
        let known = ["b".to_owned(), "d".to_owned()];
        assert_eq!(failing(&findings, &known), ["c fails", "d cannot be made"]);
        assert_eq!(remarks(&findings), ["e fails"]);
    }

    #[test]
    fn nothing_is_begun_while_a_check_cannot_be_made() {
        let mut findings = vec![
            found("a", true, bad("a fails")),
            found("b", true, Answer::Good),
            found("c", false, unable("c cannot be made")),
        ];
        assert_eq!(beforehand(&findings), Ok(vec![("a", "a fails")]));
        findings.push(found("d", true, unable("d cannot be made")));
        assert_eq!(beforehand(&findings), Err(vec!["d cannot be made"]));
    }
}
