//! Good values: what they mean.

use std::{path::Path, time::Duration};

use jiff::civil::{Weekday, date, time};
use lockkeeper::config::{
    self, Loaded, Origin, duration,
    probes::{Probe, Target},
    settings::{
        ApplyMode, BootComplete, NewDependencies, OnFailure, Phased, Removals, Resurrected,
        Snapshot, Strategy, Users, WithoutWayBack,
    },
};
use lockkeeper::core::choice::Origins;
use lockkeeper::core::fast::Fast;
use lockkeeper::core::stale::Mode;
use proptest::prelude::*;

use super::{ETC, Machine, etc};

fn with(text: &str) -> Loaded {
    match etc(text) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("refused:\n{text}\n{errors}"),
    }
}

#[test]
fn every_strategy_is_known_by_its_name() {
    for strategy in Strategy::ALL {
        let loaded = with(&format!(
            "strategy = \"{}\"\n[fleet_lock]\nurl = \"http://192.0.2.1:3333\"",
            strategy.name()
        ));
        assert_eq!(loaded.settings.strategy, strategy);
    }
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let settings = with(
        "strategy = \"etcd-lock\"\n\
         check = { first = \"1s\", interval = \"2m\", spread = \"3s\" }\n\
         channel = { name = \"stable\", urls = [\"https://www.example.com/c\", \"https://192.0.2.1/c\"], \
         root = \"/etc/r.json\", ca_file = \"/etc/ca.pem\", \
         graph_url = \"https://updates.example.com/v1/graph\", within = \"<2027\" }\n\
         lock = { group = \"web.a-1\", settle = \"4s\" }\n\
         blockers = { users = \"wait\", notice = \"15s\", units = [\"backup-*.service\"], \
         alerts_url = \"https://monitoring.example.com/prometheus\", \
         alerts_ignore = [\"Watchdog\"], alerts_ca_file = \"/etc/lockkeeper/prometheus.pem\", \
         alerts_token_file = \"/etc/lockkeeper/token\" }\n\
         drain.wait = \"6s\"\n\
         balancer.address = \"2001:db8::7\"\n\
         hooks = { timeout = \"15m\", timeouts = [\"pre-apply/10-*=1h 5m\", \"*/10-pool=2m\"], \
         advisory = [\"post-boot/*\"] }\n\
         reboot = { fast = \"kexec\", timeout = \"7m\" }\n\
         verify = { grace = \"8s\", settle = \"9s\", timeout = \"10s\", check_timeout = \"15s\", foreign_checks = false, boot_complete = \"require\" }\n\
         schedule = { spread = \"11m\", min_remaining = \"12m\" }\n\
         packages = { apply = \"offline\", on_failure = \"stay\", without_way_back = \"refuse\", lock_wait = \"13m\", \
         origins = [\"o=Docker,a=${codename}\"], allow = [\"lib*\"], deny = [\"libx\"], \
         new_dependencies = \"refuse\", removals = \"allow\", phased = \"ignore\", snapshot = \"btrfs\" }\n\
         canary = { publish = true, follow = \"first\", soak = \"14m\" }\n\
         services = { restart = \"list\", never = [\"sql*\"], by_reboot = [\"a.service\"] }\n\
         workloads = { ignore = [\"foo*.service\"], resurrected = \"stop\", users = [\"alice\", \"ci-*\"] }\n\
         containers = { pull = [\"registry.example.com/*\"], update = [\"web:*\"] }\n\
         [etcd]\n\
         endpoints = [\"http://etcd-1.example.com:2379\", \"http://[2001:db8::1]:2379\"]\n\
         prefix = \"/a/b\"\n\
         timeout = \"500ms\"\n",
    )
    .settings;
    let secs = Duration::from_secs;
    assert_eq!(settings.strategy, Strategy::EtcdLock);
    assert_eq!(settings.check.first, secs(1));
    assert_eq!(settings.check.interval, secs(120));
    assert_eq!(settings.check.spread, secs(3));
    let channel = settings.channel.as_ref().unwrap();
    assert_eq!(channel.name, "stable");
    let urls: Vec<&str> = channel.urls.iter().map(url::Url::as_str).collect();
    assert_eq!(urls, ["https://www.example.com/c", "https://192.0.2.1/c"]);
    assert_eq!(channel.root, Path::new("/etc/r.json"));
    assert_eq!(channel.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    let graph = channel.graph_url.as_ref().unwrap();
    assert_eq!(graph.as_str(), "https://updates.example.com/v1/graph");
    assert_eq!(channel.within.as_ref().unwrap().to_string(), "<2027");
    assert_eq!(settings.lock.groups, ["web.a-1"]);
    assert_eq!(settings.lock.settle, secs(4));
    assert_eq!(
        settings.etcd.endpoints,
        ["http://etcd-1.example.com:2379", "http://[2001:db8::1]:2379"]
    );
    assert_eq!(settings.etcd.prefix, "/a/b");
    assert_eq!(settings.etcd.timeout, Duration::from_millis(500));
    assert_eq!(settings.drain.wait, secs(6));
    assert_eq!(settings.balancer.address.as_deref(), Some("2001:db8::7"));
    assert_eq!(settings.hooks.limit("pre-apply/10-pool"), secs(65 * 60), "the first that fits");
    assert_eq!(settings.hooks.limit("in-service/10-pool"), secs(2 * 60));
    assert_eq!(settings.hooks.limit("in-service/20-pool"), secs(15 * 60));
    assert!(settings.hooks.is_advisory("post-boot/mail"));
    assert!(!settings.hooks.is_advisory("pre-apply/mail"));
    assert_eq!(settings.blockers.users, Users::Wait);
    assert_eq!(settings.blockers.notice, secs(15));
    assert_eq!(settings.blockers.units, ["backup-*.service"]);
    let alerts = settings.blockers.alerts.as_ref().unwrap();
    assert_eq!(alerts.url, "https://monitoring.example.com/prometheus");
    assert_eq!(alerts.ignore, ["Watchdog"]);
    assert_eq!(alerts.ca_file.as_deref(), Some(Path::new("/etc/lockkeeper/prometheus.pem")));
    assert_eq!(alerts.token_file.as_deref(), Some(Path::new("/etc/lockkeeper/token")));
    assert_eq!(settings.reboot.fast, Fast::Kexec);
    assert_eq!(settings.reboot.timeout, secs(7 * 60));
    assert_eq!(settings.verify.grace, secs(8));
    assert_eq!(settings.verify.settle, secs(9));
    assert_eq!(settings.verify.timeout, secs(10));
    assert_eq!(settings.verify.check_timeout, secs(15));
    assert!(!settings.verify.foreign_checks);
    assert_eq!(settings.verify.boot_complete, BootComplete::Require);
    assert_eq!(settings.schedule.spread, secs(11 * 60));
    assert_eq!(settings.schedule.min_remaining, secs(12 * 60));
    let patterns = vec!["o=Docker,a=${codename}".to_owned()];
    assert_eq!(settings.packages.origins, Origins::Patterns(patterns));
    assert_eq!(settings.packages.allow, ["lib*"]);
    assert_eq!(settings.packages.deny, ["libx"]);
    assert_eq!(settings.packages.new_dependencies, NewDependencies::Refuse);
    assert_eq!(settings.packages.removals, Removals::Allow);
    assert_eq!(settings.packages.phased, Phased::Ignore);
    assert_eq!(settings.packages.apply, ApplyMode::Offline);
    assert_eq!(settings.packages.on_failure, OnFailure::Stay);
    assert_eq!(settings.packages.without_way_back, WithoutWayBack::Refuse);
    assert_eq!(settings.packages.snapshot, Snapshot::Btrfs);
    assert_eq!(settings.packages.lock_wait, secs(13 * 60));
    assert!(settings.canary.publish);
    assert_eq!(settings.canary.follow.as_deref(), Some("first"));
    assert_eq!(settings.canary.soak, secs(14 * 60));
    assert_eq!(settings.services.restart, Mode::List);
    assert_eq!(settings.services.never, ["sql*"]);
    assert_eq!(settings.services.by_reboot, ["a.service"]);
    assert_eq!(settings.workloads.ignore, ["foo*.service"]);
    assert_eq!(settings.workloads.resurrected, Resurrected::Stop);
    assert_eq!(settings.workloads.users, ["alice", "ci-*"]);
    assert_eq!(settings.containers.pull, ["registry.example.com/*"]);
    assert_eq!(settings.containers.pulled(), ["registry.example.com/*", "web:*"]);
}

#[test]
fn days_are_named_alone_in_ranges_over_the_week_end_and_in_lists() {
    use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let week = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];
    let rows: [(&str, &[Weekday]); 10] = [
        ("\"mon-fri\"", &week[..5]),
        ("[\"mon-fri\"]", &week[..5]),
        ("[\"sat,sun\"]", &[Saturday, Sunday]),
        ("[\"sun\", \"sat\", \"sun\"]", &[Saturday, Sunday]),
        ("\"fri-mon\"", &[Monday, Friday, Saturday, Sunday]),
        ("\"daily\"", &week),
        ("\"mon-sun\"", &week),
        ("\"tue-mon\"", &week),
        ("\"wed-wed\"", &[Wednesday]),
        ("\" Thursday , TUE \"", &[Tuesday, Thursday]),
    ];
    for (text, expected) in rows {
        let loaded =
            with(&format!("[[window]]\ndays = {text}\nstart = \"02:00\"\nlength = \"4h\"\n"));
        assert_eq!(loaded.settings.schedule.windows[0].days, expected, "{text}");
    }
    let loaded = with("[[window]]\nstart = \"02:00\"\nlength = \"4h\"\n");
    assert_eq!(loaded.settings.schedule.windows[0].days, week, "no days are every day");
}

