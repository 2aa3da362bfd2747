//! How far staging and installing have come: by the bytes that are there, and by what apt says of
//! itself on its status pipe (`APT::Status-Fd`, apt's README.progress-reporting). That pipe is the log
//! of the transaction, so nobody needs to listen.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use super::{
    Layout,
    plans::{self, Way},
};
use crate::core::{plan::PlanId, progress::Progress};

/// The end of a log in which the newest word is looked for.
const TAIL: u64 = 16 * 1024;

/// What is being done about a plan; `None` when nothing is, or nothing is known of it yet.
#[must_use]
pub fn of(layout: &Layout, id: &PlanId) -> Option<Progress> {
    let open = |way| {
        let begun = plans::attempts(layout, id, way).is_ok_and(|attempts| attempts > 0);
        begun && matches!(plans::result(layout, id, way), Ok(None))
    };
    if open(Way::Back) {
        return installing(&layout.plan(id).join("undo.log"), "going back");
    }
    if open(Way::There) {
        return installing(&layout.plan(id).join("apply.log"), "installing");
    }
    staging(layout, id)
}

fn installing(log: &Path, doing: &str) -> Option<Progress> {
    let (percent, step) = newest(&tail(log).ok()?)?;
    Some(Progress { doing: doing.to_owned(), percent, step })
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last `pmstatus:PACKAGE:PERCENT:STEP`; a package's name may have an architecture behind a colon.
fn newest(log: &str) -> Option<(u8, String)> {
    log.lines().rev().find_map(|line| {
        let mut rest = line.strip_prefix("pmstatus:")?;
        loop {
            let (field, more) = rest.split_once(':')?;
            if let Some(percent) = percent(field) {
                return Some((percent, more.to_owned()));
            }
            rest = more;
        }
    })
}

/// `45.4545` → 45
fn percent(field: &str) -> Option<u8> {
    let (whole, _) = field.split_once('.')?;
    whole.parse::<u8>().ok().filter(|percent| *percent <= 100)
}

/// While a plan is downloaded: the bytes that are there.
fn staging(layout: &Layout, id: &PlanId) -> Option<Progress> {
    let dir = layout.plan(id);
    let incoming = dir.join("download");
    if !incoming.exists() {
        return None;
    }
    let plan = plans::load(layout, id).ok()?;
    let total = plan.download_bytes().max(1);
    let there = bytes(&incoming) + bytes(&incoming.join("partial")) + bytes(&dir.join("debs"));
    let percent = u8::try_from(there.min(total) * 100 / total).unwrap_or(100);
    let step = format!("downloading {} package(s)", plan.packages.len());
    Some(Progress { doing: "staging".to_owned(), percent, step })
}

fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|m| m.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_word_counts_and_names_may_have_an_architecture() {
        let log = "Preparing to unpack .../a_1.1_all.deb ...\n\
                   pmstatus:a:14.2857:Preparing a (all)\n\
                   pmstatus:libc6:amd64:45.4545:Unpacking libc6: all of it\n\
                   Setting up a (1.1) ...\n";
        assert_eq!(newest(log), Some((45, "Unpacking libc6: all of it".to_owned())));
        assert_eq!(newest("pmstatus:dpkg-exec:0.0000:Running dpkg\n").unwrap().0, 0);
        for nothing in
            ["", "Setting up a\n", "pmstatus:a\n", "pmstatus:a:x:y\n", "pmstatus:a:200.0:y\n"]
        {
            assert_eq!(newest(nothing), None, "{nothing}");
        }
    }
}
