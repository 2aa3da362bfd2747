//! Mistakes: each is told with its place, what is wrong, and what to do.

use lockkeeper::config::Kind;
use proptest::prelude::*;

use super::{ETC, Machine, etc, mistakes, told};

/// What a file says, and what is told of it.
fn check(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(told(text), [*expected], "of {text:?}");
    }
}

#[test]
fn unknown_keys_are_refused_with_the_key_that_was_meant() {
    check(&[
        (
            "[check]\nintervall = \"5m\"",
            "2:1: check.intervall: unknown key; did you mean \"check.interval\"?",
        ),
        (
            "[schedule]\nmin-remaining = \"5m\"",
            "2:1: schedule.min-remaining: unknown key; did you mean \"schedule.min_remaining\"?",
        ),
        ("\n  strategie = \"off\"", "2:3: strategie: unknown key; did you mean \"strategy\"?"),
        ("[locks]\ngroup = \"a\"", "1:2: locks: unknown key; did you mean \"lock\"?"),
        ("[[windows]]\nstart = \"02:00\"", "1:3: windows: unknown key; did you mean \"window\"?"),
        (
            "interval = \"5m\"",
            "1:1: interval: unknown key; did you mean \"check.interval\" or \"fleet_lock.interval\"?",
        ),
        (
            "timeout = \"5m\"",
            "1:1: timeout: unknown key; did you mean \"etcd.timeout\", \"fleet_lock.timeout\", \"hooks.timeout\", \"reboot.timeout\", \"verify.timeout\" or \"probe.timeout\"?",
        ),
        (
            "[lock]\nstrategy = \"off\"",
            "2:1: lock.strategy: unknown key; \"strategy\" stands at the top of the file, before the first [section]",
        ),
        (
            "[fleet]\nname = \"x\"",
            "1:2: fleet: unknown key; rebootctl config show lists the keys there are",
        ),
        (
            "check.\"first\\n\" = \"x\"",
            "1:7: check.first\u{fffd}: unknown key; did you mean \"check.first\"?",
        ),
        (
            "[[window]]\nstart = \"02:00\"\nlength = \"1h\"\ntimezone = \"UTC\"",
            "4:1: window[0].timezone: unknown key; did you mean \"time_zone\"?",
        ),
        (
            "[[window]]\nstart = \"02:00\"\nlength = \"1h\"\nuntil = \"03:00\"",
            "4:1: window[0].until: unknown key; known here: \"days\", \"start\", \"length\" or \"time_zone\"",
        ),
        (
            "[[freeze]]\nfrom = \"2026-01-01\"\nto = \"2026-01-02\"\nreasons = \"x\"",
            "4:1: freeze[0].reasons: unknown key; did you mean \"reason\"?",
        ),
    ]);
}

#[test]
fn unknown_strategies_are_refused_with_those_that_are_known() {
    let known = "This version knows \"off\", \"reboot\", \"etcd-lock\" or \"fleet-lock\"";
    check(&[
        (
            "strategy = \"rebot\"",
            &format!(
                "1:12: strategy: unknown strategy \"rebot\"; did you mean \"reboot\"? {known}"
            ),
        ),
        (
            "strategy = \"etcd_lock\"",
            &format!(
                "1:12: strategy: unknown strategy \"etcd_lock\"; did you mean \"etcd-lock\"? {known}"
            ),
        ),
        (
            "strategy = \"airlock\"",
            &format!(
                "1:12: strategy: unknown strategy \"airlock\"; {}",
                known.replace("This", "this")
            ),
        ),
        (
            "strategy = \"OFF\"",
            &format!("1:12: strategy: unknown strategy \"OFF\"; did you mean \"off\"? {known}"),
        ),
    ]);
}

#[test]
fn wrong_types_are_refused() {
    check(&[
        ("strategy = true", "1:12: strategy: needs a string, found a boolean"),
        ("strategy = [\"off\"]", "1:12: strategy: needs a string, found an array"),
        (
            "check = \"45m\"",
            "1:9: check: needs a section, found a string; write [check] on a line of its own, and its keys below",
        ),
        ("[strategy]", "1:1: strategy: needs a string, found a table"),
        (
            "[workloads]\nignore = \"a\"",
            "2:10: workloads.ignore: needs a list of strings, found a string; write [\"…\", \"…\"]",
        ),
        (
            "[workloads]\nignore = [\"a\", 1]",
            "2:16: workloads.ignore: needs a string, found an integer",
        ),
        (
            "[window]\nstart = \"02:00\"\nlength = \"1h\"",
            "1:1: window: needs a list of tables, found a table; write [[window]], with two brackets, above each",
        ),
        ("window = [\"02:00\"]", "1:11: window[0]: needs a table, found a string"),
        ("[drain]\nwait = 5.0", "2:8: drain.wait: needs a string, found a float"),
    ]);
}

