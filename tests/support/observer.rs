//! Somebody beside the lock who writes down everything that happens in etcd.
#![allow(dead_code)] // each test program uses a part of it

use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, WatchOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::trace::{Trace, take};

/// A member that says nothing for this long may be cut off: another one is watched.
const SILENCE: Duration = Duration::from_millis(500);

/// Watches all keys there are, at whichever member answers.
pub struct Observer {
    trace: Arc<Mutex<Trace>>,
    seen: watch::Receiver<i64>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Sees everything that is written after this.
    pub fn start(endpoints: &[String], from: i64) -> Self {
        let trace = Arc::new(Mutex::new(Trace::new()));
        let (tell, seen) = watch::channel(from - 1);
        let (book, endpoints) = (trace.clone(), endpoints.to_vec());
        let task = tokio::spawn(async move {
            for member in endpoints.iter().cycle() {
                let _ = listen(member, &book, &tell).await;
                // Members that are down say so at once.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { trace, seen, task }
    }

    /// The newest revision seen.
    pub fn seen(&self) -> i64 {
        *self.seen.borrow()
    }

    /// Returns when everything up to `revision` is written down.
    pub async fn until(&mut self, revision: i64) {
        self.seen.wait_for(|seen| *seen >= revision).await.expect("the observer lives");
    }

    /// What was seen so far under `prefix`. The rest is forgotten.
    pub fn take(&self, prefix: &str) -> Trace {
        let mut trace = std::mem::take(&mut *self.trace.lock().unwrap());
        trace.retain(|_, changes| {
            changes.retain(|change| change.key.starts_with(prefix));
            !changes.is_empty()
        });
        trace
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(member: &str, book: &Mutex<Trace>, tell: &watch::Sender<i64>) -> Result<(), Error> {
    let options = ConnectOptions::new()
        .with_require_leader(true)
        .with_connect_timeout(SILENCE)
        .with_timeout(SILENCE * 2);
    let mut client = Client::connect([member], Some(options)).await?;
    let everything = WatchOptions::new().with_all_keys().with_start_revision(*tell.borrow() + 1);
    let late = |_| Error::WatchError("silence".into());
    let watch = client.watch("", Some(everything));
    let mut stream = tokio::time::timeout(SILENCE, watch).await.map_err(late)??;
    loop {
        let answer = tokio::time::timeout(SILENCE, stream.message()).await.map_err(late)??;
        let Some(answer) = answer.filter(|answer| !answer.canceled()) else { return Ok(()) };
        take(&mut book.lock().unwrap(), answer.events());
        let newest = answer.events().iter().filter_map(|e| Some(e.kv()?.mod_revision())).max();
        if let Some(newest) = newest {
            tell.send_replace(newest);
        }
    }
}
