//! Which file is stronger, and what masks what.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use lockkeeper::config::{self, Kind, settings::Settings};

use super::{ETC, Machine};

const SHIPPED: &str = "usr/lib/lockkeeper/lockkeeper.toml";

fn group(text: &str) -> String {
    format!("[lock]\ngroup = \"{text}\"\n")
}

#[test]
fn a_machine_without_files_goes_by_the_built_in_values() {
    let machine = Machine::new(&[]);
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.files.is_empty());
    assert_eq!(machine.origin(&loaded, "strategy"), "built-in");
}

#[test]
fn each_layer_is_stronger_than_the_one_before() {
    let layers = [
        SHIPPED,
        ETC,
        "usr/lib/lockkeeper/conf.d/10-a.toml",
        "etc/lockkeeper/conf.d/20-b.toml",
        "run/lockkeeper/conf.d/30-c.toml",
    ];
    let machine = Machine::new(&[]);
    for (index, layer) in layers.iter().enumerate() {
        machine.write(layer, group(&format!("g{index}")));
        let loaded = machine.load().unwrap();
        assert_eq!(loaded.settings.lock.groups, [format!("g{index}")]);
        assert_eq!(machine.origin(&loaded, "lock.group"), format!("/{layer}:2"));
        let read: Vec<_> = layers[..=index].iter().map(|layer| machine.path(layer)).collect();
        assert_eq!(loaded.files, read);
    }
}

#[test]
fn drop_ins_are_sorted_by_file_name_across_the_directories() {
    let machine = Machine::new(&[
        ("usr/lib/lockkeeper/conf.d/90-z.toml", &group("usr")),
        ("etc/lockkeeper/conf.d/50-m.toml", &group("etc")),
        ("run/lockkeeper/conf.d/10-a.toml", &group("run")),
    ]);
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.settings.lock.groups, ["usr"]);
}

#[test]
fn of_drop_ins_with_one_name_only_the_strongest_is_read() {
    let name = "lockkeeper/conf.d/50-site.toml";
    let machine = Machine::new(&[(&format!("usr/lib/{name}"), "[drain]\nwait = \"1m\"\n")]);
    assert_eq!(machine.load().unwrap().settings.drain.wait, Duration::from_secs(60));
    machine.write(&format!("etc/{name}"), group("etc"));
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.settings.drain.wait, Duration::from_secs(5), "masked as a whole");
    assert_eq!(loaded.settings.lock.groups, ["etc"]);
    machine.write(&format!("run/{name}"), group("run"));
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.settings.lock.groups, ["run"]);
    assert_eq!(loaded.files, [machine.path(&format!("run/{name}"))]);
}

#[test]
fn an_empty_file_or_a_link_to_dev_null_masks_a_drop_in() {
    let (one, two) = ("lockkeeper/conf.d/1.toml", "lockkeeper/conf.d/2.toml");
    let machine = Machine::new(&[
        (&format!("usr/lib/{one}"), &group("one")),
        (&format!("usr/lib/{two}"), "[drain]\nwait = \"1m\"\n"),
    ]);
    machine.write(&format!("etc/{one}"), "");
    machine.link(&format!("etc/{two}"), "/dev/null");
    assert_eq!(machine.load().unwrap().settings, Settings::default());
}

#[test]
fn a_mistake_in_a_masked_file_is_none() {
    let machine = Machine::new(&[("usr/lib/lockkeeper/conf.d/1.toml", "nonsense")]);
    assert!(machine.load().is_err());
    machine.link("etc/lockkeeper/conf.d/1.toml", "/dev/null");
    assert!(machine.load().is_ok());
}

#[test]
fn only_toml_files_that_are_not_hidden_are_drop_ins() {
    let machine = Machine::new(&[
        ("etc/lockkeeper/conf.d/a.toml~", "nonsense"),
        ("etc/lockkeeper/conf.d/a.toml.dpkg-old", "nonsense"),
        ("etc/lockkeeper/conf.d/.a.toml", "nonsense"),
        ("etc/lockkeeper/conf.d/README", "nonsense"),
        ("run/lockkeeper/lockkeeper.toml", "nonsense"),
    ]);
    assert!(machine.load().unwrap().files.is_empty());
}

