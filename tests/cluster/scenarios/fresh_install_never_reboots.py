"""As installed, lockkeeper looks and stages but touches nothing: no package changes and nothing reboots,
whatever the archive holds and whatever else asks for a reboot.
"""

import json

from lab.fleet import Lab, on
from lab.wait import always

QUICK = '[check]\nfirst = "1s"\ninterval = "10s"\nspread = "0s"\n[packages]\norigins = "all"\n'
ASK_FOR_REBOOT = "touch /run/reboot-required; echo linux-image > /run/reboot-required.pkgs"


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=0)
    lab.offer("1.0", lab.SET)
    lab.install([node], ["lockkeeper", *lab.SET])
    assert node.status()["strategy"] == "off"
    node.write("/etc/lockkeeper/conf.d/50-quick.toml", QUICK)
    node.run("systemctl", "reload", "lockkeeperd.service")

    boot = node.boot_id
    lab.offer("2.0", lab.SET)
    node.script(ASK_FOR_REBOOT)
    node.rebootctl("check")
    assert {p["name"] for p in node.status()["staged"]["packages"]} == set(lab.SET), "staged, ready to go"

    plan = json.loads(node.rebootctl("plan", "--json").stdout)
    ways = {p["name"]: p["way_back"]["by"] for p in plan["details"]["packages"]}
    assert ways.keys() == set(lab.SET) and set(ways.values()) <= {"archive", "repacked"}, plan
    assert "lab-tool" in node.rebootctl("plan", "--changelog", "lab-tool").stdout
    assert node.rebootctl("plan", "--changelog", "bash", check=False).returncode, "it is not in the plan"

    seen = lab.checks(node)
    always(
        "nothing is installed and nothing reboots",
        lambda: node.boot_id == boot and on(node, "1.0", lab.SET),
        lambda: lab.checks(node) >= seen + 3,
    )
    assert not lab.missing(node)
    assert node.status()["verdict"]["code"] == "strategy-off", node.status()["verdict"]
    assert node.phase() == "steady"
