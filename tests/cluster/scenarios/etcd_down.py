"""Without a quorum in etcd nothing reboots and nothing is installed; `status` and `explain` say why and
since when. When etcd is back, the update goes on by itself.
"""

from lab.fleet import Lab, each, on
from lab.node import Node
from lab.wait import always, until

TIMEOUT = 150


def scenario(lab: Lab) -> None:
    nodes = lab.fleet()
    before = {node.name: node.boot_id for node in nodes}
    with lab.observe(nodes) as observer:
        each(nodes[1:], lambda node: node.run("systemctl", "stop", "etcd.service"))
        lab.say("two of three etcd members are stopped")
        lab.offer("2.0", lab.SET)
        each(nodes, lambda node: node.rebootctl("check"))
        for node in nodes:
            until(f"{node.name} says why it waits", lambda n=node: store_problem(n), 60, seen=node.explain)

        seen = {node.name: lab.checks(node) for node in nodes}
        always(
            "no node reboots or installs anything",
            lambda: all(node.boot_id == before[node.name] and on(node, "1.0", lab.SET) for node in nodes),
            lambda: all(lab.checks(node) >= seen[node.name] + 2 for node in nodes),
        )
        for node in nodes:
            assert node.status()["staged"], "staging goes on without etcd"
            for said in (node.rebootctl("status", check=False).stdout, node.rebootctl("explain").stdout):
                assert "lock store" in said and "since" in said, said
        lab.say(f"all wait: {nodes[0].rebootctl('explain').stdout.strip()}")

        each(nodes[1:], lambda node: node.run("systemctl", "start", "etcd.service"))
        lab.say("etcd is back")
        lab.wait_updated(nodes, "2.0", lab.SET, TIMEOUT)
    observer.check()
    boots = {node.name: observer.boots(node) for node in nodes}
    assert set(boots.values()) == {1}, boots


def store_problem(node: Node) -> bool:
    """Does `explain` name the lock store, with a time?"""
    document = node.explain()
    verdicts = [document.get("verdict", {}), *document.get("also", [])]
    return any(v.get("code") == "lock-store-unreachable" and v.get("since") for v in verdicts)
