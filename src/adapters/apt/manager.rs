//! apt and dpkg as the package manager of a system.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    AptError, Layout, apt_get, changelog, flag, installed,
    plans::{Outcome, Way},
    repository, resolve, sources, space, stage, transaction, undo,
};
use crate::{
    adapters::{
        kernel, microcode,
        packages::{Answer, News, PackageManager, Resolved, Wish, snapshot},
    },
    config::settings::Snapshot,
    core::{
        health::{Evidence, combine},
        plan::{PackageChange, Plan, PlanId},
    },
    observe::logging::chain,
};

/// apt and dpkg, and the system they look after.
#[derive(Debug)]
pub struct Apt<'l> {
    layout: &'l Layout,
}

impl<'l> Apt<'l> {
    /// Those of a system.
    #[must_use]
    pub fn new(layout: &'l Layout) -> Self {
        Self { layout }
    }

    /// What was asked of apt's lists; the cache of them has served.
    async fn forgetting<T>(
        &self,
        answer: impl Future<Output = Result<T, AptError>>,
    ) -> Result<T, AptError> {
        let answer = answer.await;
        apt_get::forget_cache(self.layout)?;
        answer
    }
}

impl PackageManager for Apt<'_> {
    fn check<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Resolved> {
        let check = async move {
            let rules = wish.rules(self.layout)?;
            let archives = wish.release.as_ref().map_or(&[][..], |release| &release.archives);
            sources::bring(self.layout, archives).await?;
            sources::refresh(self.layout).await?;
            resolve::resolve(self.layout, &rules, wish.packages.phased).await
        };
        self.forgetting(check).boxed()
    }

    fn is_good<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, bool> {
        stage::is_good(self.layout, plan).boxed()
    }

    fn fill<'a>(&'a self, plan: &'a Plan) -> Answer<'a, ()> {
        self.forgetting(stage::fill(self.layout, plan)).boxed()
    }

    fn prove<'a>(&'a self, plan: &'a Plan) -> Answer<'a, ()> {
        self.forgetting(stage::prove(self.layout, plan)).boxed()
    }

    fn arrange<'a>(&'a self, id: &'a PlanId, choice: Snapshot) -> Answer<'a, ()> {
        let room = async |plan: &Plan| space::check_beside(self.layout, plan).await;
        self.forgetting(snapshot::arrange(self.layout, id, choice, room)).boxed()
    }

    fn clear(&self, id: &PlanId) -> Result<(), AptError> {
        repository::clear(self.layout, id)
    }

    fn needed_by<'a>(&'a self, id: &'a PlanId, name: &'a str) -> Answer<'a, Vec<String>> {
        async move { Ok(repository::needed_by(&repository::index(self.layout, id)?, name)) }.boxed()
    }

    fn news<'a>(&'a self, id: &'a PlanId, package: &'a PackageChange) -> Answer<'a, Option<News>> {
        let news = |text: String| News { urgency: changelog::urgency(&text), text };
        async move { Ok(changelog::of(self.layout, id, package).await?.map(news)) }.boxed()
    }

    fn attempt<'a>(
        &'a self,
        id: &'a PlanId,
        way: Way,
        lock_limit: Duration,
    ) -> BoxFuture<'a, Outcome> {
        attempt(self.layout, id, way, lock_limit).boxed()
    }

    fn ails<'a>(&'a self, plan: &'a Plan, or_undone: bool) -> Answer<'a, Vec<String>> {
        let have = installed::query(self.layout);
        async move { Ok(installed::ails(plan, &have.await?, or_undone)) }.boxed()
    }

    fn installed(&self) -> Answer<'_, BTreeMap<String, String>> {
        installed::versions(self.layout).boxed()
    }

    fn is_newer(&self, version: &str, than: &str) -> bool {
        super::version::compare(version, than).is_gt()
    }

    fn reboot_evidence(&self) -> BoxFuture<'_, Evidence> {
        async move {
            let kernel = kernel::evidence(self.layout).await;
            combine([flag::evidence(self.layout), kernel, microcode::evidence(self.layout)])
        }
        .boxed()
    }
}

async fn attempt(layout: &Layout, id: &PlanId, way: Way, lock_limit: Duration) -> Outcome {
    let outcome = match way {
        Way::There => match prepared(transaction::prepare(layout, id, lock_limit).await) {
            Ok(ready) => match snapshot::take(layout, id).await {
                Ok(()) => transaction::install(layout, ready).await,
                Err(error) => return Outcome::Refused { reason: chain(&error) },
            },
            Err(refused) => return refused,
        },
        Way::Back => match snapshot::go_back(layout, id).await {
            Ok(Some(outcome)) => Ok(outcome),
            Ok(None) => match prepared(undo::prepare(layout, id, lock_limit).await) {
                Ok(ready) => undo::go(layout, &ready).await,
                Err(refused) => return refused,
            },
            Err(error) => return Outcome::Refused { reason: chain(&error) },
        },
    };
    outcome.unwrap_or_else(|error| Outcome::Failed { reason: chain(&error) })
}

fn prepared<T>(ready: Result<Result<T, String>, AptError>) -> Result<T, Outcome> {
    let ready = ready.unwrap_or_else(|error| Err(chain(&error)));
    ready.map_err(|reason| Outcome::Refused { reason })
}