#[test]
fn durations_need_units_that_exist() {
    check(&[
        (
            "[check]\ninterval = 45",
            "2:12: check.interval: needs a duration with a unit, found an integer; write \"45s\", \"45m\", \"45h\" or \"45d\"",
        ),
        (
            "[check]\ninterval = \"45\"",
            "2:12: check.interval: duration \"45\" has no unit after 45; write \"45s\", \"45m\", \"45h\" or \"45d\"",
        ),
        (
            "[check]\ninterval = \"45 min\"",
            "2:12: check.interval: duration \"45 min\" has an unknown unit \"min\"; did you mean \"m\"? Units are d, h, m, s and ms",
        ),
        (
            "[check]\ninterval = \"45x\"",
            "2:12: check.interval: duration \"45x\" has an unknown unit \"x\"; units are d, h, m, s and ms",
        ),
        (
            "[check]\ninterval = \"5s\"",
            "2:12: check.interval: \"5s\" is too short; at least \"10s\"",
        ),
        ("[check]\ninterval = \"8d\"", "2:12: check.interval: \"8d\" is too long; at most \"7d\""),
        (
            "[check]\ninterval = \"30m 1h\"",
            "2:12: check.interval: duration \"30m 1h\" has \"h\" out of order; larger units come first and each only once, as in \"1h 30m\"",
        ),
        (
            "[check]\ninterval = \"-5m\"",
            "2:12: check.interval: duration \"-5m\" has \"-\" where a number should be; write a duration such as \"45m\" or \"1h 30m\"",
        ),
        (
            "[etcd]\ntimeout = \"1ms\"",
            "2:11: etcd.timeout: \"1ms\" is too short; at least \"100ms\"",
        ),
    ]);
}

#[test]
fn windows_must_make_sense() {
    let start = |value: &str| format!("[[window]]\nlength = \"4h\"\nstart = {value}");
    let clock = "is not a clock time; write hours and minutes from \"00:00\" to \"23:59\"";
    for bad in [
        "2:00", "02:0", "02:00:30", "02:00xyz", " 02:00", "02-00", "25:00", "12:60", "4:5", "noon",
        "0２:00",
    ] {
        let expected = format!("3:9: window[0].start: \"{bad}\" {clock}");
        assert_eq!(told(&start(&format!("\"{bad}\""))), [expected]);
    }
    check(&[
        (
            &start("\"24:00\""),
            "3:9: window[0].start: \"24:00\" is not a clock time; write \"00:00\", and the day after",
        ),
        (&start("02:00:30"), &format!("3:9: window[0].start: \"02:00:30\" {clock}")),
        (&start("2"), "3:9: window[0].start: needs a string, found an integer"),
        ("[[window]]\nstart = \"02:00\"", "1:1: window[0].length: is missing; add length = \"4h\""),
        ("[[window]]\nlength = \"2h\"", "1:1: window[0].start: is missing; add start = \"02:00\""),
        (
            "[[window]]\nstart = \"02:00\"\nlength = \"0s\"",
            "3:10: window[0].length: \"0s\" is too short; at least \"1ms\"",
        ),
        (
            "[[window]]\nstart = \"02:00\"\nlength = \"8d\"",
            "3:10: window[0].length: \"8d\" is too long; at most \"7d\"",
        ),
        (
            "[[window]]\nstart = \"02:00\"\nlength = \"15m\"",
            "3:10: window[0].length: window[0].length (15m, /etc/lockkeeper/lockkeeper.toml:3) is not longer than schedule.min_remaining (15m, built-in); change one of the two",
        ),
    ]);
}

