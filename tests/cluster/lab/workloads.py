"""What runs on every node and must run again after its update: two units and three containers.

Each is a web server on a port of its own, so that anyone outside sees whether it is up.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from .node import Node

SERVICE_PORT = 8080
PORTS = {
    "enabled unit": SERVICE_PORT,
    "unit started by hand": 8081,
    "podman, started by hand": 8082,
    "docker, restart=no": 8083,
    "docker, restart=always": 8084,
}
IMAGE = "/var/lib/lab/web.tar"
UNIT = (
    "[Unit]\nDescription=Lab workload on port {port}\n"
    "[Service]\nExecStart=/usr/bin/busybox httpd -f -p {port} -h /srv\n"
    "[Install]\nWantedBy=multi-user.target\n"
)
START = """
podman import --quiet {image} localhost/web >/dev/null
podman run --quiet --detach --name by-hand --network=host localhost/web /bin/serve 8082 >/dev/null
docker import {image} web >/dev/null
docker run --detach --name by-hand --restart=no --network=host web /bin/serve 8083 >/dev/null
docker run --detach --name always --restart=always --network=host web /bin/serve 8084 >/dev/null
systemctl start lab-by-hand.service
"""
# The first process of a container must ask for SIGTERM, or each shutdown waits for its time-out.
IDLE = b"#!/bin/busybox sh\ntrap 'exit 0' TERM\n/bin/busybox sleep 100000 &\nwait\n"
SERVE = b"#!/bin/busybox sh\ntrap 'exit 0' TERM\n/bin/busybox httpd -f -p $1 -h /www &\nwait\n"


def image(base: Path, target: Path) -> None:
    """Writes the containers' image, for `podman import` and `docker import`: busybox and two scripts."""
    with tarfile.open(target, "w") as tar:
        for folder in ("bin", "www", "tmp", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        busybox = (base / "usr/bin/busybox").read_bytes()
        for name, content in (("busybox", busybox), ("serve", SERVE), ("idle", IDLE)):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(shell)


def prepare(node: Node, web_image: Path) -> None:
    """Puts the workloads on the disk of a node that has not booted yet."""
    for name, port in (("lab-web", SERVICE_PORT), ("lab-by-hand", PORTS["unit started by hand"])):
        node.write(f"/lib/systemd/system/{name}.service", UNIT.format(port=port))
    node.write("/srv/index.html", f"{node.name}\n")
    node.wants("multi-user.target", "lab-web.service")
    # The host may lend the nodes no cgroup controllers (limits), nor the right to raise limits (crun).
    node.write("/etc/containers/containers.conf", '[containers]\npids_limit = 0\n[engine]\nruntime = "runc"\n')
    node.path(IMAGE).parent.mkdir(parents=True)
    node.path(IMAGE).write_bytes(web_image.read_bytes())


def without_engines(node: Node) -> None:
    """A node (not booted yet) without container engines."""
    for unit in ("containerd.service", "docker.service", "docker.socket", "podman.service", "podman.socket"):
        node.mask(unit)


def start(node: Node) -> None:
    """Starts by hand what is started by hand."""
    node.script(START.format(image=IMAGE))
