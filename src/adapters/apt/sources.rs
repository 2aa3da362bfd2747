//! Refreshing our own package lists from the system's sources, with the system's keys.

use std::{fs, io};

use super::{AptError, Layout, apt_get, durable};
use crate::{adapters::packages::file_system::mount_point, core::channel::archive::Archive};

/// At most this many sources are named in an error; the rest are counted.
const NAMED: usize = 3;

/// Has these archives count beside the system's own, from now on.
pub async fn bring(layout: &Layout, archives: &[Archive]) -> Result<(), AptError> {
    let ours = layout.sources();
    durable::remove(&ours)?;
    if archives.is_empty() {
        return Ok(());
    }
    let [file] = apt_get::configured(layout, ["Dir::Etc::SourceList/f"]).await?;
    let mut text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(AptError::io("read", file))?,
    };
    for archive in archives {
        text.push('\n');
        text.push_str(&archive.to_string());
    }
    text.push('\n');
    durable::folder(layout.state())?;
    durable::write(&ours, &text)
}

/// Refreshes the private lists. Every source must answer and be trusted: with a part of the lists
/// missing, an old set could look like the newest one.
pub async fn refresh(layout: &Layout) -> Result<(), AptError> {
    for folder in [layout.lists(), layout.no_archives()] {
        durable::folder(&folder)?;
    }
    let update = apt_get::with_our_lists(layout, "apt-get")
        // Lists are kept compressed: a tenth of the space.
        .args(["-o", "Acquire::GzipIndexes=true"])
        // Nothing is resolved yet: what follows reads the lists for itself.
        .args(["-o", "pkgCacheFile::Generate=false"])
        .args(["-q", "--error-on=any", "update"]);
    let done = update.finish().await?;
    if done.status.success() {
        return Ok(());
    }
    if done.said().contains("No space left on device") {
        return Err(AptError::Full { mount: mount_point(&layout.lists()) });
    }
    Err(AptError::Sources(complaint(done.said())))
}