#[test]
fn another_way_to_a_lock_leads_to_the_same_lock() {
    let usual = [
        ("etcd.endpoints", "etcd.endpoints = [\"https://etcd-1.example.com:2379\"]\n"),
        ("etcd.ca_file", "etcd.ca_file = \"/etc/ca.pem\"\n"),
    ];
    let choice = |more: &str| {
        let usual = usual.iter().filter(|(key, _)| !more.contains(key)).map(|(_, line)| *line);
        let text = format!("strategy = \"etcd-lock\"\n{}{more}", usual.collect::<String>());
        with(&text).settings.lock_choice()
    };
    let plain = choice("");
    for (same, more) in [
        (true, "etcd.timeout = \"7s\""),
        (true, "etcd.ca_file = \"/etc/lockkeeper/ca.pem\""),
        (true, "etcd.cert_file = \"/etc/x.crt\"\netcd.key_file = \"/etc/x.key\""),
        (true, "etcd.user = \"agent\"\netcd.password_file = \"/etc/password\""),
        (true, "check.interval = \"9h\""),
        (false, "lock.group = \"other\""),
        (false, "lock.group = [\"default\", \"other\"]"),
        (false, "etcd.prefix = \"/elsewhere\""),
        (false, "etcd.endpoints = [\"https://etcd-2.example.com:2379\"]"),
    ] {
        assert_eq!(choice(more).is_same_lock(&plain), same, "{more}");
    }
}

