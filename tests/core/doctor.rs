//! What `rebootctl doctor` makes of etcd; and docs/doctor.md knows every finding.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use lockkeeper::core::{
    doctor::{
        Agent, Facts, Finding, Machine, Mode, Neighbours, Severity, Store, examine, in_trouble,
    },
    quorum::{Alarm, Cluster, Endpoint, Leader, Member, Place, Status},
    slots::{Slots, SlotsView},
};

const MIB: u64 = 1 << 20;

fn member(id: u64, place: Place) -> Member {
    let status = Status {
        version: "3.5.16".to_owned(),
        leader: Leader::Member(1),
        raft_index: Some(100),
        db_size: 20 * MIB,
        db_in_use: 4 * MIB,
        db_quota: None,
        errors: Vec::new(),
    };
    Member {
        id: id + 0xa0,
        name: format!("m{id}"),
        client_urls: vec![format!("http://192.0.2.{id}:2379")],
        peer_urls: vec![format!("http://192.0.2.{id}:2380")],
        learner: false,
        place,
        answer: Ok(Status { leader: Leader::Member(0xa1), ..status }),
    }
}

/// `size` members; the first runs on this machine and leads.
fn cluster(size: u64) -> Cluster {
    let place = |id| if id == 1 { Place::Here } else { Place::Elsewhere };
    Cluster {
        members: (1..=size).map(|id| member(id, place(id))).collect(),
        alarms: Vec::new(),
        endpoints: Vec::new(),
    }
}

fn with(mut cluster: Cluster, id: usize, change: impl Fn(&mut Member)) -> Cluster {
    change(&mut cluster.members[id - 1]);
    cluster
}

fn silent(cluster: Cluster, id: usize) -> Cluster {
    with(cluster, id, |member| member.answer = Err("connection refused".to_owned()))
}

fn status(cluster: Cluster, id: usize, change: impl Fn(&mut Status)) -> Cluster {
    with(cluster, id, |member| change(member.answer.as_mut().unwrap()))
}

fn alarmed(word: &str) -> Cluster {
    Cluster { alarms: vec![Alarm { member: 0xa2, word: word.to_owned() }], ..cluster(3) }
}

fn facts(cluster: Result<Cluster, String>) -> Facts {
    let view = SlotsView { slots: Slots::default(), queue: Vec::new(), settling: false };
    let agent = Agent { version: "0.1.0".to_owned(), config_problem: None };
    Facts {
        machine: Some(Machine {
            mode: Ok(Mode::Fleet),
            agent: Ok(agent),
            clock: Ok(true),
            neighbours: Ok(Neighbours::default()),
            checks: Vec::new(),
        }),
        store: Some(Store {
            etcdctl: "etcdctl --endpoints=http://192.0.2.1:2379".to_owned(),
            target: String::new(),
            prefix: "/lockkeeper/v1".to_owned(),
            cluster,
            groups: BTreeMap::from([("default".to_owned(), Ok(view))]),
            nodes: Ok(BTreeMap::new()),
        }),
    }
}

