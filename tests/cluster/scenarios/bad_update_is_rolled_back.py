"""An update whose service does not start stops at the first node: the group is halted, the node goes back
to exactly the packages from before, is healthy on them, and gives its slot back. It never tries the update
again; the others never do. After a better one and `resume` all go on.
"""

from lab.fleet import Lab, each, on
from lab.repo import Kind
from lab.wait import always, until

GOOD = {"lab-tool": Kind.PLAIN, "lab-app": Kind.SERVICE, "lab-kernel": Kind.REBOOT}
BAD = GOOD | {"lab-app": Kind.BAD_SERVICE}
PACKAGES = "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n'; apt-mark showauto"


def scenario(lab: Lab) -> None:
    nodes = lab.fleet(GOOD)
    each(nodes, lambda node: lab.configure(node, verify_timeout="15s"))
    before = {node.name: node.script(PACKAGES) for node in nodes}
    with lab.observe(nodes) as observer:
        lab.offer("2.0", BAD)
        halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 120, 0.3)
        lab.say(f"halted by {halt['by']}: {halt['reason']}")
        first = next(node for node in nodes if node.name == halt["by"])
        assert "lab-app" in halt["reason"], halt
        until("the node gives its slot back", lambda: not lab.etcd.slots()["holders"], 150, 0.3)
        assert on(first, "1.0", GOOD), first.versions(GOOD)
        after = first.script(PACKAGES)
        assert after == before[first.name], f"not as before:\n{after}"
        assert first.run("systemctl", "is-active", "lab-app.service").stdout.strip() == "active"
        # The next check is offered the same again.
        until("it says why not", lambda: "lab-app" in first.rebootctl("explain").stdout, 30, 0.3)

        seen = {node.name: lab.checks(node) for node in nodes}
        always(
            "nobody tries it again",
            lambda: all(on(node, "1.0", GOOD) for node in nodes) and not lab.etcd.slots()["holders"],
            lambda: all(lab.checks(node) >= seen[node.name] + 2 for node in nodes),
        )
    observer.check()
    assert observer.went_out() == [first.name], observer.went_out()

    lab.offer("2.1", GOOD)
    for node in nodes:
        node.rebootctl("check")
    first.rebootctl("resume")
    lab.wait_updated(nodes, "2.1", GOOD, 180)
