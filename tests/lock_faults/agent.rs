//! A node that wants its turns, and meets with what its life has in store.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::{SlotStore, StoreError, Token};
use lockkeeper::core::change::{AdminOp, Change};
use lockkeeper::core::slots::Holder;
use tokio::time::sleep;

use crate::plan::{Fate, Life, Moment, Trouble, Turn};
use crate::proxy::{Fault, Proxy, Road};
use crate::round::Scene;
use crate::scribe::Scribe;
use crate::trace::Intent;

/// What a call may take at one member.
const DEADLINE: Duration = Duration::from_millis(400);
/// Tickets of waiters that fell silent live so long.
const TICKET: Duration = Duration::from_secs(1);
/// A pause after a call that failed, as a node with work to wait for makes.
const PAUSE: Duration = Duration::from_millis(20);

/// A store as an agent has it after a start.
pub fn store(endpoints: &[String], prefix: &str) -> SlotStore {
    let store = EtcdStore::new(&Access::open(endpoints, DEADLINE), prefix);
    SlotStore::Etcd(store.with_ticket_lease(TICKET))
}

pub fn name(agent: usize) -> String {
    format!("n{agent}")
}

pub fn nonce(agent: usize) -> String {
    format!("nonce-{}", name(agent))
}

pub fn claim(node: &str, nonce: &str) -> Holder {
    Holder {
        node: node.to_owned(),
        name: format!("host-{node}"),
        nonce: nonce.to_owned(),
        since: Timestamp::UNIX_EPOCH,
        reason: "update".to_owned(),
        release: None,
        boot_id: "boot".to_owned(),
        expected_secs: 0,
        overdue: false,
    }
}

pub fn by_admin(op: AdminOp) -> Change {
    Change { op, by: "an admin".to_owned(), reason: "because".to_owned() }
}

/// Asks until the store can be reached.
///
/// # Errors
/// When it says that asking again is vain.
pub async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Result<T, String> {
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(StoreError::Unreachable { .. }) => sleep(PAUSE).await,
            Err(other) => return Err(format!("{what}: {other}")),
        }
    }
}

