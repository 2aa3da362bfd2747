//! `rebootctl config` and `rebootctl windows`, as they are called.

use clap::Args;
use jiff::Timestamp;
use lockkeeper::cli::{
    config::{self as config_command, ConfigArgs},
    windows::{self, Here, WindowsArgs},
};
use serde_json::{Value, json};

use super::{ETC, Machine};

const NIGHT: &str = "[schedule]\nmin_remaining = \"15m\"\n[[window]]\nstart = \"02:00\"\nlength = \"4h\"\ntime_zone = \"Europe/Berlin\"\n";

fn parse<T: Args>(line: &str) -> Result<T, clap::Error> {
    let command = T::augment_args(clap::Command::new("rebootctl").no_binary_name(true));
    T::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        assert_eq!((self.code, self.err.as_str()), (0, ""));
        serde_json::from_str(&self.out).unwrap()
    }
}

fn run_config(machine: &Machine, line: &str) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args: ConfigArgs = parse(line).unwrap();
    let code = config_command::run(&args, machine.0.path(), &mut out, &mut err).unwrap();
    ran(machine, code, &out, &err)
}

fn run_windows(machine: &Machine, line: &str, place: f64) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args: WindowsArgs = parse(line).unwrap();
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    let here = Here { root: machine.0.path(), now, place };
    let code = windows::run(&args, here, &mut out, &mut err).unwrap();
    ran(machine, code, &out, &err)
}

fn ran(machine: &Machine, code: u8, out: &[u8], err: &[u8]) -> Ran {
    let text = |bytes: &[u8]| machine.relative(std::str::from_utf8(bytes).unwrap());
    Ran { code, out: text(out), err: text(err) }
}

#[test]
fn a_good_configuration_is_called_good() {
    let machine = Machine::new(&[(ETC, NIGHT)]);
    let ran = run_config(&machine, "check");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(
        ran.out,
        "/etc/lockkeeper/lockkeeper.toml: read\ngood: strategy off, group default, 1 window, 0 freezes\n"
    );
    let bare = run_config(&Machine::new(&[]), "check");
    assert_eq!(
        bare.out,
        "no configuration file: the built-in values count\ngood: strategy off, group default, 0 windows, 0 freezes\n"
    );
}

#[test]
fn a_bad_configuration_exits_with_3_and_says_why_on_standard_error() {
    let machine = Machine::new(&[(ETC, "strateggy = \"off\"\n[lock]\ngroup = \"\"\n")]);
    for line in ["check", "show", "show --json"] {
        let ran = run_config(&machine, line);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{line}");
        assert_eq!(ran.err.lines().count(), 3, "{}", ran.err);
        assert!(ran.err.starts_with("/etc/lockkeeper/lockkeeper.toml:1:1: strateggy: unknown key; did you mean \"strategy\"?\n"));
        assert!(ran.err.ends_with("\n2 errors in the configuration\n"));
    }
    let ran = run_windows(&machine, "", 0.0);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(ran.err.ends_with("\n2 errors in the configuration\n"));
}

#[test]
fn a_file_can_be_tried_without_being_installed() {
    let machine = Machine::new(&[("new.toml", NIGHT), ("bad.toml", "x = 1"), (ETC, "broken")]);
    let file = |name: &str| machine.path(name).display().to_string();
    assert_eq!(run_config(&machine, &format!("check {}", file("new.toml"))).code, 0);
    assert_eq!(run_config(&machine, &format!("check {}", file("bad.toml"))).code, 3);
    assert_eq!(run_config(&machine, &format!("check {}", file("gone.toml"))).code, 3);
    let ran = run_windows(&machine, &format!("--json --config {}", file("new.toml")), 0.0);
    assert_eq!(ran.json()["next"], "2026-11-21T01:00:00Z");
}

#[test]
fn show_prints_every_key_on_a_line_with_its_origin() {
    let machine = Machine::new(&[(ETC, NIGHT)]);
    let ran = run_config(&machine, "show --origin");
    let lines: Vec<(String, String)> = ran
        .out
        .lines()
        .map(|line| {
            line.split_once(" # ")
                .map(|(line, origin)| (line.trim().to_owned(), origin.to_owned()))
                .unwrap()
        })
        .collect();
    let has = |line: &str, origin: &str| {
        assert!(lines.contains(&(line.to_owned(), origin.to_owned())), "{line} in\n{}", ran.out);
    };
    let etc = "/etc/lockkeeper/lockkeeper.toml";
    has("strategy = \"off\"", "built-in");
    has("etcd.endpoints = [\"http://127.0.0.1:2379\"]", "built-in");
    has("schedule.min_remaining = \"15m\"", &format!("{etc}:2"));
    has("window[0].days = [\"daily\"]", "built-in");
    has("window[0].length = \"4h\"", &format!("{etc}:5"));
    has("freeze = []", "built-in");
    let plain = run_config(&machine, "show");
    assert!(!plain.out.contains('#'));
    assert_eq!(plain.out.lines().count(), lines.len());
}

#[test]
fn what_show_prints_is_toml_again() {
    let machine = Machine::new(&[(ETC, "[workloads]\nignore = [\"\\\"q\\\\\", \"ü\"]\n")]);
    let shown =
        run_config(&machine, "show").out.replace("window = []\n", "").replace("freeze = []\n", "");
    let again = Machine::new(&[(ETC, &shown)]);
    assert_eq!(again.load().unwrap().settings, machine.load().unwrap().settings);
}

