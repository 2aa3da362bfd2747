"""The shipped hooks drain a real HAProxy and a real Docker Swarm, and speak through the real kubectl and aws to
a server that answers as Kubernetes and ECS do: each waits until the node is empty before anything is disturbed,
and puts it back afterwards. What an admin had drained before stays drained. Containers are stopped before the
reboot, the newest first, each in its own time, and run again after it.
"""

import json
import subprocess
from pathlib import Path

from lab import clouds
from lab.fleet import Lab
from lab.node import Node, way_in
from lab.repo import Kind
from lab.wait import until

PACKAGES = {"lab-kernel": Kind.REBOOT}
HOOKS = ["docker-swarm", "ecs", "haproxy", "kubectl"]
SOCKET = "/run/haproxy/admin.sock"
HAPROXY = f"""
global
    stats socket {SOCKET} level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend shop
    bind :8090
    default_backend web
backend web
    server web-1 127.0.0.1:8091
"""
ECHO = "[Service]\nExecStart=/usr/bin/socat TCP-LISTEN:8091,fork,reuseaddr EXEC:cat\n[Install]\nWantedBy=multi-user.target\n"
CLOUDS = "[Service]\nExecStart=/usr/local/lib/clouds.py 8092\n[Install]\nWantedBy=multi-user.target\n"
KUBECONFIG = {
    "apiVersion": "v1", "kind": "Config", "current-context": "lab",
    "clusters": [{"name": "lab", "cluster": {"server": "http://127.0.0.1:8092"}}],
    "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
    "users": [{"name": "lab", "user": {"token": "lab"}}],
}
CONFIG = """
HAPROXY_SERVERS="web/web-1"
KUBECONFIG=/etc/lockkeeper/kube.conf
ECS_AGENT=http://127.0.0.1:8092
ECS_ENDPOINT=http://127.0.0.1:8092
AWS_DEFAULT_REGION=eu-central-1
AWS_ACCESS_KEY_ID=lab
AWS_SECRET_ACCESS_KEY=lab
"""
# It takes longer to end than the ten seconds an engine gives by itself.
PATIENT = "trap '/bin/busybox sleep 12; echo orderly > /out/end; exit 0' TERM; while :; do /bin/busybox sleep 1; done"
# Linked as a hook, too: how it looks from inside at a point of the cycle.
LOOK = f"""#!/bin/sh -e
{{
    echo show servers state web | socat - {SOCKET} | awk '$4 == "web-1" {{ print "haproxy", $7 }}'
    echo swarm $(docker node inspect --format '{{{{.Spec.Availability}}}}' self)
    echo tasks $(docker ps --quiet --filter label=com.docker.swarm.service.name=shop | wc -l)
    docker inspect --format '{{{{.Name}}}} {{{{.State.Running}}}} {{{{.State.FinishedAt}}}}' by-hand always slow
    podman inspect --format 'podman {{{{.State.Running}}}}' by-hand
    echo clouds $(tr -d ' ' < {clouds.STATE})
}} > /run/looks.new
mv /run/looks.new /var/lib/looks
"""


def scenario(lab: Lab) -> None:
    node = lab.single(PACKAGES, with_workloads=True)
    prepare(node)
    for hook in HOOKS:
        for point in ("pre-apply", "in-service"):
            link(node, f"{point}/50-{hook}", f"/usr/share/lockkeeper/hooks/{hook}")
    for point in ("pre-reboot", "in-service"):
        link(node, f"{point}/40-stop-containers", "/usr/share/lockkeeper/hooks/stop-containers")
    link(node, "pre-reboot/50-look", "/usr/local/lib/look")
    in_service = {"haproxy": "0", "swarm": "active", "tasks": "1", "unschedulable": False, "pod": True, "status": "ACTIVE"}
    until("all is in service", lambda: looks(node) == in_service, 60, 0.5, lambda: looks(node))

    # A session that nobody ends keeps the node from being drained.
    session = node_session(node)
    lab.configure(node)
    lab.offer("2.0", PACKAGES)
    until("it drains", lambda: looks(node)["haproxy"] == "8", 90, 0.5, lambda: node.explain())
    assert node.phase() == "draining", node.phase()
    assert session.poll() is None, "the session was cut"
    session.communicate("the end\n", timeout=20)
    until("the reboot", lambda: node.boots == 2, 120, 0.3, lambda: node.explain())
    ended = containers(node)
    assert [name for name in ended if name == "podman" or ended[name][0] == "true"] == ["podman"], ended
    assert ended["podman"] == ["false"] and ended["/slow"][1] < ended["/always"][1] < ended["/by-hand"][1], ended
    assert node.path("/var/lib/slow/end").read_text() == "orderly\n", "it was not given its time"
    seen = read(node, "/var/lib/looks")
    empty = {"haproxy": "8", "swarm": "drain", "tasks": "0", "unschedulable": True, "pod": False, "status": "DRAINING"}
    assert seen == empty, seen
    lab.wait_updated([node], "2.0", PACKAGES)
    until("all is in service again", lambda: looks(node) == in_service, 60, 0.5, lambda: looks(node))
    log = json.loads(node.path(str(clouds.STATE)).read_text())["log"]
    assert [said for said in log if "left" not in said] == [
        "DRAINING", "cordon", "eviction refused", "evicted", "ACTIVE", "uncordon",
    ], log
    until("all workloads run again", lambda: not lab.missing(node), 30, 0.3, lambda: lab.missing(node))
    node.run("/usr/local/lib/look")
    assert {values[0] for values in containers(node).values()} == {"true"}, containers(node)
    assert not list(node.path("/var/lib/lockkeeper-hooks").iterdir()), "nothing is remembered any more"

    admins(node)
    before = looks(node)
    run(node, "stop-containers", "pre-reboot")
    looks(node)
    assert {values[0] for values in containers(node).values()} == {"false"}, containers(node)
    run(node, "stop-containers", "in-service")
    looks(node)
    assert {values[0] for values in containers(node).values()} == {"true"}, containers(node)
    for point in ("pre-apply", "pre-apply", "in-service", "in-service"):
        for hook in HOOKS:
            run(node, hook, point)
    # The task has left all the same, and a paused node gets none.
    assert looks(node) == before | {"tasks": "0"}, looks(node)