#[test]
fn days_must_be_days() {
    let days =
        |value: &str| format!("[[window]]\nstart = \"02:00\"\nlength = \"4h\"\ndays = {value}");
    check(&[
        (
            &days("[\"mon-fry\"]"),
            "4:9: window[0].days: \"fry\" is not a day of the week; did you mean \"fri\"?",
        ),
        (
            &days("\"sat,sum\""),
            "4:8: window[0].days: \"sum\" is not a day of the week; did you mean \"sun\"?",
        ),
        (
            &days("[\"weekend\"]"),
            "4:9: window[0].days: \"weekend\" is not a day of the week; write days such as \"mon-fri\", \"sat,sun\" or \"daily\"",
        ),
        (
            &days("[\"\"]"),
            "4:9: window[0].days: \"\" is not a day of the week; write days such as \"mon-fri\", \"sat,sun\" or \"daily\"",
        ),
        (&days("[]"), "4:8: window[0].days: names no day; leave it out for every day"),
        (&days("[1]"), "4:9: window[0].days: needs a string, found an integer"),
        (
            &days("[\"daly\"]"),
            "4:9: window[0].days: \"daly\" is not a day of the week; did you mean \"daily\"?",
        ),
    ]);
    assert_eq!(told(&days("[\"mon-\", \"-fri\", \"mon-tue-wed\"]")).len(), 3, "all are told");
}

#[test]
fn time_zones_must_exist() {
    let zone = |name: &str| {
        format!("[[window]]\nstart = \"02:00\"\nlength = \"4h\"\ntime_zone = \"{name}\"")
    };
    check(&[
        (
            &zone("Europe/Berlyn"),
            "4:13: window[0].time_zone: unknown time zone \"Europe/Berlyn\"; did you mean \"Europe/Berlin\"?",
        ),
        (
            &zone("Berlin"),
            "4:13: window[0].time_zone: unknown time zone \"Berlin\"; did you mean \"Europe/Berlin\"?",
        ),
        (
            &zone("localtime"),
            "4:13: window[0].time_zone: unknown time zone \"localtime\"; leave time_zone out for the machine's own zone",
        ),
    ]);
    for bad in [
        "",
        "../../../etc/passwd",
        "/etc/passwd",
        "Europe/Berlin ",
        "Etc/Unknown",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "+02:00",
        "Europe",
        "right/Europe/Berlin",
    ] {
        let found = mistakes(&zone(bad));
        assert_eq!(found.len(), 1, "{bad}");
        assert_eq!(found[0].problem, format!("unknown time zone {bad:?}"));
    }
}

#[test]
fn freezes_must_make_sense() {
    let freeze = |from: &str, to: &str| format!("[[freeze]]\nfrom = {from}\nto = {to}");
    check(&[
        (
            &freeze("\"2027-01-03\"", "\"2026-12-20\""),
            "3:6: freeze[0].to: ends on 2026-12-20, before it begins on 2027-01-03; exchange them, or write to = \"2027-01-03\" for one day",
        ),
        (
            &freeze("\"20.12.2026\"", "\"2026-12-20\""),
            "2:8: freeze[0].from: \"20.12.2026\" is not a date; write it as \"2026-12-31\"",
        ),
        (
            &freeze("\"2026-02-29\"", "\"2026-12-20\""),
            "2:8: freeze[0].from: \"2026-02-29\" is not a date; write it as \"2026-12-31\"",
        ),
        (
            &freeze("\"2026-12-20T00:00\"", "\"2026-12-20\""),
            "2:8: freeze[0].from: \"2026-12-20T00:00\" is not a date; write it as \"2026-12-31\"",
        ),
        (
            "[[freeze]]\nfrom = \"2026-12-20\"",
            "1:1: freeze[0].to: is missing; write both from and to; the last date is frozen too",
        ),
        (
            &freeze("2026-12-20T00:00:00", "\"2026-12-20\""),
            "2:8: freeze[0].from: needs a string, found a date or time",
        ),
    ]);
}

