//! rpm's order of versions (rpm-version(7)).

use std::cmp::Ordering;

/// Compares two `[epoch:]version-release`.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    let epoch = number(a.0).cmp(&number(b.0));
    epoch.then_with(|| part(a.1, b.1)).then_with(|| part(a.2, b.2))
}

/// The same without an epoch of 0, as dnf writes it.
#[must_use]
pub fn short(evr: &str) -> &str {
    evr.strip_prefix("0:").unwrap_or(evr)
}

fn split(evr: &str) -> (&str, &str, &str) {
    let (epoch, rest) = evr.split_once(':').unwrap_or(("0", evr));
    let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, version, release)
}

/// Digits of any length, by value.
fn number(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

/// Runs of digits and runs of letters count, `~` before the end, `^` after it and before anything
/// else; what else there is separates them.
fn part(mut a: &str, mut b: &str) -> Ordering {
    let counts = |c: char| c.is_ascii_alphanumeric() || c == '~' || c == '^';
    loop {
        a = a.trim_start_matches(|c| !counts(c));
        b = b.trim_start_matches(|c| !counts(c));
        let order = match (a.chars().next(), b.chars().next()) {
            (None, None) => return Ordering::Equal,
            (Some('~'), Some('~')) | (Some('^'), Some('^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some('~'), _) => Ordering::Less,
            (_, Some('~')) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some('^'), _) => Ordering::Less,
            (_, Some('^')) => Ordering::Greater,
            (Some(x), Some(y)) => match (x.is_ascii_digit(), y.is_ascii_digit()) {
                (true, true) => number(take(&mut a, true)).cmp(&number(take(&mut b, true))),
                (false, false) => take(&mut a, false).cmp(take(&mut b, false)),
                // A number is newer than a word.
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn take<'a>(text: &mut &'a str, digits: bool) -> &'a str {
    let other = |c: char| if digits { !c.is_ascii_digit() } else { !c.is_ascii_alphabetic() };
    let end = text.find(other).unwrap_or(text.len());
    let (head, tail) = text.split_at(end);
    *text = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_older_than_the_next() {
        // The order is rpm's own: `rpm --eval '%{lua:print(rpm.vercmp("1~", "1"))}'`.
        let rising = [
            "1~~-1", "1~a-1", "1~rc1-1", "1-1", "1-1.1", "1^-1", "1^git1-1", "1a-1", "1b-1",
            "1.0-1", "1.0^1-1", "1.2-1", "1.10-1", "2-1.el9", "2-1.el10", "2-2", "1:0-1", "2:0~-1",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_same_in_other_words_is_equal() {
        for (a, b) in [("1-1", "0:1-1"), ("1.0-1", "1_0-1"), ("1.01-1", "1.1-1"), ("1-1", "1-1")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
        assert_eq!((short("0:1-1"), short("10:1-1"), short("1-1")), ("1-1", "10:1-1", "1-1"));
    }
}
