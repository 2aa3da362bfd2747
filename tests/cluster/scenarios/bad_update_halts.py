"""An update whose service does not start stops at the first node: told to stay, that node keeps its slot,
the group is halted with the reason, and the others never apply it. Mended by an admin, the node gives its
slot back by itself; after `resume` the others go on.
"""

from lab.fleet import Lab, each, on
from lab.repo import Kind
from lab.wait import always, until

GOOD = {"lab-tool": Kind.PLAIN, "lab-app": Kind.SERVICE}
BAD = GOOD | {"lab-app": Kind.BAD_SERVICE}


def scenario(lab: Lab) -> None:
    nodes = lab.fleet(GOOD)
    each(nodes, lambda node: lab.configure(node, verify_timeout="15s", on_failure="stay"))
    with lab.observe(nodes) as observer:
        lab.offer("2.0", BAD)
        halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 90, 0.3)
        lab.say(f"halted by {halt['by']}: {halt['reason']}")
        first = next(node for node in nodes if node.name == halt["by"])
        others = [node for node in nodes if node is not first]
        assert "lab-app" in halt["reason"], halt

        seen = {node.name: lab.checks(node) for node in others}
        always(
            "the failed node keeps its slot and the others stay on 1.0",
            lambda: [h["node"] for h in lab.etcd.slots()["holders"]] == [first.id]
            and all(on(node, "1.0", GOOD) for node in others),
            lambda: all(lab.checks(node) >= seen[node.name] + 2 for node in others),
        )
        assert first.phase() == "failed", first.phase()
        for node in others:
            assert node.status()["verdict"]["code"] == "halted", node.status()["verdict"]
            said = node.rebootctl("status").stdout
            assert "HALTED" in said and "lab-app" in said, said
        said = first.rebootctl("explain").stdout
        assert "lab-app" in said, said
        assert "lab-app" in first.journal("-u", "lockkeeperd"), "the journal names the service"
    observer.check()
    assert observer.went_out() == [first.name], observer.went_out()

    lab.offer("2.1", GOOD)
    lab.install([first], GOOD)
    until("the mended node gives its slot back", lambda: not lab.etcd.slots()["holders"], 90)
    assert first.status()["locks"][0]["halt"], "the halt stays until an admin lifts it"
    for node in others:
        node.rebootctl("check")
    first.rebootctl("resume")
    lab.wait_updated(nodes, "2.1", GOOD)
