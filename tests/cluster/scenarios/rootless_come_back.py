"""What a user runs without root comes back with the node, where an admin has said that it counts: units, Quadlets
and containers of a user who lingers. A container of such a user that is unhealthy after the boot keeps the node from
giving its slot back, and is named; what another user runs is neither started nor judged.
"""

import json

from lab import workloads
from lab.fleet import Lab
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

KERNEL = {"lab-kernel": Kind.REBOOT}
UIDS = {"alice": 1000, "bob": 1001}
# The host may lend the nodes no cgroup controllers, and overlays do not stack.
CONTAINERS_CONF = "[containers]\npids_limit = 0\n"
STORAGE_CONF = '[storage]\ndriver = "vfs"\n'
OF_ROOT = 'runroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n'
QUADLET = "[Container]\nImage=localhost/web\nExec=/bin/idle\nNetwork=none\nPodmanArgs=--stop-signal=SIGKILL\n"
QUADLETS = {"installed": "[Install]\nWantedBy=default.target\n", "by-hand": "", "unwanted": "[X-Lockkeeper]\nRestore=no\n"}
UNITS = {
    "job": "[Service]\nExecStart=/usr/bin/sleep infinity\n",
    "extra": "[Service]\nExecStartPre=/usr/bin/test -e /run/lab-extra\nExecStart=/usr/bin/sleep infinity\n"
    "[X-Lockkeeper]\nRestore=best-effort\n",
}
RUN = "podman run --quiet --detach --stop-signal=SIGKILL --network=none"
IDLE = "localhost/web /bin/idle"
HEALTH = "--health-interval=1s --health-retries=2 --health-cmd 'test -e /good/yes'"
CONTAINERS = [
    f"{RUN} --name plain {IDLE}",
    f"{RUN} --name always --restart=always {IDLE}",
    f"{RUN} --name left-alone --label=lockkeeper.restore=no {IDLE}",
    f"{RUN} --name sick --volume=/run/lab-good:/good {HEALTH} {IDLE}",
    f"{RUN} --name stopped {IDLE}; podman stop --time=0 stopped",
    f"podman create --stop-signal=SIGKILL --network=container:plain --name joined {IDLE}; podman start joined",
]
BACK = {"systemd-installed", "systemd-by-hand", "plain", "always", "sick", "joined"}


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False, engines=True, suite="trixie")
    node.write("/etc/containers/containers.conf", CONTAINERS_CONF)
    node.write("/etc/containers/storage.conf", STORAGE_CONF + OF_ROOT)
    node.write("/etc/tmpfiles.d/lab.conf", "d /run/lab-good\nf /run/lab-good/yes\n")
    node.write("/etc/lockkeeper/conf.d/workloads.toml", '[workloads]\nusers = ["alice"]\n')
    lab.offer("1.0", KERNEL)
    lab.install([node], ["lockkeeper", *KERNEL])
    start(node)
    lab.configure(node)
    foreseen(node)

    boot = node.boot_id
    lab.offer("2.0", KERNEL)
    lab.wait_updated([node], "2.0", KERNEL, 240)
    assert node.boot_id != boot, "it did not reboot"
    assert running(node, "alice") == BACK, running(node, "alice")
    # By itself: it is enabled.
    assert running(node, "bob") == {"systemd-installed"}, running(node, "bob")
    states = {name: active(node, f"{name}.service") for name in [*UNITS, *QUADLETS]}
    assert states == {"job": "active", "extra": "failed", "installed": "active", "by-hand": "active", "unwanted": "inactive"}, states
    journal = node.journal()
    for text in (
        "bob lingers, and is not one of workloads.users: not looked at",
        "extra.service is failed (exit-code): it need not be back, so the node does not fail for it",
    ):
        assert text in journal, f"not in the journal: {text}"

    lab.say("a container that is unhealthy after the boot")
    node.path("/etc/tmpfiles.d/lab.conf").write_text("d /run/lab-good\n")
    lab.configure(node, verify_timeout="10s", on_failure="stay")
    lab.offer("3.0", KERNEL)
    until("the update has failed", lambda: node.phase() == "failed", 180, 0.3)
    halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 60, 0.3)
    assert "alice: container sick (podman) is unhealthy" in halt["reason"], halt
    node.script("touch /run/lab-good/yes")
    until("the mended node gives its slot back", lambda: not lab.etcd.slots()["holders"], 90)


def foreseen(node: Node) -> None:
    """What `rebootctl workloads` says beforehand, of what is then seen to happen."""
    doc = json.loads(node.rebootctl("workloads", "--json").stdout)
    assert not doc["blocking"], doc["blocking"]
    comes = {row["name"]: row["comes"] for row in doc["workloads"] if row.get("user") == "alice"}
    expected = {
        "installed.service": "by-itself", "by-hand.service": "started", "unwanted.service": "left-down", "job.service": "started",
        "container systemd-installed (podman)": "by-itself", "container systemd-by-hand (podman)": "started",
        "container plain (podman)": "started", "container always (podman)": "started",
        "container left-alone (podman)": "left-down", "container joined (podman)": "started",
    }
    found = {name: comes.get(name) for name in expected}
    assert found == expected, found
    assert not [row for row in doc["workloads"] if row.get("user") == "bob"], doc


def start(node: Node) -> None:
    """Two users who linger and run something; nobody has a session."""
    node.script("mkdir -p /run/lab-good; touch /run/lab-good/yes /run/lab-extra")
    for user in UIDS:
        node.script(f"useradd --create-home --shell /bin/sh {user}; loginctl enable-linger {user}")
        until(f"the manager of {user}", lambda u=user: active(node, "default.target", u) == "active", 30, 0.3)
        home = f"/home/{user}/.config"
        node.write(f"{home}/containers/storage.conf", STORAGE_CONF)
        for name, text in UNITS.items():
            node.write(f"{home}/systemd/user/{name}.service", text)
        for name, more in QUADLETS.items():
            node.write(f"{home}/containers/systemd/{name}.container", QUADLET + more)
        node.script(f"chown -R {user}: /home/{user}")
        as_user(node, user, f"podman import --quiet {workloads.IMAGE} localhost/web")
    commands = [f"systemctl --user daemon-reload; systemctl --user start {' '.join([*UNITS, *QUADLETS])}", *CONTAINERS]
    as_user(node, "alice", "\n".join(commands))
    as_user(node, "bob", CONTAINERS[0])
    assert running(node, "alice") == BACK | {"systemd-unwanted", "left-alone"}, running(node, "alice")


def as_user(node: Node, user: str, script: str, check: bool = True) -> str:
    """Runs a script as a user, outside of any session; what it leaves running goes on."""
    uid = UIDS[user]
    environment = [f"--setenv=XDG_RUNTIME_DIR=/run/user/{uid}", f"--setenv=DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{uid}/bus"]
    unit = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=KillMode=process"]
    return node.enter(*unit, f"--uid={user}", f"--working-directory=/home/{user}", *environment, "sh", "-ec", script, check=check, timeout=120).stdout


def running(node: Node, user: str) -> set[str]:
    """Names of the user's running containers."""
    return set(as_user(node, user, "podman ps --format '{{.Names}}'").split())


def active(node: Node, unit: str, user: str = "alice") -> str:
    """The state of a user's unit."""
    return as_user(node, user, f"systemctl --user is-active {unit}", check=False).strip()
