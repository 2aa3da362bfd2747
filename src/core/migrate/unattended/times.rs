//! When: `Automatic-Reboot-Time` and `Update-Days`.

use std::fmt::Write as _;

use super::{Left, Options, Translation, list, quoted};

const TIME: &str = "Unattended-Upgrade::Automatic-Reboot-Time";
const DAYS: &str = "Unattended-Upgrade::Update-Days";
const EVERY: &str = "APT::Periodic::Unattended-Upgrade";

pub(super) fn translate(options: &Options, found: &mut Translation) {
    if let Some(days) = options.one(EVERY).filter(|days| !["0", "1", "always"].contains(days)) {
        let why =
            "updates are looked for all the time (check.interval) and installed in every window";
        found.left.push(Left::new(format!("{EVERY} {days:?}"), why));
    }
    let time = options.one(TIME).filter(|time| *time != "now");
    let days = options.list(DAYS);
    if time.is_none() && days.is_empty() {
        return;
    }
    let start = time.map(clock);
    let names: Option<Vec<String>> = days.iter().map(|day| day_name(day)).collect();
    let (Some(names), false) = (names, start == Some(None)) else {
        // Without a window every time is good.
        let mut said = time.map(|time| format!("{TIME} {time:?}")).into_iter().collect::<Vec<_>>();
        said.extend((!days.is_empty()).then(|| format!("{DAYS} {}", list(&days))));
        let why = "not understood: write a [[window]]";
        return found.left.push(Left::blocks(said.join(", "), why, "window"));
    };
    let mut lines = String::new();
    if !names.is_empty() {
        let _ = writeln!(lines, "days = {}", list(&names));
    }
    let (start, length) = match start.flatten() {
        Some(start) => (start, "4h"),
        None => ("00:00".to_owned(), "24h"),
    };
    let _ = write!(lines, "start = {}\nlength = \"{length}\"\n", quoted(&start));
    let from = match (time, &days[..]) {
        (Some(_), []) => format!("{TIME}, and four hours from then on"),
        (Some(_), _) => format!("{TIME} on {DAYS}, and four hours from then on"),
        (None, _) => DAYS.to_owned(),
    };
    found.set("window", lines, &from);
}

/// `Monday`, `Mon` or 1 (0 is Sunday) → `mon`. Names in other languages are not known.
fn day_name(text: &str) -> Option<String> {
    const DAYS: [&str; 7] =
        ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let text = text.trim().to_ascii_lowercase();
    let number = text.parse::<usize>().ok().and_then(|number| DAYS.get(number));
    let named = || DAYS.iter().find(|day| text == **day || text == day[..3]);
    number.or_else(named).map(|day| day[..3].to_owned())
}

/// `2:00` → `02:00`, as shutdown(8) takes it.
fn clock(text: &str) -> Option<String> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: u8| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|number| digits && *number < below)
    };
    Some(format!("{:02}:{:02}", number(hours, 24)?, number(minutes, 60)?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::of;

    const TIME: &str = "Unattended-Upgrade::Automatic-Reboot-Time";
    const DAY: &str = "Unattended-Upgrade::Update-Days::";

    #[test]
    fn times_and_days_become_a_window() {
        let window = |options: &[(&str, &str)]| of(options).value("window");
        let days = [(DAY, "Mon"), (DAY, "6"), (DAY, "Friday")];
        assert_eq!(window(&[(TIME, "2:00")]), "start = \"02:00\"\nlength = \"4h\"\n");
        let names = "days = [\"mon\", \"sat\", \"fri\"]\n";
        assert_eq!(window(&days), format!("{names}start = \"00:00\"\nlength = \"24h\"\n"));
        let both = [&days[..], &[(TIME, "23:30")]].concat();
        assert_eq!(window(&both), format!("{names}start = \"23:30\"\nlength = \"4h\"\n"));
        assert_eq!(window(&[(TIME, "now")]), "");
    }

    #[test]
    fn what_is_not_understood_does_not_become_every_time() {
        for option in [(TIME, "soon"), (TIME, "+5"), (TIME, "+2:00"), (DAY, "Montag"), (DAY, "7")] {
            let found = of(&[option, (TIME, "02:00"), option]);
            assert_eq!(found.value("window"), "", "{option:?}");
            let left = found.left.iter().find(|l| l.key.as_deref() == Some("window")).unwrap();
            assert!(left.blocks && left.option.contains(option.1), "{left:?}");
        }
    }

    #[test]
    fn an_interval_of_more_than_a_day_is_named() {
        let every = "APT::Periodic::Unattended-Upgrade";
        let named = |days| of(&[(every, days)]).left.iter().any(|l| l.option.starts_with(every));
        assert!(named("7") && !named("1"));
    }
}