#[test]
fn names_and_addresses_must_have_their_form() {
    let endpoint = |value: &str| format!("[etcd]\nendpoints = [\"{value}\"]");
    let form = "write https://HOST:PORT or http://HOST:PORT, such as \"http://192.0.2.10:2379\"";
    for (bad, problem) in [
        ("192.0.2.1:2379", "does not begin with http:// or https://"),
        ("http://192.0.2.1", "has no port"),
        ("http://[2001:db8::1]", "has no port"),
        ("http://192.0.2.1:", "has no port from 1 to 65535 at its end"),
        ("http://192.0.2.1:0", "has no port from 1 to 65535 at its end"),
        ("http://192.0.2.1:+80", "has no port from 1 to 65535 at its end"),
        ("http://192.0.2.1:65536", "has no port from 1 to 65535 at its end"),
        ("http://192.0.2.1:2379/v3", "has no port from 1 to 65535 at its end"),
        ("http://192.0.2.300:2379", "has no good host name or address"),
        ("http://:2379", "has no good host name or address"),
        ("http://a..b:2379", "has no good host name or address"),
        ("http://user@host:2379", "has no good host name or address"),
        ("http://2001:db8::1:2379", "has no good host name or address"),
    ] {
        let expected = format!("2:14: etcd.endpoints: \"{bad}\" {problem}; {form}");
        assert_eq!(told(&endpoint(bad)), [expected]);
    }
    check(&[
        (
            &endpoint("https://etcd.example.com:2379"),
            "2:13: etcd.endpoints: with https needs etcd.ca_file; name the file with the certificate of the CA that signed etcd's",
        ),
        (
            "[etcd]\nendpoints = [\"http://a:1\", \"https://b:1\"]",
            "2:13: etcd.endpoints: mixes http and https; write all of them with https://, so that nothing goes over the network in clear",
        ),
        (
            "[etcd]\nca_file = \"/etc/ca.pem\"",
            "2:11: etcd.ca_file: is of no use while etcd.endpoints are http; write https:// there, or leave this out",
        ),
        (
            "[etcd]\nuser = \"web\"",
            "2:8: etcd.user: needs etcd.password_file beside it; set both, or none",
        ),
        (
            "[etcd]\nkey_file = \"/etc/web.key\"",
            "2:12: etcd.key_file: needs etcd.cert_file beside it; set both, or none",
        ),
        (
            "[etcd]\npassword_file = \"secret\"",
            "2:17: etcd.password_file: \"secret\" is not an absolute path; write the whole path, beginning with \"/\", or \"\" for none",
        ),
        (
            "[etcd]\nuser = \"web:secret\"",
            "2:8: etcd.user: \"web:secret\" cannot be a user of etcd; write the user's name alone; the password has a file of its own",
        ),
        (
            "[etcd]\nendpoints = []",
            "2:13: etcd.endpoints: has no endpoint; name at least one, such as \"http://192.0.2.10:2379\"",
        ),
        (
            "[lock]\ngroup = \"web servers\"",
            "2:9: lock.group: \"web servers\" cannot be the name of a group; letters, digits, \".\" and \"-\" only",
        ),
        (
            "[lock]\ngroup = \"\"",
            "2:9: lock.group: \"\" cannot be the name of a group; letters, digits, \".\" and \"-\" only",
        ),
        (
            "[balancer]\naddress = \"web-1:8080\"",
            "2:11: balancer.address: \"web-1:8080\" is no address; write an IP address or a host name, without a port",
        ),
        (
            "[hooks]\nadvisory = [\"10-pool\"]",
            "2:13: hooks.advisory: \"10-pool\" does not name a hook; write its point and its name, such as \"pre-apply/10-pool\"",
        ),
        (
            "[hooks]\nadvisory = [\"pre-boot/10-pool\"]",
            "2:13: hooks.advisory: unknown point \"pre-boot\" of \"pre-boot/10-pool\"; the points are \"pre-lock\", \"pre-apply\", \"pre-reboot\", \"post-boot\", \"in-service\", \"on-failure\" or \"*\"",
        ),
        (
            "[hooks]\nadvisory = [\"pre-lock/\"]",
            "2:13: hooks.advisory: \"pre-lock/\" does not name a hook; write the name of its file; \"*\" stands for anything",
        ),
        (
            "[hooks]\ntimeouts = [\"pre-apply/10-pool\"]",
            "2:13: hooks.timeouts: \"pre-apply/10-pool\" is not a hook with its limit; write \"pre-apply/10-pool=20m\"; at least \"1s\", at most \"1d\"",
        ),
        (
            "[hooks]\ntimeouts = [\"pre-apply/10-pool=2d\"]",
            "2:13: hooks.timeouts: \"pre-apply/10-pool=2d\" is not a hook with its limit; write \"pre-apply/10-pool=20m\"; at least \"1s\", at most \"1d\"",
        ),
        (
            "[workloads]\nignore = [\"a b\"]",
            "2:11: workloads.ignore: \"a b\" cannot be a name; write the name of a unit or container, such as \"backup*.service\"",
        ),
        (
            "[workloads]\nusers = [\"al ice\"]",
            "2:10: workloads.users: \"al ice\" cannot be the name of a user; write a user's name, such as \"alice\"",
        ),
        (
            "[containers]\npull = [\"a b\"]",
            "2:9: containers.pull: \"a b\" cannot be the name of an image; write it as containers do, such as \"registry.example.com/shop/*\"",
        ),
        (
            "[workloads]\nusers = [\"root\"]",
            "2:10: workloads.users: root's containers are looked after without that; write a user's name, such as \"alice\"",
        ),
        (
            "[services]\nnever = [\"db\"]",
            "2:10: services.never: \"db\" is not a unit's whole name; write it with its kind, such as \"db.service\"",
        ),
        (
            "[services]\nrestart = \"atuo\"",
            "2:11: services.restart: unknown answer to services on old files \"atuo\"; did you mean \"auto\"? This version knows \"auto\", \"list\" or \"off\"",
        ),
    ]);
    for bad in ["", "/", "a/b", "/a/", "//a", "/a b", "/ä"] {
        let found = mistakes(&format!("[etcd]\nprefix = \"{bad}\""));
        assert_eq!(found[0].problem, format!("{bad:?} cannot be a prefix"));
    }
    assert_eq!(told("[etcd]\nendpoints = [\"a\", \"http://b:1\", \"c\"]").len(), 2, "all are told");
}

