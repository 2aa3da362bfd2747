//! Whoever writes down what somebody is about to do, where etcd's history keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use crate::trace::{Intent, intent_key};

/// One attempt at one member takes no longer.
const PATIENCE: Duration = Duration::from_millis(400);

/// A way to etcd that has no accidents of its own, and goes on until it gets through.
pub struct Raw {
    members: Vec<Client>,
    preferred: AtomicUsize,
}

impl Raw {
    pub async fn to(endpoints: &[String]) -> Arc<Self> {
        let mut members = Vec::new();
        for member in endpoints {
            let options = ConnectOptions::new()
                .with_require_leader(true)
                .with_connect_timeout(PATIENCE / 2)
                .with_timeout(PATIENCE);
            members.push(Client::connect([member], Some(options)).await.unwrap());
        }
        Arc::new(Self { members, preferred: AtomicUsize::new(0) })
    }

    /// The client that answered last.
    pub fn client(&self) -> Client {
        self.members[self.preferred.load(Ordering::SeqCst)].clone()
    }

    /// May be done more than once.
    pub async fn txn(&self, txn: Txn) -> TxnResponse {
        loop {
            let preferred = self.preferred.load(Ordering::SeqCst);
            let mut client = self.members[preferred].clone();
            let answer = tokio::time::timeout(PATIENCE, client.txn(txn.clone())).await;
            if let Ok(Ok(answer)) = answer {
                return answer;
            }
            self.preferred.store((preferred + 1) % self.members.len(), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The scribe of one actor.
pub struct Scribe {
    raw: Arc<Raw>,
    key: String,
    /// Revision of the last thing written.
    last: i64,
}

impl Scribe {
    pub fn of(raw: &Arc<Raw>, prefix: &str, who: &str) -> Self {
        Self { raw: raw.clone(), key: intent_key(prefix, who), last: 0 }
    }

    /// Returns when it is written down. What was written in doubt before cannot come after it.
    pub async fn declare(&mut self, intent: &Intent) {
        let value = serde_json::to_vec(intent).unwrap();
        loop {
            let unchanged = Compare::mod_revision(self.key.as_str(), CompareOp::Equal, self.last);
            let put = TxnOp::put(self.key.as_str(), value.clone(), None);
            let get = TxnOp::get(self.key.as_str(), None);
            let txn = Txn::new().when([unchanged]).and_then([put]).or_else([get]);
            let answer = self.raw.txn(txn).await;
            if answer.succeeded() {
                self.last = answer.header().unwrap().revision();
                return;
            }
            let found = answer.op_responses();
            let Some(TxnOpResponse::Get(found)) = found.first() else { continue };
            let Some(kv) = found.kvs().first() else { continue };
            self.last = kv.mod_revision();
            if kv.value() == value {
                return;
            }
        }
    }
}
