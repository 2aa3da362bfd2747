//! What happens to the members, and its end.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use etcd_client::{CompactionOptions, GetOptions, KeyValue};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::lane::Lane;
use crate::plan::{Accident, How, What, Who};

impl Lane {
    /// Lets the accidents happen one after the other, and ends each.
    pub async fn accidents(&mut self, prefix: &str, accidents: &[Accident]) {
        for accident in accidents {
            sleep(accident.after).await;
            self.accident(prefix, accident).await;
        }
    }

    async fn accident(&mut self, prefix: &str, accident: &Accident) {
        match accident.what {
            What::One(who, how) => {
                let member = self.member(who).await;
                self.tally.count(told(who, how));
                self.spoil(&[member], how);
                sleep(accident.lasts).await;
                self.mend(&[member], how);
            }
            What::Quorum(how) => {
                let leader = self.member(Who::Leader).await;
                let two = [leader, (leader + 1) % 3];
                self.tally.count("quorum lost");
                self.spoil(&two, how);
                sleep(accident.lasts).await;
                self.mend(&two, how);
            }
            What::SlowDisk(who, by) => {
                let member = self.member(who).await;
                self.tally.count("slow disk");
                let slow = slow_disk(self.cluster.pid(member), by);
                sleep(accident.lasts).await;
                end(slow);
            }
            What::Compaction => self.compact(accident).await,
            What::LeadershipMoved => self.move_leader().await,
            What::LeasesRevoked => self.revoke(prefix).await,
        }
    }

    async fn member(&self, who: Who) -> usize {
        let leader = self.cluster.leader().await;
        match who {
            Who::Leader => leader,
            Who::Follower => (leader + 1) % 3,
        }
    }

    fn spoil(&mut self, members: &[usize], how: How) {
        for &member in members {
            match how {
                How::Killed => self.cluster.kill(member),
                How::Frozen => self.cluster.freeze(member),
                How::Unplugged => self.net.plug(member, false),
                How::CutOff => self.roads(member, true, false),
                How::Mute => self.roads(member, false, false),
            }
        }
    }

    fn mend(&mut self, members: &[usize], how: How) {
        for &member in members {
            match how {
                How::Killed => self.cluster.restart(member),
                How::Frozen => self.cluster.thaw(member),
                How::Unplugged => self.net.plug(member, true),
                How::CutOff => self.roads(member, true, true),
                How::Mute => self.roads(member, false, true),
            }
        }
    }

    /// Opens or closes the roads to the other members, also those back when `both`.
    fn roads(&self, member: usize, both: bool, open: bool) {
        for other in (0..3).filter(|other| *other != member) {
            self.net.road(member, other, open);
            if both {
                self.net.road(other, member, open);
            }
        }
    }

    /// Compacts all that the observer has seen, and tidies up one member's file.
    async fn compact(&self, accident: &Accident) {
        let mut client = self.raw.client();
        let physical = CompactionOptions::new().with_physical();
        if client.compact(self.observer.seen(), Some(physical)).await.is_ok() {
            self.tally.count("compaction");
        }
        if accident.lasts.as_millis().is_multiple_of(2) && client.defragment().await.is_ok() {
            self.tally.count("defragmentation");
        }
    }

    async fn move_leader(&self) {
        let leader = self.cluster.leader().await;
        let mut client = self.cluster.client_of(leader).await;
        let Ok(members) = client.member_list().await else { return };
        let Ok(status) = client.status().await else { return };
        let other =
            members.members().iter().map(etcd_client::Member::id).find(|id| *id != status.leader());
        if client.move_leader(other.unwrap()).await.is_ok() {
            self.tally.count("leadership moved");
        }
    }

    async fn revoke(&self, prefix: &str) {
        let mut client = self.raw.client();
        let groups = format!("{prefix}/groups/");
        let Ok(found) = client.get(groups, Some(GetOptions::new().with_prefix())).await else {
            return;
        };
        let waits = |kv: &&KeyValue| kv.key_str().is_ok_and(|key| key.contains("/queue/"));
        let leases: BTreeSet<_> = found.kvs().iter().filter(waits).map(KeyValue::lease).collect();
        for lease in leases {
            if client.lease_revoke(lease).await.is_ok() {
                self.tally.count("ticket's lease revoked");
            }
        }
    }
}

fn told(who: Who, how: How) -> &'static str {
    match (who, how) {
        (Who::Leader, How::Killed) => "leader killed",
        (Who::Follower, How::Killed) => "follower killed",
        (Who::Leader, How::Frozen) => "leader frozen",
        (Who::Follower, How::Frozen) => "follower frozen",
        (Who::Leader, How::Unplugged) => "leader partitioned, from clients too",
        (Who::Follower, How::Unplugged) => "follower partitioned, from clients too",
        (Who::Leader, How::CutOff) => "leader partitioned",
        (Who::Follower, How::CutOff) => "follower partitioned",
        (Who::Leader, How::Mute) => "leader partitioned, one way",
        (Who::Follower, How::Mute) => "follower partitioned, one way",
    }
}

/// Makes every sync of a process to disk take so many milliseconds more.
#[expect(clippy::disallowed_methods, reason = "the test's own processes")]
fn slow_disk(pid: u32, millis: u64) -> Child {
    let slower = format!("inject=fdatasync,fsync:delay_enter={}", millis * 1000);
    Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fdatasync,fsync", "-e", &slower])
        .args(["-o", "/dev/null", "-p", &pid.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace of the package strace")
}

/// Ends it in a way that lets its process go on.
fn end(mut slow: Child) {
    let _ = kill_process(Pid::from_child(&slow), Signal::TERM);
    slow.wait().unwrap();
}
