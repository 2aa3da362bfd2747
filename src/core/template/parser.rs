//! Tokens into what is to be done.

use std::iter::Peekable;

use super::TemplateError;
use super::functions::is_function;
use super::lexer::{Piece, Token};

/// Something to do, with the line it is on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Copied.
    Text(String),
    /// `{{ … }}`
    Print(usize, Pipeline),
    /// `{{ $name := … }}` makes a variable, `=` gives one another value.
    Set { line: usize, name: String, new: bool, value: Pipeline },
    /// `{{ if … }}`, `{{ with … }}`, `{{ range … }}` to `{{ end }}`
    Block(Block),
}

/// A part of a template that is used once, several times or not at all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// Variables that are made for it; `range` may have two.
    pub(super) names: Vec<String>,
    pub(super) over: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    If,
    With,
    Range,
}

/// Commands; each is given what the one before it answers.
pub(super) type Pipeline = Vec<Command>;

/// A function with its arguments, or one value.
pub(super) type Command = Vec<Operand>;

/// A value, and the fields of fields that are meant of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) what: What,
    pub(super) fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Dot,
    Variable(String),
    Text(String),
    Int(i64),
    Bool(bool),
    Function(String),
    Inner(Pipeline),
}

type Pieces = Peekable<std::vec::IntoIter<Piece>>;

/// What ended a list of nodes.
enum Close {
    /// The template's end.
    Template,
    /// `{{end}}`
    End,
    /// What follows on `else`, which may be an `if`.
    Else(usize, Vec<Token>),
}

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, TemplateError> {
    let mut pieces = pieces.into_iter().peekable();
    match nodes(&mut pieces)? {
        (nodes, Close::Template, _) => Ok(nodes),
        (_, Close::End, line) => Err(wrong(line, "end without if, with or range")),
        (_, Close::Else(..), line) => Err(wrong(line, "else without if, with or range")),
    }
}

fn wrong(line: usize, what: &str) -> TemplateError {
    TemplateError { line, what: what.to_owned() }
}

/// The nodes up to an end, which end, and on which line.
fn nodes(pieces: &mut Pieces) -> Result<(Vec<Node>, Close, usize), TemplateError> {
    let mut found = Vec::new();
    while let Some(piece) = pieces.next() {
        let (line, mut tokens) = match piece {
            Piece::Text(text) => {
                found.push(Node::Text(text));
                continue;
            }
            Piece::Action(line, tokens) => (line, tokens),
        };
        let first = match tokens.first() {
            Some(Token::Word(word)) => word.clone(),
            Some(_) => String::new(),
            None => return Err(wrong(line, "nothing between {{ and }}")),
        };
        match first.as_str() {
            "end" if tokens.len() == 1 => return Ok((found, Close::End, line)),
            "else" => return Ok((found, Close::Else(line, tokens.split_off(1)), line)),
            "if" => found.push(block(pieces, line, Kind::If, tokens.split_off(1))?),
            "with" => found.push(block(pieces, line, Kind::With, tokens.split_off(1))?),
            "range" => found.push(block(pieces, line, Kind::Range, tokens.split_off(1))?),
            _ => found.push(simple(line, tokens)?),
        }
    }
    Ok((found, Close::Template, 0))
}

fn block(
    pieces: &mut Pieces,
    line: usize,
    kind: Kind,
    tokens: Vec<Token>,
) -> Result<Node, TemplateError> {
    let (names, new, rest) = assignment(tokens);
    if !new || names.len() > if kind == Kind::Range { 2 } else { 1 } {
        return Err(wrong(line, "these variables are not known here"));
    }
    let over = pipeline(line, rest)?;
    let (body, end, _) = nodes(pieces)?;
    let otherwise = match end {
        Close::End => Vec::new(),
        Close::Template => return Err(wrong(line, "there is no end to this")),
        Close::Else(at, tokens) if tokens.is_empty() => match nodes(pieces)? {
            (nodes, Close::End, _) => nodes,
            (_, Close::Else(..), _) => return Err(wrong(at, "two times else")),
            (_, Close::Template, _) => return Err(wrong(line, "there is no end to this")),
        },
        // Both have one end.
        Close::Else(at, mut tokens) => match (tokens.first(), kind) {
            (Some(Token::Word(word)), Kind::If) if word == "if" => {
                vec![block(pieces, at, Kind::If, tokens.split_off(1))?]
            }
            _ => return Err(wrong(at, "only \"else\" and \"else if\" are known here")),
        },
    };
    Ok(Node::Block(Block { line, kind, names, over, body, otherwise }))
}

