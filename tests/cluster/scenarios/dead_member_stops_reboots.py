"""With one of three etcd members dead beforehand nothing reboots, since one more would cost the quorum;
`explain` names the member. When it is back, the update goes on by itself.
"""

from lab.fleet import Lab, each, on
from lab.node import Node
from lab.repo import Kind
from lab.wait import always, until

PACKAGES = {"lab-kernel": Kind.REBOOT}
TIMEOUT = 150


def scenario(lab: Lab) -> None:
    nodes = lab.boot(["web-1", "web-2", "web-3"], with_workloads=False)
    lab.offer("1.0", PACKAGES)
    lab.install(nodes, ["lockkeeper", *PACKAGES])
    each(nodes, lab.configure)
    dead, others = nodes[2], nodes[:2]
    dead.run("systemctl", "stop", "etcd.service")
    lab.say("one of three etcd members is dead")
    before = {node.name: node.boot_id for node in nodes}
    with lab.observe(nodes) as observer:
        lab.offer("2.0", PACKAGES)
        each(nodes, lambda node: node.rebootctl("check"))
        for node in others:
            until(f"{node.name} names the dead member", lambda n=node: names(n, dead), 60, 0.05, node.explain)
        seen = {node.name: lab.checks(node) for node in others}
        always(
            "no node of the cluster reboots or installs anything",
            lambda: all(node.boot_id == before[node.name] and on(node, "1.0", PACKAGES) for node in others),
            lambda: all(lab.checks(node) >= seen[node.name] + 2 for node in others),
        )
        assert dead.boot_id == before[dead.name]
        lab.say(f"all stay: {others[0].rebootctl('explain').stdout.strip()}")
        dead.run("systemctl", "start", "etcd.service")
        lab.say("the member is back")
        lab.wait_updated(nodes, "2.0", PACKAGES, TIMEOUT)
    observer.check()


def names(node: Node, dead: Node) -> bool:
    """Does `explain` say that this member of etcd is why?"""
    document = node.explain()
    texts = [v["text"] for v in (document["verdict"], *document["also"])]
    return any(dead.name in text and "etcd" in text for text in texts)
