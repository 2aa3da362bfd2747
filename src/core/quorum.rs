//! etcd's own members, as they were seen, and what follows for a machine that carries one.
//!
//! The lock lives in etcd, and etcd may live on the machines that the lock lets down. So a machine
//! with a member goes down only while all voters are well, and counts as back only when they are again.

use super::health::Evidence;

/// Entries a voter may be behind the furthest one. etcd keeps this many for slow followers; one that
/// is further behind needs a whole snapshot first.
const LAG: u64 = 5000;

/// One look at the cluster behind the lock store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Every member in the cluster's own list.
    pub members: Vec<Member>,
    /// Alarms that are raised now.
    pub alarms: Vec<Alarm>,
    /// The endpoints that were asked.
    pub endpoints: Vec<Endpoint>,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id; people and `etcdctl` write it in hex.
    pub id: u64,
    /// Its name; empty until it has been started for the first time.
    pub name: String,
    /// Where clients are told to reach it.
    pub client_urls: Vec<String>,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Follows without a vote.
    pub learner: bool,
    /// Where it runs.
    pub place: Place,
    /// What it says of itself, or why that is not known.
    pub answer: Result<Status, String>,
}

/// Where a member runs, seen from the machine that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this very machine.
    Here,
    /// On another machine.
    Elsewhere,
    /// It cannot be told; why.
    Unknown(String),
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Version of etcd, such as `3.5.16`; empty when it may not be asked.
    pub version: String,
    /// Whom it follows.
    pub leader: Leader,
    /// The last entry of the log it knows to be committed; `None` when it may not be asked.
    pub raft_index: Option<u64>,
    /// Bytes of its database file.
    pub db_size: u64,
    /// Bytes of them in use.
    pub db_in_use: u64,
    /// Bytes the file may grow to; `None` when the member does not say (before 3.6).
    pub db_quota: Option<u64>,
    /// Other complaints of its own.
    pub errors: Vec<String>,
}

/// Whom a member follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// It sees no leader.
    None,
    /// The member of this id, perhaps itself.
    Member(u64),
    /// There is one, but we may not ask who (access control of some versions of etcd).
    Hidden,
}

/// An alarm that a member has raised. It stays raised until an admin disarms it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// Id of the member that raised it.
    pub member: u64,
    /// etcd's word: `NOSPACE`, `CORRUPT`.
    pub word: String,
}

/// An endpoint that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As it is configured.
    pub url: String,
    /// Id of the member that answers there, or why none does.
    pub answer: Result<u64, String>,
}

/// What was done about leadership before this machine goes down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// Name of the member that leads now, if it was handed over.
    pub handed_to: Option<String>,
    /// What etcd will suffer while this machine is down, if anything.
    pub warning: Option<String>,
}

impl Member {
    /// Its name for people; its id when it has none yet.
    #[must_use]
    pub fn title(&self) -> String {
        if self.name.is_empty() { format!("{:x} (unnamed)", self.id) } else { self.name.clone() }
    }

    /// It runs on this machine.
    #[must_use]
    pub fn here(&self) -> bool {
        self.place == Place::Here
    }

    /// What ails it, if anything does; `newest` is the furthest log of the cluster.
    #[must_use]
    pub fn ailment(&self, newest: u64) -> Option<String> {
        match &self.answer {
            Err(why) if self.name.is_empty() => Some(format!("it has not started yet: {why}")),
            Err(why) => Some(why.clone()),
            Ok(status) if status.leader == Leader::None => Some("it sees no leader".to_owned()),
            Ok(status) if !status.errors.is_empty() => Some(status.errors.join(", ")),
            Ok(status) => {
                let behind = newest.saturating_sub(status.raft_index.unwrap_or(newest));
                (behind > LAG).then(|| format!("it is {behind} entries behind"))
            }
        }
    }
}