/// What apt's errors come down to: each source once, with the reason apt gives for it.
#[must_use]
pub fn complaint(stderr: &str) -> String {
    let mut said: Vec<String> = Vec::new();
    for line in stderr.lines().filter_map(|line| line.strip_prefix("E: ")) {
        let text = error(line, stderr);
        if !said.contains(&text) {
            said.push(text);
        }
    }
    // "Some index files failed" and the like say nothing of their own.
    let specific: Vec<&String> = said.iter().filter(|text| !is_general(text)).collect();
    let said = if specific.is_empty() { said.iter().collect() } else { specific };
    if said.is_empty() {
        return "apt gave no reason".to_owned();
    }
    let named = said.iter().take(NAMED).map(|text| text.as_str()).collect::<Vec<_>>().join("; ");
    match said.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

fn is_general(text: &str) -> bool {
    text.starts_with("Some index files failed") || text == "The list of sources could not be read."
}

/// One `E:` line, shortened to `source: reason` where it is about a source.
fn error(line: &str, all: &str) -> String {
    if let Some(rest) = line.strip_prefix("Failed to fetch ") {
        let (uri, reason) = rest.split_once("  ").unwrap_or((rest, "cannot be fetched"));
        let reason = reason.split(" [IP: ").next().unwrap_or(reason);
        return format!("{}: {}", site(uri), reason.trim().trim_end_matches(':'));
    }
    if let Some((source, rest)) =
        line.strip_prefix("The repository '").and_then(|r| r.split_once('\''))
    {
        let reason = bad_signature(all, source).unwrap_or_else(|| {
            rest.trim_start_matches(" is ").trim().trim_end_matches('.').to_owned()
        });
        return format!("{}: {reason}", site(source));
    }
    line.trim().to_owned()
}

/// The reason in `W: GPG error: SOURCE: reason` (apt 3: `W: OpenPGP signature verification failed:`).
fn bad_signature(all: &str, source: &str) -> Option<String> {
    let about = format!("{source}: ");
    all.lines().filter(|line| line.starts_with("W: ")).find_map(|line| {
        let (_, reason) = line.split_once(&about)?;
        // apt 3 tells how its helper was called first.
        let reason = reason.rsplit("error message is: ").next().unwrap_or(reason);
        Some(reason.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// `http://h/x ./ InRelease` and `http://h/x/./InRelease` → without the file's name.
fn site(source: &str) -> &str {
    ["InRelease", "Release"]
        .iter()
        .find_map(|name| source.strip_suffix(name))
        .unwrap_or(source)
        .trim_end()
        .trim_end_matches(['/', '.'])
        .trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! update {
        ($name:literal) => {
            complaint(include_str!(concat!("../../../tests/fixtures/apt/", $name, ".txt")))
        };
    }

    #[test]
    fn each_way_to_fail_names_source_and_reason_on_debian_12() {
        let source = "http://deb.example.com";
        for (found, reason) in [
            (
                update!("debian-12/update-bad-signature"),
                "The following signatures were invalid: BADSIG F1B2325BD0F1D288 T <t@example.com>",
            ),
            (
                update!("debian-12/update-no-key"),
                "The following signatures couldn't be verified because the public key is not \
                 available: NO_PUBKEY F1B2325BD0F1D288",
            ),
            (update!("debian-12/update-not-signed"), "not signed"),
            (update!("debian-12/update-no-release"), "does not have a Release file"),
            (
                update!("debian-12/update-refused"),
                "Could not connect to deb.example.com:80 (192.0.2.7). - connect (111: Connection \
                 refused)",
            ),
        ] {
            assert_eq!(found, format!("{source}: {reason}"));
        }
        assert_eq!(
            update!("debian-12/update-mismatch"),
            "http://deb.example.com/./Packages: File has unexpected size (3189 != 3187). Mirror \
             sync in progress?"
        );
        assert_eq!(
            update!("debian-12/update-no-name"),
            "http://nonexistent.invalid: Could not resolve 'nonexistent.invalid'"
        );
        assert_eq!(
            update!("debian-12/update-no-folder"),
            "file:/srv/archive: does not have a Release file"
        );
        assert!(
            update!("debian-12/update-expired").contains("deb.example.com/./InRelease is expired")
        );
        assert_eq!(
            update!("debian-12/update-malformed"),
            "Type 'debx' is not known on line 1 in source list /etc/apt/sources.list"
        );
    }

    #[test]
    fn each_way_to_fail_names_source_and_reason_on_debian_13() {
        let source = "http://deb.example.com";
        for (found, reason) in [
            (
                update!("debian-13/update-bad-signature"),
                "Verifying signature: Message has been manipulated",
            ),
            (
                update!("debian-13/update-no-key"),
                "The signatures couldn't be verified because no keyring is specified",
            ),
            (update!("debian-13/update-not-signed"), "not signed"),
            (update!("debian-13/update-no-release"), "does not have a Release file"),
            (update!("debian-13/update-refused"), "Unable to connect to deb.example.com"),
        ] {
            assert_eq!(found, format!("{source}: {reason}"));
        }
        assert!(
            update!("debian-13/update-mismatch").contains("/Packages: File has unexpected size")
        );
        assert!(
            update!("debian-13/update-expired").contains("deb.example.com/./InRelease is expired")
        );
    }

    #[test]
    fn many_sources_are_counted_and_silence_is_said() {
        let lines: Vec<_> =
            (1..=5).map(|i| format!("E: Failed to fetch http://h{i}/x  gone")).collect();
        let expected = "http://h1/x: gone; http://h2/x: gone; http://h3/x: gone; and 2 more";
        assert_eq!(complaint(&lines.join("\n")), expected);
        assert_eq!(complaint(""), "apt gave no reason");
        let general = "E: Some index files failed to download.";
        assert_eq!(complaint(general), "Some index files failed to download.");
    }
}
