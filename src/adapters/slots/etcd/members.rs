//! The cluster's members, each asked how it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use etcd_client::{GetOptions, MemberListResponse, ResponseHeader, StatusResponse};
use futures_util::future::join_all;

use super::EtcdStore;
use super::client::Pool;
use super::failure::{Failure, Kind};
use super::place::Spots;
use crate::core::quorum::{Alarm, Cluster, Endpoint, Leader, Member, Status};

/// A member that does not say how it is within this is not well.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// What each URL answered.
type Answers = BTreeMap<String, Result<Heard, Failure>>;

/// What the member behind a URL says.
struct Heard {
    cluster: u64,
    member: u64,
    status: Status,
    alarms: Vec<Alarm>,
}

impl EtcdStore {
    /// The cluster as its members tell it, seen from the machine with the addresses `own`. Works
    /// without a quorum too, as long as one member answers.
    pub(super) async fn members(&self, own: &[IpAddr]) -> Result<Cluster, Failure> {
        let list = self.member_list().await?;
        let id = list.header().map_or(0, ResponseHeader::cluster_id);
        let advertised = list.members().iter().flat_map(etcd_client::Member::client_urls);
        let urls = self.pool.endpoints().chain(advertised.map(String::as_str));
        let answers = ask(&self.pool, urls, &self.keys.groups()).await;
        let spots = Spots::of(own, list.members(), self.pool.endpoints()).await;
        let member = |member| seen(member, id, &answers, &spots);
        let endpoint = |url: &str| Endpoint { url: url.to_owned(), answer: who(url, id, &answers) };
        Ok(Cluster {
            members: list.members().iter().map(member).collect(),
            alarms: alarms(answers.values().flatten()),
            endpoints: self.pool.endpoints().map(endpoint).collect(),
        })
    }

    /// A list confirmed by a member that sees a leader; else any member's.
    async fn member_list(&self) -> Result<MemberListResponse, Failure> {
        let failure = match self.pool.members().await {
            Ok(list) => return Ok(list),
            Err(failure) => failure,
        };
        for url in self.pool.endpoints() {
            let list =
                self.pool.at(url, DEADLINE, |mut client| async move { client.member_list().await });
            if let Ok(list) = list.await {
                return Ok(list);
            }
        }
        Err(failure)
    }
}

/// Asks every URL once, all at the same time. `key`: one we may read.
async fn ask<'a>(pool: &Pool, urls: impl Iterator<Item = &'a str>, key: &str) -> Answers {
    let mut urls: Vec<&str> = urls.collect();
    urls.sort_unstable();
    urls.dedup();
    let asked =
        urls.into_iter().map(|url| async move { (url.to_owned(), hear(pool, url, key).await) });
    join_all(asked).await.into_iter().collect()
}

/// The status of the member behind `url`. Where only root may ask for it (some releases of etcd with
/// access control), a read that this member confirms with the others tells that it is well.
async fn hear(pool: &Pool, url: &str, key: &str) -> Result<Heard, Failure> {
    match status(pool, url).await {
        Ok(status) => Ok(Heard::of(&status)),
        Err(denied) if denied.kind == Kind::Denied => {
            let read = pool.at(url, DEADLINE, |mut client| async move {
                client.get(key, Some(GetOptions::new().with_count_only())).await
            });
            read.await.map(|answer| Heard::reading(answer.header()))
        }
        Err(failure) => Err(failure),
    }
}

/// The status of the one member behind `url`.
pub(super) async fn status(pool: &Pool, url: &str) -> Result<StatusResponse, Failure> {
    pool.at(url, DEADLINE, |mut client| async move { client.status().await }).await
}

