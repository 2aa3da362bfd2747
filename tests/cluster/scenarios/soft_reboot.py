"""On Debian 13, where soft-reboots are allowed: an update that only userspace has to start anew for ends in one, the
kernel runs on and the container is back. A flag that outlives it asks for nothing more. A power cut in it counts as the
reboot. What a kernel asks for, or an admin, is a full reboot. How long the container was down is told for both ways.
"""

import threading
import time
from pathlib import Path

from lab import workloads
from lab.fleet import Lab
from lab.host import CommandFailed
from lab.node import NoAnswer, Node
from lab.repo import Kind
from lab.wait import until

KERNEL = {"lab-kernel": Kind.REBOOT}
CONTAINERS_CONF = "[containers]\npids_limit = 0\n"
STORAGE_CONF = '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n'
LIBRARY = "/usr/lib/lab-lib/liblab.so"
UNIT = f"[Service]\nEnvironment=LD_PRELOAD={LIBRARY}\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
SETTINGS = '[reboot]\nfast = "soft-reboot"\n[services]\nby_reboot = ["lab-library.service"]\n'
MANAGER = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
FLAG = "echo '*** System restart required ***' > /run/reboot-required; echo dbus >> /run/reboot-required.pkgs"


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False, engines=True, suite="trixie")
    node.write("/etc/containers/containers.conf", CONTAINERS_CONF)
    node.write("/etc/containers/storage.conf", STORAGE_CONF)
    publish(lab, node, "1.0")
    lab.offer("1.0", KERNEL)
    lab.install([node], ["lockkeeper", "lab-lib", *KERNEL])
    node.write("/etc/systemd/system/lab-library.service", UNIT)
    mark = f"idle-{node.id}"
    node.script(
        f"podman import --quiet {workloads.IMAGE} localhost/web >&2\n"
        f"podman run --quiet --detach --stop-signal=SIGKILL --network=none --name plain localhost/web /bin/idle {mark} >&2\n"
        "systemctl daemon-reload; systemctl enable -q --now lab-library.service >&2"
    )
    node.write("/etc/lockkeeper/conf.d/soft.toml", SETTINGS)
    lab.configure(node)
    boot = node.boot_id
    assert soft_reboots(node) == 0, soft_reboots(node)
    assert Watch.runs(mark), "the container does not run"

    with Watch(mark) as soft:
        publish(lab, node, "2.0")
        lab.wait_updated([node], "2.0", ["lab-lib"], 150)
    assert (node.boot_id, soft_reboots(node)) == (boot, 1), (boot, node.boot_id, soft_reboots(node))
    assert node.status()["boot_id"] == f"{boot}+1", node.status()["boot_id"]
    lab.say("the update ended in a soft-reboot")

    node.script(FLAG)
    node.rebootctl("check")
    until("the flag is answered", lambda: at_rest(lab, node) and soft_reboots(node) == 2, 120, 0.3)
    assert node.script("ls /run/reboot-required"), "the flag is gone"
    node.rebootctl("check")
    assert at_rest(lab, node), node.status()
    assert (node.boot_id, soft_reboots(node)) == (boot, 2), (boot, node.boot_id, soft_reboots(node))
    lab.say("the flag that a soft-reboot has answered asks for nothing")

    node.script(FLAG)
    node.rebootctl("check")
    until("it leaves", lambda: not Watch.runs(mark), 60, 0.01)
    assert node.phase() == "rebooting", node.phase()
    node.power_cut()
    lab.say("it lost power in a soft-reboot")
    node.start()
    node.wait_up()
    until("it is at rest", lambda: at_rest(lab, node), 120, 0.3)
    assert node.boot_id != boot and soft_reboots(node) == 0, (boot, node.boot_id, soft_reboots(node))
    assert Watch.runs(mark), "the container is not back"

    boot = node.boot_id
    with Watch(mark) as full:
        lab.offer("2.0", KERNEL)
        lab.wait_updated([node], "2.0", KERNEL, 150)
    assert node.boot_id != boot and soft_reboots(node) == 0, (boot, node.boot_id, soft_reboots(node))
    said = node.journal("-u", "lockkeeper-executor.service")
    assert "userspace alone may not be enough: lab-kernel asks for a reboot" in said, said

    boot = node.boot_id
    node.rebootctl("reboot", "--now")
    until("it has rebooted", lambda: node.boot_id not in (None, boot) and at_rest(lab, node), 120, 0.3)
    assert soft_reboots(node) == 0, soft_reboots(node)
    assert Watch.runs(mark), "the container is not back"
    lab.say(f"the container was down for {soft.longest:.1f} s in a soft-reboot, {full.longest:.1f} s in a full one")
    assert 0 < soft.longest and 0 < full.longest, (soft.longest, full.longest)


class Watch:
    """Looks, from outside, at a process with this word in its command line: the longest time it was away."""

    def __init__(self, mark: str) -> None:
        self.longest = 0.0
        self._mark = mark
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        seen = time.monotonic()
        while not self._over.wait(0.05):
            if self.runs(self._mark):
                now = time.monotonic()
                gap, seen = now - seen, now
                # Less is the pace of the looks.
                self.longest = max(self.longest, gap if gap > 0.5 else 0.0)

    @staticmethod
    def runs(mark: str) -> bool:
        """Whether the container's own process is there; podman and conmon have the word among others."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:3] == [b"/bin/busybox", b"sh", b"/bin/idle"] and mark.encode() in words:
                return True
        return False


def at_rest(lab: Lab, node: Node) -> bool:
    """In service, with nothing wanted, and no slot held."""
    try:
        return node.phase() == "steady" and lab.at_rest() and node.status()["reboot_needed"] == []
    except (CommandFailed, NoAnswer):
        return False


def soft_reboots(node: Node) -> int:
    """As systemd counts them."""
    return int(node.script(f"busctl get-property {MANAGER} SoftRebootsCount").split()[1])


def publish(lab: Lab, node: Node, version: str) -> None:
    """Offers a package with a library that a service uses."""
    [library] = node.path("/usr/lib").glob("*-linux-gnu/libz.so.1")
    lab.repo.files("lab-lib", version, {LIBRARY: library.read_bytes()})
    lab.repo.publish()
