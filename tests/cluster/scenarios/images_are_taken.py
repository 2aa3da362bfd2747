"""Newer images are taken under the slot: by a unit of Podman, by a unit of Docker and by docker-compose. Images
that do not do are gone back from, never tried again, and halt the group; what ran before runs again. What nobody
but its maker can recreate is left alone, and named.
"""

from lab import registry
from lab.fleet import Lab, on
from lab.node import Node
from lab.registry import REGISTRY, WEB, publish, verdict
from lab.repo import Kind
from lab.wait import until
from lab.workloads import IMAGE

PLAIN = {"lab-plain": Kind.PLAIN}
RUN = "run --rm --stop-signal=SIGKILL --network=none --name"
UNITS = {
    "lab-docker.service": "[Unit]\nRequires=docker.service\nAfter=docker.service\n"
    f"[Service]\nExecStart=/usr/bin/docker {RUN} in-docker {WEB} /bin/idle\n",
    "lab-podman.service": f"[Service]\nExecStart=/usr/bin/podman {RUN} in-podman --replace {WEB} /bin/idle\n",
}
PROJECT = f"""
version: "2.4"
services:
  web: {{image: "{WEB}", command: /bin/idle, network_mode: none, stop_signal: SIGKILL}}
"""
TAKEN = {"in-docker": "docker", "in-podman": "podman", "shop_web_1": "docker"}
BY_HAND = {"by-hand": "docker"}
BAD = "/var/lib/lab/bad.tar"
# An image whose program ends at once.
MAKE_BAD = (
    f"mkdir /tmp/bad; tar -xf {IMAGE} -C /tmp/bad; printf '#!/bin/busybox sh\\nexit 1\\n' > /tmp/bad/bin/idle; "
    f"tar -cf {BAD} -C /tmp/bad ."
)


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False, engines=True)
    lab.offer("1.0", PLAIN)
    lab.install([node], ["lockkeeper", *PLAIN])
    registry.start(lab.dir, node)
    publish(node, "old")
    node.script(f"docker pull {WEB} >&2; podman pull {WEB} >&2; docker {RUN} by-hand --detach {WEB} /bin/idle >&2", timeout=120)
    for name, text in UNITS.items():
        node.write(f"/etc/systemd/system/{name}", text)
    node.script(f"systemctl daemon-reload; systemctl start {' '.join(UNITS)}")
    node.write("/srv/shop/docker-compose.yml", PROJECT)
    node.script("cd /srv/shop; docker-compose up --detach >&2", timeout=120)
    until("all of them run", lambda: labels(node) == everything("old", "old"), 30, 0.3, lambda: str(labels(node)))

    publish(node, "new")
    node.write("/etc/lockkeeper/conf.d/images.toml", f'[containers]\nupdate = ["{REGISTRY}/*"]\n')
    lab.configure(node, verify_timeout="20s")
    said = until("what is newer is named", lambda: verdict(node, "images-newer"), 90, 0.3)
    lab.say(said)
    assert said.count("recreated in the next cycle") == len(TAKEN), said
    assert "by-hand (of no unit and no project; not recreated: only who has started it knows how)" in said, said
    assert labels(node) == everything("old", "old"), "something was recreated without a slot"

    lab.offer("2.0", PLAIN)
    lab.wait_updated([node], "2.0", PLAIN, 240)
    assert labels(node) == everything("new", "old"), labels(node)

    node.script(MAKE_BAD)
    publish(node, "bad", BAD)
    until("the bad one is pulled", lambda: (verdict(node, "images-newer") or "").count("recreated in") == len(TAKEN), 90, 0.3)
    lab.offer("3.0", PLAIN)
    halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 300, 0.3)
    lab.say(halt["reason"])
    assert WEB in halt["reason"] and "did not do" in halt["reason"], halt
    until("the node gives its slot back", lambda: not lab.etcd.slots()["holders"], 240, 0.3)
    assert labels(node) == everything("new", "old"), labels(node)
    assert on(node, "2.0", PLAIN), "the packages of that cycle were not gone back from"
    until("the image is denied", lambda: "it did not do here" in (verdict(node, "images-newer") or ""), 90, 0.3)

    publish(node, "third")
    until("the third is pulled", lambda: (verdict(node, "images-newer") or "").count("recreated in") == len(TAKEN), 90, 0.3)
    lab.offer("4.0", PLAIN)
    node.rebootctl("check")
    node.rebootctl("resume")
    lab.wait_updated([node], "4.0", PLAIN, 240)
    assert labels(node) == everything("third", "old"), labels(node)


def everything(taken: str, by_hand: str) -> dict[str, str]:
    """What is to run."""
    return dict.fromkeys(TAKEN, taken) | dict.fromkeys(BY_HAND, by_hand)


def labels(node: Node) -> dict[str, str]:
    """The label of the image that each container runs; only of those that run."""
    found = {}
    for name, engine in (TAKEN | BY_HAND).items():
        ask = f"{engine} inspect --format '{{{{.State.Running}}}} {{{{.Config.Labels.lab}}}}' {name}"
        answer = node.run("/bin/sh", "-ec", ask, check=False).stdout.split()
        if answer[:1] == ["true"]:
            found[name] = answer[1]
    return found
