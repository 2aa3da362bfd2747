"""On Debian 13, whose Podman comes with its socket and its boot unit disabled: Quadlets with and without [Install]
are back after a reboot, each run by its unit, as are containers that were started by hand; a Quadlet that asks for
it is left down.
"""

from lab import workloads
from lab.fleet import Lab
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

KERNEL = {"lab-kernel": Kind.REBOOT}
# The host may lend the nodes no cgroup controllers, and overlays do not stack.
CONTAINERS_CONF = "[containers]\npids_limit = 0\n"
STORAGE_CONF = '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n'
QUADLET = "[Container]\nImage=localhost/web\nExec=/bin/idle\nNetwork=none\nPodmanArgs=--stop-signal=SIGKILL\n"
QUADLETS = {
    "installed": "[Install]\nWantedBy=multi-user.target\n",
    "by-hand": "",
    "unwanted": "[X-Lockkeeper]\nRestore=no\n",
    "labelled": "[Container]\nLabel=lockkeeper.restore=no\n",
}
RUN = "podman run --quiet --detach --stop-signal=SIGKILL --network=none"
BACK = {"systemd-installed", "systemd-by-hand", "plain", "always"}


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False, engines=True, suite="trixie")
    node.write("/etc/containers/containers.conf", CONTAINERS_CONF)
    node.write("/etc/containers/storage.conf", STORAGE_CONF)
    lab.offer("1.0", KERNEL)
    lab.install([node], ["lockkeeper", *KERNEL])
    for name, more in QUADLETS.items():
        node.write(f"/etc/containers/systemd/{name}.container", QUADLET + more)
    node.script(
        f"podman import --quiet {workloads.IMAGE} localhost/web >&2\n"
        f"systemctl daemon-reload; systemctl start {' '.join(QUADLETS)}\n"
        f"{RUN} --name plain localhost/web /bin/idle >&2\n"
        f"{RUN} --name always --restart=always localhost/web /bin/idle >&2\n"
        # As on a machine where nobody has enabled anything.
        "systemctl disable --now podman.socket podman-restart.service >&2"
    )
    assert running(node) == BACK | {"systemd-unwanted", "systemd-labelled"}, running(node)
    lab.configure(node)
    boot = node.boot_id
    lab.offer("2.0", KERNEL)
    lab.wait_updated([node], "2.0", KERNEL, 150)
    assert node.boot_id != boot, "it did not reboot"
    until("all are back", lambda: running(node) == BACK, 10, 0.5, lambda: str(running(node)))
    states = {name: node.enter("systemctl", "is-active", name, check=False).stdout.strip() for name in QUADLETS}
    assert states == {"installed": "active", "by-hand": "active", "unwanted": "inactive", "labelled": "inactive"}, states


def running(node: Node) -> set[str]:
    """Names of the running containers."""
    return set(node.script("podman ps --format '{{.Names}}'").split())
