"""Looks at the fleet from outside, all the time, and says how many were out of service at once.

It believes nobody's word alone: a node is *down* when its plain service does not answer, when it has
no running boot, or when its key in etcd says so; *draining* when its key says so.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import defaultdict

from . import workloads
from .etcd import Etcd
from .net import Net
from .node import Node
from .wait import until

IN_SERVICE, DRAINING, DOWN = "in-service", "draining", "down"
PAUSE = 0.06
MARKS = {IN_SERVICE: "·", DRAINING: "d", DOWN: "█"}


@dataclasses.dataclass(frozen=True)
class Change:
    """A node changed between in service, draining and down."""

    at: float  # seconds since the observer began
    node: str
    state: str


@dataclasses.dataclass
class View:
    """What is seen of one node now."""

    serves: bool = True
    boot_id: str | None = None
    key: str = IN_SERVICE
    boots: list[str] = dataclasses.field(default_factory=list)  # every boot id seen, in order
    up: dict[str, bool] = dataclasses.field(default_factory=dict)  # workload: answers?
    looks: int = 0

    @property
    def state(self) -> str:
        """In service, draining or down."""
        if not self.serves or self.boot_id is None or self.key == DOWN:
            return DOWN
        return DRAINING if self.key == DRAINING else IN_SERVICE


class Observer:
    """Samples from `with` to its end; `check` says whether the promise was kept."""

    def __init__(self, net: Net, etcd: Etcd, nodes: list[Node], at_most: int = 1) -> None:
        self._net = net
        self._etcd = etcd
        self._nodes = nodes
        self._at_most = at_most
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._began = time.monotonic()
        self.views: dict[str, View] = {node.name: View() for node in nodes}
        self.changes: list[Change] = []
        self.violations: list[str] = []
        self.blind = 0  # looks at etcd that got no answer
        self._threads = [threading.Thread(target=self._watch_keys, daemon=True)]
        self._threads += [threading.Thread(target=self._watch_node, args=(n,), daemon=True) for n in nodes]
        self._threads += [threading.Thread(target=self._watch_workloads, args=(n,), daemon=True) for n in nodes]

    def __enter__(self) -> Observer:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        until("the observer has seen every node", lambda: all(v.looks and v.up for v in self.views.values()), 10, 0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    @property
    def elapsed(self) -> float:
        """Seconds since it began to look."""
        return time.monotonic() - self._began

    def state(self, node: Node) -> str:
        """In service, draining or down, as seen last."""
        return self.views[node.name].state

    def boots(self, node: Node) -> int:
        """How often the node booted since the observer began (a first boot seen is not counted)."""
        return max(0, len(self.views[node.name].boots) - 1)

    def went_out(self) -> list[str]:
        """Names of the nodes that left service, in order, one entry each time."""
        order, out = [], set()
        for change in self.changes:
            if change.state == IN_SERVICE:
                out.discard(change.node)
            elif change.node not in out:
                out.add(change.node)
                order.append(change.node)
        return order

    def check(self) -> None:
        """Fails if more nodes than allowed were ever out of service at once, or if nobody looked."""
        assert not self.violations, f"{self.violations[0]} (and {len(self.violations) - 1} more)\n{self.chart()}"
        lazy = {name: view.looks for name, view in self.views.items() if view.looks < self.elapsed}
        assert not lazy, f"the observer hardly looked: {lazy} in {self.elapsed:.0f} s"

    # ---- looking ----

    def _watch_node(self, node: Node) -> None:
        while not self._end.wait(PAUSE):
            boot_id = node.boot_id
            try:
                serves = boot_id is not None and self._served(node)
            except OSError:
                serves = False
            with self._lock:
                view = self.views[node.name]
                view.serves, view.boot_id = serves, boot_id
                view.looks += 1
                if boot_id and boot_id not in view.boots:
                    view.boots.append(boot_id)
                self._judge(node.name)

    def _served(self, node: Node) -> bool:
        return self._net.http(node.address, workloads.SERVICE_PORT, "/", timeout=5.0)[0] == 200

    def _watch_keys(self) -> None:
        while not self._end.wait(PAUSE):
            try:
                keys = self._etcd.keys("/service/", timeout=1.0)
            except OSError:
                self.blind += 1  # what was seen last still counts
                continue
            with self._lock:
                for node in self._nodes:
                    self.views[node.name].key = keys.get(f"/service/{node.id}", IN_SERVICE)
                for node in self._nodes:
                    self._judge(node.name)

    def _watch_workloads(self, node: Node) -> None:
        while not self._end.wait(PAUSE * 5):
            for name, port in workloads.PORTS.items():
                try:
                    up = self._net.answers(node.address, port)
                except OSError:
                    up = False
                self.views[node.name].up[name] = up

    def _judge(self, name: str) -> None:
        if not self.views[name].looks:
            return  # not seen yet
        state = self.views[name].state
        last = next((c.state for c in reversed(self.changes) if c.node == name), IN_SERVICE)
        if state == last:
            return
        self.changes.append(Change(self.elapsed, name, state))
        out = {n: view.state for n, view in self.views.items() if view.state != IN_SERVICE}
        if len(out) > self._at_most:
            seen = ", ".join(f"{n} {s}" for n, s in out.items())
            self.violations.append(f"{len(out)} nodes out of service at {self.elapsed:.1f} s: {seen}")

    # ---- telling ----

    def timeline(self) -> str:
        """Every change, one a line."""
        return "\n".join(f"{c.at:7.2f} s  {c.node}  {c.state}" for c in self.changes)

    def chart(self, width: int = 72) -> str:
        """Who was out when, as a small chart."""
        length = max(self.elapsed, 0.001)
        pad = max(len(node.name) for node in self._nodes)
        changes = defaultdict(list)
        for change in self.changes:
            changes[change.node].append(change)
        rows = [f"{n.name:<{pad}}  {_row(changes[n.name], length, width)}" for n in self._nodes]
        scale = f"{'':<{pad}}  0 s{f'{length:.0f} s':>{width - 3}}"
        key = "  ".join(f"{mark} {state}" for state, mark in MARKS.items())
        return "\n".join([*rows, scale, f"{'':<{pad}}  {key}"])


def _row(changes: list[Change], length: float, width: int) -> str:
    """One mark a column: the worst state within its time."""
    worst = list(MARKS)
    marks, state = [], IN_SERVICE
    for column in range(width):
        end = (column + 1) * length / width
        here = [state]
        while changes and changes[0].at <= end:
            state = changes.pop(0).state
            here.append(state)
        marks.append(MARKS[max(here, key=worst.index)])
    return "".join(marks)
