//! People who set, halt, lock and unlock while agents wait.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::adapters::slots::{SlotStore, StoreError};
use lockkeeper::core::change::AdminOp;
use lockkeeper::core::slots::Halt;
use tokio::time::sleep;

use crate::agent::{by_admin, claim, insist, name, store};
use crate::plan::Deed;
use crate::round::{Done, Scene};
use crate::scribe::Scribe;
use crate::trace::Intent;

/// A node id that only an admin locks.
const HAND: &str = "by-hand";

pub struct Admin {
    scene: Arc<Scene>,
    store: SlotStore,
    scribe: Scribe,
}

impl Admin {
    pub fn new(scene: Arc<Scene>) -> Self {
        let store = store(&scene.endpoints, &scene.prefix);
        let scribe = Scribe::of(&scene.raw, &scene.prefix, "admin");
        Self { scene, store, scribe }
    }

    /// Does these deeds, and undoes what would keep others waiting.
    pub async fn act(mut self, deeds: Vec<(Duration, String, Deed)>) -> Done {
        for (after, group, deed) in deeds {
            sleep(after).await;
            self.scene.tally.count(told(&deed));
            match deed {
                Deed::SetMax(max) => self.set_max(&group, max).await?,
                Deed::Halt(lasts) => {
                    self.halt(&group, None).await?;
                    sleep(lasts).await;
                    let intent = Intent::Resume { group: group.clone() };
                    self.order(&group, intent, AdminOp::Resume).await?;
                }
                Deed::TimedHalt => self.halt(&group, Some(1)).await?,
                Deed::Unlock(agent) => self.unlock(&group, name(agent)).await?,
                Deed::Lock(lasts) => {
                    self.lock(&group).await?;
                    sleep(lasts).await;
                    self.unlock(&group, HAND.to_owned()).await?;
                }
                Deed::Clone(agent) => self.clone_of(agent).await?,
            }
        }
        Ok(Vec::new())
    }

    pub async fn set_max(&mut self, group: &str, max: u32) -> Result<(), String> {
        let intent = Intent::SetMax { group: group.to_owned(), max };
        self.order(group, intent, AdminOp::SetMax(max)).await
    }

    async fn halt(&mut self, group: &str, for_secs: Option<u64>) -> Result<(), String> {
        let halt = halt(for_secs.is_some());
        let intent = Intent::Halt { group: group.to_owned() };
        self.order(group, intent, AdminOp::Halt { halt, for_secs }).await
    }

    async fn lock(&mut self, group: &str) -> Result<(), String> {
        let intent = Intent::Lock { group: group.to_owned(), node: HAND.to_owned() };
        self.order(group, intent, AdminOp::Lock(claim(HAND, ""))).await
    }

    async fn unlock(&mut self, group: &str, node: String) -> Result<(), String> {
        let intent = Intent::Unlock { group: group.to_owned(), node: node.clone() };
        self.order(group, intent, AdminOp::Unlock(node)).await
    }

    async fn order(&mut self, group: &str, intent: Intent, op: AdminOp) -> Result<(), String> {
        self.scribe.declare(&intent).await;
        let change = by_admin(op);
        let order = || async {
            match self.store.admin(group, &change).await {
                // Full, halted, or locked already: no is an answer.
                Ok(_) | Err(StoreError::Refused(_)) => Ok(()),
                Err(error) => Err(error),
            }
        };
        insist("an admin", order).await?;
        self.scribe.declare(&Intent::Rest).await;
        Ok(())
    }

    /// A machine with a cloned id gives back and leaves what is not its own.
    async fn clone_of(&self, agent: usize) -> Result<(), String> {
        let (node, zero) = (name(agent), Duration::ZERO);
        let groups = &self.scene.plan.agents[agent].groups;
        let release = || self.store.release(groups, &node, "clone", zero);
        insist("a clone releases", release).await?;
        let left = insist("a clone leaves", || self.store.leave(groups, &node, "clone")).await?;
        match left {
            None => Ok(()),
            Some(_) => Err(format!("a clone was told that it holds {node}'s slot")),
        }
    }
}

fn told(deed: &Deed) -> &'static str {
    match deed {
        Deed::SetMax(_) => "admin sets max",
        Deed::Halt(_) => "admin halts and resumes",
        Deed::TimedHalt => "admin halts for a second",
        Deed::Unlock(_) => "admin unlocks",
        Deed::Lock(_) => "admin locks and unlocks by hand",
        Deed::Clone(_) => "clone gives back and leaves in another's name",
    }
}

fn halt(ends: bool) -> Halt {
    Halt {
        reason: "web.service does not start".to_owned(),
        by: "admin".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        release: None,
        expires: ends.then_some(Timestamp::UNIX_EPOCH),
    }
}
