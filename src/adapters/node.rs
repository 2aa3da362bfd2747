//! Who this node is: an id other services cannot link to it, a name, addresses, a nonce.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::plan::hex;

/// lockkeeper's application id (made once with `systemd-id128 new`); part of every node id, so it
/// must never change.
const APPLICATION: [u8; 16] = [
    0x15, 0x26, 0xf2, 0xec, 0x29, 0xf3, 0x4a, 0x0e, 0x90, 0xc2, 0xc5, 0x98, 0xf6, 0x0b, 0xc7, 0x5c,
];

/// Something about this node cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file of the system.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `/etc/machine-id` has not been set.
    #[error("{path} does not hold a machine id (32 hex digits); run systemd-machine-id-setup")]
    NoMachineId {
        /// Where.
        path: PathBuf,
    },
}

fn read(path: &Path) -> Result<String, NodeError> {
    fs::read_to_string(path).map_err(|source| NodeError::Read { path: path.to_owned(), source })
}

/// This node's id: 32 hex digits, the same after every boot, different on every machine that has a
/// machine id of its own. It does not give the machine id away.
pub fn id() -> Result<String, NodeError> {
    let path = Path::new("/etc/machine-id");
    id_of(read(path)?.trim()).ok_or_else(|| NodeError::NoMachineId { path: path.to_owned() })
}

/// The node id of the machine with this machine id; `None` when it is none.
#[must_use]
pub fn id_of(machine: &str) -> Option<String> {
    parse_id(machine).map(|machine| app_specific(machine, APPLICATION))
}

/// Host name, as the kernel has it.
pub fn name() -> Result<String, NodeError> {
    Ok(read(Path::new("/proc/sys/kernel/hostname"))?.trim().to_owned())
}

/// Number of a local user; `None` when `/etc/passwd` does not have it.
#[must_use]
pub fn user_id(name: &str) -> Option<u32> {
    user_id_in(&fs::read_to_string("/etc/passwd").unwrap_or_default(), name)
}

fn user_id_in(passwd: &str, name: &str) -> Option<u32> {
    let mut rows = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    rows.find(|row| row.first() == Some(&name)).and_then(|row| row.get(2)?.parse().ok())
}

/// A fresh random text of 32 hex digits.
pub fn nonce() -> Result<String, NodeError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| NodeError::Read { path: path.to_owned(), source })?;
    Ok(hex(&bytes))
}

/// The node's own addresses, without loopback and link-local ones; IPv4 first.
pub fn addresses() -> Result<Vec<IpAddr>, NodeError> {
    let v4 = local_v4(&read(Path::new("/proc/net/fib_trie"))?);
    // The file is absent when IPv6 is switched off.
    let v6 = fs::read_to_string("/proc/net/if_inet6").map(|text| global_v6(&text));
    let v6 = v6.unwrap_or_default();
    Ok(v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).collect())
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().filter(|id| *id != 0).map(u128::to_be_bytes)
}

/// `sd_id128_get_machine_app_specific(3)`: HMAC-SHA256 of the application id, keyed by the machine
/// id, cut to 128 bits and marked as a random (version 4) UUID.
fn app_specific(machine: [u8; 16], application: [u8; 16]) -> String {
    // A key of any length will do for HMAC; 16 bytes never fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&machine) else { return String::new() };
    mac.update(&application);
    let mut id: [u8; 16] = [0; 16];
    id.copy_from_slice(&mac.finalize().into_bytes()[..16]);
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    hex(&id)
}

/// Addresses that `/proc/net/fib_trie` calls `/32 host LOCAL`.
fn local_v4(fib_trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut last = None;
    let mut found = BTreeSet::new();
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last.filter(|a| !a.is_loopback() && !a.is_link_local()));
        }
    }
    found
}

/// Addresses of global scope (`00`) in `/proc/net/if_inet6`.
fn global_v6(if_inet6: &str) -> BTreeSet<Ipv6Addr> {
    let parse = |line: &str| {
        let mut columns = line.split_whitespace();
        let address = u128::from_str_radix(columns.next()?, 16).ok()?;
        let scope = columns.nth(2)?;
        (scope == "00").then(|| Ipv6Addr::from(address))
    };
    if_inet6.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_id_is_what_systemd_derives_from_the_same_machine_id() {
        let theirs = crate::adapters::command::Command::new("systemd-id128")
            .args(["machine-id", "--app-specific"])
            .arg(hex(&APPLICATION))
            .output()
            .await
            .unwrap();
        assert_eq!(id().unwrap(), theirs.trim());
    }

    #[test]
    fn the_agents_user_is_found_by_its_name_only() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnotlockkeeper:x:7:7:::\nlockkeeper:x:998:998:::\n";
        assert_eq!(user_id_in(passwd, "lockkeeper"), Some(998));
        assert_eq!(user_id_in("lockkeeper2:x:5:5\nx:lockkeeper:6:6\n", "lockkeeper"), None);
        assert_eq!(user_id_in("lockkeeper:x:many:1\n", "lockkeeper"), None);
    }

    #[test]
    fn the_id_is_the_known_one_for_a_known_machine() {
        let machine = parse_id("00112233445566778899aabbccddeeff").unwrap();
        assert_eq!(app_specific(machine, APPLICATION), "60f08ebe92944fd09e8eda652fec3d5a");
    }

    #[test]
    fn an_unset_machine_id_is_no_id() {
        for text in [
            "",
            "uninitialized",
            "00000000000000000000000000000000",
            "0011",
            "+0112233445566778899aabbccddeeff",
        ] {
            assert_eq!(parse_id(text), None, "{text}");
        }
    }

    #[test]
    fn own_ipv4_addresses_are_found_once_and_without_loopback() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
            +-- 192.0.2.0/24 2 0 2\n           |-- 192.0.2.0\n              /24 link UNICAST\n           \
            |-- 192.0.2.2\n              /32 host LOCAL\n        |-- 192.0.2.255\n           \
            /32 link BROADCAST\nLocal:\n        |-- 127.0.0.1\n           /32 host LOCAL\n        \
            |-- 192.0.2.2\n           /32 host LOCAL\n        |-- 169.254.3.4\n           /32 host LOCAL\n";
        assert_eq!(local_v4(text).into_iter().collect::<Vec<_>>(), [Ipv4Addr::new(192, 0, 2, 2)]);
    }

    #[test]
    fn only_global_ipv6_addresses_count() {
        let text = "20010db8000000000000000000000002 04 40 00 82     eth0\n\
                    00000000000000000000000000000001 01 80 10 80       lo\n\
                    fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n";
        let expected: Ipv6Addr = "2001:db8::2".parse().unwrap();
        assert_eq!(global_v6(text).into_iter().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn nonces_differ() {
        let (a, b) = (nonce().unwrap(), nonce().unwrap());
        assert_eq!(a.len(), 32);
        assert_ne!(a, b);
    }
}