#[test]
fn values_that_do_not_go_together_are_told_where_the_last_change_was() {
    let shipped = "[check]\nspread = \"5m\"\n";
    let machine = Machine::new(&[
        ("usr/lib/lockkeeper/lockkeeper.toml", shipped),
        (ETC, "[check]\ninterval = \"10s\"\n"),
    ]);
    let told = machine.relative(&machine.load().unwrap_err().to_string());
    assert_eq!(
        told,
        "/etc/lockkeeper/lockkeeper.toml:2:12: check.interval: check.spread (5m, \
         /usr/lib/lockkeeper/lockkeeper.toml:2) is longer than check.interval (10s, \
         /etc/lockkeeper/lockkeeper.toml:2); change one of the two"
    );
    check(&[(
        "[verify]\ntimeout = \"30s\"",
        "2:11: verify.timeout: verify.timeout (30s, /etc/lockkeeper/lockkeeper.toml:2) is not longer \
         than verify.settle (30s, built-in); change one of the two",
    )]);
}

#[test]
fn what_is_not_toml_is_told_beside_the_other_mistakes() {
    let broken = "strategy = off\n[check]\nfirst = \"1x\"\ninterval \"5m\"\n";
    let found = mistakes(broken);
    let lines: Vec<_> =
        found.iter().map(|error| (error.place.as_ref().unwrap().line, error.kind)).collect();
    assert_eq!(lines, [(1, Kind::Syntax), (3, Kind::BadValue), (4, Kind::Syntax)], "{found:#?}");
    let twice = told("[lock]\ngroup = \"a\"\ngroup = \"b\"");
    assert_eq!(twice, ["3:1: duplicate key"]);
    // No consequences of what could not be parsed.
    let found = mistakes("[[window]]\nstart = 02:0\nlength = \"4h\"");
    assert!(found.iter().all(|error| error.kind == Kind::Syntax), "{found:#?}");
}

#[test]
fn columns_count_characters_and_lines_survive_other_line_ends() {
    assert_eq!(mistakes("\"ä\" = 1")[0].place.as_ref().unwrap().column, 1);
    let crlf = mistakes("[lock]\r\n  group = \"ö ö\"\r\n");
    let place = crlf[0].place.as_ref().unwrap();
    assert_eq!((place.line, place.column), (2, 11));
    let after = mistakes("[workloads]\nignore = [\"ööö\", \"x y\"]");
    assert_eq!(after[0].place.as_ref().unwrap().column, 18);
}

