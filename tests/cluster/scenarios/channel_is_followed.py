"""A fleet follows a signed release channel that was made from an empty folder by the commands of the manual: each
release goes from alpha to beta to stable and is installed to the byte, though the archive has moved on; a bad one
that half of stable has is recalled, and those that run it go back; the server is killed in the middle of a
download, and a mirror goes on.
"""

import re

from lab.fleet import Lab, each, on
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

SET = {"lab-tool": Kind.PLAIN, "lab-app": Kind.SERVICE}
ROOT = "/etc/lockkeeper/channel.root.json"
CONFIG = """
[channel]
name = "{channel}"
urls = ["http://{origin}/channel", "http://{mirror}/channel"]
"""
# What is long is sent slowly enough to be killed on the way.
SITE = """
server {
    listen 80 default_server;
    root /srv/www;
    location ~ release- { limit_rate 1500; }
}
"""
SERVE = """
mkdir -p /srv/www/channel
rm -f /etc/nginx/sites-enabled/default
systemctl unmask --quiet nginx.service
systemctl start nginx.service
"""
LONG = "It mends what the last one broke. " * 600


def scenario(lab: Lab) -> None:
    nodes = lab.boot(["alpha-1", "beta-1", "web-1", "web-2"], with_workloads=False)
    alpha, beta, *stable = nodes
    origin, mirror = lab.boot(["origin", "mirror"], members=0, with_workloads=False)
    lab.offer("1.0", SET)
    lab.install(nodes, ["lockkeeper", *SET])
    lab.install([origin, mirror])
    for node in (origin, mirror):
        lab.configure(node, strategy="off")
        node.write("/etc/nginx/conf.d/site.conf", SITE)
        node.script(SERVE)

    admin(origin, "init")
    admin(origin, "publish", "/srv/www/channel")
    for node, channel in zip(nodes, ["alpha", "beta", "stable", "stable"], strict=True):
        node.write(ROOT, origin.path("/root/fleet/public/metadata/1.root.json").read_text(encoding="utf-8"))
        config = CONFIG.format(channel=channel, origin=origin.address, mirror=mirror.address)
        node.write("/etc/lockkeeper/conf.d/channel.toml", config)
        lab.configure(node)
    lab.offer("2.0", SET)
    until("nothing is taken without a release", lambda: all(kept_by_release(node) for node in nodes), 60, 0.3)
    assert all(on(node, "1.0", SET) for node in nodes)

    release(lab, origin, alpha, "1.0.0", "2.0")
    lab.offer("3.0", SET)
    for node, channel, after in [(beta, "beta", "alpha"), (stable, "stable", "beta")]:
        admin(origin, "promote", "1.0.0", "--from", after, "--to", channel)
        admin(origin, "publish", "/srv/www/channel")
        these = [node] if isinstance(node, Node) else node
        lab.wait_updated(these, "2.0", SET)
        runs(these, "1.0.0")
    lab.say("1.0.0 runs everywhere, though the archive has 3.0")

    bad = half_way(lab, origin, alpha, stable)
    admin(origin, "recall", bad, "--reason", "it eats disks", "--back-to", "1.0.0")
    admin(origin, "publish", "/srv/www/channel")
    lab.wait_updated(nodes, "2.0", SET)
    runs(nodes, "1.0.0")
    for node in stable:
        said = verdict(node, "release-held") or ""
        assert f"{bad} was recalled: it eats disks" in said, said
    lab.say(f"{bad} was recalled, and nobody runs it any more")

    lab.offer("4.0", SET)
    release(lab, origin, alpha, "3.0.0", "4.0", LONG, publish=False)
    admin(origin, "promote", "3.0.0", "--from", "alpha", "--to", "stable")
    # The mirror gets it on a stick; the server begins to send it, and is gone.
    stick(origin, mirror)
    admin(origin, "publish", "/srv/www/channel")
    until("somebody is in the middle of it", lambda: sending(origin, stable), 60, 0.1)
    origin.power_cut()
    lab.wait_updated(stable, "4.0", SET, 180)
    runs(stable, "3.0.0")
    log = mirror.path("/var/log/nginx/access.log").read_text(encoding="utf-8")
    parts = [line for line in log.splitlines() if "release-3.0.0.json" in line and '" 206 ' in line]
    assert parts, f"nobody has gone on in the middle:\n{log}"
    lab.say(parts[0])


def admin(origin: Node, *args: str) -> str:
    """The admin of the channel, in its folder."""
    origin.path("/root/fleet").mkdir(exist_ok=True)
    return origin.run("rebootctl", "channel", "-C", "/root/fleet", *args).stdout


