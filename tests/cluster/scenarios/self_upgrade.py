"""An update that carries lockkeeper itself, beside another package, finishes on every node; the new agent
runs afterwards, and no node reboots for it.
"""

import os

from lab import repo
from lab.fleet import Lab, on
from lab.node import Node
from lab.repo import Kind

PACKAGES = {"lab-tool": Kind.PLAIN}
AGENT = "/usr/libexec/lockkeeper/lockkeeperd"


def scenario(lab: Lab) -> None:
    assert lab.deb
    nodes = lab.fleet(PACKAGES)
    old = {node.name: agent(node) for node in nodes}
    version = f"{repo.field(lab.deb, 'Version')}+lab1"
    lab.repo.add(repo.repacked(lab.deb, version, lab.dir))
    with lab.observe(nodes) as observer:
        lab.offer("2.0", PACKAGES)
        lab.wait_updated(nodes, "2.0", PACKAGES)
    observer.check()
    for node in nodes:
        assert on(node, version, ["lockkeeper"]), node.versions(["lockkeeper"])
        new = agent(node)
        assert new != old[node.name], f"{node.name} still runs the old agent"
        assert os.stat(f"/proc/{new}/exe").st_ino == node.path(AGENT).stat().st_ino, "not the program on disk"
        assert node.status()["phase"] == "steady"
        assert observer.boots(node) == 0, f"{node.name} rebooted without need"


def agent(node: Node) -> int:
    """Host PID of the agent."""
    return node.processes("lockkeeperd.service")[0]