const FULL: &str = "strategy = \"off\"\n[check]\nfirst = \"7m\"\n[etcd]\nendpoints = [\"http://192.0.2.1:1\"]\n[[window]]\ndays = [\"mon-fri\"]\nstart = \"02:00\"\nlength = \"4h\"\ntime_zone = \"UTC\"\n[[freeze]]\nfrom = \"2026-12-20\"\nto = \"2027-01-03\"\n";

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,80}") {
        let _read = etc(&text);
    }

    #[test]
    fn a_damaged_file_is_read_without_panic_and_told_within_it(
        cut in 0..FULL.len(),
        length in 0..20_usize,
        put in "[\\[\\]{}\"'=.,#\n a-z0-9:-]{0,6}",
    ) {
        let end = (cut + length).min(FULL.len());
        let text = format!("{}{put}{}", &FULL[..cut], &FULL[end..]);
        if let Err(errors) = etc(&text) {
            prop_assert!(!errors.0.is_empty());
            for error in errors.0 {
                let place = error.place.unwrap();
                let line = text.split('\n').nth(place.line - 1).unwrap();
                prop_assert!(place.column <= line.chars().count() + 1);
                prop_assert!(!error.problem.contains('\n'));
            }
        }
    }
}

#[test]
fn packages_are_chosen_by_words_that_are_understood() {
    for (line, expected) in [
        (
            "origins = \"securty\"",
            "unknown choice of archives \"securty\"; did you mean \"security\"? This version knows \"distribution\", \"security\" or \"all\"",
        ),
        (
            "origins = [\"o=Debian\", \"Docker\"]",
            "\"Docker\" is no pattern of archives: \"Docker\" has no \"=\"; write such as \"o=Debian,n=${codename}-security\"",
        ),
        (
            "deny = [\"Linux image\"]",
            "\"Linux image\" cannot be the name of a package; write the name of a package, such as \"linux-image-*\"",
        ),
    ] {
        let found = told(&format!("[packages]\n{line}")).join("\n");
        let key = line.split(' ').next().unwrap();
        assert!(found.contains(&format!("packages.{key}: {expected}")), "{found}");
    }
}

#[test]
fn a_canary_needs_etcd_and_another_group_to_follow() {
    let told = |text: &str| told(text).join("\n");
    for key in ["follow = \"canary\"", "publish = true"] {
        let found = told(&format!("[canary]\n{key}"));
        let name = key.split(' ').next().unwrap();
        assert!(found.starts_with("2:"), "{found}");
        assert!(found.contains(&format!("canary.{name}: needs another strategy")), "{found}");
    }
    let own = "strategy = \"etcd-lock\"\nlock.group = [\"a\", \"b\"]\ncanary.follow = \"b\"";
    assert!(told(own).contains("canary.follow: is a group this node is in"), "{}", told(own));
    assert!(told("[canary]\npublish = 1").contains("true or false"));
}

#[test]
fn a_fleet_lock_needs_a_server_and_one_group() {
    let told = |text: &str| told(text).join("\n");
    let server = "[fleet_lock]\nurl = \"https://lock.example.com/fleet\"";
    assert_eq!(
        told("strategy = \"fleet-lock\""),
        "1:12: strategy: \"fleet-lock\" needs fleet_lock.url; add [fleet_lock] and url = \"https://lock.example.com\""
    );
    assert_eq!(
        told(&format!("strategy = \"fleet-lock\"\n[lock]\ngroup = [\"a\", \"b\"]\n{server}")),
        "3:9: lock.group: names several groups; FleetLock cannot take several slots at once: name one group"
    );
    assert_eq!(
        told(&format!("{server}\ncert_file = \"/c\"")),
        "3:13: fleet_lock.cert_file: needs fleet_lock.key_file beside it; set both, or none"
    );
    assert_eq!(
        told("[fleet_lock]\nurl = \"http://192.0.2.1\"\nca_file = \"/ca\""),
        "3:11: fleet_lock.ca_file: is of no use while fleet_lock.url is not https; write https:// there, or leave this out"
    );
    for (bad, problem) in [
        ("lock.example.com", "is not a URL of HTTP"),
        ("https://", "is not a URL of HTTP"),
        ("ftp://lock.example.com", "is not a URL of HTTP"),
        ("https://a@lock.example.com", "is more than a base URL"),
        ("https://lock.example.com?a=b", "is more than a base URL"),
        ("https://lock.example.com/v1/pre-reboot", "is not the base URL"),
        ("https://lock.example.com/v1/", "is not the base URL"),
    ] {
        let found = told(&format!("[fleet_lock]\nurl = \"{bad}\""));
        let expected = format!("2:7: fleet_lock.url: \"{bad}\" {problem}; ");
        assert!(found.starts_with(&expected), "{found}");
    }
    let token = told("[fleet_lock]\ntoken_file = \"token\"");
    assert!(token.contains("\"token\" is not an absolute path"), "{token}");
}