#[test]
fn show_has_the_same_as_json() {
    let machine = Machine::new(&[(ETC, NIGHT)]);
    let shown = run_config(&machine, "show --json").json();
    assert_eq!(shown["files"], json!(["/etc/lockkeeper/lockkeeper.toml"]));
    let keys = shown["keys"].as_array().unwrap();
    assert_eq!(keys[0], json!({ "key": "strategy", "value": "off", "origin": "built-in" }));
    let length = keys.iter().find(|key| key["key"] == "window[0].length").unwrap();
    let file = "/etc/lockkeeper/lockkeeper.toml";
    let expected = json!({ "key": "window[0].length", "value": "4h", "origin": format!("{file}:5"), "file": file, "line": 5 });
    assert_eq!(*length, expected);
}

#[test]
fn windows_says_what_is_closed_and_when_it_opens_in_both_zones() {
    let machine = Machine::new(&[(ETC, NIGHT)]);
    let ran = run_windows(&machine, "--at 2027-03-27T12:00:00+01:00", 0.0);
    assert_eq!(ran.code, 0);
    let expected = "\
at      Sat 2027-03-27 12:00 CET  (2027-03-27T11:00:00Z)
state   closed: outside every window
next    Sun 2027-03-28 03:00 CEST  (2027-03-28T01:00:00Z), in 14h

next openings
  opens   Sun 2027-03-28 03:00 CEST  (2027-03-28T01:00:00Z), in 14h
  closes  Sun 2027-03-28 07:00 CEST  (2027-03-28T05:00:00Z), open for 4h
";
    assert!(ran.out.starts_with(expected), "{}", ran.out);
    assert_eq!(ran.out.matches("  opens ").count(), 5);
}

#[test]
fn windows_as_json_has_the_documented_keys() {
    let machine = Machine::new(&[(ETC, NIGHT)]);
    let closed = run_windows(&machine, "--json", 0.0).json();
    let mut keys: Vec<&String> = closed.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["at", "closes", "may_begin", "next", "open", "openings", "reason", "schema", "text"]
    );
    assert_eq!(closed["at"], "2026-11-20T12:00:00Z");
    assert_eq!((&closed["open"], &closed["may_begin"]), (&json!(false), &json!(false)));
    assert_eq!((&closed["closes"], &closed["reason"]), (&Value::Null, &json!("window-closed")));
    assert_eq!(closed["next"], "2026-11-21T01:00:00Z");
    let openings = closed["openings"].as_array().unwrap();
    assert_eq!(openings.len(), 5);
    assert_eq!(
        openings[0],
        json!({ "opens": "2026-11-21T01:00:00Z", "closes": "2026-11-21T05:00:00Z" })
    );

    let open = run_windows(&machine, "--json --at 2026-11-21T01:00:00Z", 0.0).json();
    assert_eq!((&open["open"], &open["may_begin"]), (&json!(true), &json!(true)));
    assert_eq!((&open["reason"], &open["next"]), (&Value::Null, &Value::Null));
    assert_eq!(open["closes"], "2026-11-21T05:00:00Z");
    assert_eq!(
        open["openings"][0]["opens"], "2026-11-22T01:00:00Z",
        "the one that is open is not coming"
    );

    let late = run_windows(&machine, "--json --at 2026-11-21T04:50:00Z", 0.0).json();
    assert_eq!((&late["open"], &late["may_begin"]), (&json!(true), &json!(false)));
    assert_eq!(
        (&late["reason"], &late["next"]),
        (&json!("too-short"), &json!("2026-11-22T01:00:00Z"))
    );
}

#[test]
fn windows_knows_the_spread_and_freezes() {
    let text = format!("{NIGHT}[[freeze]]\nfrom = \"2026-12-20\"\nto = \"2026-12-31\"\ntime_zone = \"Europe/Berlin\"\nreason = \"year end\"\n").replace("[schedule]", "[schedule]\nspread = \"2h\"");
    let machine = Machine::new(&[(ETC, &text)]);
    let spread = run_windows(&machine, "--json --at 2026-11-21T01:00:00Z", 0.5).json();
    assert_eq!(
        (&spread["reason"], &spread["next"]),
        (&json!("spread"), &json!("2026-11-21T02:00:00Z"))
    );
    let frozen = run_windows(&machine, "--json --at 2026-12-24T02:00:00Z", 0.5).json();
    assert_eq!((&frozen["open"], &frozen["reason"]), (&json!(false), &json!("frozen")));
    assert_eq!(frozen["text"], "frozen: year end");
    assert_eq!(frozen["next"], "2027-01-01T02:00:00Z");
}

#[test]
fn without_windows_it_is_open_without_end() {
    let machine = Machine::new(&[]);
    machine.link("etc/localtime", "/usr/share/zoneinfo/Asia/Tokyo");
    let ran = run_windows(&machine, "", 0.0);
    let expected = "\
at      Fri 2026-11-20 21:00 JST  (2026-11-20T12:00:00Z)
state   open: a cycle may begin now
closes  not in the next 400 days

no other opening in the next 400 days
";
    assert_eq!(ran.out, expected);
    let shown = run_windows(&machine, "--json", 0.0).json();
    assert_eq!(
        (&shown["open"], &shown["closes"], &shown["openings"]),
        (&json!(true), &Value::Null, &json!([]))
    );
}

#[test]
fn an_instant_without_offset_is_refused() {
    for bad in ["2026-11-20T12:00:00", "tomorrow", "2026-11-20"] {
        let error = parse::<WindowsArgs>(&format!("--at {bad}")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("with its offset"), "{error}");
    }
}
