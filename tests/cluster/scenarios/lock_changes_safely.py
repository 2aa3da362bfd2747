"""Another lock group is configured while this node waits in a queue, and again in the middle of a cycle: no
ticket and no slot is left behind in the old group, also across the cycle's reboot.
"""

from lab.fleet import Lab
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

PACKAGES = {"lab-kernel": Kind.REBOOT}
SOMEBODY = "0" * 32


def scenario(lab: Lab) -> None:
    node = lab.single(PACKAGES)
    lab.configure(node)
    until("the agent uses etcd", lambda: node.status()["strategy"] == "etcd-lock", 10)

    node.rebootctl("lock", SOMEBODY)
    lab.offer("2.0", PACKAGES)
    until("the node waits in the queue", lambda: tickets(lab, "default") == [node.id], 30)
    lab.configure(node, group="second", verb="reload")
    lab.wait_updated([node], "2.0", PACKAGES, group="second")
    assert node.status()["groups"] == ["second"]
    assert tickets(lab, "default") == [] and holders(lab, "default") == [SOMEBODY]

    lab.offer("3.0", PACKAGES)
    until("the node holds the slot", lambda: holders(lab, "second") == [node.id], 30, 0.05)
    lab.configure(node, group="third", verb="reload")
    until("status says what waits", lambda: said(node), 10, 0.05)
    until("the new group is in force", lambda: node.status()["groups"] == ["third"], 90, 0.3)
    assert holders(lab, "second") == [] and tickets(lab, "second") == []
    assert holders(lab, "default") == [SOMEBODY]
    lab.wait_updated([node], "3.0", PACKAGES, group="third")

    lab.offer("4.0", PACKAGES)
    until("the node holds the slot again", lambda: holders(lab, "third") == [node.id], 30, 0.05)
    before = reloads(node)
    lab.configure(node, group="third", verb="reload", etcd_timeout="3s")
    until("the new way is in force", lambda: reloads(node) == before + 1, 10, 0.05)
    assert not said(node), "a holder took the other way at once"
    lab.wait_updated([node], "4.0", PACKAGES, group="third")


def reloads(node: Node) -> int:
    """How often the agent has taken another configuration."""
    return node.journal("-u", "lockkeeperd").count("the configuration was reloaded")


def holders(lab: Lab, name: str) -> list[str]:
    """Ids of a group's holders."""
    return [holder["node"] for holder in lab.etcd.group(name)[0]["holders"]]


def tickets(lab: Lab, name: str) -> list[str]:
    """Ids of a group's waiters."""
    return lab.etcd.group(name)[1]


def said(node: Node) -> bool:
    """Does `status` say that another lock waits for this node to have no slot?"""
    return "another lock" in (node.status()["config_problem"] or "")