impl Cluster {
    /// The members that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.learner)
    }

    /// Voters that must agree for anything to be written.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    /// A member of this cluster is known to run on this machine.
    #[must_use]
    pub fn member_here(&self) -> bool {
        self.members.iter().any(Member::here)
    }

    /// Whether a member runs on this machine.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub fn carries_member(&self) -> Result<bool, String> {
        match self.place_unknown() {
            Some(why) if !self.member_here() => Err(why),
            _ => Ok(self.member_here()),
        }
    }

    /// The member of this id.
    #[must_use]
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The furthest log of all.
    #[must_use]
    pub fn newest(&self) -> u64 {
        let known = self.members.iter().filter_map(|member| member.answer.as_ref().ok());
        known.filter_map(|status| status.raft_index).max().unwrap_or(0)
    }

    /// The voters that are not well, each with its ailment.
    #[must_use]
    pub fn ill(&self) -> Vec<(&Member, String)> {
        let newest = self.newest();
        self.voters().filter_map(|member| Some((member, member.ailment(newest)?))).collect()
    }

    /// Enough voters see a leader for the store to be written.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        let led = |member: &&Member| member.answer.as_ref().is_ok_and(|s| s.leader != Leader::None);
        self.voters().filter(led).count() >= self.needed()
    }

    /// The member that leads, by what the voters say.
    #[must_use]
    pub fn leader(&self) -> Option<&Member> {
        let said = |id: u64| {
            let votes = self.voters().filter_map(|member| member.answer.as_ref().ok());
            votes.filter(|status| status.leader == Leader::Member(id)).count()
        };
        self.voters().filter(|member| said(member.id) > 0).max_by_key(|member| said(member.id))
    }

    /// Would etcd lose its quorum, or its last spare voter, if this machine went down now? *Yes*
    /// gives the reasons not to. A member here that is not well is one too: the slot would not be
    /// given back while it is so, and the whole fleet would wait for it. A cluster of one or two voters always loses its quorum with a
    /// reboot, and so does one that is all on this machine; that is no reason against it, since the
    /// lock is durable and the quorum comes back with the machine.
    #[must_use]
    pub fn risk(&self) -> Evidence {
        if let Err(why) = self.carries_member() {
            return Evidence::Unknown { why };
        }
        if !self.voters().any(Member::here) {
            return Evidence::No;
        }
        let mut reasons: Vec<String> =
            self.alarms.iter().map(|alarm| self.alarmed(alarm)).collect();
        reasons.extend(self.ill().iter().map(|(member, why)| not_well(member, why)));
        reasons.extend(self.crowded());
        if reasons.is_empty() { Evidence::No } else { Evidence::Yes { reasons } }
    }

    /// So many voters, but not all of three or more, run on this machine that it can never go down.
    #[must_use]
    pub fn crowded(&self) -> Option<String> {
        let (voters, left) = (self.voters().count(), self.voters().filter(|m| !m.here()).count());
        (left < self.needed() && left > 0 && voters > 2).then(|| {
            format!(
                "{} of etcd's {voters} voting members run on this machine: {left} would be left, \
                 {} are needed; move one elsewhere",
                voters - left,
                self.needed()
            )
        })
    }

    /// All voters are well again. A machine that carries a member is back in service only then; for
    /// any other machine this is always so.
    ///
    /// # Errors
    /// What is not well, in words.
    pub fn all_well(&self) -> Result<(), String> {
        if !self.member_here() {
            return Ok(());
        }
        let mut reasons: Vec<String> =
            self.alarms.iter().map(|alarm| self.alarmed(alarm)).collect();
        reasons.extend(self.ill().iter().map(|(member, why)| not_well(member, why)));
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    }

    /// What etcd suffers while this machine is down, when that cannot be helped.
    #[must_use]
    pub fn pause(&self) -> Option<String> {
        let here = self.voters().filter(|member| member.here()).count();
        let voters = self.voters().count();
        (here > 0 && voters - here < self.needed()).then(|| {
            format!(
                "etcd has {voters} voting member(s), {here} of them on this machine: it has no quorum \
                 while this machine is down, and nobody can take or give back a slot until it is up"
            )
        })
    }

    /// Who leads on this machine, and who should lead instead: a voter elsewhere that is well, the
    /// one with the furthest log. `None` when nothing is to be handed over, or to nobody.
    #[must_use]
    pub fn successor(&self) -> Option<(&Member, &Member)> {
        let leader = self.leader().filter(|member| member.here())?;
        let newest = self.newest();
        let fit = |member: &&Member| !member.here() && member.ailment(newest).is_none();
        let index = |member: &&Member| member.answer.as_ref().ok().and_then(|s| s.raft_index);
        Some((leader, self.voters().filter(fit).max_by_key(index)?))
    }

    /// One sentence about an alarm.
    #[must_use]
    pub fn alarmed(&self, alarm: &Alarm) -> String {
        let member = self.member(alarm.member);
        let title = member.map_or_else(|| format!("{:x}", alarm.member), Member::title);
        format!("etcd member {title} has raised the alarm {}", alarm.word)
    }

    fn place_unknown(&self) -> Option<String> {
        self.members.iter().find_map(|member| match &member.place {
            Place::Unknown(why) => {
                Some(format!("where etcd member {} runs: {why}", member.title()))
            }
            Place::Here | Place::Elsewhere => None,
        })
    }
}

