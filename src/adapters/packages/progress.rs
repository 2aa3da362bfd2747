//! How far staging and installing have come: by the bytes that are there, and by what the log of the
//! transaction says, so that nobody needs to listen: dnf's own words, or what apt says on its status
//! pipe (`APT::Status-Fd`, apt's README.progress-reporting), which is that log.

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

fn newest(log: &str) -> Option<(u8, String)> {
    log.lines().rev().find_map(|line| apts(line).or_else(|| dnfs(line)))
}

/// `pmstatus:PACKAGE:PERCENT:STEP`; a package's name may have an architecture behind a colon.
fn apts(line: &str) -> Option<(u8, String)> {
    let mut rest = line.strip_prefix("pmstatus:")?;
    loop {
        let (field, more) = rest.split_once(':')?;
        if let Some(percent) = percent(field) {
            return Some((percent, more.to_owned()));
        }
        rest = more;
    }
}

/// `  Upgrading        : PACKAGE        DONE/ALL`
fn dnfs(line: &str) -> Option<(u8, String)> {
    let (step, rest) = line.strip_prefix("  ")?.split_once(" : ")?;
    let mut words = rest.split_whitespace().rev();
    let (done, all) = words.next()?.split_once('/')?;
    let (done, all): (u32, u32) = (done.parse().ok()?, all.parse().ok()?);
    let percent = u8::try_from(done.min(all) * 100 / all.max(1)).ok()?;
    let package: Vec<&str> = words.rev().collect();
    Some((percent, format!("{} {}", step.trim(), package.join(" ")).trim().to_owned()))
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
    let folders = ["partial"].map(|name| incoming.join(name)).into_iter();
    let folders = folders.chain(["download", "debs", "rpms"].map(|name| dir.join(name)));
    let there: u64 = folders.map(|folder| bytes(&folder)).sum();
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
        let log = "  Preparing        :                                   1/1 \n  \
                   Upgrading        : alpha-2-1.noarch                  3/8 \n";
        assert_eq!(newest(log), Some((37, "Upgrading alpha-2-1.noarch".to_owned())));
        assert_eq!(newest(&log[..60]).unwrap(), (100, "Preparing".to_owned()));
        for nothing in
            ["", "Setting up a\n", "pmstatus:a\n", "pmstatus:a:x:y\n", "pmstatus:a:200.0:y\n"]
        {
            assert_eq!(newest(nothing), None, "{nothing}");
        }
    }
}