def release(lab: Lab, origin: Node, canary: Node, name: str, version: str, notes: str = "", publish: bool = True) -> None:
    """What somebody has installed on a canary by hand becomes a release."""
    packages = " ".join(f"{package}={version}" for package in SET)
    canary.script(f"export DEBIAN_FRONTEND=noninteractive; apt-get -q update >&2; apt-get -qy install {packages} >&2")
    made = canary.run("rebootctl", "channel", "set").stdout
    origin.write(f"/root/{name}.json", made)
    admin(origin, "add", name, "--to", "alpha", "--set", f"/root/{name}.json", "--notes", notes)
    if publish:
        admin(origin, "publish", "/srv/www/channel")
        runs([canary], name)


def half_way(lab: Lab, origin: Node, alpha: Node, stable: list[Node]) -> str:
    """A release that one of two nodes of stable has, and the other has not; its name."""
    for name in ("2.0.0", "2.0.1", "2.0.2"):
        release(lab, origin, alpha, name, "3.0")
        admin(origin, "promote", name, "--from", "alpha", "--to", "stable", "--over", "24h", "--start", "2100-01-01T00:00:00Z")
        admin(origin, "publish", "/srv/www/channel")
        places = {node: until(f"{node.name} knows its place", lambda n=node: place(n, name), 60, 0.3) for node in stable}
        first, last = sorted(stable, key=places.__getitem__)
        if places[last] - places[first] > 1:
            break
    share = (places[first] + places[last]) / 2
    admin(origin, "rollout", "set", "stable", name, f"{share:.2f}")
    admin(origin, "publish", "/srv/www/channel")
    lab.wait_updated([first], "3.0", SET)
    runs([first], name)
    said = until("the other waits", lambda: waits(last, name), 60, 0.3)
    assert on(last, "2.0", SET), last.versions(SET)
    lab.say(f"{first.name} has it; {last.name}: {said}")
    return name


def place(node: Node, name: str) -> float | None:
    """Where the node stands in the order of a release, in per cent; none while it does not say."""
    found = re.search(rf"{re.escape(name)} is offered to 0 %, this node is at ([\d.]+) %", verdict(node, "release-held") or "")
    return float(found[1]) if found else None


def waits(node: Node, name: str) -> str | None:
    """What the node says of its turn, once the rollout has begun."""
    said = verdict(node, "release-held") or ""
    return said if f"{name} is offered to " in said and "offered to 0 %" not in said else None


def runs(nodes: list[Node], name: str) -> None:
    """Waits until each of the nodes says that this release runs there."""
    for node in nodes:
        until(
            f"{node.name} runs {name}",
            lambda n=node: (verdict(n, "release") or "").startswith(f"release {name} of "),
            90,
            0.3,
            lambda n=node: str(n.explain()["also"]),
        )


def kept_by_release(node: Node) -> bool:
    """Whether the node knows of updates that no release has."""
    return any(kept["code"] == "release" for kept in node.status()["kept_back"])


def verdict(node: Node, code: str) -> str | None:
    """The sentence of a verdict of `rebootctl explain`, if it is among them."""
    return next((also["text"] for also in node.explain()["also"] if also["code"] == code), None)


def stick(origin: Node, mirror: Node) -> None:
    """Carries what is to be published to the mirror, which checks it as it would from a server."""
    for part in ("metadata", "targets"):
        mirror.path(f"/media/stick/{part}").mkdir(parents=True)
        for file in origin.path(f"/root/fleet/public/{part}").iterdir():
            mirror.path(f"/media/stick/{part}/{file.name}").write_bytes(file.read_bytes())
    mirror.write(ROOT, origin.path("/root/fleet/public/metadata/1.root.json").read_text(encoding="utf-8"))
    mirror.run("rebootctl", "channel", "mirror", "/media/stick", "/srv/www/channel", "--root", ROOT)


def sending(origin: Node, nodes: list[Node]) -> bool:
    """Whether the server has been sending something to one of them for a second."""
    before = talks_to(origin)
    origin.script("sleep 1.5")
    return any(node.address in before & talks_to(origin) for node in nodes)


def talks_to(origin: Node) -> set[str]:
    """The addresses that the server has connections to."""
    peers = origin.script("ss -Htn state established 'sport = :80' | awk '{print $4}'").split()
    return {peer.rsplit(":", 1)[0].removeprefix("[::ffff:").rstrip("]") for peer in peers}
