"""What is not to be disturbed is not: while a backup runs or somebody is logged in nothing begins, and
`explain` says why. Somebody who is logged in is told before, and an admin calls the cycle off; nothing
was changed then, and the next one goes through.
"""

from lab.fleet import Lab, on
from lab.node import Node
from lab.repo import Kind
from lab.wait import always, until

PACKAGES = {"lab-tool": Kind.PLAIN}
DROP_IN = "/etc/lockkeeper/conf.d/blockers.toml"
BACKUP = "[Service]\nExecStart=sleep 3600\n"
# A login as PAM and logind see it, on a terminal of its own; what is written there is kept.
LOGIN = "su - anna -c 'sleep 3600'"
SCREEN = "/var/tmp/screen"


def scenario(lab: Lab) -> None:
    node = lab.single(PACKAGES)
    node.write("/etc/systemd/system/nightly-backup.service", BACKUP)
    node.script("useradd --create-home --shell /bin/sh anna; systemctl daemon-reload")
    blockers(node, units='["nightly-*.service"]', users='"wait"')

    node.run("systemctl", "start", "nightly-backup.service")
    lab.configure(node, strategy="reboot")
    lab.offer("2.0", PACKAGES)
    waits(lab, node, "unit-running", "nightly-backup.service is running")
    node.run("systemctl", "stop", "nightly-backup.service")
    lab.wait_updated([node], "2.0", PACKAGES)
    lab.say("the update waited for a backup")

    log_in(node)
    lab.offer("3.0", PACKAGES)
    waits(lab, node, "users-logged-in", "anna is logged in (pts/")
    log_out(node)
    lab.wait_updated([node], "3.0", PACKAGES)
    lab.say("the update waited for a user")

    log_in(node)
    blockers(node, users='"warn"', notice='"20s"')
    lab.configure(node, strategy="reboot")
    lab.offer("4.0", PACKAGES)
    until("anna is told", lambda: "taken out of service for updates in 20s" in screen(node), 60)
    node.rebootctl("cancel")
    until("the cycle is called off", lambda: verdict(node)["code"] == "called-off", 20, seen=lambda: verdict(node))
    until("the slot is free", lambda: node.phase() == "steady", 10)
    looked = lab.checks(node)
    quiet = lambda: on(node, "3.0", PACKAGES) and node.phase() == "steady"  # noqa: E731
    always("nothing is installed", quiet, lambda: lab.checks(node) > looked + 1)
    lab.say("a user was told, and an admin called it off")

    boot = node.boot_id
    blockers(node, users='"warn"', notice='"3s"')
    node.run("systemctl", "reload", "lockkeeperd.service")
    node.rebootctl("reboot")
    lab.wait_updated([node], "4.0", PACKAGES)
    assert node.boot_id != boot, "the reboot that was asked for"
    lab.say("after the notice it went on, with anna logged in")


def blockers(node: Node, **values: str) -> None:
    node.write(DROP_IN, "[blockers]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))


def verdict(node: Node) -> dict:
    return node.explain()["verdict"]


def waits(lab: Lab, node: Node, code: str, text: str) -> None:
    """The node has something to install, and says that it waits for this."""
    before = node.versions(PACKAGES)
    until(f"it waits: {code}", lambda: verdict(node)["code"] == code, 60, seen=lambda: verdict(node))
    assert text in verdict(node)["text"], verdict(node)
    looked = lab.checks(node)
    always("nothing is installed", lambda: node.versions(PACKAGES) == before, lambda: lab.checks(node) > looked)


def log_in(node: Node) -> None:
    node.script(f'systemd-run --unit=login --collect script --quiet --flush --command "{LOGIN}" {SCREEN}')
    until("anna is logged in", lambda: "anna" in node.run("loginctl", "list-sessions").stdout, 20)


def log_out(node: Node) -> None:
    node.run("loginctl", "terminate-user", "anna")
    until("anna is gone", lambda: "anna" not in node.run("loginctl", "list-sessions").stdout, 30)


def screen(node: Node) -> str:
    return node.path(SCREEN).read_text(encoding="utf-8", errors="replace")