#[test]
fn times_and_dates_may_be_text_or_tomls_own() {
    let loaded = with(
        "window = [{ start = \"23:59\", length = \"7d\" }, { start = 02:30, length = \"4h\" }, { start = 00:00:00, length = \"4h\" }]\n\
         [[freeze]]\nfrom = 2026-12-20\nto = \"2027-01-03\"\nreason = \"year end\"\n",
    );
    let schedule = &loaded.settings.schedule;
    let starts: Vec<_> = schedule.windows.iter().map(|window| window.start).collect();
    assert_eq!(starts, [time(23, 59, 0, 0), time(2, 30, 0, 0), time(0, 0, 0, 0)]);
    let freeze = &schedule.freezes[0];
    assert_eq!((freeze.from, freeze.to), (date(2026, 12, 20), date(2027, 1, 3)));
    assert_eq!(freeze.reason, "year end");
}

#[test]
fn zones_are_found_by_name_and_have_their_own_spelling() {
    let loaded =
        with("[[window]]\nstart = \"02:00\"\nlength = \"4h\"\ntime_zone = \"europe/berlin\"\n");
    let zone = &loaded.settings.schedule.windows[0].zone;
    assert_eq!(zone.iana_name(), Some("Europe/Berlin"));
    let shown = loaded.keys.iter().find(|key| key.key == "window[0].time_zone").unwrap();
    assert_eq!(shown.value, "Europe/Berlin");
}

#[test]
fn without_a_zone_the_machines_own_counts_and_the_origin_says_how_it_was_found() {
    let window = "[[window]]\nstart = \"02:00\"\nlength = \"4h\"\n";
    let found = |machine: &Machine| {
        let loaded = machine.load().unwrap();
        let key = loaded.keys.iter().find(|key| key.key == "window[0].time_zone").unwrap();
        let offset =
            loaded.settings.schedule.windows[0].zone.to_offset(jiff::Timestamp::UNIX_EPOCH);
        (key.value.as_str().unwrap().to_owned(), offset.seconds() / 3600, key.origin.to_string())
    };
    let expect = |name: &str, hours, origin: &str| (name.to_owned(), hours, origin.to_owned());
    let system = "system zone (/etc/localtime)";

    let machine = Machine::new(&[(ETC, window)]);
    assert_eq!(found(&machine), expect("UTC", 0, "UTC (there is no /etc/localtime)"));

    machine.link("etc/localtime", "/usr/share/zoneinfo/Asia/Tokyo");
    assert_eq!(found(&machine), expect("Asia/Tokyo", 9, system));

    let machine = Machine::new(&[(ETC, window)]);
    machine.link("etc/localtime", "../usr/share/zoneinfo/Asia/Tokyo");
    assert_eq!(found(&machine), expect("Asia/Tokyo", 9, system));

    let machine = Machine::new(&[(ETC, window)]);
    machine.write("etc/localtime", std::fs::read("/usr/share/zoneinfo/Asia/Tokyo").unwrap());
    assert_eq!(found(&machine), expect("localtime", 9, system));

    machine.write("etc/localtime", "nonsense");
    let (name, hours, origin) = found(&machine);
    assert_eq!((name.as_str(), hours), ("UTC", 0));
    assert!(origin.starts_with("UTC (/etc/localtime cannot be used: "), "{origin}");

    let system = config::system_zone(&machine.path("nowhere"));
    assert_eq!(system.origin, "UTC (there is no /etc/localtime)");
}

