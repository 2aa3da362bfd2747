"""Fleets whose etcd has one member, and two, update themselves one node at a time. Each reboot of a member
takes the quorum away: the lock outlives it, and the slot is given back when the quorum is.
"""

from lab.fleet import Lab, each
from lab.node import Node
from lab.repo import Kind

PACKAGES = {"lab-kernel": Kind.REBOOT}
TIMEOUT = 150


def scenario(lab: Lab) -> None:
    for members in (1, 2):
        old, new = f"{members}.0", f"{members}.1"
        lab.offer(old, PACKAGES)
        nodes = lab.boot([f"of-{members}-{n}" for n in (1, 2)], members, with_workloads=False)
        lab.install(nodes, ["lockkeeper", *PACKAGES])
        each(nodes, lab.configure)
        lab.wait_updated(nodes, old, PACKAGES)
        with lab.observe(nodes) as observer:
            lab.offer(new, PACKAGES)
            lab.wait_updated(nodes, new, PACKAGES, TIMEOUT)
        observer.check()
        boots = {node.name: observer.boots(node) for node in nodes}
        assert set(boots.values()) == {1}, boots
        lab.say(f"{members} member(s): both nodes run {new}\n{observer.chart()}")
        each(nodes, Node.stop)
