"""The fleet as people watch it: one line a node, redrawn in place, or timed lines when not on a terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterable

from .node import Node
from .observer import DOWN, DRAINING, Observer

HEAD = ("NODE", "PHASE", "BOOTS", "SET", "SEEN FROM OUTSIDE", "CONTAINERS", "UNITS")
WIDTHS = (6, 10, 5, 30, 17, 10, 5)
COLOURS = {DRAINING: "\x1b[33m", DOWN: "\x1b[31m"}
PLAIN = "\x1b[0m"
FRAME = 0.15


class Live:
    """Shows nodes until its `with` ends."""

    def __init__(self, nodes: list[Node], observer: Observer, packages: Iterable[str]) -> None:
        self._nodes = nodes
        self._observer = observer
        self._packages = sorted(packages)
        self._versions: dict[str, str] = {node.name: "" for node in nodes}
        self._end = threading.Event()
        self._terminal = sys.stdout.isatty()
        self._told: dict[str, tuple[str, ...]] = {}
        self._threads = [threading.Thread(target=self._show, daemon=True)]
        self._threads += [threading.Thread(target=self._look, args=(node,), daemon=True) for node in nodes]

    def __enter__(self) -> Live:
        if self._terminal:
            print("\n" * (len(self._nodes) + 1), end="")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._draw()

    def _look(self, node: Node) -> None:
        """Asks the node's package database, which takes a process each time, once a second."""
        while True:
            try:
                found = set(node.versions(self._packages).values()) if node.leader else set()
            except Exception:  # it went down just now
                found = set()
            if found:
                settled = len(found) == 1 and " " not in "".join(found)
                self._versions[node.name] = found.pop() if settled else "dpkg at work"
            if self._end.wait(1):
                return

    def _show(self) -> None:
        while not self._end.wait(FRAME):
            self._draw()

    def _draw(self) -> None:
        rows = [(node, self._row(node)) for node in self._nodes]
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            lines = [_line(HEAD)[:width], *(self._coloured(node, _line(row)[:width]) for node, row in rows)]
            print(f"\x1b[{len(lines)}A" + "".join(f"\x1b[2K{line}\n" for line in lines), end="", flush=True)
            return
        for node, row in rows:
            if self._told.get(node.name) != row[:5]:
                self._told[node.name] = row[:5]
                print(f"{time.strftime('%H:%M:%S')}  {_line(row)}", flush=True)

    def _row(self, node: Node) -> tuple[str, ...]:
        view = self._observer.views[node.name]
        state = node.state()
        staged = ((state.get("staged") or {}).get("plan") or {}).get("packages") or []
        versions = self._versions[node.name]
        if staged and {p["to"] for p in staged} != {versions}:
            versions += f" -> {'/'.join(sorted({p['to'] for p in staged}))} ({len(staged)} staged)"
        containers = [up for name, up in view.up.items() if "unit" not in name]
        units = [up for name, up in view.up.items() if "unit" in name]
        return (
            node.name,
            node.phase() or "-",
            str(len(view.boots)),
            versions,
            view.state,
            f"{sum(containers)}/{len(containers)}",
            f"{sum(units)}/{len(units)}",
        )

    def _coloured(self, node: Node, line: str) -> str:
        colour = COLOURS.get(self._observer.state(node))
        return f"{colour}{line}{PLAIN}" if colour else line


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()
