//! Regular expressions as names with `*`.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind, Look, Repetition},
};

use crate::core::record::matches;

/// More names than this are no longer what somebody would write.
const MOST: usize = 32;

/// What an expression means, by names with `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Globs {
    /// The same; none when it is the name of no package.
    Same(Vec<String>),
    /// More than that, and nothing less.
    More(Vec<String>),
}

/// What `expression` means where names are matched from their beginning, as Python's `re.match` does
/// it; `None` where it is not understood.
pub(super) fn globs(expression: &str) -> Option<Globs> {
    let parser = ParserBuilder::new().unicode(false).utf8(false).build().parse(expression);
    let hir = without_tail(parser.ok()?);
    let exactly =
        expand(&hir, true).map(|words| finish(&words)).filter(|globs| globs.len() <= MOST);
    exactly.map(Globs::Same).or_else(|| {
        let more = finish(&expand(&hir, false)?);
        // Everything is not what was meant.
        (more != ["*"]).then_some(Globs::More(more))
    })
}

/// A part of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Letter(u8),
    Any,
    Start,
    End,
}

type Words = Vec<Vec<Part>>;

/// What names of packages are made of (Debian Policy 5.6.7).
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
}

/// Where anything may follow, what is repeated at the end need not be.
fn without_tail(hir: Hir) -> Hir {
    let HirKind::Concat(parts) = hir.kind() else { return shortest(hir) };
    let mut parts = parts.clone();
    while let Some(last) = parts.pop().map(shortest) {
        if *last.kind() != HirKind::Empty {
            parts.push(last);
            break;
        }
    }
    Hir::concat(parts)
}

fn shortest(hir: Hir) -> Hir {
    match hir.kind() {
        HirKind::Repetition(repeated) => {
            let max = Some(repeated.min);
            Hir::repetition(Repetition { max, ..repeated.clone() })
        }
        _ => hir,
    }
}

/// All it can be. `None`: too much, or not to be said (`exactly`).
fn expand(hir: &Hir, exactly: bool) -> Option<Words> {
    let any = || (!exactly).then(|| vec![vec![Part::Any]]);
    let words = match hir.kind() {
        HirKind::Empty => vec![vec![]],
        HirKind::Literal(literal) => literally(&literal.0),
        HirKind::Class(class) => {
            members(class).filter(|words| exactly || words.len() == 1).or_else(any)?
        }
        HirKind::Look(Look::Start | Look::StartLF) => vec![vec![Part::Start]],
        HirKind::Look(Look::End | Look::EndLF) => vec![vec![Part::End]],
        HirKind::Look(_) if exactly => return None,
        HirKind::Look(_) => vec![vec![]],
        HirKind::Repetition(repeated) => repeat(repeated, exactly).or_else(any)?,
        HirKind::Capture(capture) => expand(&capture.sub, exactly)?,
        HirKind::Concat(parts) => {
            let mut words = vec![vec![]];
            for part in parts {
                words = joined(&words, &expand(part, exactly)?)?;
            }
            words
        }
        HirKind::Alternation(parts) => {
            let parts: Option<Vec<Words>> =
                parts.iter().map(|part| expand(part, exactly)).collect();
            parts?.concat()
        }
    };
    (words.len() <= MOST).then_some(words)
}

/// A letter that no package has makes it the name of none.
fn literally(bytes: &[u8]) -> Words {
    let good = bytes.iter().all(|byte| is_letter(*byte));
    let word = || bytes.iter().map(|byte| Part::Letter(*byte)).collect();
    good.then(word).into_iter().collect()
}

fn members(class: &Class) -> Option<Words> {
    let Class::Bytes(class) = class else { return None };
    let letters = class.ranges().iter().flat_map(|range| range.start()..=range.end());
    Some(letters.filter(|byte| is_letter(*byte)).map(|byte| vec![Part::Letter(byte)]).collect())
}

fn is_anything(hir: &Hir) -> bool {
    let HirKind::Class(class) = hir.kind() else { return false };
    let all = (0..=u8::MAX).filter(|byte| is_letter(*byte)).count();
    members(class).is_some_and(|words| words.len() == all)
}

fn repeat(repeated: &Repetition, exactly: bool) -> Option<Words> {
    let endless = repeated.max.is_none();
    if endless && repeated.min == 0 && is_anything(&repeated.sub) {
        return Some(vec![vec![Part::Any]]);
    }
    if endless && exactly {
        return None;
    }
    let sub = expand(&repeated.sub, exactly)?;
    let most = repeated.max.unwrap_or(repeated.min);
    let mut times = vec![vec![]];
    let mut words = Vec::new();
    for count in 0..=most {
        if count >= repeated.min {
            words.extend(times.clone());
        }
        if words.len() > MOST {
            return None;
        }
        times = joined(&times, &sub)?;
    }
    if endless { joined(&words, &vec![vec![Part::Any]]) } else { Some(words) }
}

fn joined(heads: &Words, tails: &Words) -> Option<Words> {
    let small = heads.len() * tails.len() <= MOST;
    let join = |head: &Vec<Part>| {
        let head = head.clone();
        tails.iter().map(move |tail| [&head[..], tail].concat())
    };
    small.then(|| heads.iter().flat_map(join).collect())
}