fn simple(line: usize, tokens: Vec<Token>) -> Result<Node, TemplateError> {
    let (mut names, new, rest) = assignment(tokens);
    let value = pipeline(line, rest)?;
    match (names.pop(), names.is_empty()) {
        (None, _) => Ok(Node::Print(line, value)),
        (Some(name), true) => Ok(Node::Set { line, name, new, value }),
        (Some(_), false) => Err(wrong(line, "two variables are for range only")),
    }
}

/// The variables before `:=` or `=`, whether they are new ones, and the rest.
fn assignment(mut tokens: Vec<Token>) -> (Vec<String>, bool, Vec<Token>) {
    let count = match tokens.as_slice() {
        [Token::Variable(_), Token::Sign(":=" | "="), ..] => 1,
        [Token::Variable(_), Token::Sign(","), Token::Variable(_), Token::Sign(":=" | "="), ..] => {
            2
        }
        _ => return (Vec::new(), true, tokens),
    };
    let rest = tokens.split_off(2 * count);
    let new = tokens.last() == Some(&Token::Sign(":="));
    let names = tokens.into_iter().filter_map(|token| match token {
        Token::Variable(name) => Some(name),
        _ => None,
    });
    (names.collect(), new, rest)
}

fn pipeline(line: usize, tokens: Vec<Token>) -> Result<Pipeline, TemplateError> {
    let mut tokens = tokens.into_iter().peekable();
    let (found, closed) = commands(&mut tokens).map_err(|what| TemplateError { line, what })?;
    if closed { Err(wrong(line, "\")\" without \"(\"")) } else { Ok(found) }
}

/// The commands up to the end, or to a `)`; whether it was that.
fn commands(
    tokens: &mut Peekable<impl Iterator<Item = Token>>,
) -> Result<(Pipeline, bool), String> {
    let (mut found, mut command) = (Vec::new(), Vec::new());
    let closed = loop {
        let what = match tokens.next() {
            None => break false,
            Some(Token::Sign(")")) => break true,
            Some(Token::Sign("|")) if !command.is_empty() => {
                found.push(std::mem::take(&mut command));
                continue;
            }
            Some(Token::Sign("(")) => match commands(&mut *tokens)? {
                (inner, true) => What::Inner(inner),
                (_, false) => return Err("\"(\" without \")\"".to_owned()),
            },
            Some(Token::Sign(sign)) => return Err(format!("{sign:?} is not known in this place")),
            Some(Token::Dot) => What::Dot,
            Some(Token::Field { name, follows: false }) => {
                command.push(Operand {
                    what: What::Dot,
                    fields: [vec![name], fields(tokens)].concat(),
                });
                continue;
            }
            Some(Token::Field { name, follows: true }) => {
                return Err(format!(".{name} is not known in this place"));
            }
            Some(Token::Variable(name)) => What::Variable(name),
            Some(Token::Text(text)) => What::Text(text),
            Some(Token::Int(number)) => What::Int(number),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => What::Bool(true),
                "false" => What::Bool(false),
                name if is_function(name) => What::Function(word),
                _ => return Err(format!("{word:?} is not known here")),
            },
        };
        command.push(Operand { what, fields: fields(tokens) });
    };
    if command.is_empty() {
        return Err("a value is missing".to_owned());
    }
    found.push(command);
    Ok((found, closed))
}

fn fields(tokens: &mut Peekable<impl Iterator<Item = Token>>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(Token::Field { name, .. }) =
        tokens.next_if(|token| matches!(token, Token::Field { follows: true, .. }))
    {
        found.push(name);
    }
    found
}
