"""Debian's own docker-registry on a node, and images in it."""

from pathlib import Path

from .host import command
from .node import Node
from .repo import download
from .wait import until
from .workloads import IMAGE

# Docker takes a registry on the loopback without TLS, Podman by its configuration.
REGISTRY = "127.0.0.1:5000"
WEB = f"{REGISTRY}/shop/web:1"
SETTINGS = f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}\nhttp: {{addr: '{REGISTRY}'}}\n"
SERVICE = "[Service]\nExecStart=/usr/bin/docker-registry serve /etc/lab-registry.yml\n"


def start(base: Path, node: Node) -> None:
    """Has a registry at work on the node."""
    deb = download(base / "registry", "docker-registry")
    command("dpkg-deb", "--extract", deb, deb.parent)
    node.path("/usr/bin/docker-registry").write_bytes((deb.parent / "usr/bin/docker-registry").read_bytes())
    node.path("/usr/bin/docker-registry").chmod(0o755)
    node.write("/etc/lab-registry.yml", SETTINGS)
    node.write("/etc/systemd/system/lab-registry.service", SERVICE)
    node.write("/etc/containers/registries.conf.d/lab.conf", f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n')
    node.script("systemctl daemon-reload; systemctl start lab-registry.service")
    until("the registry answers", lambda: node.run("curl", "-fs", f"http://{REGISTRY}/v2/", check=False).returncode == 0, 30, 0.3)


def publish(node: Node, label: str, image: str = IMAGE) -> None:
    """Has the registry's name stand for another image; what it stands for on the node does not change."""
    made = f"podman import --quiet --change 'LABEL lab={label}' {image} localhost/{label} >&2"
    node.script(f"{made}; podman push --quiet localhost/{label} {WEB} >&2", timeout=120)


def verdict(node: Node, code: str) -> str | None:
    """The sentence of a verdict of `rebootctl explain`, if it is among them."""
    return next((also["text"] for also in node.explain()["also"] if also["code"] == code), None)
