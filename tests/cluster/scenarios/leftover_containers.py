"""A power cut leaves dead containers behind that hold the names their units need. Where the unit itself would have
removed its container, lockkeeper does, and the unit runs again; where something in it may be needed, it stays, the
node keeps its slot, and the journal says what to do.
"""

from lab.fleet import Lab
from lab.node import Node
from lab.repo import SLOW_MARK, Kind
from lab.wait import until

PACKAGES = {"lab-slow": Kind.SLOW}
RUN = "--stop-signal=SIGKILL --network=none"
IDLE = "/bin/idle"
UNIT = "[Unit]\nAfter=docker.service\n[Service]\n{service}[Install]\nWantedBy=multi-user.target\n"
UNITS = {
    # Podman does not remove it when the power is back.
    "podman-rm": f"ExecStart=/usr/bin/podman run --rm --name podman-rm {RUN} localhost/web {IDLE}\n",
    # Its unit fails before systemd would run what removes it.
    "docker-rm": f"Type=exec\nExecStartPre=/usr/bin/docker create --name docker-rm {RUN} web {IDLE}\n"
    "ExecStart=/usr/bin/docker start --attach docker-rm\nExecStop=/usr/bin/docker rm --force docker-rm\n",
}
KEPT = f"ExecStart=/usr/bin/docker run --name kept {RUN} web {IDLE}\n"


def scenario(lab: Lab) -> None:
    node = lab.single(PACKAGES, with_workloads=True)
    start(node, UNITS)
    lab.configure(node, verify_timeout="60s")
    cut(lab, node, "2.0")
    lab.wait_updated([node], "2.0", PACKAGES, 150)
    states = {name: state(node, name) for name in UNITS}
    assert set(states.values()) == {"active"}, states
    assert not lab.missing(node), lab.missing(node)
    journal = node.journal("-u", "lockkeeper-executor.service")
    removed = [name for name in UNITS if f"container {name} (" in journal and f"keeps {name}.service from starting" in journal]
    lab.say(f"removed what was left of {removed}")
    assert "docker-rm" in removed, "nothing was in the way"

    start(node, {"kept": KEPT})
    lab.configure(node, verify_timeout="10s", on_failure="stay")
    cut(lab, node, "3.0")
    halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 120, 0.3)
    assert "kept.service is failed" in halt["reason"], halt
    journal = node.journal("-u", "lockkeeper-executor.service")
    assert "remove it with `docker rm kept`" in journal, "nobody was told what to do"
    assert node.script("docker inspect --format '{{.State.Status}}' kept").strip() == "exited"
    node.script("docker rm kept >&2; systemctl start kept.service")
    until("the mended node gives its slot back", lambda: not lab.etcd.slots()["holders"], 90)


def start(node: Node, units: dict[str, str]) -> None:
    """Starts units that are enabled, and waits for their containers."""
    for name, service in units.items():
        node.write(f"/etc/systemd/system/{name}.service", UNIT.format(service=service))
    node.script(f"systemctl daemon-reload; systemctl enable --now {' '.join(units)} >&2")
    ask = "docker ps --format '{{.Names}}'; podman ps --format '{{.Names}}'"
    until("their containers run", lambda: set(units) <= set(node.script(ask).split()), 30, 0.3)


def cut(lab: Lab, node: Node, version: str) -> None:
    """Takes the power away in the middle of an update, and gives it back."""
    lab.offer(version, PACKAGES)
    until("dpkg is configuring the package", lambda: node.path(SLOW_MARK).exists(), 90, 0.05)
    node.power_cut()
    node.start()
    node.wait_up()


def state(node: Node, name: str) -> str:
    """`active`, `failed`, …"""
    return node.enter("systemctl", "is-active", name, check=False).stdout.strip()
