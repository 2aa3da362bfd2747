"""A newer image in a real registry is pulled beforehand, for Docker and for Podman, and named; whatever was running
runs on, and what makes its container anew still gets the old image. A registry that is down is named, and keeps no
update waiting.
"""

from lab.fleet import Lab
from lab.host import command
from lab.node import Node
from lab.repo import Kind, download
from lab.wait import until
from lab.workloads import IMAGE

PLAIN = {"lab-plain": Kind.PLAIN}
# Docker takes a registry on the loopback without TLS, Podman by its configuration.
REGISTRY = "127.0.0.1:5000"
WEB = f"{REGISTRY}/shop/web:1"
SETTINGS = f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}\nhttp: {{addr: '{REGISTRY}'}}\n"
SERVICE = "[Service]\nExecStart=/usr/bin/docker-registry serve /etc/lab-registry.yml\n"
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
    registry(lab, node)
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


def registry(lab: Lab, node: Node) -> None:
    """Debian's own docker-registry, at work on the node."""
    deb = download(lab.dir / "registry", "docker-registry")
    command("dpkg-deb", "--extract", deb, deb.parent)
    node.path("/usr/bin/docker-registry").write_bytes((deb.parent / "usr/bin/docker-registry").read_bytes())
    node.path("/usr/bin/docker-registry").chmod(0o755)
    node.write("/etc/lab-registry.yml", SETTINGS)
    node.write("/etc/systemd/system/lab-registry.service", SERVICE)
    node.write("/etc/containers/registries.conf.d/lab.conf", f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n')
    node.script("systemctl daemon-reload; systemctl start lab-registry.service")
    until("the registry answers", lambda: node.run("curl", "-fs", f"http://{REGISTRY}/v2/", check=False).returncode == 0, 30, 0.3)


def publish(node: Node, label: str) -> None:
    """Has the registry's name stand for another image; what it stands for on the node does not change."""
    made = f"podman import --quiet --change 'LABEL lab={label}' {IMAGE} localhost/{label} >&2"
    node.script(f"{made}; podman push --quiet localhost/{label} {WEB} >&2", timeout=120)


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


def verdict(node: Node, code: str) -> str | None:
    """The sentence of a verdict of `rebootctl explain`, if it is among them."""
    return next((also["text"] for also in node.explain()["also"] if also["code"] == code), None)


def newer(node: Node) -> str | None:
    """What is said to be newer, once all three containers are named, with what they belong to."""
    text = verdict(node, "images-newer") or ""
    return text if all(owned in text for owned in OWNED) else None
