//! What exactly is in the way of an update that cannot be installed: apt is asked for it by name.

use std::collections::BTreeMap;

use super::{AptError, Layout, apt_get, hidden, kept, simulation};
use crate::core::choice::{KeptBack, Objection};

/// At most so many are asked for: each may take a second.
const MOST: usize = 12;

/// Says more of what is kept back because of other packages. `hiding`: something is hidden.
/// `needed`: what must not be removed, and why.
pub(super) async fn say_more(
    layout: &Layout,
    kept: &mut [KeptBack],
    hiding: bool,
    needed: &BTreeMap<String, &'static str>,
) -> Result<(), AptError> {
    let about_others =
        |entry: &KeptBack| matches!(entry.why.code.as_str(), "needs" | "removes" | "unmet");
    let places: Vec<usize> = (0..kept.len()).filter(|place| about_others(&kept[*place])).collect();
    for place in places.into_iter().take(MOST) {
        let said = ask(layout, &kept[place], hiding).await?;
        if removes_nothing(&kept[place], &said) {
            kept[place].why = kept::recommends(&kept[place].name);
        } else if let Some(why) = why(&kept[place], said, kept, needed) {
            kept[place].why = why;
        }
    }
    Ok(())
}

/// What apt says to one update.
enum Said {
    /// It would have these removed; none when nothing is in the way.
    Removes(Vec<String>),
    /// Something it needs is not there.
    Needs(Option<String>),
}

async fn ask(layout: &Layout, entry: &KeptBack, hiding: bool) -> Result<Said, AptError> {
    let exact = format!("{}:{}={}", entry.name, entry.arch, entry.version);
    let mut ask = apt_get::with_our_lists(layout, "apt-get");
    if hiding {
        ask = hidden::from(layout, ask);
    }
    let done = ask.args(["-s", "install", &exact]).finish().await?;
    if !done.status.success() {
        return Ok(Said::Needs(unmet(&done.stdout, &entry.name)));
    }
    Ok(Said::Removes(simulation::parse(&done.stdout)?.removes))
}

/// Was it blamed for what another update would have removed?
fn removes_nothing(entry: &KeptBack, said: &Said) -> bool {
    entry.why.code == "removes"
        && entry.why.text != kept::REMOVED
        && matches!(said, Said::Removes(names) if names.is_empty())
}

/// The reason of an entry; `None` where apt's answer does not fit what is known already.
fn why(
    entry: &KeptBack,
    said: Said,
    others: &[KeptBack],
    needed: &BTreeMap<String, &'static str>,
) -> Option<Objection> {
    let why_not = |name: &String| {
        let name = name.split(':').next().unwrap_or(name);
        needed.get(name).map(|why| format!("; of {name}, {why}"))
    };
    match (entry.why.code.as_str(), said) {
        (code, Said::Removes(names)) if !names.is_empty() => {
            let because: String = names.iter().filter_map(why_not).collect();
            let text = format!("it would have {} removed{because}", names.join(", "));
            (code == "removes" || !because.is_empty()).then(|| Objection::new("removes", text))
        }
        (code @ ("needs" | "unmet"), Said::Needs(Some(needs))) => {
            Some(Objection::new(code, because(&needs, others)))
        }
        _ => None,
    }
}

/// ` name : Depends: lib (>= 2) but 1 is to be installed` → what stands behind the name.
fn unmet(text: &str, name: &str) -> Option<String> {
    let (_, list) = text.split_once("unmet dependencies:\n")?;
    let lines: Vec<&str> = list.lines().take_while(|line| line.starts_with(' ')).collect();
    let is_it = |line: &&&str| line.trim_start().split([' ', ':']).next() == Some(name);
    let line = lines.iter().find(is_it).or_else(|| lines.first())?;
    line.split_once(" : ").map(|(_, needs)| needs.trim().to_owned())
}

/// With the reason that keeps back what is needed, where that is known.
fn because(needs: &str, others: &[KeptBack]) -> String {
    let needed = needs.split_once(": ").and_then(|(_, rest)| rest.split([' ', ':']).next());
    match others.iter().find(|other| Some(other.name.as_str()) == needed) {
        Some(other) => format!("{needs}; of {}, {}", other.name, other.why.text),
        None => needs.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// apt 2.6 and 3.0 alike.
    const SAID: &str = "Some packages could not be installed.\n\n\
                        The following packages have unmet dependencies:\n \
                        beta : Depends: delta (>= 2) but 1.0 is to be installed\n \
                        gamma : Depends: nowhere but it is not installable\nE: Unable\n";

    fn kept(name: &str, code: &str, text: &str) -> KeptBack {
        KeptBack {
            name: name.to_owned(),
            arch: "all".to_owned(),
            installed: None,
            version: "2".to_owned(),
            why: Objection::new(code, text),
        }
    }

    #[test]
    fn what_is_needed_is_told_with_why_it_is_not_there() {
        let delta = kept("delta", "held", "it is on hold");
        let beta = kept("beta", "needs", "?");
        let said = |name| Said::Needs(unmet(SAID, name));
        let none = BTreeMap::new();
        assert_eq!(
            why(&beta, said("beta"), std::slice::from_ref(&delta), &none).unwrap().text,
            "Depends: delta (>= 2) but 1.0 is to be installed; of delta, it is on hold"
        );
        assert_eq!(
            why(&beta, said("gamma"), &[delta], &none).unwrap().text,
            "Depends: nowhere but it is not installable"
        );
        assert_eq!(unmet("E: no", "beta"), None);
    }

    #[test]
    fn an_answer_of_another_kind_changes_nothing() {
        let removes = kept("a", "removes", "x");
        let none = BTreeMap::new();
        assert_eq!(why(&removes, Said::Needs(Some("y".to_owned())), &[], &none), None);
        assert_eq!(why(&removes, Said::Removes(Vec::new()), &[], &none), None);
        let unmet = kept("a", "unmet", "x");
        let gone = || Said::Removes(vec!["b:i386".to_owned()]);
        assert_eq!(why(&unmet, gone(), &[], &none), None);
        let needed = BTreeMap::from([("b".to_owned(), "the system needs it")]);
        let found = why(&unmet, gone(), &[], &needed).unwrap();
        assert_eq!(found.code, "removes");
        assert_eq!(found.text, "it would have b:i386 removed; of b, the system needs it");
    }
}
