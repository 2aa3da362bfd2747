"""Whatever ran before a reboot runs after it, however it was started, with Docker and with Podman; what had been
stopped stays so, also if the engine starts it again; each container and unit is treated as it asks to be; a
project's containers start in its order. A container that is unhealthy after the boot keeps the node from giving
its slot back, and is named.
"""

from lab.fleet import Lab
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

KERNEL = {"lab-kernel": Kind.REBOOT}
SIZE = 30  # containers of the project
RUN = "{engine} run --detach --stop-signal=SIGKILL --network=none"
IDLE = "/bin/idle"
# Becomes healthy only some seconds after each start.
SLOW = "rm -f /tmp/ok; /bin/busybox sleep {secs}; echo > /tmp/ok; exec /bin/idle"
HEALTH = "--health-interval=1s --health-retries=3 --health-cmd"
UNITS = {
    "lab-docker-run": "[Unit]\nRequires=docker.service\nAfter=docker.service\n[Service]\n"
    f"ExecStart=/usr/bin/docker run --rm --name in-unit --stop-signal=SIGKILL --network=none web {IDLE}\n",
    "lab-unwanted": "[Service]\nExecStart=/usr/bin/sleep infinity\n[X-Lockkeeper]\nRestore=no\n",
    "lab-extra": "[Service]\nExecStartPre=/usr/bin/test -e /run/lab-extra\nExecStart=/usr/bin/sleep infinity\n",
}
EXTRA = "[X-Lockkeeper]\nRestore=best-effort\n"
# (engine, name, options, stopped before, runs afterwards)
CONTAINERS = [
    ("docker", "on-failure", "--restart=on-failure:3", False, True),
    ("docker", "until-stopped", "--restart=unless-stopped", False, True),
    ("docker", "until-stopped-and-stopped", "--restart=unless-stopped", True, False),
    ("docker", "stopped", "", True, False),
    ("docker", "always-and-stopped", "--restart=always", True, False),
    ("docker", "unwanted", "--label=lockkeeper.restore=no", False, False),
    ("docker", "misspelt", "--label=lockkeeper.restore=nope", False, True),
    ("docker", "extra", "--label=lockkeeper.restore=best-effort --mount type=bind,source=/run/lab-extra,target=/e", False, False),
    ("docker", "sick", f"--volume=/run/lab-good:/good {HEALTH} 'test -e /good/yes'", False, True),
    ("podman", "always", "--restart=always", False, True),
    ("podman", "until-stopped", "--restart=unless-stopped", False, True),
    ("podman", "stopped", "", True, False),
    ("podman", "unwanted", "--label=lockkeeper.restore=no", False, False),
]


def scenario(lab: Lab) -> None:
    node = lab.single(KERNEL, with_workloads=True)
    node.write("/etc/lockkeeper/conf.d/workloads.toml", '[workloads]\nresurrected = "stop"\n')
    start(node)
    before = running(node)
    lab.configure(node, verify_timeout="60s")

    # One that is not judged by what the boot has lost, so that the first update succeeds.
    node.write("/etc/tmpfiles.d/lab.conf", "d /run/lab-good\nf /run/lab-good/yes\n")
    lab.offer("2.0", KERNEL)
    lab.wait_updated([node], "2.0", KERNEL, 240)
    judge(lab, node, before)

    node.path("/etc/tmpfiles.d/lab.conf").unlink()
    lab.configure(node, verify_timeout="10s", on_failure="stay")
    lab.offer("3.0", KERNEL)
    # Its etcd is down while it reboots.
    until("the update has failed", lambda: node.phase() == "failed", 180, 0.3)
    halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 60, 0.3)
    assert "container sick (docker) is unhealthy" in halt["reason"], halt
    lab.say(f"halted: {halt['reason']}")
    assert [holder["node"] for holder in lab.etcd.slots()["holders"]] == [node.id], lab.etcd.slots()
    assert "container sick (docker)" in node.rebootctl("explain").stdout
    node.script("touch /run/lab-good/yes")
    until("the mended node gives its slot back", lambda: not lab.etcd.slots()["holders"], 90)