#[test]
fn a_probe_that_asks_nothing_or_too_much_is_refused() {
    let probe = |rest: &str| format!("[[probe]]\nname = \"a\"\n{rest}");
    let one = "1:1: probe[0]: does not ask exactly one thing; write one of http, tcp and command";
    check(&[
        (&probe(""), one),
        (&probe("tcp = \"a:1\"\nhttp = \"http://a\""), one),
        ("[[probe]]\ntcp = \"a:1\"", "1:1: probe[0].name: is missing; add name = \"shop\""),
        (
            "[[probe]]\nname = \"a b\"\ntcp = \"a:1\"",
            "2:8: probe[0].name: \"a b\" cannot be the name of a probe; at most 64 letters, digits, \
             \".\", \"_\" and \"-\"",
        ),
        (&probe("htp = \"http://a\""), "3:1: probe[0].htp: unknown key; did you mean \"http\"?"),
        (
            &probe("http = \"ftp://a/\""),
            "3:8: probe[0].http: \"ftp://a/\" is not a URL of HTTP; write such as \
             \"http://127.0.0.1:8080/healthz\"",
        ),
        (
            &probe("tcp = \"192.0.2.1\""),
            "3:7: probe[0].tcp: \"192.0.2.1\" is not an address; write HOST:PORT, such as \
             \"127.0.0.1:5432\" or \"[::1]:5432\"",
        ),
        (
            &probe("command = [\"check\"]"),
            "3:11: probe[0].command: names no program by its whole path; write the program's whole \
             path first: [\"/usr/local/bin/check-db\", \"--fast\"]",
        ),
        (
            &probe("http = \"http://a\"\nstatus = \"399-200\""),
            "4:10: probe[0].status: \"399-200\" is no status of HTTP; write a status such as 204, or \
             a range such as \"200-399\"",
        ),
        (
            &probe("http = \"http://a\"\nstatus = 99"),
            "4:10: probe[0].status: 99 is out of range; 100 to 599",
        ),
        (
            &probe("tcp = \"a:1\"\nstatus = 200"),
            "1:1: probe[0].status: is of no use without http; leave it out",
        ),
        (
            &probe("http = \"http://a\"\nca_file = \"/a\""),
            "1:1: probe[0].ca_file: is of no use without https; write https:// there, or leave it out",
        ),
        (
            &probe("tcp = \"a:1\"\ntimeout = \"3m\""),
            "4:11: probe[0].timeout: \"3m\" is too long; at most \"2m\"",
        ),
        (
            &format!("{}{}", probe("tcp = \"a:1\"\n"), probe("tcp = \"a:2\"\n")),
            "5:8: probe[1].name: \"a\" is the name of another probe, too; give each a name of its own",
        ),
    ]);
}

#[test]
fn a_channel_has_a_name_an_address_and_a_root() {
    let told = |text: &str| told(&format!("[channel]\n{text}")).join("\n");
    let somewhere = "urls = [\"http://www.example.com/c\"]";
    for (text, expected) in [
        ("name = \"stable\"", "channel.name: needs channel.urls"),
        (somewhere, "channel.urls: needs channel.name"),
        ("name = \"a/b\"", "\"a/b\" is not the name of a channel"),
        ("urls = [\"ftp://www.example.com\"]", "is not a URL of HTTP"),
        ("urls = [\"\"]", "an address is empty"),
        ("within = \"newest\"", "\"newest\" is no range of versions"),
        ("root = \"\"\nname = \"stable\"", "channel.root: is needed"),
        (
            "ca_file = \"/etc/ca.pem\"",
            "channel.ca_file: is of no use while channel.urls are not https",
        ),
    ] {
        let found = told(text);
        assert!(found.contains(expected), "{found}");
    }
}
