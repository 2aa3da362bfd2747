//! The functions that a template may call: confd's plain ones, and Go's own.

use super::Keys;
use super::printf::printf;
use super::value::Value;

/// Each with the fewest and the most arguments it takes.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    // keys
    ("exists", 1, 1),
    ("get", 1, 1),
    ("getv", 1, 2),
    ("gets", 1, 1),
    ("getvs", 1, 1),
    ("ls", 1, 1),
    ("lsdir", 1, 1),
    // texts
    ("base", 1, 1),
    ("dir", 1, 1),
    ("split", 2, 2),
    ("join", 2, 2),
    ("toUpper", 1, 1),
    ("toLower", 1, 1),
    ("contains", 2, 2),
    ("replace", 4, 4),
    ("trimSuffix", 2, 2),
    // Go's own
    ("eq", 2, usize::MAX),
    ("ne", 2, 2),
    ("lt", 2, 2),
    ("le", 2, 2),
    ("gt", 2, 2),
    ("ge", 2, 2),
    ("and", 1, usize::MAX),
    ("or", 1, usize::MAX),
    ("not", 1, 1),
    ("len", 1, 1),
    ("index", 2, 2),
    ("print", 0, usize::MAX),
    ("printf", 1, usize::MAX),
];

pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Calls a function. Errors name it.
pub(super) fn call(name: &str, arguments: &[Value], keys: &Keys) -> Result<Value, String> {
    let Some((_, fewest, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        return Err(format!("{name:?} is not known here"));
    };
    if !(*fewest..=*most).contains(&arguments.len()) {
        return Err(format!("{name} is given {} arguments", arguments.len()));
    }
    of_keys(name, arguments, keys)
        .or_else(|| of_texts(name, arguments))
        .unwrap_or_else(|| of_go(name, arguments))
        .map_err(|what| if what.starts_with(name) { what } else { format!("{name}: {what}") })
}

type Outcome = Result<Value, String>;

/// `None`: it is none of these.
fn of_keys(name: &str, arguments: &[Value], keys: &Keys) -> Option<Outcome> {
    let known = ["exists", "get", "getv", "gets", "getvs", "ls", "lsdir"];
    known.contains(&name).then(|| {
        let key = text(&arguments[0])?;
        let missing = || format!("there is no key {key}");
        match (name, arguments) {
            ("exists", _) => Ok(Value::Bool(keys.get(key).is_some())),
            ("get", _) => {
                let value = keys.get(key).ok_or_else(missing)?;
                Ok(Value::Pair(key.to_owned(), value.to_owned()))
            }
            ("getv", [_, otherwise]) => {
                let value = keys.get(key).map(|value| Value::Text(value.to_owned()));
                Ok(value.unwrap_or_else(|| otherwise.clone()))
            }
            ("getv", _) => keys.get(key).map(|v| Value::Text(v.to_owned())).ok_or_else(missing),
            ("gets", _) => {
                let all = keys.all(key)?.into_iter();
                Ok(Value::List(all.map(|(key, value)| Value::Pair(key, value)).collect()))
            }
            ("getvs", _) => {
                let mut values: Vec<_> =
                    keys.all(key)?.into_iter().map(|(_, value)| value).collect();
                values.sort();
                Ok(Value::texts(values))
            }
            _ => Ok(Value::texts(keys.list(key, name == "lsdir"))),
        }
    })
}

fn of_texts(name: &str, arguments: &[Value]) -> Option<Outcome> {
    let outcome = |found: Result<String, String>| found.map(Value::Text);
    Some(match (name, arguments) {
        ("base", [path]) => outcome(text(path).map(base)),
        ("dir", [path]) => outcome(text(path).map(dir)),
        ("toUpper", [value]) => outcome(text(value).map(str::to_uppercase)),
        ("toLower", [value]) => outcome(text(value).map(str::to_lowercase)),
        ("split", [value, by]) => both(value, by).map(|(value, by)| split(value, by)),
        ("contains", [value, part]) => {
            both(value, part).map(|(value, part)| Value::Bool(value.contains(part)))
        }
        ("trimSuffix", [value, end]) => outcome(
            both(value, end)
                .map(|(value, end)| value.strip_suffix(end).unwrap_or(value).to_owned()),
        ),
        ("join", [Value::List(list), with]) => {
            let texts: Result<Vec<_>, _> = list.iter().map(text).collect();
            outcome(texts.and_then(|texts| Ok(texts.join(text(with)?))))
        }
        ("join", [other, _]) => Err(format!("needs a list, and this is {}", other.kind())),
        ("replace", [value, from, to, Value::Int(times)]) => {
            outcome(both(from, to).and_then(|(from, to)| {
                let value = text(value)?;
                // Less than none: all of them.
                Ok(usize::try_from(*times).map_or_else(
                    |_| value.replace(from, to),
                    |times| value.replacen(from, to, times),
                ))
            }))
        }
        ("replace", _) => Err("how often must be a number".to_owned()),
        _ => return None,
    })
}

fn of_go(name: &str, arguments: &[Value]) -> Outcome {
    let first = arguments.first();
    let final_one = || arguments.last().cloned().unwrap_or(Value::Nothing);
    match (name, arguments) {
        ("eq", [one, others @ ..]) => {
            let same: Result<Vec<bool>, String> =
                others.iter().map(|other| same(one, other)).collect();
            Ok(Value::Bool(same?.contains(&true)))
        }
        ("ne", [one, other]) => Ok(Value::Bool(!same(one, other)?)),
        ("lt" | "le" | "gt" | "ge", [one, other]) => {
            let order = match (one, other) {
                (Value::Int(one), Value::Int(other)) => one.cmp(other),
                (Value::Text(one), Value::Text(other)) => one.cmp(other),
                _ => return Err(unlike(one, other)),
            };
            Ok(Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        ("and", _) => {
            Ok(arguments.iter().find(|value| !value.is_true()).cloned().unwrap_or_else(final_one))
        }
        ("or", _) => {
            Ok(arguments.iter().find(|value| value.is_true()).cloned().unwrap_or_else(final_one))
        }
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("len", [value]) => {
            let length = match value {
                Value::Text(text) => text.len(),
                Value::List(list) => list.len(),
                Value::Map(map) => map.len(),
                other => return Err(format!("{} has no length", other.kind())),
            };
            i64::try_from(length).map(Value::Int).map_err(|error| error.to_string())
        }
        ("index", [Value::List(list), Value::Int(at)]) => {
            let found = usize::try_from(*at).ok().and_then(|at| list.get(at));
            found.cloned().ok_or_else(|| format!("{at} of {} is not there", list.len()))
        }
        ("index", _) => Err("needs a list and a number".to_owned()),
        ("print", _) => Ok(Value::Text(print(arguments))),
        ("printf", _) => {
            let format = first.map(text).transpose()?.unwrap_or_default();
            printf(format, &arguments[1..]).map(Value::Text)
        }
        _ => Err("is not known here".to_owned()),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("needs a text, and this is {}", other.kind())),
    }
}

fn both<'a>(one: &'a Value, other: &'a Value) -> Result<(&'a str, &'a str), String> {
    Ok((text(one)?, text(other)?))
}

fn same(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (Value::Text(_), Value::Text(_))
        | (Value::Int(_), Value::Int(_))
        | (Value::Bool(_), Value::Bool(_)) => Ok(one == other),
        _ => Err(unlike(one, other)),
    }
}

fn unlike(one: &Value, other: &Value) -> String {
    format!("{} and {} are not compared", one.kind(), other.kind())
}

fn split(value: &str, by: &str) -> Value {
    if by.is_empty() {
        return Value::texts(value.chars().map(String::from));
    }
    Value::texts(value.split(by).map(str::to_owned))
}

/// A blank goes between two that are no texts.
fn print(values: &[Value]) -> String {
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    let mut shown = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !is_text(value) && !is_text(&values[index - 1]) {
            shown.push(' ');
        }
        shown.push_str(&value.to_string());
    }
    shown
}

fn base(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".".to_owned(),
        (_, "") => "/".to_owned(),
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

fn dir(path: &str) -> String {
    match path.rsplit_once('/') {
        None => ".".to_owned(),
        Some((before, _)) => match before.trim_end_matches('/') {
            "" => "/".to_owned(),
            before => before.to_owned(),
        },
    }
}