/// What is found beside what is well, and beside the member on this machine.
fn found(cluster: Cluster) -> Vec<Finding> {
    let mut findings = examine(&facts(Ok(cluster)));
    findings.retain(|finding| finding.severity != Severity::Ok && finding.code != "member-here");
    findings
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn a_good_cluster_is_called_good() {
    let findings = examine(&facts(Ok(cluster(3))));
    assert_eq!(codes(&findings), ["member-here", "etcd-well", "lock-well", "machine-well"]);
    assert!(!in_trouble(&findings));
    assert!(findings[0].text.contains("m1 runs on this machine"));
    assert_eq!(findings[1].text, "etcd 3.5.16: 3 voting member(s), all well, 2 needed; m1 leads");
}

#[test]
fn every_state_of_etcd_has_its_finding() {
    use Severity::{Note, Trouble, Warning};
    let endpoint = |answer: Result<u64, &str>| {
        let answer = answer.map_err(str::to_owned);
        Cluster {
            endpoints: vec![Endpoint { url: "http://192.0.2.9:2379".to_owned(), answer }],
            ..cluster(3)
        }
    };
    let unnamed = |member: &mut Member| member.name = String::new();
    let learner = |member: &mut Member| member.learner = true;
    let lost = |member: &mut Member| member.place = Place::Unknown("no such host".to_owned());
    let mut lost_place = with(cluster(3), 1, |m| m.place = Place::Elsewhere);
    lost_place = with(lost_place, 2, lost);
    let table: Vec<(Cluster, &str, Severity, &str)> = vec![
        (silent(cluster(3), 2), "member-silent", Trouble, "m2 (id a2) does not answer: connection"),
        (with(silent(cluster(3), 2), 2, unnamed), "member-unstarted", Trouble, "192.0.2.2:2380"),
        (
            status(cluster(3), 2, |s| s.leader = Leader::None),
            "member-ill",
            Trouble,
            "sees no leader",
        ),
        (with(cluster(4), 4, learner), "learner", Note, "m4 is a learner"),
        (with(silent(cluster(4), 4), 4, learner), "learner-ill", Warning, "connection refused"),
        (endpoint(Err("refused")), "endpoint-dead", Warning, "refused"),
        (alarmed("NOSPACE"), "alarm-no-space", Trouble, "m2 has raised the alarm NOSPACE"),
        (alarmed("CORRUPT"), "alarm-corrupt", Trouble, "m2 has raised the alarm CORRUPT"),
        (alarmed("NEWS"), "alarm", Trouble, "m2 has raised the alarm NEWS"),
        (
            status(cluster(3), 3, |s| s.version = "3.4.23".to_owned()),
            "versions-mixed",
            Warning,
            "m1 3.5.16, m2 3.5.16, m3 3.4.23",
        ),
        (
            status(cluster(3), 3, |s| s.db_size = 1700 * MIB),
            "nearly-full",
            Warning,
            "83 % of its quota, if its quota is etcd's default (1700 of 2048 MiB",
        ),
        (
            status(cluster(3), 2, |s| s.db_quota = Some(25 * MIB)),
            "nearly-full",
            Warning,
            "m2 fills 80 % of its quota (20 of 25 MiB, 4 MiB in use)",
        ),
        (cluster(1), "one-member", Note, "one member"),
        (cluster(2), "two-members", Warning, "needs both"),
        (cluster(4), "even-voters", Note, "as many may fail as with 3"),
        (lost_place, "place-unknown", Warning, "where etcd member m2 runs: no such host"),
        (
            with(cluster(3), 2, |m| m.place = Place::Here),
            "members-crowded",
            Trouble,
            "2 of etcd's 3 voting members run on this machine",
        ),
    ];
    for (cluster, code, severity, says) in table {
        let findings = found(cluster);
        assert_eq!(codes(&findings), [code], "{findings:?}");
        assert_eq!(findings[0].severity, severity, "{code}");
        assert!(findings[0].text.contains(says), "{findings:?}");
        let mended = !findings[0].commands.is_empty();
        assert!(mended || severity == Note, "{code} says nothing to do");
    }
    assert_eq!(codes(&found(endpoint(Ok(0xa1)))), [""; 0]);
}

#[test]
fn an_old_etcd_is_not_supported() {
    let old = (1..=3).fold(cluster(3), |c, id| status(c, id, |s| s.version = "3.3.25".to_owned()));
    let findings = found(old);
    assert_eq!(codes(&findings), ["version-unsupported"; 3]);
    assert!(findings[0].text.contains("m1 is version 3.3.25; 3.4 is the oldest"), "{findings:?}");
}

#[test]
fn a_dead_member_is_mended_by_removing_it_first_and_adding_it_as_a_learner() {
    let findings = found(silent(cluster(3), 2));
    let commands = &findings[0].commands;
    let begins = [
        "systemctl status etcd  # on m2 (192.0.2.2:2380)",
        "etcdctl --endpoints=http://192.0.2.1:2379 member remove a2  # only if it is lost for good",
        "etcdctl --endpoints=http://192.0.2.1:2379 member add m2 --learner --peer-urls=http://192.0.2.2:2380  # then",
    ];
    for (command, begin) in commands.iter().zip(begins) {
        assert!(command.starts_with(begin), "{command}");
    }
    assert_eq!(commands.len(), begins.len());
}

#[test]
fn a_lost_quorum_is_told_once_and_goes_on_with_the_survivor_that_is_furthest() {
    let survivor = silent(silent(cluster(3), 1), 3);
    let lost = status(survivor, 2, |s| s.leader = Leader::None);
    let findings = found(lost);
    assert_eq!(codes(&findings), ["quorum-lost", "member-silent", "member-silent"]);
    assert!(findings[0].text.starts_with("1 of etcd's 3 voting members answer, 2 are needed"));
    let commands = findings[0].commands.join("\n");
    for part in [
        "systemctl start etcd  # on this machine",
        "systemctl start etcd  # on m3",
        "etcdctl --endpoints=http://192.0.2.2:2379 snapshot save",
        "ETCD_FORCE_NEW_CLUSTER=true >> /etc/default/etcd  # on m2 (192.0.2.2:2380) alone",
    ] {
        assert!(commands.contains(part), "{commands}");
    }
    // Without a quorum etcd cannot remove anybody.
    assert!(findings[1..].iter().all(|f| !f.commands.join("").contains("member remove")));
    let five = status(status(cluster(5), 1, |s| s.leader = Leader::None), 2, |s| {
        (s.leader, s.raft_index) = (Leader::None, Some(101));
    });
    let two_left = silent(silent(silent(five, 3), 4), 5);
    assert!(found(two_left)[0].commands.join("\n").contains("# on m2 (192.0.2.2:2380) alone"));
}

#[test]
fn members_that_answer_and_see_no_leader_are_not_called_lost() {
    let leaderless = |c, id| status(c, id, |s| s.leader = Leader::None);
    let findings = found((1..=3).fold(cluster(3), leaderless));
    assert_eq!(codes(&findings), ["no-leader"]);
    assert!(findings[0].commands[0].contains("http://192.0.2.3:2380"), "{findings:?}");
}

#[test]
fn who_may_not_ask_for_the_leader_finds_no_trouble_in_that() {
    let hidden = |c, id| {
        status(c, id, |s| {
            (s.leader, s.raft_index, s.version) = (Leader::Hidden, None, String::new());
        })
    };
    let findings = examine(&facts(Ok((1..=3).fold(cluster(3), hidden))));
    assert!(!in_trouble(&findings), "{findings:?}");
    assert_eq!(codes(&findings)[1], "etcd-well");
}

#[test]
fn an_etcd_that_cannot_be_asked_is_trouble() {
    let findings = examine(&facts(Err("http://192.0.2.1:2379: connection refused".to_owned())));
    assert_eq!(codes(&findings), ["etcd-unreachable", "machine-well"]);
    assert!(in_trouble(&findings));
}

#[test]
fn from_elsewhere_nothing_is_said_of_this_machine() {
    let from_elsewhere = Facts { machine: None, ..facts(Ok(cluster(3))) };
    assert_eq!(codes(&examine(&from_elsewhere)), ["etcd-well", "lock-well"]);
    let lost = with(cluster(3), 1, |m| m.place = Place::Unknown("no such host".to_owned()));
    let from_elsewhere = Facts { machine: None, ..facts(Ok(lost)) };
    assert_eq!(codes(&examine(&from_elsewhere)), ["etcd-well", "lock-well"]);
}

/// Calls whose argument is a finding's word.
const MAKERS: [&str; 5] = ["trouble(", "warning(", "note(", "well(", "Finding::new(severity, "];

fn used() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core/doctor");
    let mut words = BTreeSet::new();
    for file in fs::read_dir(root).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for maker in MAKERS {
            let calls = code.match_indices(maker).map(|(at, _)| &code[at + maker.len()..]);
            let word = |rest: &str| {
                Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned())
            };
            words.extend(calls.filter_map(word));
        }
    }
    words
}

#[test]
fn the_manual_lists_exactly_the_findings_there_are() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md")).unwrap();
    let rows: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ")).collect();
    let listed: BTreeSet<String> = rows.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(listed, used());
    assert_eq!(listed.len(), rows.len(), "each once");
    assert!(rows.iter().all(|(_, meaning)| meaning.len() > 15), "each with its meaning");
    assert!(used().contains("quorum-lost") && used().contains("halted"), "the scanner sees");
}
