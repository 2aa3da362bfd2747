//! Would etcd lose its quorum if this machine went down now?

use std::net::IpAddr;
use std::time::Duration;

use etcd_client::{Member, StatusResponse};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::EtcdStore;
use super::client;
use crate::core::health::Evidence;

/// A member that does not say how it is within this is not well.
const DEADLINE: Duration = Duration::from_secs(2);

impl EtcdStore {
    /// See [`crate::adapters::slots::SlotStore::quorum_risk`]. Only a member on this very machine
    /// makes its reboot a risk. A cluster of one or two always loses its quorum when one member
    /// reboots; that is no reason against it, since it comes back with it.
    pub(in crate::adapters::slots) async fn quorum_risk(&self, own: &[IpAddr]) -> Evidence {
        let list = match self.pool.members().await {
            Ok(list) => list,
            Err(failure) => return unknown(&format!("the members of etcd: {}", failure.what)),
        };
        let cluster = list.header().map_or(0, etcd_client::ResponseHeader::cluster_id);
        let members = list.members();
        let places = join_all(members.iter().map(|member| place(member, own))).await;
        let mut ours = places.iter().zip(members).filter(|(p, _)| **p == Place::Here);
        let Some((_, own_member)) = ours.next() else {
            return lost(&places).map_or(Evidence::No, |why| unknown(&why));
        };
        let voters = members.iter().filter(|m| !m.is_learner()).count();
        if own_member.is_learner() || voters <= 2 {
            return Evidence::No;
        }
        let others = members.iter().filter(|m| !m.is_learner() && m.id() != own_member.id());
        let ills = join_all(others.map(|member| ill(member, cluster))).await;
        verdict(voters, ills.into_iter().flatten().collect())
    }
}

/// Where a member runs.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here,
    Elsewhere,
    /// A host name of it cannot be resolved.
    Lost(String),
}

fn lost(places: &[Place]) -> Option<String> {
    places.iter().find_map(|place| match place {
        Place::Lost(host) => Some(format!("where etcd's member at {host} runs: unknown host")),
        Place::Here | Place::Elsewhere => None,
    })
}

async fn place(member: &Member, own: &[IpAddr]) -> Place {
    let mut place = Place::Elsewhere;
    for url in member.peer_urls().iter().chain(member.client_urls()) {
        match addresses(url).await {
            Some(found) if found.iter().any(|ip| own.contains(ip)) => return Place::Here,
            Some(_) => {}
            None => place = Place::Lost(url.clone()),
        }
    }
    place
}

/// The addresses a URL leads to; `None` when its host cannot be resolved.
async fn addresses(url: &str) -> Option<Vec<IpAddr>> {
    let host = host(url);
    if let Ok(address) = host.parse() {
        return Some(vec![address]);
    }
    let found = timeout(DEADLINE, tokio::net::lookup_host((host, 0))).await.ok()?.ok()?;
    Some(found.map(|socket| socket.ip()).collect())
}

/// The host in `http://host:port/…`, `https://[2001:db8::1]:2379`.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, _)) => v6,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// What ails a member, if anything.
async fn ill(member: &Member, cluster: u64) -> Option<String> {
    let mut why = "it has not started yet".to_owned();
    for url in member.client_urls() {
        match client::status(url, DEADLINE).await {
            Ok(status) => match complaint(&status, cluster) {
                None => return None,
                Some(complaint) => why = format!("{url}: {complaint}"),
            },
            Err(failure) => why = failure.what,
        }
    }
    let name = if member.name().is_empty() { "(unnamed)" } else { member.name() };
    Some(format!("etcd member {name} is not well ({why})"))
}

fn complaint(status: &StatusResponse, cluster: u64) -> Option<String> {
    if status.header().is_some_and(|h| h.cluster_id() != cluster) {
        return Some("a member of another cluster answers".to_owned());
    }
    if status.leader() == 0 {
        return Some("it sees no leader".to_owned());
    }
    (!status.errors().is_empty()).then(|| status.errors().join(", "))
}

/// `ills`: what ails the voters that are not ours, one sentence each.
fn verdict(voters: usize, ills: Vec<String>) -> Evidence {
    let needed = voters / 2 + 1;
    let left = voters - 1 - ills.len();
    if left >= needed {
        return Evidence::No;
    }
    let sum = format!(
        "without this machine {left} of etcd's {voters} voting members would be left, {needed} are needed"
    );
    Evidence::Yes { reasons: ills.into_iter().chain([sum]).collect() }
}

fn unknown(why: &str) -> Evidence {
    Evidence::Unknown { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_member_urls() {
        let table = [
            ("http://192.0.2.1:2379", "192.0.2.1"),
            ("https://[2001:db8::1]:2380/", "2001:db8::1"),
            ("http://m1.example.com:2379", "m1.example.com"),
            ("http://m1", "m1"),
        ];
        for (url, expected) in table {
            assert_eq!(host(url), expected);
        }
    }

    #[test]
    fn a_quorum_of_healthy_members_must_be_left() {
        let ills = |n: usize| vec!["ill".to_owned(); n];
        assert_eq!(verdict(3, ills(0)), Evidence::No);
        assert!(matches!(verdict(3, ills(1)), Evidence::Yes { reasons } if reasons.len() == 2));
        assert_eq!(verdict(5, ills(1)), Evidence::No);
        assert!(matches!(verdict(5, ills(2)), Evidence::Yes { .. }));
        assert!(matches!(verdict(4, ills(1)), Evidence::Yes { .. }));
    }
}
