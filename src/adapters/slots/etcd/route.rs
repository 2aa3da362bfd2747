//! The address that this machine has for the rest of the fleet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::adapters::node;

/// A name that takes longer to look up is passed over: somebody waits to be told that we are leaving.
const LOOK_UP: Duration = Duration::from_secs(1);

/// The address from which this machine reaches etcd. One that says nothing to others (etcd is on this
/// machine) is not taken; then it is the machine's first one. `None` where there is none.
pub(super) async fn own_address(endpoints: impl Iterator<Item = &str>) -> Option<String> {
    for url in endpoints {
        let found = timeout(LOOK_UP, towards(url)).await.ok().flatten();
        if let Some(address) = found.filter(|address| !address.is_loopback()) {
            return Some(address.to_string());
        }
    }
    Some(node::addresses().ok()?.first()?.to_string())
}

/// The address as it stands in a URL, so that `:PORT` can follow it.
pub(super) fn in_url(address: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => address.to_owned(),
    }
}

/// The address that packets to `url` go out with. Nothing is sent.
async fn towards(url: &str) -> Option<IpAddr> {
    let to = lookup_host(url.split_once("://")?.1).await.ok()?.next()?;
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(to).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_address_towards_an_etcd_on_this_machine_is_not_taken() {
        assert_eq!(towards("http://127.0.0.1:2379").await.unwrap().to_string(), "127.0.0.1");
        assert_eq!(towards("no url").await, None);
        let own = own_address(["http://127.0.0.1:2379"].into_iter()).await;
        let first = node::addresses().unwrap().first().map(ToString::to_string);
        assert_eq!(own, first);
    }

    #[test]
    fn a_port_can_follow_any_address() {
        assert_eq!(in_url("192.0.2.11"), "192.0.2.11");
        assert_eq!(in_url("2001:db8::1"), "[2001:db8::1]");
        assert_eq!(in_url("web-1.example.com"), "web-1.example.com");
    }
}
