//! Scripts: an interpreter has read them long ago, so that only the times tell.

use std::{
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::StatxFlags;

use super::{cgroup, look_up};
use crate::adapters::clock;

/// Ticks a second in `/proc/PID/stat`, on every architecture that Debian has.
const TICKS: u64 = 100;
/// A script changed so shortly after the start is the one that was read: the two clocks are coarse.
const TOLERANCE: Duration = Duration::from_secs(2);
/// Scripts there come and go without packages. needrestart(1) leaves out the same.
const IGNORED: [&str; 4] = ["/tmp/", "/var/", "/run/", "/proc/"];

/// The script of an interpreter, if it was put there after the process was started. Looked at for
/// services only: where a path in a user's session leads to is the user's choice. The time of the
/// inode's change counts: dpkg gives files the times they had in the package.
pub(super) fn changed(folder: &Path, program: &Path) -> Option<String> {
    let letters = letters(program.file_name()?.to_str()?)?;
    let unit = cgroup::unit(folder)?;
    if !unit.ends_with(".service") || unit.starts_with("user@") {
        return None;
    }
    let line = fs::read(folder.join("cmdline")).ok()?;
    let script = absolute(folder, script(&line, &letters)?)?;
    if IGNORED.iter().any(|beginning| script.starts_with(beginning)) {
        return None;
    }
    let inside = script.strip_prefix("/").ok()?;
    let found = look_up(&folder.join("root").join(inside), StatxFlags::CTIME).ok()?;
    let started = started(&fs::read_to_string(folder.join("stat")).ok()?)?;
    let ago = clock::since_boot().checked_sub(started + TOLERANCE)?;
    let limit = clock::wall().checked_sub(ago).ok()?;
    (found.stx_ctime.tv_sec > limit.as_second()).then(|| script.to_string_lossy().into_owned())
}

/// What single letters mean among an interpreter's options.
#[derive(Debug, PartialEq)]
struct Letters {
    /// What follows is code, or the name of a module: there is no script.
    code: &'static [u8],
    /// The rest of the word is a value.
    value: &'static [u8],
    /// And so is the next word, where nothing is left of this one.
    next: &'static [u8],
}

/// python(1), perlrun(1), ruby(1).
fn letters(program: &str) -> Option<Letters> {
    let version = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    match program.trim_end_matches(|letter: char| letter.is_ascii() && version(letter as u8)) {
        "python" => Some(Letters { code: b"cm", value: b"WX", next: b"WX" }),
        "perl" => Some(Letters { code: b"eE", value: b"0CDFIMVdilmx", next: b"I" }),
        "ruby" => Some(Letters { code: b"e", value: b"0CEFIKTWirx", next: b"CEIr" }),
        _ => None,
    }
}

/// The script in a command line, if there is one.
fn script<'a>(line: &'a [u8], letters: &Letters) -> Option<&'a [u8]> {
    let mut words = line.split(|byte| *byte == 0).skip(1);
    loop {
        let word = words.next().filter(|word| !word.is_empty())?;
        match word.strip_prefix(b"-") {
            None => return Some(word),
            // Standard input.
            Some(b"") => return None,
            Some(b"-") => return words.next().filter(|word| !word.is_empty()),
            Some(b"-check-hash-based-pycs") => drop(words.next()),
            Some(long) if long.starts_with(b"-") => {}
            Some(short) => {
                let special =
                    |letter: &u8| letters.code.contains(letter) || letters.value.contains(letter);
                let Some(place) = short.iter().position(special) else { continue };
                if letters.code.contains(&short[place]) {
                    return None;
                }
                if place + 1 == short.len() && letters.next.contains(&short[place]) {
                    words.next();
                }
            }
        }
    }
}

fn absolute(folder: &Path, script: &[u8]) -> Option<PathBuf> {
    let script = PathBuf::from(std::ffi::OsString::from_vec(script.to_owned()));
    if script.is_absolute() {
        return Some(script);
    }
    let current = fs::read_link(folder.join("cwd")).ok()?;
    (!current.as_os_str().as_bytes().ends_with(b" (deleted)")).then(|| current.join(script))
}

/// Time from the boot to the start of a process: field 22 of `/proc/PID/stat` (proc(5)).
fn started(stat: &str) -> Option<Duration> {
    // The name in field 2 may hold anything, but is the last with a parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(ticks * (1000 / TICKS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_found_behind_options() {
        for (program, line, expected) in [
            ("python3.11", "python3\0/usr/bin/app\0--flag\0", Some("/usr/bin/app")),
            ("python3", "python3\0-Es\0/usr/bin/app\0", Some("/usr/bin/app")),
            ("python3", "python3\0-Wignore\0app.py\0", Some("app.py")),
            ("python3", "python3\0-\0app.py\0", None),
            ("perl", "perl\0-Mexample\0-i.bak\0-E\0say 1\0", None),
            ("python3", "python3\0-u\0-W\0ignore\0app.py\0", Some("app.py")),
            ("python3", "python3\0-X\0dev\0--\0app.py\0", Some("app.py")),
            ("python3", "python3\0-m\0http.server\0", None),
            ("python3", "python3\0-c\0import x\0", None),
            ("python3", "python3\0-uc\0import x\0", None),
            ("python3", "python3\0", None),
            ("perl", "/usr/bin/perl\0-T\0-w\0/usr/sbin/app\0", Some("/usr/sbin/app")),
            ("perl", "perl\0-I\0lib\0-Mstrict\0app\0", Some("app")),
            ("perl", "perl\0-e\0sleep 9\0", None),
            ("perl", "perl\0-we\0sleep 9\0", None),
            ("ruby3.1", "ruby\0-r\0json\0app.rb\0", Some("app.rb")),
        ] {
            let found = script(line.as_bytes(), &letters(program).unwrap());
            let found = found.map(|script| std::str::from_utf8(script).unwrap());
            assert_eq!(found, expected, "{line}");
        }
        for program in ["bash", "pythonette", "perlbug", "java"] {
            assert_eq!(letters(program), None, "{program}");
        }
    }

    #[test]
    fn the_start_is_read_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1 1";
        assert_eq!(started(stat), Some(Duration::from_millis(1_234_560)));
        assert_eq!(started("42 (x) S 1"), None);
    }
}
