//! Tables: what the manual promises, one line a promise.

use jiff::{Timestamp, civil::Weekday};
use lockkeeper::core::window::{NotYet, Opening, Schedule, Span};

use super::{DAILY, clock, freeze, hours, minutes, schedule, utc, window, zone};

/// The first openings from `from` on, as pairs of instants.
fn openings(schedule: &Schedule, from: &str, count: usize) -> Vec<(String, String)> {
    let text = |instant: Option<Timestamp>| instant.unwrap().to_string();
    let spans = schedule.openings(utc(from)).take(count);
    spans.map(|Span { opens, closes }| (text(opens), text(closes))).collect()
}

/// A window of `length` at `start` in `zone`, looked at from `from`: opens, closes.
type Row<'a> = (&'a str, &'a str, u64, &'a str, (&'a str, &'a str));

fn check(rows: &[Row<'_>]) {
    for (zone, start, minutes_long, from, (opens, closes)) in rows {
        let schedule = schedule([window(&DAILY, start, minutes(*minutes_long), zone)]);
        let found = openings(&schedule, from, 1);
        let expected = vec![((*opens).to_owned(), (*closes).to_owned())];
        assert_eq!(found, expected, "{zone} {start} for {minutes_long}m from {from}");
    }
}

#[test]
fn a_start_that_the_clock_skips_happens_when_it_jumps_and_keeps_its_length() {
    check(&[
        // 02:00 CET becomes 03:00 CEST.
        (
            "Europe/Berlin",
            "02:30",
            60,
            "2026-03-28T12:00:00Z",
            ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ),
        (
            "Europe/Berlin",
            "02:00",
            60,
            "2026-03-28T12:00:00Z",
            ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ),
        (
            "Europe/Berlin",
            "03:00",
            60,
            "2026-03-28T12:00:00Z",
            ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ),
        (
            "Europe/Berlin",
            "01:59",
            60,
            "2026-03-28T12:00:00Z",
            ("2026-03-29T00:59:00Z", "2026-03-29T01:59:00Z"),
        ),
        (
            "America/New_York",
            "02:30",
            60,
            "2026-03-07T12:00:00Z",
            ("2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z"),
        ),
        // Half an hour only: 02:00 becomes 02:30.
        (
            "Australia/Lord_Howe",
            "02:15",
            60,
            "2026-10-03T00:00:00Z",
            ("2026-10-03T15:30:00Z", "2026-10-03T16:30:00Z"),
        ),
        (
            "Australia/Lord_Howe",
            "02:30",
            60,
            "2026-10-03T00:00:00Z",
            ("2026-10-03T15:30:00Z", "2026-10-03T16:30:00Z"),
        ),
        (
            "Australia/Lord_Howe",
            "02:45",
            60,
            "2026-10-03T00:00:00Z",
            ("2026-10-03T15:45:00Z", "2026-10-03T16:45:00Z"),
        ),
        // Midnight itself is skipped.
        (
            "America/Sao_Paulo",
            "00:00",
            60,
            "2018-11-03T12:00:00Z",
            ("2018-11-04T03:00:00Z", "2018-11-04T04:00:00Z"),
        ),
    ]);
}

#[test]
fn a_start_that_happens_twice_counts_the_first_time() {
    check(&[
        (
            "Europe/Berlin",
            "02:30",
            30,
            "2026-10-24T12:00:00Z",
            ("2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
        ),
        (
            "America/New_York",
            "01:30",
            30,
            "2026-10-31T12:00:00Z",
            ("2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z"),
        ),
        (
            "Australia/Lord_Howe",
            "01:45",
            15,
            "2026-04-04T00:00:00Z",
            ("2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z"),
        ),
        // Not on the second 02:30, an hour later: the next is a day later.
        (
            "Europe/Berlin",
            "02:30",
            30,
            "2026-10-25T01:15:00Z",
            ("2026-10-26T01:30:00Z", "2026-10-26T02:00:00Z"),
        ),
    ]);
}

#[test]
fn length_is_elapsed_time_whatever_the_clock_shows() {
    check(&[
        // 23:00 for 5 h: until 05:00 in spring, 03:00 in autumn.
        (
            "Europe/Berlin",
            "23:00",
            300,
            "2026-03-28T12:00:00Z",
            ("2026-03-28T22:00:00Z", "2026-03-29T03:00:00Z"),
        ),
        (
            "Europe/Berlin",
            "23:00",
            300,
            "2026-10-24T12:00:00Z",
            ("2026-10-24T21:00:00Z", "2026-10-25T02:00:00Z"),
        ),
        (
            "Australia/Lord_Howe",
            "01:00",
            120,
            "2026-10-03T00:00:00Z",
            ("2026-10-03T14:30:00Z", "2026-10-03T16:30:00Z"),
        ),
    ]);
}

#[test]
fn a_window_on_a_date_that_is_skipped_opens_when_the_clock_jumps_over_it() {
    // Apia went from Thursday, 29 December 2011, to Saturday, the 31st.
    let friday = schedule([window(&[Weekday::Friday], "02:00", hours(1), "Pacific/Apia")]);
    let expected = ("2011-12-30T10:00:00Z".to_owned(), "2011-12-30T11:00:00Z".to_owned());
    assert_eq!(openings(&friday, "2011-12-29T00:00:00Z", 1), [expected]);
    let saturday = schedule([window(&[Weekday::Saturday], "02:00", hours(1), "Pacific/Apia")]);
    let expected = ("2011-12-30T12:00:00Z".to_owned(), "2011-12-30T13:00:00Z".to_owned());
    assert_eq!(openings(&saturday, "2011-12-29T00:00:00Z", 1), [expected]);
}

#[test]
fn windows_run_over_midnight_the_week_the_month_and_the_year() {
    let sunday = schedule([window(&[Weekday::Sunday], "23:00", hours(4), "UTC")]);
    assert!(sunday.contains(utc("2026-08-31T02:59:59Z")), "Monday, over the end of the week");
    assert!(!sunday.contains(utc("2026-08-31T03:00:00Z")));
    assert!(!sunday.contains(utc("2026-09-01T01:00:00Z")), "Tuesday is not a Sunday night");
    let friday = schedule([window(&[Weekday::Friday], "22:00", hours(6), "UTC")]);
    assert!(!friday.contains(utc("2026-11-20T01:00:00Z")), "the night before Friday");
    assert!(friday.contains(utc("2026-11-21T01:00:00Z")), "the night after Friday");
    check(&[
        (
            "UTC",
            "23:30",
            60,
            "2026-12-31T12:00:00Z",
            ("2026-12-31T23:30:00Z", "2027-01-01T00:30:00Z"),
        ),
        (
            "UTC",
            "23:30",
            60,
            "2028-02-28T12:00:00Z",
            ("2028-02-28T23:30:00Z", "2028-02-29T00:30:00Z"),
        ),
        (
            "UTC",
            "23:30",
            60,
            "2027-02-28T12:00:00Z",
            ("2027-02-28T23:30:00Z", "2027-03-01T00:30:00Z"),
        ),
    ]);
    let long = schedule([window(&[Weekday::Thursday], "12:00", hours(7 * 24 - 1), "UTC")]);
    assert!(long.contains(utc("2026-11-26T10:59:59Z")));
    assert!(!long.contains(utc("2026-11-26T11:00:00Z")));
    assert!(long.contains(utc("2026-11-26T12:00:00Z")));
}

#[test]
fn the_end_is_exclusive_to_the_nanosecond() {
    let schedule = schedule([window(&DAILY, "02:00", hours(4), "UTC")]);
    assert!(!schedule.contains(utc("2026-11-20T01:59:59.999999999Z")));
    assert!(schedule.contains(utc("2026-11-20T02:00:00Z")));
    assert!(schedule.contains(utc("2026-11-20T05:59:59.999999999Z")));
    assert!(!schedule.contains(utc("2026-11-20T06:00:00Z")));
}

#[test]
fn overlapping_and_adjoining_windows_are_one_opening() {
    let chain = schedule([
        window(&DAILY, "04:00", hours(2), "UTC"),
        window(&DAILY, "02:00", hours(2), "UTC"),
        window(&DAILY, "05:30", hours(1), "UTC"),
        window(&DAILY, "05:00", minutes(15), "UTC"),
    ]);
    let expected = ("2026-11-20T02:00:00Z".to_owned(), "2026-11-20T06:30:00Z".to_owned());
    assert_eq!(openings(&chain, "2026-11-20T00:00:00Z", 1), std::slice::from_ref(&expected));
    assert_eq!(openings(&chain, "2026-11-20T05:45:00Z", 1), [expected], "seen from inside");
}

#[test]
fn windows_of_two_zones_may_meet() {
    let both = schedule([
        window(&DAILY, "02:00", hours(1), "Europe/Berlin"),
        window(&DAILY, "02:00", hours(1), "UTC"),
    ]);
    // One hour apart in winter, so that they adjoin; two in summer.
    let winter = ("2026-01-15T01:00:00Z".to_owned(), "2026-01-15T03:00:00Z".to_owned());
    assert_eq!(openings(&both, "2026-01-15T00:00:00Z", 1), [winter]);
    let summer = ("2026-07-15T00:00:00Z".to_owned(), "2026-07-15T01:00:00Z".to_owned());
    assert_eq!(openings(&both, "2026-07-14T12:00:00Z", 1), [summer]);
}

#[test]
fn a_schedule_that_never_closes_says_so() {
    let always = schedule([window(&DAILY, "00:00", hours(24), "UTC")]);
    assert_eq!(always.at(utc("2026-11-20T12:00:00Z"), 1.0), Opening::Open { closes: None });
    let week = schedule([window(&[Weekday::Monday], "09:00", hours(7 * 24), "UTC")]);
    assert_eq!(week.at(utc("2026-11-20T12:00:00Z"), 1.0), Opening::Open { closes: None });
    let none = Schedule { spread: hours(4), ..Schedule::default() };
    assert_eq!(none.at(utc("2026-11-20T12:00:00Z"), 1.0), Opening::Open { closes: None });
}

#[test]
fn twenty_four_hours_a_day_leave_a_gap_on_the_day_that_has_twenty_five() {
    let daily = schedule([window(&DAILY, "00:00", hours(24), "Europe/Berlin")]);
    let Opening::Open { closes } = daily.at(utc("2026-10-20T12:00:00Z"), 0.0) else {
        panic!("closed in the middle of a day");
    };
    assert_eq!(closes, Some(utc("2026-10-25T22:00:00Z")));
    assert_eq!(
        daily.at(utc("2026-10-25T22:30:00Z"), 0.0),
        Opening::Closed { next: Some(utc("2026-10-25T23:00:00Z")) }
    );
}

#[test]
fn a_freeze_closes_an_open_window_and_its_end_opens_one() {
    let mut schedule = schedule([window(&DAILY, "22:00", hours(6), "Europe/Berlin")]);
    schedule.freezes = vec![freeze("2026-12-20", "2027-01-03", "Europe/Berlin")];
    let midnight = utc("2026-12-19T23:00:00Z");
    let now = utc("2026-12-19T22:00:00Z");
    assert_eq!(schedule.at(now, 0.0), Opening::Open { closes: Some(midnight) });
    let thaw = utc("2027-01-03T23:00:00Z");
    let frozen =
        Opening::Frozen { reason: "2026-12-20 to 2027-01-03".to_owned(), next: Some(thaw) };
    assert_eq!(schedule.at(midnight, 0.0), frozen);
    assert!(!schedule.contains(utc("2026-12-25T22:00:00Z")));
    assert_eq!(schedule.at(utc("2027-01-03T22:59:59Z"), 0.0), frozen);
    // The window of the evening before is open still, until 04:00.
    let closes = Some(utc("2027-01-04T03:00:00Z"));
    assert_eq!(schedule.at(thaw, 0.0), Opening::Open { closes });
}

#[test]
fn freezes_count_in_their_own_zone_and_join() {
    let mut schedule = Schedule {
        freezes: vec![
            freeze("2026-12-24", "2026-12-24", "Asia/Tokyo"),
            freeze("2026-12-25", "2026-12-26", "Asia/Tokyo"),
        ],
        ..Schedule::default()
    };
    let open = schedule.at(utc("2026-12-23T14:59:59Z"), 0.0);
    assert_eq!(open, Opening::Open { closes: Some(utc("2026-12-23T15:00:00Z")) });
    let next = Some(utc("2026-12-26T15:00:00Z"));
    let reason = "2026-12-24 to 2026-12-24".to_owned();
    assert_eq!(schedule.at(utc("2026-12-23T15:00:00Z"), 0.0), Opening::Frozen { reason, next });
    // With a spread, nobody begins at the first second after it.
    schedule.spread = hours(2);
    let Opening::Frozen { next, .. } = schedule.at(utc("2026-12-24T00:00:00Z"), 0.5) else {
        panic!("not frozen on a frozen date");
    };
    assert_eq!(next, Some(utc("2026-12-26T16:00:00Z")));
}

#[test]
fn a_freeze_over_a_clock_change_holds_whole_dates() {
    // 23:01 to midnight happens twice in St. John's: the date comes back for an hour.
    let once = Schedule {
        freezes: vec![freeze("2010-11-06", "2010-11-06", "America/St_Johns")],
        ..Schedule::default()
    };
    assert!(!once.contains(utc("2010-11-07T02:30:30Z")), "shortly after the first midnight");
    assert!(!once.contains(utc("2010-11-07T03:00:00Z")), "Saturday again");
    assert!(once.contains(utc("2010-11-07T03:30:00Z")), "after the second midnight");
}

#[test]
fn each_node_begins_at_its_own_place_in_the_spread() {
    let mut schedule = schedule([window(&DAILY, "02:00", hours(4), "UTC")]);
    schedule.spread = hours(1);
    schedule.min_remaining = minutes(30);
    let now = utc("2026-11-20T02:00:00Z");
    let closes = Some(utc("2026-11-20T06:00:00Z"));
    let wait =
        |next| Opening::OpenButWaiting { closes, why: NotYet::Spread, next: Some(utc(next)) };
    assert_eq!(schedule.at(now, 0.0), Opening::Open { closes });
    assert_eq!(schedule.at(now, 0.25), wait("2026-11-20T02:15:00Z"));
    assert_eq!(schedule.at(now, 1.0), wait("2026-11-20T03:00:00Z"));
    assert_eq!(schedule.at(utc("2026-11-20T02:15:00Z"), 0.25), Opening::Open { closes });
    // Places out of range are the nearest in range.
    assert_eq!(schedule.at(now, 7.0), schedule.at(now, 1.0));
    assert_eq!(schedule.at(now, -7.0), schedule.at(now, 0.0));
    assert_eq!(schedule.at(now, f64::NAN), schedule.at(now, 0.0));
    // The place counts from the opening, also when it is asked for the next one.
    let next = Some(utc("2026-11-21T02:15:00Z"));
    assert_eq!(schedule.at(utc("2026-11-20T12:00:00Z"), 0.25), Opening::Closed { next });
}

#[test]
fn the_spread_never_reaches_into_the_time_that_must_remain() {
    let mut schedule = schedule([window(&DAILY, "02:00", hours(2), "UTC")]);
    schedule.spread = hours(12);
    schedule.min_remaining = minutes(90);
    let Opening::Closed { next } = schedule.at(utc("2026-11-20T00:00:00Z"), 1.0) else {
        panic!("open before it opens");
    };
    assert_eq!(next, Some(utc("2026-11-20T02:30:00Z")));
    assert!(schedule.at(utc("2026-11-20T02:30:00Z"), 1.0).may_begin());
}

#[test]
fn nothing_begins_when_too_little_is_left() {
    let mut schedule = schedule([window(&DAILY, "02:00", hours(1), "UTC")]);
    schedule.min_remaining = minutes(15);
    assert!(schedule.at(utc("2026-11-20T02:45:00Z"), 0.0).may_begin(), "exactly enough is enough");
    assert_eq!(
        schedule.at(utc("2026-11-20T02:45:00.000000001Z"), 0.0),
        Opening::OpenButWaiting {
            closes: Some(utc("2026-11-20T03:00:00Z")),
            why: NotYet::TooShort,
            next: Some(utc("2026-11-21T02:00:00Z")),
        }
    );
    assert!(schedule.contains(utc("2026-11-20T02:59:00Z")), "a cycle already begun may go on");
}

#[test]
fn an_opening_that_a_freeze_leaves_too_short_is_passed_over() {
    let mut schedule = schedule([window(&DAILY, "23:50", hours(4), "UTC")]);
    schedule.min_remaining = minutes(15);
    schedule.freezes = vec![freeze("2026-11-21", "2026-11-22", "UTC")];
    let next = Some(utc("2026-11-23T00:00:00Z"));
    assert_eq!(schedule.at(utc("2026-11-20T12:00:00Z"), 0.0), Opening::Closed { next });
}

#[test]
fn never_is_none() {
    let frozen_for_years = Schedule {
        windows: vec![window(&DAILY, "02:00", hours(1), "UTC")],
        freezes: vec![freeze("2026-01-01", "2099-12-31", "UTC")],
        ..Schedule::default()
    };
    let Opening::Frozen { next, .. } = frozen_for_years.at(utc("2026-06-01T00:00:00Z"), 0.0) else {
        panic!("not frozen");
    };
    assert_eq!(next, None);
    let mut too_short = schedule([window(&DAILY, "02:00", minutes(10), "UTC")]);
    too_short.min_remaining = minutes(15);
    assert_eq!(too_short.at(utc("2026-06-01T00:00:00Z"), 0.0), Opening::Closed { next: None });
}

#[test]
fn both_ends_of_time_have_answers() {
    let always = Schedule::default();
    assert_eq!(always.at(Timestamp::MIN, 0.0), Opening::Open { closes: None });
    assert_eq!(always.at(Timestamp::MAX, 0.0), Opening::Open { closes: None });
    for name in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin"] {
        let mut schedule = schedule([window(&DAILY, "00:00", hours(7 * 24), name)]);
        schedule.freezes = vec![
            freeze("-009999-01-01", "-009999-01-02", name),
            freeze("9999-12-31", "9999-12-31", name),
        ];
        assert!(!schedule.contains(Timestamp::MIN), "{name}: frozen from the beginning");
        let _answer = schedule.at(Timestamp::MAX, 1.0);
    }
}

#[test]
fn people_think_of_an_instant_in_the_zone_of_the_window_it_is_in() {
    let both = schedule([
        window(&DAILY, "02:00", hours(1), "Europe/Berlin"),
        window(&DAILY, "12:00", hours(1), "America/New_York"),
    ]);
    let zone_at = |instant| both.zone_at(utc(instant)).cloned();
    assert_eq!(zone_at("2026-11-20T17:30:00Z"), Some(zone("America/New_York")));
    assert_eq!(zone_at("2026-11-20T01:30:00Z"), Some(zone("Europe/Berlin")));
    assert_eq!(zone_at("2026-11-20T08:00:00Z"), Some(zone("Europe/Berlin")));
    assert_eq!(Schedule::default().zone_at(utc("2026-11-20T08:00:00Z")), None);
    assert_eq!(clock("02:00"), both.windows[0].start);
}