/// The names, without those that others mean, too.
fn finish(words: &Words) -> Vec<String> {
    let mut globs: Vec<String> = words.iter().filter_map(|word| glob(word)).collect();
    globs.sort();
    globs.dedup();
    let meant = |glob: &String| globs.iter().any(|other| other != glob && matches(other, glob));
    globs.iter().filter(|glob| !meant(glob)).cloned().collect()
}

/// `None` where a beginning comes after a letter, or a letter after the end, or there is none.
fn glob(word: &[Part]) -> Option<String> {
    let start = word.iter().rposition(|part| *part == Part::Start).map_or(0, |at| at + 1);
    let end = word.iter().position(|part| *part == Part::End);
    let whole = end.is_some();
    let end = end.unwrap_or(word.len());
    let mut outside = word[..start].iter().chain(&word[end..]);
    if outside.any(|part| matches!(part, Part::Letter(_))) {
        return None;
    }
    let mut parts = word[start..end.max(start)].to_vec();
    parts.extend((!whole).then_some(Part::Any));
    parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
    let letter = |part: &Part| if let Part::Letter(byte) = part { char::from(*byte) } else { '*' };
    (!parts.is_empty()).then(|| parts.iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_said_is_said_and_the_rest_is_more_than_asked_for() {
        let same = |globs: &[&str]| Some(Globs::Same(globs.iter().map(|&g| g.into()).collect()));
        let more = |globs: &[&str]| Some(Globs::More(globs.iter().map(|&g| g.into()).collect()));
        for (expression, expected) in [
            ("linux-", same(&["linux-*"])),
            ("^libc6$", same(&["libc6"])),
            ("libstdc\\+\\+6$", same(&["libstdc++6"])),
            ("postgresql-.*", same(&["postgresql-*"])),
            ("lib.*-dev$", same(&["lib*-dev"])),
            ("(lib)?xen(store)?", same(&["libxen*", "xen*"])),
            ("(lib)?xen(store)?$", same(&["libxen", "libxenstore", "xen", "xenstore"])),
            ("a|bc$", same(&["a*", "bc"])),
            ("docker-(ce|engine)$", same(&["docker-ce", "docker-engine"])),
            ("php[78]", same(&["php7*", "php8*"])),
            (
                "php[0-9.]+",
                same(&[
                    "php.*", "php0*", "php1*", "php2*", "php3*", "php4*", "php5*", "php6*",
                    "php7*", "php8*", "php9*",
                ]),
            ),
            ("", same(&["*"])),
            (".", None),
            (".[ab]", None),
            ("Linux-", same(&[])),
            ("a$b", same(&[])),
            ("x^a", same(&[])),
            ("(a|$^b)", same(&["a*"])),
            ("$", same(&[])),
            ("linux-image-5.10", more(&["linux-image-5*10*"])),
            ("php[0-9]+-fpm$", more(&["php*-fpm"])),
            ("nginx\\b", more(&["nginx*"])),
            ("(?!linux)", None),
            ("(", None),
            ("(?P<a>b)(?P=a)", None),
        ] {
            assert_eq!(globs(expression), expected, "{expression}");
        }
    }

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            6 => "[abc]",
            2 => Just(".".to_owned()),
            1 => Just(".*".to_owned()),
            1 => Just("[ab]".to_owned()),
            1 => Just("[^a]".to_owned()),
            1 => Just("^".to_owned()),
            1 => Just("$".to_owned()),
            1 => Just("\\b".to_owned()),
            1 => Just("B".to_owned()),
        ];
        leaf.prop_recursive(4, 12, 3, |inner| {
            prop_oneof![
                4 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| parts.concat()),
                1 => prop::collection::vec(inner.clone(), 2..4)
                    .prop_map(|parts| format!("({})", parts.join("|"))),
                1 => (inner, "[?*+]|\\{1,2\\}").prop_map(|(part, times)| format!("({part}){times}")),
            ]
        })
    }

    /// Every name of one to four of these letters.
    fn names() -> Vec<String> {
        let mut names = vec![String::new()];
        for start in 0.. {
            if names[start].len() == 4 {
                break;
            }
            names.extend(["a", "b", "c"].map(|letter| format!("{}{letter}", names[start])));
        }
        names.split_off(1)
    }

    proptest! {
        #[test]
        fn names_and_expression_mean_the_same(expression in expression()) {
            let regex = regex::bytes::Regex::new(&format!("(?-u)^(?:{expression})")).unwrap();
            let Some(globs) = globs(&expression) else { return Ok(()) };
            for name in names() {
                let asked = regex.is_match(name.as_bytes());
                let said = |globs: &[String]| globs.iter().any(|glob| matches(glob, &name));
                match &globs {
                    Globs::Same(globs) => prop_assert_eq!(said(globs), asked, "{} {:?}", name, globs),
                    Globs::More(globs) => prop_assert!(said(globs) || !asked, "{} {:?}", name, globs),
                }
            }
        }
    }
}
