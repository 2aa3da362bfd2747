//! What really happened: every revision etcd kept, replayed and checked.

use etcd_client::{Client, WatchOptions};

use crate::bench::PREFIX;
use crate::trace::{Admission, Rules, Trace, check, take, told};
use crate::wait::within;

/// Replays the group's history and answers who was admitted, in order.
///
/// # Panics
/// When a promise was broken.
pub async fn replay(client: &mut Client) -> Vec<Admission> {
    let trace = revisions(client).await;
    match check(PREFIX, &trace, Rules::default()) {
        Ok(sound) => sound.admissions,
        Err(broken) => panic!("{broken:?}\n{}", told(&trace)),
    }
}

/// Every revision of our keys until now.
async fn revisions(client: &mut Client) -> Trace {
    let end = format!("{PREFIX}/end-of-test");
    let last = client.put(end, "", None).await.unwrap().header().unwrap().revision();
    let from_the_start = WatchOptions::new().with_prefix().with_start_revision(1);
    let mut stream = client.watch(PREFIX, Some(from_the_start)).await.unwrap();
    let mut found = Trace::new();
    while found.keys().next_back().is_none_or(|newest| *newest < last) {
        let answer = within("history", stream.message()).await.unwrap().expect("history");
        assert!(!answer.canceled(), "history is gone");
        take(&mut found, answer.events());
    }
    found
}