impl Heard {
    fn of(said: &StatusResponse) -> Self {
        let bytes = |count: i64| u64::try_from(count).unwrap_or(0);
        let leader = match said.leader() {
            0 => Leader::None,
            id => Leader::Member(id),
        };
        let other = |error: &&String| alarm(error).is_none() && leader != Leader::None;
        let status = Status {
            version: said.version().to_owned(),
            leader,
            raft_index: Some(said.raft_index()),
            db_size: bytes(said.db_size()),
            db_in_use: bytes(said.raft_used_db_size()),
            db_quota: Some(bytes(said.db_size_quota())).filter(|quota| *quota > 0),
            errors: said.errors().iter().filter(other).cloned().collect(),
        };
        let alarms = said.errors().iter().filter_map(|error| alarm(error)).collect();
        Self { status, alarms, ..Self::reading(said.header()) }
    }

    /// What a confirmed read tells: that there is a leader, and who answers.
    fn reading(header: Option<&ResponseHeader>) -> Self {
        let status = Status {
            version: String::new(),
            leader: Leader::Hidden,
            raft_index: None,
            db_size: 0,
            db_in_use: 0,
            db_quota: None,
            errors: Vec::new(),
        };
        Self {
            cluster: header.map_or(0, ResponseHeader::cluster_id),
            member: header.map_or(0, ResponseHeader::member_id),
            status,
            alarms: Vec::new(),
        }
    }
}

/// Which member of the cluster `id` answers at `url`.
fn who(url: &str, id: u64, answers: &Answers) -> Result<u64, String> {
    match answers.get(url) {
        None => Err(format!("{url}: not asked")),
        Some(Err(failure)) => Err(failure.what.clone()),
        Some(Ok(heard)) if heard.cluster == id => Ok(heard.member),
        Some(Ok(_)) => Err(format!("{url}: a member of another cluster answers")),
    }
}

fn seen(member: &etcd_client::Member, id: u64, answers: &Answers, spots: &Spots<'_>) -> Member {
    let speaks = |url: &&String| who(url, id, answers) == Ok(member.id());
    let heard: Vec<&str> = answers.keys().filter(speaks).map(String::as_str).collect();
    let status = heard.first().and_then(|url| Some(&answers.get(*url)?.as_ref().ok()?.status));
    Member {
        id: member.id(),
        name: member.name().to_owned(),
        client_urls: member.client_urls().to_vec(),
        peer_urls: member.peer_urls().to_vec(),
        learner: member.is_learner(),
        place: spots.place(member, &heard),
        answer: status.cloned().ok_or_else(|| silence(member, id, answers)),
    }
}

/// Why nothing is known of a member.
fn silence(member: &etcd_client::Member, id: u64, answers: &Answers) -> String {
    let why = |url: &String| match who(url, id, answers) {
        Ok(_) => format!("{url}: another member answers"),
        Err(why) => why,
    };
    let whys: Vec<String> = member.client_urls().iter().map(why).collect();
    if whys.is_empty() { "it has no address for clients".to_owned() } else { whys.join("; ") }
}

/// Every alarm that somebody tells of, once.
fn alarms<'a>(answers: impl Iterator<Item = &'a Heard>) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = answers.flat_map(|heard| heard.alarms.clone()).collect();
    alarms.sort();
    alarms.dedup();
    alarms
}

/// The alarm in a member's complaint `memberID:123 alarm:NOSPACE`. Asking for alarms outright needs a
/// quorum, this does not.
fn alarm(error: &str) -> Option<Alarm> {
    let mut words = error.split_whitespace();
    let member = words.next()?.strip_prefix("memberID:")?.parse().ok()?;
    let word = words.next()?.strip_prefix("alarm:")?.to_owned();
    Some(Alarm { member, word })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_read_out_of_a_members_complaints() {
        let read = alarm("memberID:10501334649042878790 alarm:NOSPACE ");
        let expected = Alarm { member: 10_501_334_649_042_878_790, word: "NOSPACE".to_owned() };
        assert_eq!(read, Some(expected));
        for other in ["etcdserver: no leader", "memberID:x alarm:NOSPACE", "memberID:1", ""] {
            assert_eq!(alarm(other), None, "{other}");
        }
    }
}
