//! Network namespaces: a bridge in one, and members of a cluster each in one of their own.
//!
//! Their names carry the id of the process that made them. They go when the value goes, and what a
//! killed process left goes when the next one begins.
#![allow(dead_code)] // each test program uses a part of it

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const NAMED: &str = "/run/netns";
const BRIDGE: &str = "br0";

/// A bridge and what hangs on it, with addresses in 192.0.2.0/24 that are nobody's outside.
pub struct Net {
    hub: String,
    members: Vec<String>,
}

impl Net {
    /// `lane` tells several of one process apart.
    pub fn new(lane: usize, members: usize) -> Self {
        let name = |what: &str| format!("{}{lane}-{what}", own());
        let net = Self {
            hub: name("hub"),
            members: (0..members).map(|m| name(&format!("m{m}"))).collect(),
        };
        ip(&["netns", "add", &net.hub]);
        ip(&["-n", &net.hub, "link", "set", "lo", "up"]);
        ip(&["-n", &net.hub, "link", "add", BRIDGE, "type", "bridge"]);
        ip(&["-n", &net.hub, "address", "add", "192.0.2.1/24", "dev", BRIDGE]);
        ip(&["-n", &net.hub, "link", "set", BRIDGE, "up"]);
        for (index, member) in net.members.iter().enumerate() {
            let (port, address) = (port(index), format!("{}/24", Self::address(index)));
            ip(&["netns", "add", member]);
            ip(&["-n", member, "link", "set", "lo", "up"]);
            let veth = ["type", "veth", "peer", "name", "eth0", "netns", member];
            ip(&[&["-n", &net.hub, "link", "add", &port], &veth[..]].concat());
            ip(&["-n", &net.hub, "link", "set", &port, "master", BRIDGE, "up"]);
            ip(&["-n", member, "address", "add", &address, "dev", "eth0"]);
            ip(&["-n", member, "link", "set", "eth0", "up"]);
        }
        net
    }

    /// The address of a member.
    pub fn address(index: usize) -> String {
        format!("192.0.2.{}", 11 + index)
    }

    /// The namespace of a member, as a file to enter it by.
    pub fn member(&self, index: usize) -> String {
        format!("{NAMED}/{}", self.members[index])
    }

    /// Takes this thread, and those it starts from now on, to the bridge.
    pub fn enter(&self) {
        let space = File::open(format!("{NAMED}/{}", self.hub)).unwrap();
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Pulls a member's plug, or puts it back. What it is sent meanwhile is lost without a word.
    pub fn plug(&self, index: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        ip(&["-n", &self.hub, "link", "set", &port(index), state]);
    }

    /// Whether one member can send to another. It is told at once when it cannot.
    pub fn road(&self, from: usize, to: usize, open: bool) {
        let (space, to) = (&self.members[from], &Self::address(to));
        if open {
            // It may be open already.
            let _ = try_ip(&["-n", space, "route", "delete", "unreachable", to]);
        } else {
            ip(&["-n", space, "route", "replace", "unreachable", to]);
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for space in self.members.iter().chain([&self.hub]) {
            remove(space);
        }
    }
}

/// What the names of everything that this process leaves lying about begin with.
pub fn own() -> String {
    format!("lkfaults-{}-", std::process::id())
}

/// Names in a directory that belong to processes that are no more.
pub fn orphans(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let orphan = |name: &String| {
        let pid = name.strip_prefix("lkfaults-").and_then(|rest| rest.split('-').next());
        // A process that is dead, but not buried yet, has no program either.
        pid.is_some_and(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_err())
    };
    names.filter(orphan).collect()
}

/// Removes the namespaces that processes that are no more have left.
pub fn sweep() {
    for space in orphans(Path::new(NAMED)) {
        remove(&space);
    }
}

/// Ends what runs in a namespace of ours, and removes it.
fn remove(space: &str) {
    for pid in try_ip(&["netns", "pids", space]).unwrap_or_default().split_whitespace() {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    if let Err(why) = try_ip(&["netns", "delete", space]) {
        eprintln!("{space} is left behind: {why}");
    }
}

fn port(index: usize) -> String {
    format!("m{index}")
}

fn ip(args: &[&str]) {
    if let Err(why) = try_ip(args) {
        panic!("ip {}: {why} (the fault tests need root and network namespaces)", args.join(" "));
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's own processes")]
fn try_ip(args: &[&str]) -> Result<String, String> {
    let done = Command::new("ip").args(args).output().expect("ip of the package iproute2");
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }
}