fn not_well(member: &Member, why: &str) -> String {
    format!("etcd member {} is not well ({why})", member.title())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, place: Place) -> Member {
        let status = Status {
            version: "3.5.16".to_owned(),
            leader: Leader::Member(1),
            raft_index: Some(100),
            db_size: 20_480,
            db_in_use: 16_384,
            db_quota: None,
            errors: Vec::new(),
        };
        Member {
            id,
            name: format!("m{id}"),
            client_urls: vec![format!("http://192.0.2.{id}:2379")],
            peer_urls: vec![format!("http://192.0.2.{id}:2380")],
            learner: false,
            place,
            answer: Ok(status),
        }
    }

    /// `size` voters, of which the first `here` run on this machine; the first one leads.
    fn cluster(size: u64, here: u64) -> Cluster {
        let place = |id| if id <= here { Place::Here } else { Place::Elsewhere };
        let members = (1..=size).map(|id| member(id, place(id))).collect();
        Cluster { members, alarms: Vec::new(), endpoints: Vec::new() }
    }

    fn with(mut cluster: Cluster, id: u64, change: impl Fn(&mut Member)) -> Cluster {
        change(cluster.members.iter_mut().find(|member| member.id == id).unwrap());
        cluster
    }

    fn silent(cluster: Cluster, id: u64) -> Cluster {
        with(cluster, id, |member| member.answer = Err("connection refused".to_owned()))
    }

    fn learner(cluster: Cluster, id: u64) -> Cluster {
        with(cluster, id, |member| member.learner = true)
    }

    fn status(cluster: Cluster, id: u64, change: impl Fn(&mut Status)) -> Cluster {
        with(cluster, id, |member| change(member.answer.as_mut().unwrap()))
    }

    fn reasons(cluster: &Cluster) -> Vec<String> {
        match cluster.risk() {
            Evidence::Yes { reasons } => reasons,
            other => panic!("no reasons: {other:?}"),
        }
    }

    #[test]
    fn a_machine_with_a_member_may_reboot_while_all_voters_are_well() {
        for size in 1..=7 {
            assert_eq!(cluster(size, 1).risk(), Evidence::No, "{size} members");
        }
    }

    #[test]
    fn one_other_voter_that_is_not_well_is_enough_to_refuse() {
        for size in 2..=7 {
            let said = reasons(&silent(cluster(size, 1), 2));
            assert_eq!(said, ["etcd member m2 is not well (connection refused)"], "{size} members");
        }
    }

    #[test]
    fn a_member_here_that_is_not_well_forbids_it_too() {
        let said = reasons(&silent(cluster(3, 1), 1));
        assert_eq!(said, ["etcd member m1 is not well (connection refused)"]);
    }

    #[test]
    fn a_machine_without_a_member_is_not_concerned() {
        let ill = silent(silent(cluster(3, 0), 1), 2);
        assert_eq!(ill.risk(), Evidence::No);
        assert_eq!(ill.all_well(), Ok(()));
        assert_eq!(ill.pause(), None);
        assert!(!ill.member_here());
    }

    #[test]
    fn learners_neither_count_nor_forbid() {
        let ill_learner = learner(silent(cluster(4, 1), 4), 4);
        assert_eq!(ill_learner.risk(), Evidence::No);
        assert_eq!(ill_learner.all_well(), Ok(()));
        assert_eq!(ill_learner.needed(), 2);
        let only_a_learner_here = learner(silent(cluster(4, 1), 3), 1);
        assert_eq!(only_a_learner_here.risk(), Evidence::No);
        assert!(only_a_learner_here.all_well().is_err(), "but it waits for all voters");
    }

    #[test]
    fn a_place_that_cannot_be_told_is_not_taken_for_elsewhere() {
        let lost = with(cluster(3, 0), 3, |m| m.place = Place::Unknown("unknown host".to_owned()));
        assert_eq!(
            lost.risk(),
            Evidence::Unknown { why: "where etcd member m3 runs: unknown host".to_owned() }
        );
        assert!(lost.carries_member().is_err());
        let here = with(lost, 1, |m| m.place = Place::Here);
        assert_eq!(here.carries_member(), Ok(true));
    }

    #[test]
    fn most_voters_on_one_machine_are_refused_but_not_all_of_them() {
        let said = reasons(&cluster(3, 2));
        assert!(said[0].starts_with("2 of etcd's 3 voting members run on this machine: 1 would"));
        assert_eq!(cluster(5, 2).risk(), Evidence::No);
        assert_eq!(cluster(3, 3).risk(), Evidence::No);
        assert!(cluster(3, 3).pause().unwrap().contains("no quorum while this machine is down"));
    }

    #[test]
    fn every_ailment_has_its_words() {
        let ails = |cluster: &Cluster| reasons(cluster).join("; ");
        let leaderless = status(cluster(3, 1), 2, |s| s.leader = Leader::None);
        assert!(ails(&leaderless).contains("m2 is not well (it sees no leader)"));
        let behind = status(cluster(3, 1), 1, |s| s.raft_index = Some(5101));
        assert!(ails(&behind).contains("m2 is not well (it is 5001 entries behind)"));
        let near = status(cluster(3, 1), 1, |s| s.raft_index = Some(5100));
        assert_eq!(near.risk(), Evidence::No);
        let sick = status(cluster(3, 1), 3, |s| s.errors = vec!["disk".to_owned()]);
        assert!(ails(&sick).contains("m3 is not well (disk)"));
        let new = with(silent(cluster(3, 1), 3), 3, |m| m.name = String::new());
        assert!(ails(&new).contains("3 (unnamed) is not well (it has not started yet"));
        let alarmed = Cluster {
            alarms: vec![Alarm { member: 2, word: "NOSPACE".to_owned() }],
            ..cluster(3, 1)
        };
        assert_eq!(reasons(&alarmed), ["etcd member m2 has raised the alarm NOSPACE"]);
        assert!(alarmed.all_well().is_err());
    }

    #[test]
    fn the_slot_is_given_back_only_when_every_voter_is_well() {
        assert_eq!(cluster(3, 1).all_well(), Ok(()));
        for id in 1..=3 {
            let said = silent(cluster(3, 1), id).all_well().unwrap_err();
            assert_eq!(said, format!("etcd member m{id} is not well (connection refused)"));
        }
    }

    #[test]
    fn one_and_two_members_are_warned_of_three_are_not() {
        assert!(cluster(1, 1).pause().unwrap().starts_with("etcd has 1 voting member(s), 1 of"));
        assert!(cluster(2, 1).pause().is_some());
        assert_eq!(cluster(3, 1).pause(), None);
        assert_eq!(learner(cluster(3, 1), 1).pause(), None, "a learner is not missed");
    }

    #[test]
    fn leadership_goes_to_the_voter_elsewhere_that_is_well_and_furthest() {
        let to = |cluster: &Cluster| cluster.successor().map(|(from, to)| (from.id, to.id));
        assert_eq!(to(&status(cluster(3, 1), 2, |s| s.raft_index = Some(101))), Some((1, 2)));
        assert_eq!(to(&status(cluster(3, 1), 3, |s| s.raft_index = Some(101))), Some((1, 3)));
        assert_eq!(to(&silent(cluster(3, 1), 3)), Some((1, 2)));
        assert_eq!(to(&silent(silent(cluster(3, 1), 3), 2)), None);
        assert_eq!(to(&learner(learner(cluster(3, 1), 3), 2)), None);
        assert_eq!(to(&cluster(1, 1)), None);
        assert_eq!(to(&cluster(3, 0)), None, "the leader is elsewhere");
        let follower_here = with(cluster(3, 0), 2, |m| m.place = Place::Here);
        assert_eq!(to(&follower_here), None);
    }

    #[test]
    fn a_quorum_is_voters_that_see_a_leader() {
        assert!(silent(cluster(3, 0), 1).has_quorum());
        assert!(!silent(silent(cluster(3, 0), 1), 2).has_quorum());
        let leaderless = status(status(cluster(3, 0), 2, |s| s.leader = Leader::None), 3, |s| {
            s.leader = Leader::None;
        });
        assert!(!leaderless.has_quorum());
        assert_eq!(cluster(3, 0).leader().unwrap().id, 1);
    }
}
