//! Properties: the quick search says what the oracle says, and holds together for any instant.

use std::time::Duration;

use jiff::{Timestamp, civil::Time};
use lockkeeper::core::window::{Freeze, Opening, Schedule, Window};
use proptest::{collection::vec, prelude::*};

use super::{
    DAILY, minutes,
    oracle::{Expected, Minutes},
    utc, zone,
};

/// Zones with an instant near a clock change of theirs (or none at all).
const CHANGES: [(&str, &str); 16] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    // A whole date is skipped.
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    // Midnight is skipped; 23:00 to midnight happens twice.
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2018-02-18T02:00:00Z"),
    // One minute past midnight the clock goes back into yesterday.
    ("America/St_Johns", "2010-11-07T02:31:00Z"),
    ("America/St_Johns", "2011-03-13T03:31:00Z"),
    ("Asia/Kathmandu", "2026-12-31T18:15:00Z"),
    ("UTC", "2026-12-31T23:59:00Z"),
    ("UTC", "2028-02-29T00:00:00Z"),
    ("Pacific/Kiritimati", "2027-12-31T10:00:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
];

const DAY: usize = 24 * 60;
const BEFORE: usize = 9 * DAY;
const AFTER: usize = 12 * DAY;

fn windows(zone_name: &'static str) -> impl Strategy<Value = Vec<Window>> {
    let days =
        prop_oneof![Just(DAILY.to_vec()), proptest::sample::subsequence(DAILY.to_vec(), 1..7),];
    // Clocks change at night.
    let hour = prop_oneof![2 => prop_oneof![0_i8..4, Just(23)], 1 => 0_i8..24];
    let start = (hour, prop_oneof![Just(0_i8), Just(30), 0_i8..60])
        .prop_map(|(hour, minute)| Time::new(hour, minute, 0, 0).unwrap());
    let length = prop_oneof![
        (1_u64..90).prop_map(minutes),
        (1_u64..30).prop_map(|hours| minutes(60 * hours)),
        (1_u64..=7).prop_map(|days| minutes(24 * 60 * days)),
    ];
    let other = prop_oneof![4 => Just(zone_name), 1 => Just("UTC"), 1 => Just("Asia/Kathmandu")];
    let one = (days, start, length, other).prop_map(|(days, start, length, zone_name)| Window {
        days,
        start,
        length,
        zone: zone(zone_name),
    });
    vec(one, 0..4)
}

fn freezes(zone_name: &'static str, near: Timestamp) -> impl Strategy<Value = Vec<Freeze>> {
    let one = (-9_i64..20, 0_i64..6).prop_map(move |(first, length)| {
        let date = zone(zone_name).to_datetime(near).date();
        let from = date.saturating_add(jiff::Span::new().days(first));
        let to = from.saturating_add(jiff::Span::new().days(length));
        Freeze { from, to, zone: zone(zone_name), reason: "frozen".to_owned() }
    });
    vec(one, 0..3)
}

/// A schedule and an instant near a clock change of its zone.
fn cases() -> impl Strategy<Value = (Schedule, Timestamp)> {
    proptest::sample::select(CHANGES.to_vec()).prop_flat_map(|(zone_name, change)| {
        let near = utc(change);
        let spread = prop_oneof![Just(0_u64), 1_u64..180, Just(24 * 60)].prop_map(minutes);
        let least = prop_oneof![Just(0_u64), 1_u64..180].prop_map(minutes);
        (windows(zone_name), freezes(zone_name, near), spread, least).prop_map(
            move |(windows, freezes, spread, min_remaining)| {
                (Schedule { windows, freezes, spread, min_remaining }, near)
            },
        )
    })
}

fn any_instant() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    prop_oneof![
        2 => (first..=last).prop_map(|second| Timestamp::from_second(second).unwrap()),
        1 => (0_i64..100_000_000).prop_map(move |second| {
            Timestamp::from_second(first + second).unwrap()
        }),
        1 => (0_i64..100_000_000).prop_map(move |second| {
            Timestamp::from_second(last - second).unwrap()
        }),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
    ]
}

fn places() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.25), Just(0.5), Just(0.875), Just(1.0)]
}

