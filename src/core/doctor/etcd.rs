//! The etcd behind the lock: quorum, members, alarms, versions, size.

use super::{Finding, Store, note, trouble, warning, well};
use crate::core::quorum::{Alarm, Cluster, Member};

/// The oldest etcd that is supported.
const OLDEST: (u64, u64) = (3, 4);
/// etcd's own quota when none is configured, in bytes.
const QUOTA: u64 = 2 << 30;

/// `on_node`: the examining machine is one of the fleet's nodes.
pub(super) fn examine(store: &Store, on_node: bool) -> Vec<Finding> {
    let cluster = match &store.cluster {
        Ok(cluster) => cluster,
        Err(why) => return vec![unreachable(store, why)],
    };
    let mut findings = Vec::new();
    findings.extend(quorum(store, cluster));
    findings.extend(members(store, cluster));
    findings.extend(endpoints(cluster));
    findings.extend(cluster.alarms.iter().map(|raised| alarm(store, cluster, raised)));
    findings.extend(versions(cluster));
    findings.extend(nearly_full(store, cluster));
    findings.extend(size(store, cluster));
    if on_node {
        findings.extend(place(cluster));
    }
    if !super::in_trouble(&findings) {
        findings.push(all_well(cluster));
    }
    findings
}

fn unreachable(store: &Store, why: &str) -> Finding {
    let text = format!("no member of etcd can be asked: {why}; nothing begins until one answers");
    trouble("etcd-unreachable", text).mend([
        "systemctl status etcd  # on each machine with a member".to_owned(),
        format!("{} endpoint status", store.etcdctl),
    ])
}

fn quorum(store: &Store, cluster: &Cluster) -> Option<Finding> {
    if cluster.has_quorum() {
        return None;
    }
    let (voters, needed) = (cluster.voters().count(), cluster.needed());
    let answering: Vec<&Member> = cluster.voters().filter(|m| m.answer.is_ok()).collect();
    if answering.len() >= needed {
        let text = format!(
            "{} of etcd's {voters} voting members answer, and see no leader: they cannot reach one \
             another, or an election is under way",
            answering.len()
        );
        let peers: Vec<&str> =
            cluster.voters().flat_map(|m| &m.peer_urls).map(String::as_str).collect();
        return Some(trouble("no-leader", text).mend([
            format!(
                "journalctl -u etcd -n 50  # on each member: do they reach {} ?",
                peers.join(" ")
            ),
            format!("{} endpoint status", store.etcdctl),
        ]));
    }
    let text = format!(
        "{} of etcd's {voters} voting members answer, {needed} are needed: nobody takes or gives back a \
         slot until then. Slots that are held stay held, and what the machines run is not touched. \
         Start the others if they exist; only if they are lost for good, and will never be started \
         again, make the survivor a cluster of its own",
        answering.len()
    );
    Some(trouble("quorum-lost", text).mend(recovery(cluster)))
}

/// First what brings the members back, then what goes on without them.
fn recovery(cluster: &Cluster) -> Vec<String> {
    let silent = cluster.voters().filter(|member| member.answer.is_err());
    let mut commands: Vec<String> = silent
        .map(|member| format!("systemctl start etcd  # on {}", whereabouts(member)))
        .collect();
    let index = |member: &&Member| member.answer.as_ref().ok().and_then(|s| s.raft_index);
    let furthest = cluster.voters().filter(|member| member.answer.is_ok()).max_by_key(index);
    commands.extend(furthest.into_iter().flat_map(alone));
    commands
}

/// Makes one member a cluster of its own.
fn alone(survivor: &Member) -> [String; 6] {
    let (on, url) = (whereabouts(survivor), survivor.client_urls.join(","));
    let etcdctl = format!("etcdctl --endpoints={url}");
    let urls = survivor.client_urls.iter();
    let look: String = urls.flat_map(|url| [" --endpoint ", url]).collect();
    [
        format!("{etcdctl} snapshot save etcd.snapshot  # if they are lost: a copy first"),
        format!("echo ETCD_FORCE_NEW_CLUSTER=true >> /etc/default/etcd  # on {on} alone"),
        format!("systemctl restart etcd  # on {on}: it goes on alone, with its data"),
        format!(
            "sed -i /ETCD_FORCE_NEW_CLUSTER/d /etc/default/etcd  # on {on}, before any restart"
        ),
        format!(
            "rebootctl status{look}  # the last writes may be lost: lock what should be held and is not"
        ),
        add(&etcdctl, "NAME", "http://HOST:2380"),
    ]
}

fn add(etcdctl: &str, name: &str, peer: &str) -> String {
    format!(
        "{etcdctl} member add {name} --learner --peer-urls={peer}  # then start it with an empty data \
         directory and ETCD_INITIAL_CLUSTER_STATE=existing, and `member promote` it"
    )
}

