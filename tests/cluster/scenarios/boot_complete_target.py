"""boot-complete.target on either side. Where it waits for lockkeeper, a boot is marked as good only when the machine
has proved itself healthy, at once in a boot that lockkeeper has not made, and never when it has failed. Where
lockkeeper waits for it, what it requires is one more check. With both at once nothing is begun.
"""

from lab.fleet import Lab
from lab.node import Node
from lab.wait import until

UNIT = "lockkeeper-boot-complete.service"
OK, BLESSED = "/run/lab-ok", "/run/lab-blessed"
CHECK = f"#!/bin/sh\n[ -e {OK} ] || {{ echo not yet; exit 1; }}\n"
# As systemd-bless-boot.service has it, which a machine without a boot loader does not start.
BLESS = (
    "[Unit]\nDefaultDependencies=no\nRequires=boot-complete.target\nAfter=local-fs.target boot-complete.target\n"
    f"Conflicts=shutdown.target\nBefore=shutdown.target\n[Service]\nType=oneshot\nExecStart=/bin/touch {BLESSED}\n"
)
REQUIRED = (
    "[Unit]\nBefore=boot-complete.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
    f"ExecStart=/usr/bin/test -e {OK}\n[Install]\nRequiredBy=boot-complete.target\n"
)
REQUIRE = '[verify]\nboot_complete = "require"\n'


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False)
    lab.install([node])
    node.write("/etc/lockkeeper/health.d/10-ok", CHECK, 0o755)
    node.write("/lib/systemd/system/lab-bless.service", BLESS)
    node.write("/lib/systemd/system/lab-required.service", REQUIRED)
    node.wants("basic.target", "lab-bless.service")
    lab.configure(node, verify_timeout="12s")
    node.script(f"systemctl daemon-reload; systemctl enable -q {UNIT}; touch {OK}")

    reboot(node)
    failing(node, "check 10-ok failed with exit status 1: not yet")
    assert active(node, "lockkeeperd.service") and not blessed(node)
    assert node.run("rebootctl", "healthy", check=False).returncode == 1
    node.script(f"touch {OK}")
    assert node.rebootctl("healthy", "--wait", "30s").stdout == "healthy\n"
    until("the boot is marked as good", lambda: blessed(node), 20, 0.2)
    lab.say("a boot is marked as good when the machine is healthy")
    until("the slot is given back", lambda: lab.at_rest() and node.phase() == "steady", 30, 0.2)

    boot = node.boot_id
    node.run("systemctl", "--no-block", "reboot")
    until("it has rebooted", lambda: node.boot_id not in (None, boot), 60, 0.1)
    until("a boot of others is marked as good", lambda: blessed(node), 60, 0.2)
    lab.say("a boot that lockkeeper has not made is marked as good at once")

    node.wait_up()
    node.script(f"touch {OK}")
    reboot(node)
    until("it has failed", lambda: node.phase() == "failed", 60, 0.2)
    until("so has the boot", lambda: state(node, UNIT) == "failed", 30, 0.2)
    assert not blessed(node) and not active(node, "boot-complete.target")
    node.script(f"touch {OK}")
    until("the mended node gives its slot back", lab.at_rest, 60, 0.3)
    assert not blessed(node), "a boot that has failed is not marked later"
    node.rebootctl("resume")
    lab.say("a boot in which the machine has failed is not marked as good")

    node.write("/etc/lockkeeper/conf.d/require.toml", REQUIRE)
    node.rebootctl("reboot", "--now")
    until("both at once are refused", lambda: "one of the two has to go" in node.rebootctl("explain").stdout, 60, 0.3)
    boot = node.boot_id
    node.script(f"systemctl disable -q {UNIT}; systemctl reset-failed; systemctl enable -q lab-required.service")
    until("it reboots", lambda: node.boot_id not in (None, boot), 90, 0.1)
    failing(node, "boot-complete.target is not reached: lab-required.service is failed (exit-code)")
    node.script(f"touch {OK}; systemctl restart lab-required.service")
    until("the node is healthy", lambda: lab.at_rest() and node.phase() == "steady", 60, 0.3)
    assert active(node, "boot-complete.target")
    lab.say("what boot-complete.target requires is a check")


def reboot(node: Node) -> None:
    """Has lockkeeper reboot the node, and waits until it has."""
    boot = node.boot_id
    node.rebootctl("reboot", "--now")
    until(f"{node.name} reboots", lambda: node.boot_id not in (None, boot), 60, 0.1)


def failing(node: Node, sentence: str) -> None:
    """Waits until the node says so of itself."""
    until(f"it says: {sentence}", lambda: sentence in node.explain()["verdict"]["text"], 40, 0.2)


def blessed(node: Node) -> bool:
    """Is this boot marked as good?"""
    return node.leader is not None and node.enter("test", "-e", BLESSED, check=False).returncode == 0


def state(node: Node, unit: str) -> str:
    """systemd's word for a unit."""
    return node.enter("systemctl", "is-active", unit, check=False).stdout.strip()


def active(node: Node, unit: str) -> bool:
    """Does the unit run, or is it reached?"""
    return state(node, unit) == "active"
