"""A newer image in a real registry is pulled beforehand, for Docker and for Podman, and named; whatever was running
runs on, and what makes its container anew still gets the old image. A registry that is down is named, and keeps no
update waiting.
"""

from lab import registry
from lab.fleet import Lab
from lab.node import Node
from lab.registry import REGISTRY, WEB, publish, verdict
from lab.repo import Kind
from lab.wait import until

PLAIN = {"lab-plain": Kind.PLAIN}
RUN = "run --stop-signal=SIGKILL --network=none --name"
WRAPPED = (
    "[Unit]\nRequires=docker.service\nAfter=docker.service\n"
    f"[Service]\nExecStart=/usr/bin/docker {RUN} wrapped --rm {WEB} /bin/idle\n"
)
EACH = [("docker", "by-hand"), ("docker", "wrapped"), ("podman", "in-podman")]
OWNED = ["by-hand (of no unit and no project)", "wrapped (of lab-wrapped.service)", "in-podman (of no unit and no project)"]


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False, engines=True)
    lab.offer("1.0", PLAIN)
    lab.install([node], ["lockkeeper", *PLAIN])
    registry.start(lab.dir, node)
    publish(node, "old")
    for engine, name in (("docker", "by-hand"), ("podman", "in-podman")):
        node.script(f"{engine} pull {WEB} >&2; {engine} {RUN} {name} --detach {WEB} /bin/idle >&2", timeout=120)
    node.write("/etc/systemd/system/lab-wrapped.service", WRAPPED)
    node.script("systemctl daemon-reload; systemctl start lab-wrapped.service")
    until("the wrapped container runs", lambda: "wrapped" in node.script("docker ps --format '{{.Names}}'"), 30, 0.3)
    before, named = running(node), named_images(node)

    publish(node, "new")
    assert named_images(node) == named, "the scenario itself has moved the name"
    node.write("/etc/lockkeeper/conf.d/images.toml", f'[containers]\npull = ["{REGISTRY}/*"]\n')
    lab.configure(node)
    text = until("both engines are behind", lambda: newer(node), 60, 0.3)
    lab.say(text)
    assert node.phase() == "steady" and lab.at_rest(), node.phase()
    assert named_images(node) == named, f"the name has moved: {named_images(node)}"
    for engine in ("docker", "podman"):
        kept = f"{engine} images --quiet --no-trunc localhost/lockkeeper/pulled | xargs {engine} image inspect --format '{{{{.Config.Labels.lab}}}}'"
        assert node.script(kept).split() == ["new"], node.script(kept)
    assert running(node) == before, "something was recreated, or started anew"

    node.script("systemctl restart lab-wrapped.service")
    until("it runs again", lambda: running(node).keys() == before.keys(), 30, 0.3)
    images = {name: image for name, (image, _) in running(node).items()}
    assert images == {name: image for name, (image, _) in before.items()}, "a restart has taken the new image"

    node.script("systemctl stop lab-registry.service")
    lab.offer("2.0", PLAIN)
    lab.wait_updated([node], "2.0", PLAIN, 120)
    said = until("the registry is missed", lambda: verdict(node, "images-not-pulled"), 60, 0.3)
    assert WEB in said and "refused" in said, said


def named_images(node: Node) -> list[str]:
    """What the name stands for in each engine."""
    return [node.script(f"{engine} image inspect --format '{{{{.Id}}}}' {WEB}").strip() for engine in ("docker", "podman")]


def running(node: Node) -> dict[str, tuple[str, str]]:
    """The image of each running container and when it was started."""
    found = {}
    for engine, name in EACH:
        ask = f"{engine} inspect --format '{{{{.State.Running}}}}|{{{{.Image}}}}|{{{{.State.StartedAt}}}}' {name}"
        answer = node.run("/bin/sh", "-ec", ask, check=False).stdout.strip().split("|")
        if answer[0] == "true":
            found[name] = (answer[1], answer[2])
    return found


def newer(node: Node) -> str | None:
    """What is said to be newer, once all three containers are named, with what they belong to."""
    text = verdict(node, "images-newer") or ""
    return text if all(owned in text for owned in OWNED) else None