def prepare(node: Node) -> None:
    """HAProxy before a service, a swarm with a task, and the clouds."""
    node.write("/etc/haproxy/haproxy.cfg", HAPROXY)
    node.write("/etc/lockkeeper/hooks.conf", CONFIG, 0o600)
    node.write("/etc/lockkeeper/kube.conf", json.dumps(KUBECONFIG), 0o600)
    node.write("/usr/local/lib/clouds.py", Path(clouds.__file__).read_text(), 0o755)
    node.write("/usr/local/lib/look", LOOK, 0o755)
    node.write("/etc/systemd/system/echo.service", ECHO)
    node.write("/etc/systemd/system/clouds.service", CLOUDS)
    node.write(str(clouds.STATE), json.dumps(clouds.START))
    node.script("systemctl unmask -q haproxy; systemctl daemon-reload; systemctl enable -q --now haproxy echo clouds")
    node.script(
        f"docker swarm init --advertise-addr {node.address} >&2;"
        f"docker run --detach --name slow --stop-timeout 60 --network host --volume /var/lib/slow:/out web /bin/busybox sh -c {PATIENT!r} >&2;"
        "docker service create --detach --no-resolve-image --name shop --network host web /bin/serve 8085 >&2"
    )


def link(node: Node, name: str, target: str) -> None:
    """Puts a hook into place."""
    path = node.path(f"/etc/lockkeeper/hooks.d/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def run(node: Node, hook: str, point: str) -> None:
    """Runs a shipped hook by hand."""
    node.run("env", f"LOCKKEEPER_HOOK={point}", "LOCKKEEPER_NAME=web-1", "SWARM_MANAGER=unix:///run/docker.sock", f"/usr/share/lockkeeper/hooks/{hook}")


def node_session(node: Node) -> subprocess.Popen:
    """A session through HAProxy, open until its input ends."""
    session = subprocess.Popen(
        [*way_in(node.leader), "socat", "-t", "1", "-", "TCP:127.0.0.1:8090"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert session.stdin and session.stdout
    session.stdin.write("hello\n")
    session.stdin.flush()
    assert session.stdout.readline() == "hello\n"
    return session


def looks(node: Node) -> dict:
    """How it looks from inside, now."""
    node.run("/usr/local/lib/look")
    return read(node, "/var/lib/looks")


def read(node: Node, path: str) -> dict:
    """What somebody has seen."""
    lines = [line for line in node.path(path).read_text().splitlines() if not line.startswith(("/", "podman"))]
    seen = dict(line.split(" ", 1) for line in lines)
    cloud = json.loads(seen.pop("clouds"))
    return seen | {key: cloud[key] for key in ("unschedulable", "pod", "status")}


def containers(node: Node) -> dict[str, list[str]]:
    """Of each container: whether it runs, and when it ended last."""
    lines = node.path("/var/lib/looks").read_text().splitlines()
    rows = [line.split() for line in lines if line.startswith(("/", "podman"))]
    return {row[0]: row[1:] for row in rows}


def admins(node: Node) -> None:
    """An admin takes the node out of everything."""
    node.script(f"echo 'set server web/web-1 state maint' | socat - {SOCKET}")
    node.script("docker node update --availability pause $(docker info --format '{{.Swarm.NodeID}}') >&2")
    state = json.loads(node.path(str(clouds.STATE)).read_text())
    node.write(str(clouds.STATE), json.dumps(state | {"unschedulable": True, "pod": False, "status": "DRAINING", "tasks": 0}))