fn members(store: &Store, cluster: &Cluster) -> Vec<Finding> {
    let newest = cluster.newest();
    let quorum = cluster.has_quorum();
    let of = |member: &Member| {
        let ailment = member.ailment(newest);
        if member.learner {
            return Some(learner(store, member, ailment.as_deref()));
        }
        match (&member.answer, ailment?) {
            (Err(_), why) if member.name.is_empty() => Some(unstarted(store, member, &why)),
            (Err(_), why) => Some(silent(store, member, &why, quorum)),
            // Without a quorum nobody sees a leader, which is said already.
            (Ok(_), _) if !quorum => None,
            (Ok(_), why) => Some(ill(member, &why)),
        }
    };
    cluster.members.iter().filter_map(of).collect()
}

fn silent(store: &Store, member: &Member, why: &str, quorum: bool) -> Finding {
    let text = format!(
        "etcd member {} (id {:x}) does not answer: {why}; until it does, no machine with a member \
         reboots",
        member.title(),
        member.id
    );
    let look = format!("systemctl status etcd  # on {}", whereabouts(member));
    let found = trouble("member-silent", text).mend([look]);
    if !quorum {
        return found;
    }
    found.mend([
        format!(
            "{} member remove {:x}  # only if it is lost for good, or its machine was installed anew",
            store.etcdctl, member.id
        ),
        add(&store.etcdctl, &member.name, &member.peer_urls.join(",")),
    ])
}

fn unstarted(store: &Store, member: &Member, why: &str) -> Finding {
    let text = format!(
        "a member of etcd was added for {} and is not started: {why}; it counts as a voter that is down",
        member.peer_urls.join(", ")
    );
    trouble("member-unstarted", text).mend([
        format!("systemctl start etcd  # on {}", whereabouts(member)),
        format!("{} member remove {:x}  # or take it back", store.etcdctl, member.id),
    ])
}

fn ill(member: &Member, why: &str) -> Finding {
    let text = format!(
        "etcd member {} (id {:x}) is not well: {why}; until it is, no machine with a member reboots",
        member.title(),
        member.id
    );
    let log = format!("journalctl -u etcd -n 50  # on {}", whereabouts(member));
    trouble("member-ill", text).mend([log])
}

fn learner(store: &Store, member: &Member, ailment: Option<&str>) -> Finding {
    let title = member.title();
    match ailment {
        None => {
            note("learner", format!("etcd member {title} is a learner: it follows and has no vote"))
                .mend([format!(
                    "{} member promote {:x}  # gives it a vote",
                    store.etcdctl, member.id
                )])
        }
        Some(why) => warning(
            "learner-ill",
            format!(
                "etcd member {title} is a learner and is not well: {why}; nothing waits for it"
            ),
        )
        .mend([
            format!("systemctl status etcd  # on {}", whereabouts(member)),
            format!("{} member remove {:x}  # if it is not wanted", store.etcdctl, member.id),
        ]),
    }
}

/// Endpoints that lead to no member, other than members that are known not to answer.
fn endpoints(cluster: &Cluster) -> Vec<Finding> {
    let of_a_member = |url: &String| cluster.members.iter().any(|m| m.client_urls.contains(url));
    let dead = cluster.endpoints.iter().filter(|endpoint| !of_a_member(&endpoint.url));
    dead.filter_map(|endpoint| {
        let why = endpoint.answer.as_ref().err()?;
        let text = format!("a configured endpoint leads to no member of this etcd: {why}");
        Some(warning("endpoint-dead", text).mend(["rebootctl config show --origin".to_owned()]))
    })
    .collect()
}

fn alarm(store: &Store, cluster: &Cluster, raised: &Alarm) -> Finding {
    let etcdctl = &store.etcdctl;
    let said = cluster.alarmed(raised);
    let disarm = format!("{etcdctl} alarm disarm");
    match raised.word.as_str() {
        "NOSPACE" => trouble(
            "alarm-no-space",
            format!(
                "{said}: its database is as big as its quota allows, and nothing is written any more, \
                 also when there is room again, until the alarm is disarmed. For the future: \
                 ETCD_AUTO_COMPACTION_RETENTION=1h, and a larger ETCD_QUOTA_BACKEND_BYTES if need be"
            ),
        )
        .mend(make_room(store).into_iter().chain([disarm])),
        "CORRUPT" => trouble(
            "alarm-corrupt",
            format!("{said}: its data is not what the other members have"),
        )
        .mend([
            format!(
                "{etcdctl} member remove {:x}  # then add it again with an empty data directory",
                raised.member
            ),
            disarm,
        ]),
        _ => trouble("alarm", said).mend([format!("{etcdctl} alarm list"), disarm]),
    }
}

