"""One node is the canary of two others: they install an update only after the canary has been healthy with it
for the soak time. A bad one stops at the canary, and nobody follows; a better one goes round.
"""

from lab.fleet import Lab, each, on
from lab.repo import Kind
from lab.wait import always, until

GOOD = {"lab-tool": Kind.PLAIN, "lab-app": Kind.SERVICE}
BAD = GOOD | {"lab-app": Kind.BAD_SERVICE}


def scenario(lab: Lab) -> None:
    nodes = lab.fleet(GOOD)
    canary, *followers = nodes
    lab.configure(canary, group="canary", canary="publish = true", verify_timeout="15s")
    each(followers, lambda node: lab.configure(node, canary='follow = "canary"\nsoak = "20s"'))
    until("the canary has told what it has", lambda: lab.etcd.keys("/groups/canary/verified/"), 60, 0.5)

    lab.offer("2.0", GOOD)
    until("the canary has the update", lambda: on(canary, "2.0", GOOD), 120, 0.3)
    assert all(on(node, "1.0", GOOD) for node in followers), "nobody was quicker than the canary"
    until("a follower says what it waits for", lambda: waits(followers[0]), 40, 0.3)
    said = followers[0].rebootctl("plan").stdout
    assert "lab-app" in said and "canary has verified 2.0" in said, said
    lab.wait_updated(followers, "2.0", GOOD, 180)

    lab.offer("3.0", BAD)
    until("the canary is halted", lambda: lab.etcd.group("canary")[0].get("halt"), 120, 0.3)
    until("the canary went back", lambda: on(canary, "2.0", GOOD) and not lab.etcd.group("canary")[0]["holders"], 120, 0.5)
    seen = {node.name: lab.checks(node) for node in followers}
    always(
        "nobody follows",
        lambda: all(on(node, "2.0", GOOD) for node in followers),
        lambda: all(lab.checks(node) >= seen[node.name] + 4 for node in followers),
    )
    why = followers[0].status()["kept_back"]
    assert why and all("canary is halted" in kept["text"] for kept in why), why

    lab.offer("3.1", GOOD)
    canary.rebootctl("resume")
    canary.rebootctl("check")
    lab.wait_updated(nodes, "3.1", GOOD, 240)


def waits(node) -> bool:
    """Is something kept back until the canary has had it for the soak time?"""
    return any("may be installed at" in kept["text"] for kept in node.status()["kept_back"])
