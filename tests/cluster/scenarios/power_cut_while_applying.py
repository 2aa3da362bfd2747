"""A node that loses power in the middle of installing keeps its slot while it is dark, finishes the
installation when it is back, and only then lets the next one go.
"""

from lab.fleet import Lab, on
from lab.node import Node
from lab.repo import SLOW_MARK, Kind
from lab.wait import always, until

PACKAGES = Lab.SET | {"lab-slow": Kind.SLOW}
TIMEOUT = 200


def scenario(lab: Lab) -> None:
    nodes = lab.fleet(PACKAGES)
    with lab.observe(nodes) as observer:
        lab.offer("2.0", PACKAGES)

        def configuring() -> Node | None:
            return next((node for node in nodes if node.path(SLOW_MARK).exists()), None)

        victim = until("dpkg is configuring a package somewhere", configuring, 60, 0.02)
        assert victim.phase() == "applying", victim.phase()
        victim.power_cut()
        lab.say(f"{victim.name} lost power while installing")
        others = [node for node in nodes if node is not victim]

        waited = {node.name: lab.checks(node) for node in others}
        always(
            "the dark node holds the only slot and nobody else changes",
            lambda: [holder["node"] for holder in lab.etcd.slots()["holders"]] == [victim.id]
            and all(on(node, "1.0", PACKAGES) for node in others),
            lambda: all(lab.checks(node) > waited[node.name] for node in others),
        )
        victim.start()
        victim.wait_up()
        lab.say(f"{victim.name} has power again")
        lab.wait_updated(nodes, "2.0", PACKAGES, TIMEOUT)
        missing = {node.name: lab.missing(node) for node in nodes}
    observer.check()
    assert not any(missing.values()), f"not running again: {missing}"
    assert observer.went_out()[0] == victim.name and len(observer.went_out()) == 3, observer.went_out()
    boots = {node.name: observer.boots(node) for node in nodes}
    assert all(boots[node.name] == 1 for node in others), f"the others do not reboot once each: {boots}"
    # One boot after the cut, and one more if the update still wanted it then.
    assert boots[victim.name] in (1, 2), boots
    audit = victim.script("dpkg --audit")
    assert not audit, audit
    lab.say(f"all run 2.0\n{observer.chart()}")
