//! A watch on a few keys, over one stream.

use etcd_client::{Client, Error, Event, EventType, WatchResponse, WatchStream};

use super::client::{Call, Pool};
use super::failure::Failure;

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

/// An open watch. Changes made after it was opened are seen; what was before must be read, and read
/// *after* opening: etcd serves a watch that starts at a past revision only every 100 ms, so ours
/// start at the present one.
pub(super) struct Watch {
    keys: Vec<String>,
    stream: WatchStream,
}

impl Watch {
    /// Returns when etcd watches all of `keys`.
    pub(super) async fn open(pool: &Pool, keys: &[String]) -> Result<Self, Failure> {
        let stream = pool.call(Call::Read, |client| create(client, keys.to_vec())).await?;
        Ok(Self { keys: keys.to_vec(), stream })
    }

    pub(super) fn is_on(&self, keys: &[String]) -> bool {
        self.keys == keys
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

async fn create(mut client: Client, keys: Vec<String>) -> Result<WatchStream, Error> {
    let wanted = keys.len();
    let mut keys = keys.into_iter();
    let mut stream = client.watch(keys.next().unwrap_or_default(), None).await?;
    for key in keys {
        stream.watch(key, None).await?;
    }
    let mut created = 0;
    while created < wanted {
        match stream.message().await? {
            Some(answer) if answer.canceled() => {
                return Err(Error::WatchError(why_canceled(&answer)));
            }
            Some(answer) => created += usize::from(answer.created()),
            None => return Err(Error::WatchError("the watch ended".to_owned())),
        }
    }
    Ok(stream)
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
