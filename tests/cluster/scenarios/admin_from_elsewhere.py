"""An admin with nothing but an etcd endpoint and certificates, on a machine that is in no fleet, sees who
holds and who waits, and clears it: takes away the slot of a machine that is gone, halts, resumes, reads
what happened. Without a certificate nobody gets in.
"""

import json
import subprocess
from pathlib import Path

from lab import host
from lab.fleet import Lab, each
from lab.net import HOST
from lab.papers import Papers
from lab.repo import Kind
from lab.wait import until

PACKAGES = {"lab-kernel": Kind.REBOOT}
GONE = "0" * 32


class Admin:
    """The command line on a machine outside, with the network and its papers only."""

    def __init__(self, lab: Lab, papers: Papers) -> None:
        home = lab.dir / "admin"
        host.command("dpkg-deb", "-x", lab.deb, home)
        self._program = home / "usr/bin/rebootctl"
        self._net = lab.net.path
        self._endpoints = [f"--endpoint={url}" for url in lab.etcd.endpoints]
        certificate, key = papers.issue("admin", HOST)
        self._papers = [f"--cacert={papers.ca}", f"--cert={certificate}", f"--key={key}"]

    def run(self, *args: str, papers: bool = True, check: bool = True) -> subprocess.CompletedProcess:
        """Runs `rebootctl`, straight to etcd."""
        given = self._papers if papers else self._papers[:1]
        command: list[str | Path] = ["nsenter", f"--net={self._net}", self._program, *args, *self._endpoints, *given]
        return host.command(*command, check=check)


def scenario(lab: Lab) -> None:
    papers = Papers(lab.dir / "papers")
    nodes = lab.boot(["web-1", "web-2", "web-3"], with_workloads=False, papers=papers)
    lab.offer("1.0", PACKAGES)
    lab.install(nodes, ["lockkeeper", *PACKAGES])
    each(nodes, lab.configure)
    admin = Admin(lab, papers)

    refused = admin.run("status", papers=False, check=False)
    assert refused.returncode == 5 and refused.stderr.strip(), (refused.returncode, refused.stdout, refused.stderr)
    lab.say(f"without a certificate: {refused.stderr.strip()}")

    admin.run("lock", GONE, "--reason", "burnt down", "--expected", "1s")
    lab.offer("2.0", PACKAGES)
    each(nodes, lambda node: node.rebootctl("check"))
    until("all wait", lambda: len(queue(admin)) == len(nodes), 60)
    names = {node.name for node in nodes}
    assert {ticket["name"] for ticket in queue(admin)} == names
    assert set(records(admin)) == {node.id for node in nodes}
    until("the machine that is gone is overdue", lambda: "(overdue)" in admin.run("status").stdout, 90, 0.5)
    assert GONE in admin.run("status", "--format", "locksmith").stdout

    admin.run("halt", "--reason", "let me look")
    admin.run("unlock", GONE, "--reason", "it burnt down")
    assert all("let me look" in node.explain()["verdict"]["text"] for node in nodes)
    admin.run("resume")
    lab.wait_updated(nodes, "2.0", PACKAGES, 150)
    told = [(entry["what"], entry.get("name", "")) for entry in json.loads(admin.run("history", "--json").stdout)]
    assert told[0] == ("locked-by-hand", GONE)
    assert ("overdue", GONE) in told and ("unlocked-by-force", GONE) in told, told
    for name in names:
        assert [what for what, of in told if of == name] == ["locked", "unlocked"], told
    lab.say(f"what happened:\n{admin.run('history').stdout.strip()}")


def queue(admin: Admin) -> list[dict]:
    """Who waits."""
    return json.loads(admin.run("queue", "--group", "default", "--json").stdout)["default"]


def records(admin: Admin) -> dict:
    """What the nodes say of themselves."""
    return json.loads(admin.run("nodes", "--json").stdout)