#[test]
fn keys_of_several_files_add_up_and_lists_are_replaced_as_a_whole() {
    let machine = Machine::new(&[
        (
            SHIPPED,
            "[workloads]\nignore = [\"a\", \"b\"]\n[[window]]\nstart = \"01:00\"\nlength = \"1h\"\n[[window]]\nstart = \"05:00\"\nlength = \"1h\"\n[[freeze]]\nfrom = \"2026-12-24\"\nto = \"2026-12-26\"\n",
        ),
        (ETC, "[workloads]\nignore = [\"c\"]\n[[window]]\nstart = \"03:00\"\nlength = \"2h\"\n"),
    ]);
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.settings.workloads.ignore, ["c"]);
    let windows = &loaded.settings.schedule.windows;
    assert_eq!(windows.iter().map(|window| window.start.hour()).collect::<Vec<_>>(), [3]);
    assert_eq!(loaded.settings.schedule.freezes.len(), 1, "nobody said anything of freezes");
    assert_eq!(machine.origin(&loaded, "window[0].start"), format!("/{ETC}:4"));
    assert_eq!(machine.origin(&loaded, "freeze[0].from"), format!("/{SHIPPED}:10"));
    machine.write("run/lockkeeper/conf.d/none.toml", "window = []\nfreeze = []\n");
    let loaded = machine.load().unwrap();
    assert!(
        loaded.settings.schedule.windows.is_empty() && loaded.settings.schedule.freezes.is_empty()
    );
    assert_eq!(machine.origin(&loaded, "window"), "/run/lockkeeper/conf.d/none.toml:1");
}

#[test]
fn what_is_there_but_cannot_be_read_is_an_error() {
    let machine = Machine::new(&[("etc/lockkeeper/conf.d/dir.toml/x", "")]);
    machine.link("etc/lockkeeper/conf.d/gone.toml", "/nonexistent/file");
    machine.link("etc/lockkeeper/conf.d/device.toml", "/dev/zero");
    machine.link("etc/lockkeeper/lockkeeper.toml", "/nonexistent/too");
    machine.write("etc/lockkeeper/conf.d/bytes.toml", b"# fine\n# \xff\n");
    machine.write("etc/lockkeeper/conf.d/huge.toml", vec![b'#'; 2 << 20]);
    let fifo = machine.path("etc/lockkeeper/conf.d/fifo.toml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let errors = machine.load().unwrap_err();
    assert!(errors.0.iter().all(|error| error.kind == Kind::Unreadable && error.place.is_none()));
    let told = machine.relative(&errors.to_string());
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(
        told,
        [
            "/etc/lockkeeper/lockkeeper.toml: cannot be read: No such file or directory (os error 2)",
            "/etc/lockkeeper/conf.d/bytes.toml: cannot be read: line 2 is not UTF-8",
            "/etc/lockkeeper/conf.d/device.toml: cannot be read: it is not a file",
            "/etc/lockkeeper/conf.d/dir.toml: cannot be read: it is a directory",
            "/etc/lockkeeper/conf.d/fifo.toml: cannot be read: it is not a file",
            "/etc/lockkeeper/conf.d/gone.toml: cannot be read: No such file or directory (os error 2)",
            "/etc/lockkeeper/conf.d/huge.toml: cannot be read: it is larger than 1048576 bytes",
        ]
    );
}

#[test]
fn a_file_without_permission_is_an_error_for_whoever_lacks_it() {
    let machine = Machine::new(&[(ETC, "strategy = \"off\"\n")]);
    let locked = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(machine.path(ETC), locked).unwrap();
    let loaded = machine.load();
    if rustix::process::geteuid().is_root() {
        assert!(loaded.is_ok(), "root may read everything");
    } else {
        assert_eq!(loaded.unwrap_err().0[0].kind, Kind::Unreadable);
    }
}

#[test]
fn one_file_alone_is_read_over_the_built_in_values_and_must_exist() {
    let machine = Machine::new(&[("my.toml", &group("mine")), (ETC, &group("etc"))]);
    let loaded = config::load_file(&machine.path("my.toml")).unwrap();
    assert_eq!(loaded.settings.lock.groups, ["mine"]);
    assert_eq!(loaded.files, [machine.path("my.toml")]);
    let missing = config::load_file(&machine.path("other.toml")).unwrap_err();
    assert_eq!(missing.0[0].kind, Kind::Unreadable);
}

#[test]
fn every_mistake_of_every_file_is_told_weakest_file_first() {
    let machine = Machine::new(&[
        ("etc/lockkeeper/conf.d/a.toml", "[check]\ninterval = 45\nfirst = \"7 minutes\"\n"),
        (ETC, "strategy = \"rebot\"\n[verify]\nsettle = \"20m\"\n"),
    ]);
    let errors = machine.load().unwrap_err();
    let shown: Vec<_> = errors.0.iter().map(|error| (error.key.as_str(), error.kind)).collect();
    assert_eq!(
        shown,
        [
            ("strategy", Kind::BadValue),
            ("check.interval", Kind::WrongType),
            ("check.first", Kind::BadValue),
            ("verify.settle", Kind::Conflict),
        ]
    );
}
