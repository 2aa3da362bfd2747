//! Go's `printf`, as far as a template needs it: `%s %v %d %q %t %%`, with a width.

use super::value::Value;

pub(super) fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let left = letters.next_if_eq(&'-').is_some();
        let zeros = letters.next_if_eq(&'0').is_some();
        let mut width = 0;
        while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
            width = (width * 10 + digit as usize).min(1000);
            letters.next();
        }
        let verb = letters.next().unwrap_or(' ');
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value =
            arguments.next().ok_or_else(|| format!("printf: nothing is given for %{verb}"))?;
        let shown = match (verb, value) {
            ('v', value) => value.to_string(),
            ('s', Value::Text(text)) => text.clone(),
            ('q', Value::Text(text)) => format!("{text:?}"),
            ('d', Value::Int(number)) => number.to_string(),
            ('t', Value::Bool(value)) => value.to_string(),
            ('s' | 'q' | 'd' | 't', other) => {
                return Err(format!("printf: %{verb} does not go with {}", other.kind()));
            }
            _ => return Err(format!("printf: %{verb} is not known here")),
        };
        let gap = width.saturating_sub(shown.chars().count());
        match (left, zeros) {
            (true, _) => text.extend([shown, " ".repeat(gap)]),
            (false, true) if verb == 'd' => match shown.strip_prefix('-') {
                Some(digits) => text.extend(["-".to_owned(), "0".repeat(gap), digits.to_owned()]),
                None => text.extend(["0".repeat(gap), shown]),
            },
            (false, _) => text.extend([" ".repeat(gap), shown]),
        }
    }
    if arguments.next().is_some() {
        return Err("printf: more is given than the format names".to_owned());
    }
    Ok(text)
}
