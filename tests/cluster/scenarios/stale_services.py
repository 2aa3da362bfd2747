"""Services that run on a library or a script which an update has replaced are restarted with it, without a
reboot, but for one that is excluded; systemd executes itself anew; the agent is restarted in mid-cycle and goes
on. If a service does not come up again the update is undone. A container engine asks for a reboot.
"""

import json
import re

from lab import workloads
from lab.fleet import Lab, on
from lab.node import Node
from lab.wait import until

LIBRARY = "/usr/lib/lab-lib/liblab.so"
SCRIPT = "/usr/lib/lab-lib/script"
BAD = "/usr/lib/lab-lib/bad"
PRELOAD = f"Environment=LD_PRELOAD={LIBRARY}\n"
UNIT = "[Unit]\nDescription=Lab {name}\n[Service]\n{service}[Install]\nWantedBy=multi-user.target\n"
SERVICES = {
    "lab-library": f"{PRELOAD}ExecStartPre=/usr/bin/test ! -e {BAD}\nExecStart=/usr/bin/sleep infinity\n",
    "lab-script": f"ExecStart={SCRIPT}\n",
    "lab-never": f"{PRELOAD}ExecStart=/usr/bin/sleep infinity\n",
    "lab-plain": "ExecStart=/usr/bin/sleep infinity\n",
}
PROGRAMS = "/usr/lib/systemd/systemd /usr/libexec/lockkeeper/lockkeeperd"
REPLACE = f"for file in {PROGRAMS}; do cp -p $file $file.new; mv $file.new $file; done"
SETTINGS = '[services]\nnever = ["lab-never*"]\n'


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1)
    publish(lab, node, "1.0")
    lab.install([node], ["lockkeeper", "lab-lib"])
    for name, service in SERVICES.items():
        node.write(f"/lib/systemd/system/{name}.service", UNIT.format(name=name, service=service))
    node.script(f"systemctl daemon-reload; systemctl enable -q --now {' '.join(SERVICES)}")
    node.write("/etc/lockkeeper/conf.d/services.toml", SETTINGS)
    lab.configure(node, verify_timeout="15s")
    boot = node.boot_id

    before, [agent] = pids(node), node.processes("lockkeeperd.service")
    # A script counts as newer when it is by a whole second.
    node.script(f"sleep 2\n{REPLACE}")
    publish(lab, node, "2.0")
    lab.wait_updated([node], "2.0", ["lab-lib"])
    changed = {name for name, pid in pids(node).items() if pid != before[name]}
    assert changed == {"lab-library", "lab-script"}, changed
    assert node.boot_id == boot, "it rebooted"
    said = {verdict["code"]: verdict["text"] for verdict in node.explain()["also"]}
    expected = {"lab-library.service", "lab-script.service", "lockkeeperd.service", "init.scope"}
    assert expected <= words(said["restarted"]), said
    assert [agent] != node.processes("lockkeeperd.service"), "the agent was not restarted"
    assert node.script("readlink /proc/1/exe").strip() == PROGRAMS.split()[0], "systemd is the old one"
    assert "lab-never.service" in words(said["stale-left"]), said
    assert "reboot-unknown" not in said, said
    assert "stale-reboot" not in said and "stale-restart" not in said, said
    lab.say(f"restarted: {said['restarted']}")
    stale = json.loads(node.rebootctl("stale", "--json").stdout)
    assert [unit["name"] for unit in stale["units"] if unit["fate"] != "leave"] == [], stale

    publish(lab, node, "3.0", bad=True)
    until("the update is undone", lambda: node.state().get("denied") and on(node, "2.0", ["lab-lib"]), 120, 0.3)
    until("the slot is given back", lambda: not lab.etcd.slots()["holders"], 120, 0.3)
    assert "lab-library.service" in json.dumps(node.state()["denied"]), node.state()["denied"]
    assert all(pids(node).values()), pids(node)
    assert node.boot_id == boot, "it rebooted"
    node.rebootctl("resume")

    node.write("/etc/systemd/system/docker.service.d/lab.conf", f"[Service]\n{PRELOAD}")
    node.script("systemctl daemon-reload; systemctl restart docker.service")
    workloads_run(lab, node)
    publish(lab, node, "4.0")
    lab.wait_updated([node], "4.0", ["lab-lib"])
    assert node.boot_id != boot, "it did not reboot"
    reasons = re.findall("rebooting because of (.*)", node.journal("-u", "lockkeeperd.service"))
    assert any("docker.service still uses files that were replaced" in reason for reason in reasons), reasons
    assert not any("lab-" in reason for reason in reasons), reasons
    workloads_run(lab, node)


def workloads_run(lab: Lab, node: Node) -> None:
    """Waits until all workloads answer; those a restart of the engine has stopped are started."""
    node.script("docker start by-hand always >&2")
    until("the workloads run", lambda: not lab.missing(node), 30, 0.3, lambda: str(lab.missing(node)))
    assert set(workloads.PORTS), "there are workloads"


def words(sentence: str) -> set[str]:
    """The words of a verdict's sentence."""
    return set(re.split(r"[ ,()]+", sentence))


def pids(node: Node) -> dict[str, str]:
    """The main process of each service; nothing for one that does not run."""
    show = "systemctl show --property=MainPID --value {}.service"
    found = {name: node.script(show.format(name)).strip() for name in SERVICES}
    return {name: pid for name, pid in found.items() if pid != "0"} | {n: "" for n, pid in found.items() if pid == "0"}


def publish(lab: Lab, node: Node, version: str, bad: bool = False) -> None:
    """Offers a package with a library and a script."""
    [library] = node.path("/usr/lib").glob("*-linux-gnu/libz.so.1")
    script = f"#!/usr/bin/perl -w\n# {version}\nsleep while 1;\n"
    files = {LIBRARY: library.read_bytes(), SCRIPT: script.encode()} | ({BAD: b""} if bad else {})
    lab.repo.files("lab-lib", version, files)
    lab.repo.publish()
