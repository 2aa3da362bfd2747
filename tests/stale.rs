//! Finding processes that use deleted or replaced files: real programs and libraries, replaced the way
//! dpkg does it, by renaming the new file over the old one.
#![allow(clippy::disallowed_methods)] // tests start the programs they test
#![allow(clippy::unwrap_used)] // also outside of test functions

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use lockkeeper::{adapters::stale::scan, core::stale::Process};
use tempfile::TempDir;

const LIBRARY: &str = "int answer(void) { return 42; }\n";
/// Says that it runs, and waits until it is killed.
const DAEMON: &str = "#include <stdio.h>\n#include <unistd.h>\nint answer(void);\n\
    int main(void) { printf(\"%d\\n\", answer()); fflush(stdout); for (;;) pause(); }\n";

/// Programs of a test's own, where the scan does not expect temporary files.
struct Lab {
    dir: TempDir,
}

/// A program that runs; it ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/lib").unwrap();
        let lab = Self { dir };
        fs::write(lab.path("answer.c"), LIBRARY).unwrap();
        fs::write(lab.path("daemon.c"), DAEMON).unwrap();
        lab.compile(&["-shared", "-fPIC", "answer.c", "-o", "libanswer.so"]);
        lab.compile(&["daemon.c", "-L.", "-lanswer", "-Wl,-rpath,$ORIGIN", "-o", "daemon"]);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn compile(&self, arguments: &[&str]) {
        let status = Command::new("cc").args(arguments).current_dir(self.dir.path()).status();
        assert!(status.unwrap().success(), "cc {arguments:?}");
    }

    /// As dpkg unpacks a file.
    fn replace(&self, name: &str) {
        let new = self.path(&format!("{name}.dpkg-new"));
        fs::copy(self.path(name), &new).unwrap();
        fs::rename(&new, self.path(name)).unwrap();
    }
}

/// Starts a program, and waits until it says that it runs.
fn start(command: &mut Command) -> Running {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "42\n");
    Running(child)
}

/// What a scan finds of these, with the file it names. On the machine there may be more.
fn found(running: &[&Running]) -> Vec<(u32, PathBuf)> {
    let scan = scan(Path::new("/proc")).unwrap();
    assert!(scan.seen > 1, "{scan:?}");
    let ours = |process: &Process| running.iter().any(|r| r.0.id() == process.pid);
    let found = scan.stale.into_iter().filter(ours);
    found.map(|process| (process.pid, PathBuf::from(process.file))).collect()
}

#[test]
fn what_runs_on_a_replaced_library_is_found_and_nothing_else() {
    let lab = Lab::new();
    let old = start(&mut Command::new(lab.path("daemon")));
    assert_eq!(found(&[&old]), []);
    lab.replace("libanswer.so");
    let new = start(&mut Command::new(lab.path("daemon")));
    assert_eq!(found(&[&old, &new]), [(old.0.id(), lab.path("libanswer.so"))]);
}

#[test]
fn what_runs_a_replaced_or_deleted_program_is_found() {
    let lab = Lab::new();
    fs::copy(lab.path("daemon"), lab.path("gone")).unwrap();
    let old = start(&mut Command::new(lab.path("daemon")));
    let gone = start(&mut Command::new(lab.path("gone")));
    lab.replace("daemon");
    fs::remove_file(lab.path("gone")).unwrap();
    let expected = [(old.0.id(), lab.path("daemon")), (gone.0.id(), lab.path("gone"))];
    assert_eq!(found(&[&old, &gone]), expected);
}

#[test]
fn a_file_that_another_one_was_mounted_over_is_found_where_that_was_done() {
    let lab = Lab::new();
    fs::copy(lab.path("libanswer.so"), lab.path("other.so")).unwrap();
    let own = start(Command::new("unshare").arg("--mount").arg(lab.path("daemon")));
    let host = start(&mut Command::new(lab.path("daemon")));
    assert_eq!(found(&[&own, &host]), []);
    let mounted = Command::new("nsenter")
        .args(["--mount", "--target", &own.0.id().to_string(), "mount", "--bind"])
        .args([lab.path("other.so"), lab.path("libanswer.so")])
        .status();
    assert!(mounted.unwrap().success());
    assert_eq!(found(&[&own, &host]), [(own.0.id(), lab.path("libanswer.so"))]);
}

#[test]
fn what_has_another_root_is_counted_and_left_out() {
    let lab = Lab::new();
    fs::create_dir(lab.path("root")).unwrap();
    lab.compile(&["-static", "daemon.c", "answer.c", "-o", "root/daemon"]);
    let inside = start(Command::new("chroot").arg(lab.path("root")).arg("/daemon"));
    lab.replace("root/daemon");
    assert_eq!(found(&[&inside]), []);
    assert!(scan(Path::new("/proc")).unwrap().elsewhere > 0);
}

#[test]
fn without_processes_to_look_at_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = scan(dir.path()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
}