fn next_of(opening: &Opening) -> Option<Timestamp> {
    match opening {
        Opening::Open { .. } => None,
        Opening::OpenButWaiting { next, .. }
        | Opening::Closed { next }
        | Opening::Frozen { next, .. } => *next,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_search_says_what_looking_at_every_minute_says(
        (schedule, near) in cases(),
        place in places(),
        far in vec(BEFORE - 2 * DAY..BEFORE + 8 * DAY, 20),
        near_change in vec(BEFORE - 5 * 60..BEFORE + 5 * 60, 40),
    ) {
        let first = Timestamp::from_second(near.as_second() - 60 * BEFORE as i64).unwrap();
        let minutes = Minutes::new(&schedule, first, BEFORE + AFTER);
        let last = minutes.instant(BEFORE + AFTER);
        for minute in far.into_iter().chain(near_change) {
            let now = minutes.instant(minute);
            let found = schedule.at(now, place);
            prop_assert_eq!(schedule.contains(now), minutes.open[minute], "contains {}", now);
            if let Some(expected) = minutes.at(&schedule, minute, place) {
                // What the oracle cannot see, it does not know; what it sees must be found.
                let found = Expected::of(&found, last);
                let blind = matches!(
                    &expected,
                    Expected::Closed(None) | Expected::Frozen(None) | Expected::Waiting(_, _, None)
                );
                let same = std::mem::discriminant(&found) == std::mem::discriminant(&expected);
                prop_assert!(found == expected || (blind && same), "{now}: {found:?} {expected:?}");
            }
        }
    }

    #[test]
    fn edges_are_open_at_their_first_second_and_shut_at_their_end((schedule, near) in cases()) {
        for span in schedule.openings(near).take(6) {
            if let Some(opens) = span.opens {
                prop_assert!(schedule.contains(opens));
                prop_assert!(!schedule.contains(opens - Duration::from_nanos(1)));
            }
            if let Some(closes) = span.closes {
                prop_assert!(!schedule.contains(closes));
                prop_assert!(schedule.contains(closes - Duration::from_nanos(1)));
            }
        }
    }

    #[test]
    fn a_node_that_waits_until_next_may_begin_then(
        (schedule, near) in cases(),
        offset in -20_000_i64..20_000,
        place in 0.0..=1.0_f64,
    ) {
        let now = Timestamp::from_second(near.as_second() + 60 * offset).unwrap();
        if let Some(next) = next_of(&schedule.at(now, place)) {
            prop_assert!(next > now);
            prop_assert!(schedule.at(next, place).may_begin(), "{next}");
            let before = next - Duration::from_nanos(1);
            prop_assert!(before < now || !schedule.at(before, place).may_begin(), "{before}");
        }
    }

    #[test]
    fn a_cycle_begins_only_inside_and_with_enough_time_left(
        (schedule, near) in cases(),
        offset in -20_000_i64..20_000,
        place in 0.0..=1.0_f64,
    ) {
        let now = Timestamp::from_second(near.as_second() + 60 * offset).unwrap();
        if let Opening::Open { closes } = schedule.at(now, place) {
            prop_assert!(schedule.contains(now));
            if let Some(closes) = closes {
                let last = closes - schedule.min_remaining;
                prop_assert!(now < closes && now <= last);
            }
        }
    }

    #[test]
    fn every_instant_there_is_has_an_answer(
        (schedule, _) in cases(),
        now in any_instant(),
        place in any::<f64>(),
    ) {
        let opening = schedule.at(now, place);
        let open = matches!(opening, Opening::Open { .. } | Opening::OpenButWaiting { .. });
        prop_assert_eq!(open, schedule.contains(now));
        prop_assert!(next_of(&opening).is_none_or(|next| next > now));
        prop_assert!(schedule.openings(now).take(3).count() <= 3);
    }

    #[test]
    fn nonsense_in_the_fields_has_an_answer_too(
        (mut schedule, near) in cases(),
        days in any::<bool>(),
        extremes in any::<bool>(),
    ) {
        for window in &mut schedule.windows {
            window.length = if extremes { Duration::MAX } else { Duration::ZERO };
            if days {
                window.days.clear();
            }
        }
        schedule.spread = Duration::MAX;
        schedule.min_remaining = if extremes { Duration::ZERO } else { Duration::MAX };
        let opening = schedule.at(near, 1.0);
        prop_assert!(extremes || !opening.may_begin() || schedule.windows.is_empty());
    }
}
