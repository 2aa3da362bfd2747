//! Changes of listings: read, change, sign, and say what to do next.

use std::{fs, path::Path};

use jiff::Timestamp;
use semver::Version;
use serde_json::json;

use super::{
    args::{AddArgs, PaceArgs, RolloutChange, SetSource, Which},
    open, say, this_machine,
};
use crate::{
    cli::error::CliError,
    core::channel::{
        archive::Archive,
        edit::{EditError, Pace},
        listing::{Listing, Offer},
        release::{Release, Set},
        rollout::Rollout,
    },
};

impl PaceArgs {
    fn pace(self, now: Timestamp) -> Pace {
        Pace { start: self.start.unwrap_or(now), over: self.over }
    }

    fn rollout(self, now: Timestamp) -> Rollout {
        if self.over.is_zero() && self.start.is_none() {
            Rollout::EVERYBODY
        } else {
            self.pace(now).rollout(0.0)
        }
    }
}

pub(super) async fn add(folder: &Path, args: AddArgs, now: Timestamp) -> Result<u8, CliError> {
    let mut publisher = open(folder)?;
    let mut listing = publisher.listing(&args.channel)?;
    let version = args.release;
    let mut release = Release::new(version.clone(), now, sets(&args.source, &args.archives).await?);
    release.notes = args.notes;
    release.urgency = args.urgency.into();
    let mut offer = Offer::new(version.clone(), args.pace.rollout(now));
    offer.barrier = args.barrier;
    offer.dead_end = args.dead_end;
    offer.from = args.from;
    offer.min_agent = args.min_agent;
    offer.expires = args.expires;
    let count: usize = release.sets.iter().map(|set| set.packages.len()).sum();
    let systems: Vec<String> = release.sets.iter().map(Set::system).collect();
    listing.add(offer)?;
    publisher.put_release(&release)?;
    publisher.put_listing(&listing)?;
    publisher.commit(now).await?;
    say(&format!(
        "release {version} is in {}: {count} packages for {}; publish it\n",
        args.channel,
        systems.join(", ")
    ))
}

async fn sets(source: &SetSource, archives: &[Archive]) -> Result<Vec<Set>, CliError> {
    let mut sets: Vec<Set> = Vec::new();
    for file in &source.files {
        let failed = |said: String| CliError::Failed(format!("{}: {said}", file.display()));
        let text = fs::read(file).map_err(|error| failed(error.to_string()))?;
        sets.push(serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?);
    }
    if source.from_node {
        sets.push(this_machine().await?);
    }
    for set in &mut sets {
        set.archives.extend(archives.iter().cloned());
    }
    Ok(sets)
}

pub(super) async fn promote(
    folder: &Path,
    version: &Version,
    (from, to): (&str, &str),
    pace: PaceArgs,
    now: Timestamp,
) -> Result<u8, CliError> {
    let mut publisher = open(folder)?;
    let source = publisher.listing(from)?;
    let mut listing = publisher.listing(to)?;
    listing.promote(&source, version, pace.rollout(now))?;
    publisher.put_listing(&listing)?;
    publisher.commit(now).await?;
    say(&format!("release {version} is in {to}; publish it\n"))
}

pub(super) async fn rollout(
    folder: &Path,
    change: RolloutChange,
    now: Timestamp,
) -> Result<u8, CliError> {
    let (RolloutChange::Pause(which)
    | RolloutChange::Resume { which, .. }
    | RolloutChange::Set { which, .. }) = &change;
    let Which { channel, release: version } = which;
    let mut publisher = open(folder)?;
    let mut listing = publisher.listing(channel)?;
    let said = match &change {
        RolloutChange::Pause(_) => {
            let share = listing.pause(version, now)?;
            format!("{version} stays at {:.1} % of {channel}", share * 100.0)
        }
        RolloutChange::Resume { pace, .. } => {
            let share = listing.resume(version, pace.pace(now))?;
            format!("{version} goes on from {:.1} % of {channel}", share * 100.0)
        }
        RolloutChange::Set { percent, .. } => {
            listing.set_share(version, percent / 100.0)?;
            format!("{version} is offered to {percent} % of {channel}")
        }
    };
    publisher.put_listing(&listing)?;
    publisher.commit(now).await?;
    say(&format!("{said}; publish it\n"))
}

pub(super) async fn recall(
    folder: &Path,
    version: &Version,
    why: &str,
    back_to: Option<&Version>,
    only: Option<&str>,
    now: Timestamp,
) -> Result<u8, CliError> {
    let mut publisher = open(folder)?;
    let mut recalled = Vec::new();
    for name in publisher.names() {
        let mut listing = publisher.listing(&name)?;
        let asked = only.is_none_or(|only| only == name);
        if !asked || (only.is_none() && listing.offer(version).is_none()) {
            continue;
        }
        listing.recall(version, why, back_to)?;
        publisher.put_listing(&listing)?;
        recalled.push(name);
    }
    if recalled.is_empty() {
        let said = match only {
            Some(only) => format!("there is no channel {only:?}"),
            None => format!("no channel has release {version}"),
        };
        return Err(CliError::Failed(said));
    }
    publisher.commit(now).await?;
    say(&format!("{version} is recalled from {}; publish it\n", recalled.join(", ")))
}

pub(super) fn show(folder: &Path, json: bool, now: Timestamp) -> Result<u8, CliError> {
    let publisher = open(folder)?;
    let names = publisher.names();
    let listings =
        names.iter().map(|name| publisher.listing(name)).collect::<Result<Vec<_>, _>>()?;
    if json {
        let text = serde_json::to_string_pretty(&json!({ "channels": listings }));
        return say(&(text.map_err(std::io::Error::from)? + "\n"));
    }
    let texts: Vec<String> = listings.iter().map(|listing| shown(listing, now)).collect();
    say(&texts.join("\n"))
}

/// A listing for people, the newest release first.
pub(super) fn shown(listing: &Listing, now: Timestamp) -> String {
    if listing.releases.is_empty() {
        return format!("{}\n  (no releases)\n", listing.channel);
    }
    let line = |offer: &Offer| {
        let version = offer.version.to_string();
        format!("  {version:<20} {}\n", marks(offer, now).join(", "))
    };
    let lines: String = listing.releases.iter().rev().map(line).collect();
    format!("{}\n{lines}", listing.channel)
}

/// What is to be known of a release.
fn marks(offer: &Offer, now: Timestamp) -> Vec<String> {
    let share = offer.rollout.share(now);
    let mut marks = vec![match &offer.recalled {
        Some(why) => format!("recalled: {why}"),
        None if share < 1.0 && matches!(offer.rollout, Rollout::Ramp { .. }) => {
            format!("{:.1} %, spreading", share * 100.0)
        }
        None => format!("{:.1} %", share * 100.0),
    }];
    let named = [("barrier", &offer.barrier), ("dead end", &offer.dead_end)];
    let named = named.into_iter().filter_map(|(name, why)| Some((name, why.as_ref()?)));
    marks.extend(named.map(|(name, why)| format!("{name}: {why}")));
    if offer.downgrade {
        marks.push("nodes go back to it".to_owned());
    }
    marks
}

impl From<EditError> for CliError {
    fn from(error: EditError) -> Self {
        Self::Failed(error.to_string())
    }
}
