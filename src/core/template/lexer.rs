//! A template's text into tokens.

use super::TemplateError;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Copied as it is.
    Text(String),
    /// What is between `{{` and `}}`, on this line.
    Action(usize, Vec<Token>),
}

/// A piece of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A function, or a word of the language.
    Word(String),
    /// `.`
    Dot,
    /// `.Name`; more of it when it follows on something without a blank.
    Field { name: String, follows: bool },
    /// `$name`; `$` alone has none.
    Variable(String),
    /// `"…"` or `` `…` ``
    Text(String),
    /// A number.
    Int(i64),
    /// `|`, `(`, `)`, `,`, `:=`, `=`
    Sign(&'static str),
}

const SIGNS: [&str; 6] = [":=", "=", "|", "(", ")", ","];

/// Cuts a template into pieces. Comments are gone after that, and so are the blanks at trimmed ends.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut line, mut trim) = (text, 1, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let at = line + newlines(before);
        let before = if trim { before.trim_start() } else { before };
        let (after, trims_before) = opening(after);
        let before = if trims_before { before.trim_end() } else { before };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let wrong = |what: String| TemplateError { line: at, what };
        let inner = if let Some(comment) = after.strip_prefix("/*") {
            let (_, end) =
                comment.split_once("*/").ok_or_else(|| wrong("a comment has no end".into()))?;
            let end = end.strip_prefix(" -").map_or((end, false), |end| (end, true));
            let close = end.0.strip_prefix("}}");
            let close = close.ok_or_else(|| wrong("a comment does not end with */}}".into()))?;
            trim = end.1;
            &after[..after.len() - close.len()]
        } else {
            let length = action_length(after).ok_or_else(|| wrong("{{ without }}".into()))?;
            let (mut inner, _) = after.split_at(length);
            trim = inner.ends_with(" -") || inner.ends_with("\n-") || inner.ends_with("\t-");
            if trim {
                inner = &inner[..inner.len() - 1];
            }
            pieces.push(Piece::Action(at, tokens(inner).map_err(wrong)?));
            &after[..length + 2]
        };
        line = at + newlines(inner);
        rest = &after[inner.len()..];
    }
    let last = if trim { rest.trim_start() } else { rest };
    if !last.is_empty() {
        pieces.push(Piece::Text(last.to_owned()));
    }
    Ok(pieces)
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// What follows `{{`, without `- `, and whether that was there.
fn opening(after: &str) -> (&str, bool) {
    let blank = |rest: &&str| rest.starts_with(char::is_whitespace);
    match after.strip_prefix('-').filter(blank) {
        Some(rest) => (&rest[1..], true),
        None => (after, false),
    }
}

/// Where `}}` is, outside of texts.
fn action_length(text: &str) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("}}") {
            return Some(at);
        }
        at += match rest.chars().next()? {
            '"' | '`' => literal(rest).ok()?.1,
            letter => letter.len_utf8(),
        };
    }
    None
}

fn tokens(action: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let (mut rest, mut blank) = (action, true);
    while let Some(first) = rest.chars().next() {
        let taken = if first.is_whitespace() {
            first.len_utf8()
        } else if first == '"' || first == '`' {
            let (text, taken) = literal(rest)?;
            found.push(Token::Text(text));
            taken
        } else if first == '.' {
            let name = word(&rest[1..]);
            found.push(if name.is_empty() {
                Token::Dot
            } else {
                Token::Field { name: name.to_owned(), follows: !blank }
            });
            1 + name.len()
        } else if first == '$' {
            let name = word(&rest[1..]);
            found.push(Token::Variable(name.to_owned()));
            1 + name.len()
        } else if first.is_ascii_digit() || first == '-' || first == '+' {
            let (number, taken) = number(rest)?;
            found.push(Token::Int(number));
            taken
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            sign.len()
        } else {
            let name = word(rest);
            if name.is_empty() {
                return Err(format!("{first:?} is not known here"));
            }
            found.push(Token::Word(name.to_owned()));
            name.len()
        };
        blank = first.is_whitespace() || matches!(first, '(' | '|' | ',' | '=');
        rest = &rest[taken..];
    }
    Ok(found)
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

fn number(text: &str) -> Result<(i64, usize), String> {
    let end = text[1..].find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    let number = &text[..end.map_or(text.len(), |end| end + 1)];
    let value = number.parse().map_err(|_| format!("{number} is no whole number"))?;
    Ok((value, number.len()))
}

/// The text that begins here, and how long it is with its quotes.
fn literal(text: &str) -> Result<(String, usize), String> {
    let open = "a text has no end".to_owned();
    if let Some(raw) = text.strip_prefix('`') {
        let (inner, _) = raw.split_once('`').ok_or(open)?;
        return Ok((inner.to_owned(), inner.len() + 2));
    }
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, at + 1)),
            '\n' => return Err(open),
            '\\' => value.push(match letters.next().map(|(_, letter)| letter) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(same @ ('"' | '\\')) => same,
                other => return Err(format!("\\{} is not known here", other.unwrap_or(' '))),
            }),
            letter => value.push(letter),
        }
    }
    Err(open)
}
