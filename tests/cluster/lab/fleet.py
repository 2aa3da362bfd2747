"""A whole lab: network, archive, nodes; and how a fleet gets lockkeeper.

    with Lab(deb, say) as lab:
        nodes = lab.fleet()          # three nodes with etcd, workloads, lockkeeper
        lab.offer("2.0", lab.SET)    # a new package set in the archive
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from . import etcd, host, workloads
from .base import SUITE, base
from .etcd import Etcd
from .net import Net
from .node import Node
from .observer import Observer
from .papers import Papers
from .repo import Kind, Repo
from .wait import until

T = TypeVar("T")
INSTALL = "export DEBIAN_FRONTEND=noninteractive; apt-get -q update >&2; apt-get -qy install {packages} >&2"
SETTINGS = """
strategy = "{strategy}"
[check]
first = "1s"
interval = "10s"
spread = "0s"
[lock]
group = "{group}"
[etcd]
endpoints = [{endpoints}]
timeout = "{etcd_timeout}"
{access}[drain]
wait = "1s"
[verify]
grace = "3s"
settle = "2s"
timeout = "{verify_timeout}"
[schedule]
min_remaining = "0s"
[packages]
origins = "all"
apply = "{apply}"
on_failure = "{on_failure}"
[canary]
{canary}"""
CONFIG = "/etc/lockkeeper/lockkeeper.toml"


class Lab:
    """One run of the lab, from its namespace to its sweep."""

    SET = {"lab-tool": Kind.PLAIN, "lab-app": Kind.SERVICE, "lab-kernel": Kind.REBOOT}

    def __init__(self, deb: Path | None, say: Callable[[str], None]) -> None:
        self.deb = deb
        self.say = say
        self.nodes: list[Node] = []
        self.observers: list[Observer] = []
        self._closers: list[Callable[[], None]] = []

    def __enter__(self) -> Lab:
        self._bases = {SUITE: base(self.say)}
        try:
            self._run = host.Run()
            self._closers.append(self._run.close)
            self.dir = self._run.dir
            self.net = Net(self._run.id)
            self._closers.append(self.net.close)
            self.repo = Repo(self._run.dir / "archive", self.net)
            self._closers.append(self.repo.close)
            workloads.image(self._bases[SUITE], self._run.dir / "web.tar")
            if self.deb:
                self.repo.add(self.deb)
            self.repo.publish()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Gives everything back, whatever happened; a second Ctrl-C does not stop it half-way."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        try:
            self._closers += [node.close for node in self.nodes]
            for close in reversed(self._closers):
                try:
                    close()
                except Exception as error:  # the rest must still be given back
                    self.say(f"while cleaning up: {error!r}")
        finally:
            signals()

    # ---- nodes ----

    def node(self, name: str, suite: str = SUITE) -> Node:
        """A new node, not booted yet, that knows only this lab's archive."""
        if suite not in self._bases:
            self._bases[suite] = base(self.say, suite)
        node = Node(self._run, self.net, self._bases[suite], name, len(self.nodes) + 1)
        self.nodes.append(node)
        self.repo.trust(node)
        return node

    def boot(
        self,
        names: Iterable[str],
        members: int = 3,
        with_workloads: bool = True,
        papers: Papers | None = None,
        engines: bool = False,
        suite: str = SUITE,
    ) -> list[Node]:
        """New nodes, the first `members` of them with etcd, booted and at work.

        Without workloads they still run the plain service, which shows that they are up; and no container
        engines, unless those are asked for. With papers, etcd wants to see a certificate.
        """
        nodes = [self.node(name, suite) for name in names]
        for index, node in enumerate(nodes):
            if index < members:
                etcd.member(node, nodes[:members], papers)
            else:
                etcd.no_member(node)
            workloads.prepare(node, self._run.dir / "web.tar")
            if not with_workloads and not engines:
                workloads.without_engines(node)
        for node in nodes:
            node.start()
        each(nodes, Node.wait_up)
        if members:
            self.etcd = Etcd(self.net, nodes[:members], papers)
            until("etcd is healthy", self.etcd.healthy, 30)
        if with_workloads:
            each(nodes, workloads.start)
        return nodes

    def install(self, nodes: list[Node], packages: Iterable[str] = ("lockkeeper",)) -> None:
        """`apt-get install` on each node, and learns lockkeeper's ids of them."""
        each(nodes, lambda node: node.script(INSTALL.format(packages=" ".join(packages)), timeout=180))
        if self.deb:
            for node in nodes:
                node.id = until(f"lockkeeper runs on {node.name}", lambda n=node: n.status()["node"], 30)

    def configure(self, node: Node, strategy: str = "etcd-lock", verb: str = "restart", **changes: str) -> None:
        """Writes the node's configuration (quick times) and has the agent load it (or `reload` it)."""
        endpoints = ", ".join(f'"{url}"' for url in self.etcd.endpoints)
        values = {"group": "default", "apply": "online", "on_failure": "roll-back", "verify_timeout": "60s", "etcd_timeout": "2s", "canary": "", "endpoints": endpoints, "access": self.etcd.access, **changes}
        node.write(CONFIG, SETTINGS.format(strategy=strategy, **values))
        node.run("systemctl", verb, "lockkeeperd.service")

    def fleet(
        self, packages: dict[str, Kind] | None = None, version: str = "1.0", made: Iterable[str] = ()
    ) -> list[Node]:
        """Three nodes with etcd and workloads on an old package set, under lockkeeper's care. `made`: packages
        of the scenario's own, in the archive already."""
        packages = self.SET if packages is None else packages
        nodes = self.boot(["web-1", "web-2", "web-3"])
        self.offer(version, packages)
        self.install(nodes, ["lockkeeper", *packages, *made])
        each(nodes, self.configure)
        return nodes

    def single(self, packages: dict[str, Kind], with_workloads: bool = False) -> Node:
        """One node with a member of etcd and lockkeeper, on an old package set; not configured yet."""
        [node] = self.boot(["web-1"], members=1, with_workloads=with_workloads)
        self.offer("1.0", packages)
        self.install([node], ["lockkeeper", *packages])
        return node

    def offer(self, version: str, packages: dict[str, Kind]) -> None:
        """Publishes these packages in this version."""
        for name, kind in packages.items():
            self.repo.package(name, version, kind)
        self.repo.publish()

    # ---- judging ----

    def observe(self, nodes: list[Node], at_most: int = 1) -> Observer:
        """An observer of these nodes, to be used in a `with`."""
        self.observers.append(Observer(self.net, self.etcd, nodes, at_most))
        return self.observers[-1]

    def wait_updated(
        self, nodes: list[Node], version: str, packages: Iterable[str], timeout: float = 120.0, group: str = "default"
    ) -> None:
        """Waits until every node runs these packages in this version, at rest, and the slot is free."""
        packages = list(packages)

        def done() -> bool:
            return self.at_rest(group) and all(n.phase() == "steady" and on(n, version, packages) for n in nodes)

        def seen() -> str:
            return "; ".join(f"{n.name} {n.phase()} {n.versions(packages) if n.leader else 'off'}" for n in nodes)

        until(f"{', '.join(n.name for n in nodes)} on {version} and the slot free", done, timeout, 0.3, seen)

    def at_rest(self, group: str = "default") -> bool:
        """Is the group's slot free and its queue empty?"""
        try:
            slots, queue = self.etcd.group(group)
        except OSError:
            return False
        return not slots["holders"] and not queue

    def missing(self, node: Node) -> list[str]:
        """Workloads that do not answer."""
        return [name for name, port in workloads.PORTS.items() if not self.net.answers(node.address, port)]

    def checks(self, node: Node) -> int:
        """How often the node has looked at the archive's index."""
        return self.repo.index_requests.count(node.address)


def on(node: Node, version: str, packages: Iterable[str]) -> bool:
    """Has the node installed all of these in this version? (No, while it is off.)"""
    packages = list(packages)
    return node.leader is not None and node.versions(packages) == dict.fromkeys(packages, version)


def each(nodes: Iterable[Node], action: Callable[[Node], T]) -> list[T]:
    """Does something on all nodes at the same time; fails if one of them failed."""
    nodes = list(nodes)
    results: dict[str, T] = {}
    failures: dict[str, BaseException] = {}

    def work(node: Node) -> None:
        try:
            results[node.name] = action(node)
        except BaseException as error:  # handed over to the caller below
            failures[node.name] = error

    threads = [threading.Thread(target=work, args=(node,), daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, error in failures.items():
        raise AssertionError(f"{name}: {error}") from error
    return [results[node.name] for node in nodes]


def signals() -> None:
    """Ctrl-C, SIGTERM and SIGHUP end the program through its `finally`s."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
