"""Hooks run at every point of a cycle, in order, and know what it is about. One that says no, or takes too
long, ends it with nothing disturbed, and what was drained is undrained. None runs twice at a time, though agent
and executor are killed beneath it. One that fails after an update has it undone, and the hooks for a failure
are told why.
"""

import json
import signal

from lab import host
from lab.fleet import Lab, on
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

PACKAGES = {"lab-tool": Kind.PLAIN, "lab-kernel": Kind.REBOOT}
POINTS = ["pre-lock", "pre-apply", "pre-reboot", "post-boot", "in-service", "on-failure"]
WHOLE = ["pre-lock", "pre-lock", "pre-apply", "pre-reboot", "post-boot", "in-service"]
TOLD = "/var/lib/told"
RECORD = f"#!/bin/sh -e\ncat > {TOLD}/$LOCKKEEPER_HOOK\necho $LOCKKEEPER_HOOK >> {TOLD}/order\n"
# The folder shows that it runs, and whether another one does.
BUSY = "/run/hook-runs"
SLOW = f"#!/bin/sh -e\nmkdir {BUSY} || {{ touch {TOLD}/twice; exit 1; }}\nsleep 5\nrmdir {BUSY}\n"
NO = "#!/bin/sh\necho the pool does not answer >&2\nexit 3\n"
NEVER = "#!/bin/sh\nsleep 600\n"
NOT_3 = "#!/bin/sh\n[ \"$(dpkg-query -W -f '${Version}' lab-tool)\" != 3.0 ] || { echo the shop is dark; exit 1; }\n"
SETTINGS = '[hooks]\ntimeouts = ["pre-lock/10-never=1s"]\n'


def scenario(lab: Lab) -> None:
    node = lab.single(PACKAGES)
    node.path(TOLD).mkdir()
    node.write("/usr/local/lib/record", RECORD, 0o755)
    for point in POINTS:
        link = node.path(f"/etc/lockkeeper/hooks.d/{point}/50-record")
        link.parent.mkdir(parents=True)
        link.symlink_to("/usr/local/lib/record")
    node.write("/etc/lockkeeper/conf.d/hooks.toml", SETTINGS)
    node.write("/etc/lockkeeper/hooks.d/pre-lock/10-never", NEVER, 0o755)
    node.write("/etc/lockkeeper/hooks.d/pre-apply/60-no", NO, 0o755)
    lab.configure(node, verify_timeout="10s")

    lab.offer("2.0", PACKAGES)
    refused(node, "hook pre-lock/10-never took longer than 1 s")
    assert order(node) == [], order(node)
    assert "sleep 600" not in node.script("ps ax"), "it is still running"
    node.path("/etc/lockkeeper/hooks.d/pre-lock/10-never").unlink()

    refused(node, "hook pre-apply/60-no failed with exit status 3: the pool does not answer")
    assert lab.at_rest(), lab.etcd.slots()
    assert on(node, "1.0", PACKAGES), node.versions(PACKAGES)
    assert order(node) == ["pre-lock", "pre-lock", "pre-apply", "in-service"], order(node)
    node.path("/etc/lockkeeper/hooks.d/pre-apply/60-no").unlink()

    forget(node)
    node.write("/etc/lockkeeper/hooks.d/pre-apply/40-slow", SLOW, 0o755)
    for unit in ("lockkeeperd.service", "lockkeeper-executor.service"):
        until("a hook runs", lambda: node.path(BUSY).is_dir() or list_run(node), 60, 0.1)
        [pid] = node.processes(unit)
        host.kill(pid, signal.SIGKILL)
        lab.say(f"{unit} killed in the midst of a hook")
    lab.wait_updated([node], "2.0", PACKAGES)
    assert not node.path(f"{TOLD}/twice").exists(), "a hook ran twice at a time"
    went = order(node)
    assert went[:2] == WHOLE[:2] and went[-4:] == WHOLE[-4:], went
    knows_the_cycle(node)
    node.path("/etc/lockkeeper/hooks.d/pre-apply/40-slow").unlink()

    forget(node)
    node.write("/etc/lockkeeper/hooks.d/post-boot/60-shop", NOT_3, 0o755)
    lab.offer("3.0", PACKAGES)
    until("the update has failed", lambda: node.state().get("denied"), 90, 0.3)
    until("it is undone and the slot free", lambda: on(node, "2.0", PACKAGES) and lab.at_rest(), 90, 0.3)
    until("the node is at rest", lambda: node.phase() == "steady", 30, 0.3)
    told = json.loads(node.path(f"{TOLD}/on-failure").read_text())
    assert told["cause"] == "health" and "hook post-boot/60-shop failed" in told["failing"], told
    assert "the shop is dark" in lab.etcd.slots()["halt"]["reason"], lab.etcd.slots()
    back = [point for point in order(node) if point != "pre-reboot"]
    assert back[:3] == WHOLE[:3] and back.count("on-failure") == 1 and back[-2:] == WHOLE[-2:], order(node)
    assert back.count("in-service") == 1, order(node)


def refused(node: Node, why: str) -> None:
    """Waits until the node is at rest because of a hook, and says so."""

    def said() -> bool:
        verdict = node.explain()["verdict"]
        return node.phase() == "steady" and verdict["code"] == "hook-failed" and why in verdict["text"]

    until(f"explain says: {why}", said, 90, 0.3, lambda: node.explain()["verdict"])


def list_run(node: Node) -> bool:
    """Whether the slow hook runs, as systemd has it."""
    said = node.enter("systemctl", "is-active", "lockkeeper-hook-pre-apply-40-slow.service", check=False).stdout
    return said.strip() == "activating"


def knows_the_cycle(node: Node) -> None:
    """Judges what the hook that drains was told."""
    told = json.loads(node.path(f"{TOLD}/pre-apply").read_text())
    assert told["schema"] == 1 and told["hook"] == "pre-apply" and told["phase"] == "draining", told
    assert told["node"] == node.id and told["name"] == "web-1" and told["groups"] == ["default"], told
    changes = {p["name"]: (p["from"], p["to"]) for p in told["packages"]}
    assert changes == dict.fromkeys(PACKAGES, ("1.0", "2.0")), changes
    assert len(told["plan"]) == 64 and "2 package(s)" in told["reason"] and told["cause"] is None, told
    boots = {p: json.loads(node.path(f"{TOLD}/{p}").read_text())["boot_id"] for p in ("pre-reboot", "post-boot")}
    assert boots["pre-reboot"] != boots["post-boot"] == node.boot_id, boots


def order(node: Node) -> list[str]:
    """The points, in the order in which their hooks have run."""
    path = node.path(f"{TOLD}/order")
    return path.read_text().split() if path.exists() else []


def forget(node: Node) -> None:
    """What has run so far."""
    node.path(f"{TOLD}/order").unlink(missing_ok=True)