fn versions(cluster: &Cluster) -> Vec<Finding> {
    let known = cluster.members.iter().filter_map(|member| {
        let version = &member.answer.as_ref().ok()?.version;
        Some((member, version, series(version)?))
    });
    let known: Vec<_> = known.collect();
    let mut findings = Vec::new();
    for (member, version, series) in &known {
        if *series < OLDEST {
            let text = format!(
                "etcd member {} is version {version}; {}.{} is the oldest that is supported",
                member.title(),
                OLDEST.0,
                OLDEST.1
            );
            let upgrade = format!("apt install etcd-server  # on {}", whereabouts(member));
            findings.push(trouble("version-unsupported", text).mend([upgrade]));
        }
    }
    if known.iter().any(|(.., series)| *series != known[0].2) {
        let list: Vec<String> =
            known.iter().map(|(m, version, _)| format!("{} {version}", m.title())).collect();
        let text = format!(
            "etcd's members differ in version ({}): that is meant for an upgrade under way only",
            list.join(", ")
        );
        findings.push(
            warning("versions-mixed", text).mend(["apt install etcd-server  # on each".to_owned()]),
        );
    }
    findings
}

/// Major and minor of `3.5.16`.
fn series(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn nearly_full(store: &Store, cluster: &Cluster) -> Option<Finding> {
    let fills = |member: &Member| {
        let status = member.answer.as_ref().ok()?;
        let quota = status.db_quota.unwrap_or(QUOTA);
        let known = if status.db_quota.is_some() { "" } else { ", if its quota is etcd's default" };
        let percent = status.db_size.saturating_mul(100) / quota;
        let text = format!(
            "the database of etcd member {} fills {percent} % of its quota{known} ({} of {} MiB, {} MiB \
             in use); when it is full nothing is written any more",
            member.title(),
            status.db_size >> 20,
            quota >> 20,
            status.db_in_use >> 20
        );
        (percent >= 80).then(|| warning("nearly-full", text))
    };
    let found = cluster.members.iter().find_map(fills)?;
    Some(found.mend(make_room(store)))
}

/// Gives up old revisions, and the room they take.
fn make_room(store: &Store) -> [String; 3] {
    let etcdctl = &store.etcdctl;
    [
        format!("{etcdctl} get any -w fields  # tells the \"Revision\""),
        format!("{etcdctl} compact REVISION"),
        format!("{etcdctl} defrag --cluster"),
    ]
}

fn size(store: &Store, cluster: &Cluster) -> Option<Finding> {
    let voters = cluster.voters().count();
    let third = || add(&store.etcdctl, "NAME", "http://HOST:2380");
    match voters {
        1 => Some(note(
            "one-member",
            "etcd has one member: while its machine reboots nobody takes or gives back a slot, which is \
             safe; if its disk is lost, so is the lock (it can be set up anew, empty)",
        )),
        2 => Some(
            warning(
                "two-members",
                "etcd has two voting members and needs both: while either machine reboots nobody takes or \
                 gives back a slot, which is safe; but if either is lost for good, so is the quorum. A \
                 third member, however small, changes that; one member alone is no worse",
            )
            .mend([third()]),
        ),
        4 | 6 | 8 => Some(
            note(
                "even-voters",
                format!("etcd has {voters} voting members: as many may fail as with {}", voters - 1),
            )
            .mend([third()]),
        ),
        _ => None,
    }
}

/// Whether a member runs on this machine, and what follows.
fn place(cluster: &Cluster) -> Option<Finding> {
    if let Err(why) = cluster.carries_member() {
        let text = format!("{why}; until that is known this machine does not reboot");
        return Some(warning("place-unknown", text).mend([
            "getent hosts HOST  # make its name known here, or advertise an address".to_owned(),
        ]));
    }
    let here: Vec<&Member> = cluster.voters().filter(|member| member.here()).collect();
    if let Some(text) = cluster.crowded() {
        return Some(trouble("members-crowded", text).mend([format!(
            "systemctl status etcd  # on {}: one machine, one member",
            here.first().map_or_else(String::new, |member| whereabouts(member))
        )]));
    }
    let member = here.first()?;
    let text = format!(
        "etcd member {} runs on this machine: it reboots only while all voting members are well, \
         and gives its slot back when all are",
        member.title()
    );
    Some(note("member-here", text))
}

fn all_well(cluster: &Cluster) -> Finding {
    let leader = cluster.leader().map_or_else(|| "nobody".to_owned(), Member::title);
    let versions = cluster.members.iter().filter_map(|m| m.answer.as_ref().ok());
    let versions = versions.map(|status| status.version.as_str());
    let version = versions.filter(|version| !version.is_empty()).min().unwrap_or("(unknown)");
    well(
        "etcd-well",
        format!(
            "etcd {version}: {} voting member(s), all well, {} needed; {leader} leads",
            cluster.voters().count(),
            cluster.needed()
        ),
    )
}

/// Where to type a command for a member.
fn whereabouts(member: &Member) -> String {
    if member.here() {
        return "this machine".to_owned();
    }
    let url = member.peer_urls.first().or_else(|| member.client_urls.first());
    let host = url.map_or("", |url| url.split("://").last().unwrap_or_default());
    match (member.name.is_empty(), host) {
        (true, host) => host.to_owned(),
        (false, "") => member.name.clone(),
        (false, host) => format!("{} ({host})", member.name),
    }
}
