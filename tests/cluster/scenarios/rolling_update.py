"""Three nodes take a new package set one at a time: each is drained, updated, rebooted once and checked
before the next one goes, and everything that ran before runs again.
"""

from lab.fleet import Lab
from lab.promises import judge

TIMEOUT = 150


def scenario(lab: Lab) -> None:
    nodes = lab.fleet()
    assert not any(lab.missing(node) for node in nodes)
    lab.say("three nodes run 1.0")

    with lab.observe(nodes) as observer:
        lab.offer("2.0", lab.SET)
        lab.say("2.0 is published")
        lab.wait_updated(nodes, "2.0", lab.SET, TIMEOUT)
        promises = judge(lab, nodes, observer, "2.0", lab.SET)

    observer.check()
    broken = [f"{p.text}: {p.seen}" for p in promises if not p.kept]
    assert not broken, broken
    lab.say(f"all run 2.0\n{observer.chart()}")
