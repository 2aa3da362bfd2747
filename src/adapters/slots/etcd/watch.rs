//! A watch on a few keys, over one stream.

use std::collections::BTreeSet;

use etcd_client::{
    Client, Error, Event, EventType, ResponseHeader, WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::timeout;

use super::client::{Call, Pool};
use super::failure::Failure;
use super::keys::Range;

/// A change to a watched key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: String,
    /// The new value; `None` when the key was deleted.
    pub(super) value: Option<Vec<u8>>,
    /// Revision of the change.
    pub(super) revision: i64,
}

/// What a watch brings.
#[derive(Debug)]
pub(super) enum News {
    Changes(Vec<Change>),
    /// The watch is over (compaction, no leader, connection): read again, and watch anew.
    Lost(String),
}

/// Ranges a stream may carry, with those that are of no interest any more.
const MOST_RANGES: usize = 64;

/// An open watch. Changes made after it was opened are seen; what was before must be read, and read
/// *after* opening: etcd serves a watch that starts at a past revision only every 100 ms, so ours
/// start at the present one, and one that changes while it is opened is past already.
pub(super) struct Watch {
    ranges: BTreeSet<Range>,
    stream: WatchStream,
    /// The newest revision that one of its ranges began after.
    since: i64,
}

impl Watch {
    /// Returns when etcd watches all of `ranges`, over the stream of an `earlier` watch if there is
    /// one.
    pub(super) async fn on(
        pool: &Pool,
        ranges: &BTreeSet<Range>,
        earlier: Option<Self>,
    ) -> Result<Self, Failure> {
        if let Some(mut watch) = earlier.filter(|watch| watch.has_room_for(ranges)) {
            match timeout(pool.timeout(), watch.extend(ranges)).await {
                Ok(Ok(())) => return Ok(watch),
                Ok(Err(error)) => tracing::debug!(%error, "watch lost"),
                Err(_late) => tracing::debug!("the watch is silent"),
            }
        }
        pool.call(Call::Read, |client| create(client, ranges.clone())).await
    }

    pub(super) fn is_on(&self, ranges: &BTreeSet<Range>) -> bool {
        self.ranges.is_superset(ranges)
    }

    /// Whether it brings everything that changed after `revision`.
    pub(super) fn follows(&self, revision: i64) -> bool {
        self.since <= revision
    }

    fn has_room_for(&self, ranges: &BTreeSet<Range>) -> bool {
        self.ranges.len() + ranges.len() <= MOST_RANGES
    }

    async fn extend(&mut self, ranges: &BTreeSet<Range>) -> Result<(), Error> {
        let new: Vec<Range> = ranges.difference(&self.ranges).cloned().collect();
        for range in &new {
            self.stream.watch(range.from.as_str(), range.options()).await?;
        }
        self.begun(new.len()).await?;
        self.ranges.extend(new);
        Ok(())
    }

    /// Returns when so many more ranges are watched. What else comes meanwhile is not kept.
    async fn begun(&mut self, wanted: usize) -> Result<(), Error> {
        let mut created = 0;
        while created < wanted {
            match self.stream.message().await? {
                Some(answer) if answer.canceled() => {
                    return Err(Error::WatchError(why_canceled(&answer)));
                }
                Some(answer) if answer.created() => {
                    created += 1;
                    let began = answer.header().map_or(i64::MAX, ResponseHeader::revision);
                    self.since = self.since.max(began);
                }
                Some(_) => {}
                None => return Err(Error::WatchError("the watch ended".to_owned())),
            }
        }
        Ok(())
    }

    /// The next changes. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> News {
        loop {
            match self.stream.message().await {
                Ok(Some(answer)) if answer.canceled() => return News::Lost(why_canceled(&answer)),
                Ok(Some(answer)) if answer.events().is_empty() => {}
                Ok(Some(answer)) => {
                    return News::Changes(answer.events().iter().filter_map(change).collect());
                }
                Ok(None) => return News::Lost("the watch ended".to_owned()),
                Err(error) => return News::Lost(Failure::of("watch", &error).what),
            }
        }
    }
}

async fn create(mut client: Client, ranges: BTreeSet<Range>) -> Result<Watch, Error> {
    let Some(first) = ranges.first() else {
        return Err(Error::InvalidArgs("nothing to watch".to_owned()));
    };
    let stream = client.watch(first.from.as_str(), first.options()).await?;
    let mut watch = Watch { ranges: BTreeSet::from([first.clone()]), stream, since: 0 };
    watch.begun(1).await?;
    watch.extend(&ranges).await?;
    Ok(watch)
}

impl Range {
    fn options(&self) -> Option<WatchOptions> {
        let after = || format!("{}\0", self.last);
        (self.from != self.last).then(|| WatchOptions::new().with_range(after()))
    }
}

fn change(event: &Event) -> Option<Change> {
    let kv = event.kv()?;
    Some(Change {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: match event.event_type() {
            EventType::Put => Some(kv.value().to_vec()),
            EventType::Delete => None,
        },
        revision: kv.mod_revision(),
    })
}

fn why_canceled(answer: &WatchResponse) -> String {
    match answer.compact_revision() {
        0 => format!("etcd cancelled the watch: {}", answer.cancel_reason()),
        revision => format!("etcd compacted its history at revision {revision}"),
    }
}
