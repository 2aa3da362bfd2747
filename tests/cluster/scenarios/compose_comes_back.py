"""A project that the real docker-compose has brought up is back after a reboot, in the order it was brought up in,
with none of its services asking its engine for that.
"""

from lab.fleet import Lab
from lab.node import Node
from lab.repo import Kind
from lab.workloads import IMAGE

KERNEL = {"lab-kernel": Kind.REBOOT}
# docker-compose 1.29, as Debian 12 has it. The services are named so that the alphabet has them the other way round.
PROJECT = """
version: "2.4"
x-each: &each {image: web, command: /bin/idle, network_mode: none, stop_signal: SIGKILL}
services:
  web: {<<: *each, depends_on: [xcache]}
  xcache: {<<: *each, depends_on: [ydata]}
  ydata: {<<: *each}
"""
ORDER = ["ydata", "xcache", "web"]


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False, engines=True)
    lab.offer("1.0", KERNEL)
    lab.install([node], ["lockkeeper", *KERNEL])
    node.write("/srv/shop/docker-compose.yml", PROJECT)
    node.script(f"docker import {IMAGE} web >&2; cd /srv/shop; docker-compose up --detach >&2", timeout=120)
    before = started(node)
    assert before == ORDER, before
    lab.configure(node)
    boot = node.boot_id
    lab.offer("2.0", KERNEL)
    lab.wait_updated([node], "2.0", KERNEL, 150)
    assert node.boot_id != boot, "it did not reboot"
    after = started(node)
    assert after == before, after
    # Compose itself finds nothing to do.
    said = node.script("cd /srv/shop; docker-compose up --detach 2>&1")
    assert said.count("is up-to-date") == len(ORDER), said


def started(node: Node) -> list[str]:
    """The project's running services, in the order they were started in."""
    ask = (
        "docker ps --quiet --filter label=com.docker.compose.project=shop | xargs --no-run-if-empty docker inspect --format "
        "'{{.State.StartedAt}} {{index .Config.Labels \"com.docker.compose.service\"}}' | sort"
    )
    return [line.split()[1] for line in node.script(ask).splitlines()]
