"""The agent may be killed at any step of the cycle: it resumes where it was, the cycle ends well, and
the slot is given back.

Three nodes, each alone in a group, go through cycle after cycle; etcd lives on a fourth. In each cycle
the agent gets one kill -9, at the moment it has written the wanted phase to its durable state.
"""

import signal
import threading

from lab import host
from lab.fleet import Lab, each
from lab.node import Node
from lab.repo import Kind
from lab.wait import until
from lab.watch import PhaseWatch

PHASES = """
    queued preflight draining recording applying deciding rebooting restoring verifying confirming returning releasing
""".split()
AGENT = "lockkeeperd.service"
TRIES = 5


class Hunt:
    """Which phases are still to be hit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.todo = list(PHASES)
        self.hit: dict[str, str] = {}
        self.tries = dict.fromkeys(PHASES, 0)

    def next(self) -> str | None:
        """The next phase to aim at."""
        with self._lock:
            if not self.todo:
                return None
            phase = self.todo.pop(0)
            self.tries[phase] += 1
            assert self.tries[phase] <= TRIES, f"{phase} was not hit in {TRIES} cycles; hit: {self.hit}"
            return phase

    def landed(self, aim: str, phase: str, node: Node) -> None:
        """The kill aimed at one phase found the agent in another, or the same."""
        with self._lock:
            self.hit.setdefault(phase, node.name)
            if phase in self.todo:
                self.todo.remove(phase)
            if aim not in self.hit:
                self.todo.append(aim)


def scenario(lab: Lab) -> None:
    lab.boot(["etcd-1"], members=1, with_workloads=False)
    nodes = lab.boot(["web-1", "web-2", "web-3"], members=0)
    for node in nodes:
        lab.offer("1.0", {package(node): Kind.REBOOT})
    each(nodes, lambda node: lab.install([node], ["lockkeeper", package(node)]))
    each(nodes, lambda node: lab.configure(node, group=node.name))
    hunt = Hunt()
    each(nodes, lambda node: cycles(lab, node, hunt))
    assert set(hunt.hit) >= set(PHASES), f"never killed in: {set(PHASES) - set(hunt.hit)}"


def package(node: Node) -> str:
    """The package of this node alone, so that each goes at its own pace."""
    return f"lab-{node.name}"


def cycles(lab: Lab, node: Node, hunt: Hunt) -> None:
    """Cycles of one node until every phase was hit."""
    number = 1
    while aim := hunt.next():
        number += 1
        boots = node.boots
        with PhaseWatch(node) as watch:
            lab.offer(f"{number}.0", {package(node): Kind.REBOOT})
            # Its answer comes when the cycle may be past the first phases already: do not wait for it.
            check = threading.Thread(target=node.rebootctl, args=["check"], kwargs={"check": False}, daemon=True)
            check.start()
            phase = kill_at(node, watch, aim)
            check.join()
        lab.say(f"{node.name}: killed in {phase}" + ("" if phase == aim else f" (aimed at {aim})"))
        hunt.landed(aim, phase, node)
        lab.wait_updated([node], f"{number}.0", [package(node)], 90, group=node.name)
        assert node.boots == boots + 1, f"{node.name} rebooted {node.boots - boots} times after a kill in {phase}"
        until(f"everything on {node.name} runs again", lambda: not lab.missing(node), 20, seen=lambda: lab.missing(node))


def kill_at(node: Node, watch: PhaseWatch, aim: str) -> str:
    """Kills the agent as soon as it has reached a phase; the phase it was really in.

    A cycle may be over before anybody looks: the last phases take milliseconds. Then nothing is killed.
    """
    reached = PHASES[PHASES.index(aim) :]
    begun = False

    def wanted(phase: str) -> bool:
        nonlocal begun
        begun = begun or phase in PHASES
        return phase in reached or (begun and phase == "steady")

    seen = watch.wait(wanted, 60)
    assert seen, f"{node.name} never got to {aim}; it is {node.phase()}"
    if seen == "steady":
        return seen
    pids = until(f"an agent to kill on {node.name}", lambda: node.processes(AGENT), 20, 0.0)
    host.kill(pids[0], signal.SIGKILL)
    return node.phase()