def start(node: Node) -> None:
    """Starts everything, and stops what is to be found stopped."""
    for name, text in UNITS.items():
        node.write(f"/etc/systemd/system/{name}.service", text)
    node.write("/etc/systemd/system/lab-extra.service.d/lab.conf", EXTRA)
    # Podman starts an "always" container again and again while the shutdown stops it, until its time is over.
    node.write("/etc/systemd/system.conf.d/lab.conf", "[Manager]\nDefaultTimeoutStopSec=5s\n")
    lines = ["mkdir -p /run/lab-good; touch /run/lab-good/yes /run/lab-extra", "systemctl daemon-reexec"]
    lines.append("systemctl start " + " ".join(UNITS))
    for engine, name, options, stopped, _ in CONTAINERS:
        image = {"docker": "web", "podman": "localhost/web"}[engine]
        lines.append(f"{RUN.format(engine=engine)} --name {name} {options} {image} {IDLE} >&2")
        if stopped:
            lines.append(f"{engine} stop --time=0 {name} >&2")
    node.script("\n".join(lines), timeout=120)
    node.script(project(), timeout=240)
    until("the project is healthy", lambda: health(node, "shop-db-1") == "healthy", 30)


def project() -> str:
    """A project as Compose would label it: everything needs the cache, which needs a healthy database."""
    own = "--label=com.docker.compose.project=shop --label=com.docker.compose.service="
    needs = "--label=com.docker.compose.depends_on="
    create = "docker create --stop-signal=SIGKILL --network=none"
    healthy = f"--label=lockkeeper.health-timeout=1m {HEALTH} 'test -e /tmp/ok'"
    lines = [f"{create} --name shop-db-1 {own}db {healthy} web /bin/sh -c '{SLOW.format(secs=3)}'"]
    lines.append(f"{create} --name shop-cache-1 {own}cache {needs}db:service_healthy:false web {IDLE}")
    for number in range(SIZE - 2):
        lines.append(f"{create} --name shop-app-{number} {own}app{number} {needs}cache:service_started:false web {IDLE}")
    # They are started the other way round, so that the order of before alone would be the wrong one.
    names = [f"shop-app-{number}" for number in range(SIZE - 2)] + ["shop-cache-1", "shop-db-1"]
    return "{\n" + "\n".join(lines) + f"\n}} >&2\ndocker start {' '.join(names)} >&2"


def judge(lab: Lab, node: Node, before: dict[str, str]) -> None:
    """Is everything as it should be after the boot?"""
    after = running(node)
    for engine, name, options, _, runs in CONTAINERS:
        key = f"{engine} {name}"
        assert (key in after) == runs, f"{key} {options}: {'does not run' if runs else 'runs'}"
    expected = {key for key in before if key.split()[1] not in ("unwanted", "extra")}
    assert set(after) == expected, set(after) ^ expected
    assert not lab.missing(node), lab.missing(node)
    states = {name: node.enter("systemctl", "is-active", name, check=False).stdout.strip() for name in UNITS}
    assert states == {"lab-docker-run": "active", "lab-unwanted": "inactive", "lab-extra": "failed"}, states
    for name in ["shop-cache-1", *(f"shop-app-{number}" for number in range(SIZE - 2))]:
        assert after["docker shop-db-1"] < after[f"docker {name}"], f"{name} was started before the database"
        assert name == "shop-cache-1" or after["docker shop-cache-1"] < after[f"docker {name}"], name
    journal = node.journal("-u", "lockkeeper-executor.service")
    for text in (
        "container misspelt (docker): lockkeeper.restore=nope is none of no, best-effort and required: it counts as required",
        "container always-and-stopped (docker) had been stopped, and its restart policy has started it: stopping it",
        "container extra (docker) is exited",
        "lab-extra.service is failed (exit-code): it need not be back, so the node does not fail for it",
    ):
        assert text in journal, f"not in the journal: {text}"


def running(node: Node) -> dict[str, str]:
    """When each running container was started, in the order of time, by engine and name."""
    ask = "{engine} ps --quiet | xargs {engine} inspect --format '{engine} {{{{.Name}}}} {{{{.State.StartedAt}}}}'"
    found = {}
    for engine in ("docker", "podman"):
        for line in node.script(ask.format(engine=engine)).splitlines():
            engine, name, started = line.split(maxsplit=2)
            found[f"{engine} {name.lstrip('/')}"] = started
    return found


def health(node: Node, name: str) -> str:
    """What a container's health check says."""
    return node.script(f"docker inspect --format '{{{{.State.Health.Status}}}}' {name}").strip()
