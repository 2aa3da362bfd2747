"""A node that loses power at any point of an installation ends on the old set or on the new one, whole: dpkg
has nothing to complain about, services run, and it needs nobody's help.

Eight cuts at seeded points; LOCKKEEPER_POWER_CUTS=50 makes fifty, LOCKKEEPER_SEED others.
"""

import json
import os
import random
import time

from lab.fleet import CONFIG, Lab, on
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

PACKAGES = {f"lab-{name}": Kind.PLAIN for name in ("a", "b", "c")} | {"lab-app": Kind.SERVICE, "lab-big": Kind.BIG}
SETTINGS = """
strategy = "reboot"
check = { first = "1s", interval = "10s", spread = "0s" }
drain.wait = "0s"
verify = { grace = "1s", settle = "1s", timeout = "60s" }
schedule.min_remaining = "0s"
packages.origins = "all"
"""
PLANS = "/var/lib/lockkeeper-executor/plans"


def scenario(lab: Lab) -> None:
    seed = os.environ.get("LOCKKEEPER_SEED", "lockkeeper")
    cuts = int(os.environ.get("LOCKKEEPER_POWER_CUTS", "8"))
    chances = random.Random(seed)
    node = lab.single(PACKAGES)
    node.write(CONFIG, SETTINGS)
    node.run("systemctl", "restart", "lockkeeperd.service")

    lab.offer("2.0", PACKAGES)
    began = until("the first update begins", lambda: begun(node), 60, 0.01)
    until("it ends", lambda: not begun(node), 60, 0.01)
    lasts = time.monotonic() - began
    settled(lab, node, "2.0", "1.0")
    lab.say(f"seed {seed}: {cuts} cuts within {lasts:.2f} s of installing")

    version, ended = "2.0", {"old": 0, "new": 0}
    for number in range(1, cuts + 1):
        offered = f"{number + 2}.0"
        lab.offer(offered, PACKAGES)
        began = until(f"update {number} begins", lambda: begun(node), 60, 0.005)
        point = chances.uniform(0, lasts * 1.1)
        time.sleep(max(0.0, began + point - time.monotonic()))
        node.power_cut()
        node.start()
        node.wait_up()
        found = settled(lab, node, offered, version)
        ended["new" if found == offered else "old"] += 1
        lab.say(f"cut {number} after {point:.3f} s: {found}")
        version = found
    lab.say(f"after {cuts} cuts: {ended['new']} times on the new set, {ended['old']} times on the old one")


def begun(node: Node) -> float | None:
    """When a transaction that has not ended was seen: now."""
    for plan in node.path(PLANS).glob("*/attempts.json"):
        if not (plan.parent / "result.json").exists():
            return time.monotonic()
    return None


def settled(lab: Lab, node: Node, new: str, old: str) -> str:
    """The version the node ends on, at rest and in order; the update may be made after the cut."""

    def rests() -> str | None:
        if node.phase() != "steady" or begun(node):
            return None
        # Where the cut came before anything was written, the update is still to be made.
        return next((version for version in (new, old) if on(node, version, PACKAGES)), None)

    def describe() -> str:
        return f"{node.phase()} {node.versions(PACKAGES)} {json.dumps(node.status()['verdict'])}"

    found = until(f"the node rests on {new} or {old}", rests, 120, 0.2, describe)
    if found != new:
        found = until(f"the node gets {new}, or rests", lambda: new if on(node, new, PACKAGES) else None, 60, 0.2, describe)
        until("it rests again", lambda: rests() == new, 60, 0.2, describe)
    said = node.script("dpkg --audit; dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n' | grep -v '^ii' || true")
    assert not said, said
    state = node.run("systemctl", "is-active", "lab-app.service", check=False).stdout.strip()
    assert state == "active", f"lab-app.service is {state}"
    assert not node.status()["locks"][0]["halt"], node.status()["locks"]
    return found
