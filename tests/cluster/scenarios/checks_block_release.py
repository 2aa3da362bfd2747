"""An update after which units and containers run, but the admin's own checks say no, stops at the first node: a
program in health.d, one that hangs, greenboot's and a probe of a real service are each named in `explain`, in
`status`, in etcd and in the journal, and the update is undone there. What failed before is not held against it,
what is only wanted is reported. While a check cannot be run, nothing is begun.
"""

import json

from lab.fleet import Lab, each, on
from lab.node import Node
from lab.wait import until

SHOP = "/usr/share/lab-shop"
HEALTH = "/etc/lockkeeper/health.d"
GREENBOOT = "/etc/greenboot/check"
ON_BAD = f"#!/bin/sh\nread -r version < {SHOP}/version\n[ $version = 2.0 ] || exit 0\n"
SCRIPTS = {
    f"{HEALTH}/05-old.sh": "#!/bin/sh\necho it is always so; exit 1\n",
    f"{HEALTH}/10-shop.sh": f"{ON_BAD}echo looking >&2\necho version $version is bad\nexit 3\n",
    # It leaves a process of its own behind, which ignores being asked to end.
    f"{HEALTH}/40-slow": f"{ON_BAD}(trap '' TERM; sleep 611; sleep 611) & sleep 612\n",
    f"{HEALTH}/50-edited~": "#!/bin/sh\nexit 1\n",
    f"{GREENBOOT}/required.d/20-green.sh": "read -r v < /usr/share/lab-shop/version; [[ $v != 2.0 ]] || exit 4\ntouch /root/green\n",
    f"{GREENBOOT}/wanted.d/30-wish.sh": "echo a wish; exit 1\n",
}
SETTINGS = """
[verify]
check_timeout = "2s"
[[probe]]
name = "shop"
http = "http://127.0.0.1:8080/shop"
[[probe]]
name = "by-hand"
tcp = "127.0.0.1:8081"
[[probe]]
name = "fast"
command = ["/usr/bin/test", "-e", "/usr/share/lab-shop/version"]
"""
SENTENCES = [
    "check 10-shop.sh failed with exit status 3: looking; version 2.0 is bad",
    "check 40-slow took longer than 2 s",
    f"check {GREENBOOT}/required.d/20-green.sh failed with exit status 4",
    "probe shop: 404 Not Found",
]


def scenario(lab: Lab) -> None:
    offer(lab, "1.0")
    nodes = lab.fleet({}, made=["lab-shop"])
    each(nodes, prepare)
    each(nodes, lambda node: lab.configure(node, verify_timeout="25s"))
    with lab.observe(nodes) as observer:
        offer(lab, "2.0")
        first = until("a node is not healthy", lambda: next((n for n in nodes if unhealthy(n)), None), 90, 0.3)
        said = until("all that fails is named", lambda: named(first.explain()["verdict"]["text"]), 30, 0.3)
        lab.say(said)
        assert "05-old" not in said and "wish" not in said and "edited" not in said, said
        assert "by-hand" not in said and "fast" not in said, said
        record = f"/nodes/{first.id}"
        until("etcd names it", lambda: named(json.loads(lab.etcd.keys()[record])["text"]), 10, 0.2)
        assert named(first.rebootctl("status").stdout), "status names them"

        halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 60, 0.3)
        assert halt["by"] == first.name and named(halt["reason"]), halt
        until("the node gives its slot back", lambda: not lab.etcd.slots()["holders"], 120, 0.3)
        assert all(on(node, "1.0", ["lab-shop"]) for node in nodes), [n.versions(["lab-shop"]) for n in nodes]
    observer.check()
    assert observer.went_out() == [first.name], observer.went_out()
    assert named(first.journal("-u", "lockkeeperd")), "the journal names them"
    executor = first.journal("-u", "lockkeeper-executor")
    assert f"check {GREENBOOT}/wanted.d/30-wish.sh failed with exit status 1: a wish; that is only reported" in executor
    assert "check 05-old.sh failed with exit status 1: it is always so; as it fails before the update" in executor
    assert "Starting lockkeeper-check" not in first.journal(), "a check that is made is no news"
    assert first.path("/root/green").exists(), "a check may write where it likes"
    assert not first.run("pgrep", "-f", "sleep 61[12]", check=False).stdout, "nothing of a slow check is left"
    units = first.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "lockkeeper-check*").stdout
    assert not units, f"units are left: {units}"

    each(nodes, lambda node: node.script(f"chmod g+w {HEALTH}/10-shop.sh"))
    offer(lab, "2.1")
    each(nodes, lambda node: node.rebootctl("check"))
    first.rebootctl("resume")
    until("a node says why nothing is begun", lambda: any(cannot_run(node) for node in nodes), 60, 0.3)
    assert all(on(node, "1.0", ["lab-shop"]) for node in nodes), [n.versions(["lab-shop"]) for n in nodes]
    each(nodes, lambda node: node.script(f"chmod g-w {HEALTH}/10-shop.sh"))
    lab.wait_updated(nodes, "2.1", ["lab-shop"], 180)


def offer(lab: Lab, version: str) -> None:
    """A shop whose page is missing in version 2.0; its web server, which has not changed, is up."""
    page = {} if version == "2.0" else {f"{SHOP}/healthz": b"well\n"}
    lab.repo.files("lab-shop", version, {f"{SHOP}/version": f"{version}\n".encode(), **page})
    lab.repo.publish()


def prepare(node: Node) -> None:
    """The admin's checks. Those of greenboot are run by bash, whether or not they are executable."""
    for path, text in SCRIPTS.items():
        node.write(path, text, 0o755 if path.startswith(HEALTH) else 0o644)
    node.write("/etc/lockkeeper/conf.d/checks.toml", SETTINGS)
    node.script(f"ln -s {SHOP}/healthz /srv/shop")


def unhealthy(node: Node) -> bool:
    """Is the node in the midst of its update, and not well?"""
    return node.explain()["verdict"]["code"] == "not-healthy"


def named(text: str) -> str | None:
    """The text, if it names each check that fails."""
    flat = " ".join(text.split())
    return text if all(sentence in flat for sentence in SENTENCES) else None


def cannot_run(node: Node) -> bool:
    """Does the node say that a check of it cannot be run?"""
    said = json.dumps(node.explain())
    return "check 10-shop.sh cannot be run" in said and "can be written by others" in said
