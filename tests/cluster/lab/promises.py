"""What a rolling update promises, judged from outside once it is over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from .fleet import Lab
from .node import Node
from .observer import Observer


@dataclasses.dataclass(frozen=True)
class Promise:
    """One promise, and what was seen of it."""

    text: str
    kept: bool
    seen: str


def judge(lab: Lab, nodes: list[Node], observer: Observer, version: str, packages: Iterable[str]) -> list[Promise]:
    """All promises of an update that needs one reboot a node."""
    packages = list(packages)
    versions = {n.name: n.versions(packages) if n.leader else {} for n in nodes}
    boots = {n.name: observer.boots(n) for n in nodes}
    missing = {n.name: lab.missing(n) for n in nodes}
    looks = sum(view.looks for view in observer.views.values())
    went_out = observer.went_out()
    slots, queue = lab.etcd.group("default")
    return [
        Promise(
            "every node runs the new set",
            all(found == dict.fromkeys(packages, version) for found in versions.values()),
            "; ".join(f"{name}: {', '.join(f'{p} {v}' for p, v in found.items())}" for name, found in versions.items()),
        ),
        Promise("each node rebooted exactly once (boot id)", set(boots.values()) == {1}, str(boots)),
        Promise(
            "never two nodes down or draining at once",
            not observer.violations and looks > 0,
            f"{looks} looks from outside; {'; '.join(observer.violations) or 'one at a time'}",
        ),
        Promise("each node left service exactly once", sorted(went_out) == sorted(boots), ", ".join(went_out)),
        Promise(
            "every container and unit that ran before runs again",
            not any(missing.values()),
            "; ".join(f"{name}: not running: {', '.join(gone) or 'none'}" for name, gone in missing.items()),
        ),
        Promise("the slot is free", not slots["holders"] and not slots.get("halt"), str(slots)),
        Promise("the queue is empty", not queue, f"{len(queue)} waiting"),
    ]
