//! A node's look at the channel that it follows.

use jiff::Timestamp;
use tough::Transport;

use super::{ChannelError, client::Client};
use crate::core::channel::{
    choose::{Node, choose},
    followed::Report,
    listing::{Listing, Offer},
    release::Release,
};

/// What a channel has for a node.
#[derive(Debug)]
pub struct Look {
    /// The release whose packages it may have: the one to update to, or the one that runs. `None`:
    /// nothing may be installed.
    pub release: Option<Release>,
    /// It is older than what is installed, and that was withdrawn.
    pub back: bool,
    /// Until when all of this may be believed.
    pub until: Timestamp,
    /// For people.
    pub report: Report,
}

/// Reads what the channel `name` has, checks it, and decides for a node.
///
/// # Errors
/// When the channel cannot be had or is not believed; then nothing is remembered of it.
pub async fn look<T>(
    client: &Client,
    transport: T,
    name: &str,
    node: &Node,
    now: Timestamp,
) -> Result<Look, ChannelError>
where
    T: Transport + Send + Sync + 'static,
{
    let channel = client.open(transport).await?;
    let listing = channel.listing(name).await?;
    let choice = choose(&listing, node, now);
    let release = match choice.wanted(&listing, node) {
        Some(Offer { version, .. }) => Some(channel.release(version).await?),
        None => None,
    };
    let target = choice.target.map(|offer| offer.version.clone());
    let is_new = release.as_ref().filter(|_| target.is_some());
    let report = Report {
        channel: name.to_owned(),
        current: node.current.clone(),
        partial: node.partial.clone(),
        notes: is_new.map(|release| release.notes.clone()).unwrap_or_default(),
        urgency: is_new.map(|release| release.urgency).unwrap_or_default(),
        held: choice.held.iter().map(ToString::to_string).collect(),
        again: choice.next_change(now),
        target,
        wait: wait(&listing),
        ..Report::default()
    };
    Ok(Look { release, back: choice.back, until: channel.expires(), report })
}

/// What a channel says of the time between two looks, within reason: from ten seconds to a day.
fn wait(listing: &Listing) -> Option<u64> {
    listing.poll_seconds.map(|seconds| seconds.clamp(10, 24 * 3600))
}