#[test]
fn origins_name_file_and_line_of_each_key() {
    let machine = Machine::new(&[(ETC, "# one\nstrategy = \"off\"\n\n[check]\nfirst = \"1m\"\n")]);
    let loaded = machine.load().unwrap();
    assert_eq!(machine.origin(&loaded, "strategy"), "/etc/lockkeeper/lockkeeper.toml:2");
    assert_eq!(machine.origin(&loaded, "check.first"), "/etc/lockkeeper/lockkeeper.toml:5");
    assert_eq!(loaded.origin("check.interval"), Some(&Origin::BuiltIn));
    assert_eq!(loaded.origin("check.nothing"), None);
}

#[test]
fn durations_are_read_and_written_alike() {
    let rows = [
        ("45m", 45 * 60_000, "45m"),
        ("1h30m", 90 * 60_000, "1h 30m"),
        (" 1h  30m ", 90 * 60_000, "1h 30m"),
        ("90 m", 90 * 60_000, "1h 30m"),
        ("2d", 2 * 86_400_000, "2d"),
        ("0s", 0, "0s"),
        ("1500ms", 1500, "1s 500ms"),
        ("1d 2h 3m 4s 5ms", 93_784_005, "1d 2h 3m 4s 5ms"),
        ("60s", 60_000, "1m"),
    ];
    for (text, millis, shown) in rows {
        let parsed = duration::parse(text).unwrap();
        assert_eq!(parsed, Duration::from_millis(millis), "{text}");
        assert_eq!(duration::format(parsed), shown);
    }
    assert_eq!(duration::rough(Duration::from_secs(93_784)), "1d 2h");
    for bad in [
        "",
        " ",
        "m",
        "5",
        "5 5m",
        "5m5m",
        "1.5h",
        "5M",
        "5m ago",
        "-1m",
        "+1m",
        "1h,30m",
        "٣m",
        "99999999999999999999d",
        "18446744073709551615d",
    ] {
        assert!(duration::parse(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(millis in any::<u64>()) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(duration::parse(&duration::format(duration)), Ok(duration));
    }

    #[test]
    fn no_text_makes_the_duration_parser_panic(text in "[0-9dhms -é]{0,24}|\\PC{0,12}") {
        if let Ok(duration) = duration::parse(&text) {
            prop_assert_eq!(duration::parse(&duration::format(duration)), Ok(duration));
        }
    }
}

#[test]
fn a_probe_asks_one_thing_and_has_quiet_defaults() {
    let probes = with(
        "[[probe]]\nname = \"shop\"\nhttp = \"https://[::1]:8443/healthz?full=1\"\nstatus = \"200-399\"\n\
         ca_file = \"/etc/ssl/shop.pem\"\ntimeout = \"1s\"\n\
         [[probe]]\nname = \"plain\"\nhttp = \"http://127.0.0.1:8080/\"\n\
         [[probe]]\nname = \"exact\"\nhttp = \"http://127.0.0.1\"\nstatus = 401\n\
         [[probe]]\nname = \"db-1\"\ntcp = \"db.example.com:5432\"\n\
         [[probe]]\nname = \"queue\"\ncommand = [\"/usr/local/bin/check\", \"--fast\", \"\"]\n",
    )
    .settings
    .probes;
    let http = |url: &str, status, ca_file: Option<&str>| Target::Http {
        url: url.to_owned(),
        status,
        ca_file: ca_file.map(Into::into),
    };
    let argv = ["/usr/local/bin/check", "--fast", ""].map(str::to_owned).to_vec();
    let expected = [
        (
            "shop",
            http("https://[::1]:8443/healthz?full=1", 200..=399, Some("/etc/ssl/shop.pem")),
            1,
        ),
        ("plain", http("http://127.0.0.1:8080/", 200..=299, None), 5),
        ("exact", http("http://127.0.0.1", 401..=401, None), 5),
        ("db-1", Target::Tcp("db.example.com:5432".to_owned()), 5),
        ("queue", Target::Command(argv), 5),
    ];
    let expected = expected.map(|(name, target, timeout)| Probe {
        name: name.to_owned(),
        target,
        timeout: Duration::from_secs(timeout),
    });
    assert_eq!(probes, expected);
}
