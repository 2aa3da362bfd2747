//! On which machine a member runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use etcd_client::Member;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::members::DEADLINE;
use crate::core::quorum::Place;

/// Where a URL leads, seen from this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spot {
    /// To this machine.
    Own,
    /// To whatever machine it is used on: it says nothing about where a member runs until that
    /// member answers there.
    Loopback,
    /// To another machine.
    Other,
    /// Its host cannot be resolved.
    Unknown,
}

/// Where every URL of the cluster leads.
pub(super) struct Spots<'a>(BTreeMap<&'a str, Spot>);

impl<'a> Spots<'a> {
    /// Looks at the URLs of `members` and at the configured `endpoints`.
    pub(super) async fn of(
        own: &[IpAddr],
        members: &'a [Member],
        endpoints: impl Iterator<Item = &'a str>,
    ) -> Self {
        let urls = members.iter().flat_map(urls).chain(endpoints);
        let spots = urls.map(|url| async move { (url, spot(url, own).await) });
        Self(join_all(spots).await.into_iter().collect())
    }

    /// Where `member` runs, which answered at the URLs `heard`.
    pub(super) fn place(&self, member: &Member, heard: &[&str]) -> Place {
        let advertised: Vec<(&str, &Spot)> =
            urls(member).map(|url| (url, self.spot(url))).collect();
        let heard: Vec<&Spot> = heard.iter().map(|url| self.spot(url)).collect();
        judge(&advertised, &heard)
    }

    fn spot(&self, url: &str) -> &Spot {
        self.0.get(url).unwrap_or(&Spot::Unknown)
    }
}

fn urls(member: &Member) -> impl Iterator<Item = &str> {
    member.peer_urls().iter().chain(member.client_urls()).map(String::as_str)
}

fn judge(advertised: &[(&str, &Spot)], heard: &[&Spot]) -> Place {
    let leads_to = |spot: Spot| advertised.iter().any(|(_, found)| **found == spot);
    if leads_to(Spot::Own) || heard.iter().any(|s| matches!(s, Spot::Own | Spot::Loopback)) {
        return Place::Here;
    }
    if !heard.is_empty() {
        return Place::Elsewhere;
    }
    if let Some((url, _)) = advertised.iter().find(|(_, spot)| **spot == Spot::Unknown) {
        return Place::Unknown(format!("the host of {url} is not known here"));
    }
    if leads_to(Spot::Other) {
        return Place::Elsewhere;
    }
    Place::Unknown("it advertises only loopback addresses and does not answer there".to_owned())
}

async fn spot(url: &str, own: &[IpAddr]) -> Spot {
    let host = host(url);
    if let Ok(address) = host.parse::<IpAddr>() {
        return match address {
            address if own.contains(&address) => Spot::Own,
            address if anywhere(address) => Spot::Loopback,
            _ => Spot::Other,
        };
    }
    if host.starts_with("localhost") || host.starts_with("ip6-") {
        return Spot::Loopback;
    }
    let found = timeout(DEADLINE, tokio::net::lookup_host((host, 0))).await;
    let Ok(Ok(found)) = found else { return Spot::Unknown };
    // A machine's own name often leads to its loopback (Debian writes 127.0.1.1 into /etc/hosts).
    let ours = |address: IpAddr| own.contains(&address) || address.is_loopback();
    if found.map(|socket| socket.ip()).any(ours) { Spot::Own } else { Spot::Other }
}

/// The addresses that lead to whatever machine uses them. Others of 127.0.0.0/8 are given on purpose,
/// to play several machines on one.
fn anywhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 1, 1), Ipv4Addr::UNSPECIFIED].contains(&v4)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    }
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

    #[tokio::test]
    async fn a_url_leads_here_elsewhere_or_to_whoever_uses_it() {
        let own = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        for (url, expected) in [
            ("http://192.0.2.1:2379", Spot::Own),
            ("http://[2001:db8::1]:2379", Spot::Own),
            ("http://192.0.2.2:2379", Spot::Other),
            ("http://127.9.0.1:2379", Spot::Other),
            ("http://127.0.0.1:2379", Spot::Loopback),
            ("http://127.0.1.1:2379", Spot::Loopback),
            ("http://[::1]:2379", Spot::Loopback),
            ("http://0.0.0.0:2379", Spot::Loopback),
            ("http://localhost:2379", Spot::Loopback),
            ("http://nowhere.invalid:2379", Spot::Unknown),
        ] {
            assert_eq!(spot(url, &own).await, expected, "{url}");
        }
    }

    #[test]
    fn a_member_is_here_if_its_address_is_or_if_it_answers_on_loopback() {
        use Spot::{Loopback, Other, Own, Unknown};
        let unknown = |why: &str| Place::Unknown(why.to_owned());
        let no_host = unknown("the host of u is not known here");
        let only_loopback =
            unknown("it advertises only loopback addresses and does not answer there");
        let table: [(&[Spot], &[Spot], Place); 10] = [
            (&[Own, Other], &[], Place::Here),
            (&[Unknown, Own], &[], Place::Here),
            (&[Loopback], &[Loopback], Place::Here),
            // A container with an address of its own, its port published on this machine.
            (&[Other], &[Loopback], Place::Here),
            (&[Other, Other], &[Other], Place::Elsewhere),
            (&[Other, Loopback], &[], Place::Elsewhere),
            // It said so itself, from there.
            (&[Loopback, Unknown], &[Other], Place::Elsewhere),
            (&[Other, Unknown], &[], no_host),
            (&[Loopback, Loopback], &[], only_loopback.clone()),
            (&[], &[], only_loopback),
        ];
        for (advertised, heard, expected) in table {
            let pairs: Vec<(&str, &Spot)> = advertised.iter().map(|spot| ("u", spot)).collect();
            let found = judge(&pairs, &heard.iter().collect::<Vec<_>>());
            assert_eq!(found, expected, "{advertised:?}, answered at {heard:?}");
        }
    }
}
