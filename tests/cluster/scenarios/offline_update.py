"""Where updates are installed offline, each node installs them in a boot made for that, in which no service
runs, and comes back to an ordinary one; one node after the other, each holding the slot throughout. What
fails in such a boot is undone, and stops at the first node. What loses its power there is finished later.
"""

from lab.fleet import Lab, each, on
from lab.node import BOOT_ID, Node
from lab.repo import SLOW_MARK, Kind
from lab.wait import always, until

PACKAGES = Lab.SET | {"lab-slow": Kind.SLOW}
WITNESS = "/var/lib/lab-witness"
# What else runs while it is configured, and in which boot.
SEE = f"""if [ -n "$2" ]; then
systemctl restart lab-app.service
for name in systemd lockkeeperd dockerd etcd sleep; do pgrep -x $name; done > {WITNESS}.others || true
cat {BOOT_ID} > {WITNESS}.boot
fi
"""
INSTALLED = "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n'; apt-mark showauto"


def scenario(lab: Lab) -> None:
    lab.repo.custom("lab-witness", "1.0", postinst=SEE)
    nodes = lab.fleet(PACKAGES, made=["lab-witness"])
    each(nodes, lambda node: lab.configure(node, apply="offline"))
    all_of_it = [*PACKAGES, "lab-witness"]
    before = {node.name: node.boot_id for node in nodes}
    boots = {node.name: node.boots for node in nodes}

    with lab.observe(nodes) as observer:
        lab.repo.custom("lab-witness", "2.0", postinst=SEE)
        lab.offer("2.0", PACKAGES)
        lab.wait_updated(nodes, "2.0", all_of_it, 240)
    observer.check()
    assert len(observer.went_out()) == 3, observer.went_out()
    for node in nodes:
        boot = node.path(f"{WITNESS}.boot").read_text().strip()
        assert boot not in (before[node.name], node.boot_id), f"{node.name} installed in an ordinary boot"
        running = node.path(f"{WITNESS}.others").read_text().split()
        assert running == ["1"], f"{node.name} installed beside {running}, not the first process alone"
        assert node.boots == boots[node.name] + 2, f"{node.name} booted {node.boots - boots[node.name]} times"
        assert not lab.missing(node), lab.missing(node)
    lab.say("each installed in a boot of its own")

    fails_and_is_undone(lab, nodes, all_of_it)
    loses_power(lab, nodes, all_of_it)


def fails_and_is_undone(lab: Lab, nodes: list[Node], names: list[str]) -> None:
    installed = {node.name: node.script(INSTALLED) for node in nodes}
    lab.repo.custom("lab-witness", "3.0", postinst="exit 1\n")
    with lab.observe(nodes) as observer:
        lab.offer("3.0", PACKAGES)
        halt = until("the group is halted", lambda: lab.etcd.slots().get("halt"), 180, 0.3)
        first = next(node for node in nodes if node.name == halt["by"])
        assert "lab-witness" in halt["reason"], halt
        until("the node gives its slot back", lambda: not lab.etcd.slots()["holders"], 180, 0.3)
        assert first.script(INSTALLED) == installed[first.name]
        seen = {node.name: lab.checks(node) for node in nodes}
        boots = {node.name: node.boots for node in nodes}
        always(
            "nobody tries it again",
            lambda: all(on(node, "2.0", names) and node.boots == boots[node.name] for node in nodes),
            lambda: all(lab.checks(node) >= seen[node.name] + 2 for node in nodes),
        )
    observer.check()
    assert observer.went_out() == [first.name], observer.went_out()
    lab.say(f"{first.name} went back: {halt['reason']}")


def loses_power(lab: Lab, nodes: list[Node], names: list[str]) -> None:
    lab.repo.custom("lab-witness", "4.0", postinst=SEE)
    with lab.observe(nodes) as observer:
        lab.offer("4.0", PACKAGES)
        for node in nodes:
            node.rebootctl("check")
        nodes[0].rebootctl("resume")

        def configuring() -> Node | None:
            return next((node for node in nodes if node.path(SLOW_MARK).exists()), None)

        victim = until("a boot is configuring a package somewhere", configuring, 120, 0.02)
        victim.power_cut()
        lab.say(f"{victim.name} lost power while installing")
        assert [holder["node"] for holder in lab.etcd.slots()["holders"]] == [victim.id]
        assert not victim.path("/system-update").is_symlink(), "the next boot would be one for updates, too"
        victim.start()
        victim.wait_up()
        lab.wait_updated(nodes, "4.0", names, 300)
    observer.check()
    assert observer.went_out()[0] == victim.name and len(observer.went_out()) == 3, observer.went_out()
    audit = victim.script("dpkg --audit")
    assert not audit, audit
    lab.say(f"all run 4.0\n{observer.chart()}")