/// Polls so many times, then drops: the process was killed.
async fn mortal<T>(future: impl Future<Output = T>, polls: Option<u64>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls.unwrap_or(u64::MAX);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left <= 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

pub struct Agent {
    scene: Arc<Scene>,
    index: usize,
    name: String,
    nonce: String,
    groups: Vec<String>,
    endpoints: Vec<String>,
    /// Its way to etcd, while it has one of its own.
    road: Option<(Arc<Road>, Vec<Proxy>)>,
    scribe: Scribe,
}

impl Agent {
    pub async fn new(scene: Arc<Scene>, index: usize) -> Self {
        let life = &scene.plan.agents[index];
        let (troubled, groups) = (life.road.is_some(), life.groups.clone());
        let scribe = Scribe::of(&scene.raw, &scene.prefix, &name(index));
        let mut endpoints = scene.endpoints.clone();
        let mut road = None;
        if troubled {
            let shared = Arc::new(Road::default());
            let mut proxies = Vec::new();
            for member in &scene.addresses {
                proxies.push(Proxy::on(shared.clone(), *member).await);
            }
            endpoints = proxies.iter().map(Proxy::url).collect();
            road = Some((shared, proxies));
        }
        // Not everybody asks the same member first.
        let first = index % endpoints.len();
        endpoints.rotate_left(first);
        let (name, nonce) = (name(index), nonce(index));
        Self { scene, index, name, nonce, groups, endpoints, road, scribe }
    }

    /// Goes through `life`, and answers the way to etcd that it had, on which something may still
    /// be going on; an error says what should not have happened.
    pub async fn live(mut self, life: Life) -> Result<Vec<Proxy>, String> {
        let trouble = self.trouble(life.road.as_ref());
        // A request that is late may do harm when its agent has long had its turns.
        let late = matches!(life.road, Some(Trouble::Late(..)));
        let road = self.road.as_ref().map(|(road, _)| road.clone());
        let roads = self.road.as_mut().map(|(_, roads)| std::mem::take(roads)).unwrap_or_default();
        let on_its_way = || late && road.is_some_and(|road| road.happened());
        let turns = async {
            sleep(life.begins).await;
            for turn in &life.turns {
                if !self.turn(turn).await? {
                    break;
                }
            }
            Ok::<(), String>(())
        };
        let (mut turns, mut trouble) = (pin!(turns), pin!(trouble));
        tokio::select! {
            done = &mut turns => {
                done?;
                if on_its_way() {
                    trouble.await;
                }
            }
            () = &mut trouble => turns.await?,
        }
        Ok(roads)
    }

    /// What goes on on the road beside it, until it is over.
    fn trouble(&self, trouble: Option<&Trouble>) -> impl Future<Output = ()> + use<> {
        let road = self.road.as_ref().map(|(road, _)| road.clone());
        let (trouble, scene) = (trouble.cloned(), self.scene.clone());
        match (&trouble, &road) {
            (Some(Trouble::ReplyLost(of)), Some(road)) => road.arm(of, Fault::LoseReplies),
            (Some(Trouble::Late(request, _)), Some(road)) => road.arm(request, Fault::HoldRequest),
            (Some(Trouble::Slow(by)), Some(road)) => {
                scene.tally.count("agent with a slow network");
                road.slow(*by);
            }
            _ => {}
        }
        async move {
            match (trouble, road) {
                (Some(Trouble::Late(_, by)), Some(road)) => {
                    happened(&road).await;
                    sleep(by).await;
                    road.let_go();
                    while !road.arrived() {
                        sleep(Duration::from_millis(1)).await;
                    }
                    scene.tally.count("request arrived late");
                }
                (Some(Trouble::ReplyLost(_)), Some(road)) => {
                    happened(&road).await;
                    scene.tally.count("reply to a write lost");
                }
                (Some(Trouble::Cut(every)), Some(road)) => {
                    for _ in 0..3 {
                        sleep(every).await;
                        scene.tally.count("agent's connections cut, with their watches");
                        road.cut();
                    }
                }
                _ => std::future::pending().await,
            }
        }
    }

    fn store(&self) -> SlotStore {
        store(&self.endpoints, &self.scene.prefix)
    }

    /// One turn; false when the agent is no more.
    async fn turn(&mut self, turn: &Turn) -> Result<bool, String> {
        self.scribe.declare(&Intent::Acquire).await;
        let Some(token) = self.acquire(turn).await? else {
            return Ok(turn.killed.as_ref().is_none_or(|(_, fate)| *fate != Fate::Dies));
        };
        sleep(turn.holds).await;
        if turn.restarts {
            self.restart(token).await?;
        }
        self.release(token, turn).await?;
        Ok(true)
    }

    /// Gets a slot, over deaths; `None` when the agent left the queue, or died, without one.
    async fn acquire(&mut self, turn: &Turn) -> Result<Option<Token>, String> {
        let claim = claim(&self.name, &self.nonce);
        let mut death = turn.killed.clone();
        loop {
            let store = self.store();
            let moment = death.as_ref().map(|(moment, _)| *moment);
            match self.until(moment, store.acquire(&self.groups, &claim, |_| {})).await {
                Some(Ok(token)) => return Ok(Some(token)),
                Some(Err(error)) => return Err(format!("{} acquires: {error}", self.name)),
                None => {}
            }
            drop(store);
            match death.take() {
                Some((_, Fate::Leaves(killed))) => {
                    self.scene.tally.count("agent killed while it waited, and left");
                    return self.leave(killed).await;
                }
                Some((_, Fate::Dies)) => {
                    self.scene.tally.count("agent killed while it waited, for good");
                    return self.bury().await.map(|()| None);
                }
                Some((_, Fate::Again)) | None => {
                    self.scene.tally.count("agent killed while it waited, and went on");
                }
            }
        }
    }

    /// Lets `future` run until it is done, or until the moment of death.
    async fn until<T>(&self, death: Option<Moment>, future: impl Future<Output = T>) -> Option<T> {
        match (death, &self.road) {
            (Some(Moment::Poll(polls)), _) => mortal(future, Some(polls)).await,
            (Some(Moment::Accident), Some((road, _))) => tokio::select! {
                done = future => Some(done),
                () = happened(road) => None,
            },
            _ => Some(future.await),
        }
    }

    async fn leave(&mut self, mut killed: Option<u64>) -> Result<Option<Token>, String> {
        self.scribe.declare(&Intent::Leave).await;
        let token = loop {
            let store = self.store();
            match mortal(store.leave(&self.groups, &self.name, &self.nonce), killed.take()).await {
                Some(Ok(token)) => break token,
                Some(Err(StoreError::Unreachable { .. })) => sleep(PAUSE).await,
                Some(Err(error)) => return Err(format!("{} leaves: {error}", self.name)),
                None => self.scene.tally.count("agent killed while it left"),
            }
        };
        if token.is_none() {
            self.scribe.declare(&Intent::Rest).await;
        }
        Ok(token)
    }

    /// An admin looks after a node that never comes back: its ticket goes by itself, a slot that it
    /// may have got does not.
    async fn bury(&mut self) -> Result<(), String> {
        let admin = format!("admin-of-{}", self.name);
        let mut scribe = Scribe::of(&self.scene.raw, &self.scene.prefix, &admin);
        let store = store(&self.scene.endpoints, &self.scene.prefix);
        loop {
            let views = insist("view", || store.view(&self.groups)).await?;
            let held = views.iter().filter(|(_, view)| view.slots.holder(&self.name).is_some());
            let held: Vec<_> = held.map(|(group, _)| group).collect();
            for &group in &held {
                let node = self.name.clone();
                let intent = Intent::Unlock { group: group.clone(), node: node.clone() };
                scribe.declare(&intent).await;
                let unlock = by_admin(AdminOp::Unlock(node));
                insist("unlock", || store.admin(group, &unlock)).await?;
                scribe.declare(&Intent::Rest).await;
            }
            let waits = views.values().flat_map(|v| &v.queue).any(|t| t.node == self.name);
            if !held.is_empty() || !waits {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// Another run of the agent finds the slot it holds.
    async fn restart(&self, token: Token) -> Result<(), String> {
        self.scene.tally.count("agent killed while it held");
        let store = self.store();
        let held = insist("held", || store.held(&self.groups, &self.name, &self.nonce)).await?;
        let taken_away = held.is_none() && self.scene.plan.unlocks(self.index);
        if held == Some(token) || taken_away {
            return Ok(());
        }
        Err(format!("{} got token {token} and then found {held:?}", self.name))
    }

    async fn release(&mut self, token: Token, turn: &Turn) -> Result<(), String> {
        self.scribe.declare(&Intent::Release(token)).await;
        let mut killed = turn.release_killed;
        loop {
            let store = self.store();
            let release = store.release(&self.groups, &self.name, &self.nonce, turn.settle);
            match mortal(release, killed.take()).await {
                Some(Ok(())) => break,
                Some(Err(StoreError::Unreachable { .. })) => sleep(PAUSE).await,
                Some(Err(error)) => return Err(format!("{} releases: {error}", self.name)),
                None => self.scene.tally.count("agent killed while it gave back"),
            }
        }
        if !turn.settle.is_zero() {
            self.scene.tally.count("settle time");
        }
        Ok(())
    }
}

async fn happened(road: &Road) {
    while !road.happened() {
        sleep(Duration::from_millis(1)).await;
    }
}
