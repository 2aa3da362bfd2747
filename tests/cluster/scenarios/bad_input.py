"""Bad input changes nothing and says what is wrong: on the command line with an exit status, in `status`,
and in the journal. When it is mended, the node goes on.
"""

from collections.abc import Callable

from lab import repo
from lab.fleet import CONFIG, Lab, on
from lab.node import Node
from lab.repo import Kind
from lab.wait import always, until

PACKAGES = {"lab-tool": Kind.PLAIN, "lab-big": Kind.BIG}
PLANS = "/var/lib/lockkeeper-executor/plans"


def scenario(lab: Lab) -> None:
    node = lab.single(PACKAGES)
    lab.configure(node, strategy="off")
    boot = node.boot_id

    for story in (unknown_key, unknown_strategy, bad_signature, archive_gone, full_disk, not_etcd):
        story(lab, node)
        assert node.boot_id == boot and on(node, "1.0", PACKAGES), f"{story.__name__} changed the node"
        lab.say(f"{story.__name__}: refused, and said why")

    lab.configure(node)
    lab.wait_updated([node], "2.0", PACKAGES)


def unknown_key(lab: Lab, node: Node) -> None:
    """A misspelt key: file, line, and what was probably meant; the agent keeps what it had."""
    line = bad_configuration(node, lambda text: text.replace("wait =", "wiat ="), "wiat", "wait")
    assert f"{CONFIG}:{line}" in node.rebootctl("config", "check", check=False).stderr
    lab.configure(node, strategy="off", verb="reload")
    until("the mended file is in force", lambda: not node.status()["config_problem"], 10)


def unknown_strategy(lab: Lab, node: Node) -> None:
    """A strategy that does not exist."""
    bad_configuration(node, lambda text: text.replace('"off"', '"etcd-lok"'), "etcd-lok", "etcd-lock")
    lab.configure(node, strategy="off", verb="reload")
    until("the mended file is in force", lambda: not node.status()["config_problem"], 10)


def bad_configuration(node: Node, spoil: Callable[[str], str], wrong: str, meant: str) -> int:
    """Spoils the configuration and looks for what is said; the line that is wrong."""
    agent = node.processes("lockkeeperd.service")
    text = spoil(node.path(CONFIG).read_text(encoding="utf-8"))
    node.write(CONFIG, text)
    checked = node.rebootctl("config", "check", check=False)
    assert checked.returncode == 3, (checked.returncode, checked.stdout, checked.stderr)
    assert wrong in checked.stderr and meant in checked.stderr and CONFIG in checked.stderr, checked.stderr
    node.run("systemctl", "reload", "lockkeeperd.service", check=False)
    problem = until("status names the problem", lambda: node.status()["config_problem"], 10)
    assert wrong in problem, problem
    assert wrong in node.journal("-u", "lockkeeperd")
    assert node.processes("lockkeeperd.service") == agent, "the agent goes on with what it had"
    assert node.status()["strategy"] == "off"
    return next(number for number, row in enumerate(text.splitlines(), 1) if wrong in row)


def bad_signature(lab: Lab, node: Node) -> None:
    """The archive's index is signed by somebody else."""
    lab.repo.package("lab-tool", "2.0", PACKAGES["lab-tool"])
    lab.repo.publish()
    lab.repo.break_signature()
    check_fails(node, "check-failed", "sign")
    lab.repo.put_back()


def archive_gone(lab: Lab, node: Node) -> None:
    """The archive answers 404."""
    lab.repo.take_away()
    check_fails(node, "check-failed", "release file")
    lab.repo.put_back()


def full_disk(lab: Lab, node: Node) -> None:
    """There is no room to stage."""
    lab.offer("2.0", PACKAGES)
    node.script(f"mkdir -p {PLANS}; mount -t tmpfs -o size=256k tmpfs {PLANS}")
    check_fails(node, "stage-failed", "space")
    node.run("umount", PLANS)


def check_fails(node: Node, code: str, word: str) -> None:
    """`check` fails with a message; status, explain and journal have it; nothing is staged."""
    done = node.rebootctl("check", check=False)
    assert done.returncode == 1 and word in done.stderr.lower(), (done.returncode, done.stdout, done.stderr)
    document = node.explain()
    verdicts = {v["code"]: v["text"] for v in (document["verdict"], *document["also"])}
    assert word in verdicts.get(code, "").lower(), document
    assert word in node.rebootctl("status").stdout.lower()
    assert word in node.journal("-u", "lockkeeperd").lower()
    assert node.status()["staged"] is None


def not_etcd(lab: Lab, node: Node) -> None:
    """The lock is looked for on a web server. The new set is staged and waits."""
    lab.configure(node, endpoints=f'"{repo.URL}"')
    node.rebootctl("check")
    problem = until("the endpoint is named", lambda: endpoint_problem(node), 60, seen=node.status)
    assert "not etcd" in problem, problem
    seen = lab.checks(node)
    always(
        "nothing is installed",
        lambda: on(node, "1.0", PACKAGES),
        lambda: lab.checks(node) > seen,
    )
    asked = node.rebootctl("status", "--endpoint", repo.URL, check=False)
    assert asked.returncode == 5 and repo.URL.removeprefix("http://") in asked.stderr, (asked.returncode, asked.stderr)
    assert repo.URL.removeprefix("http://") in node.journal("-u", "lockkeeperd")


def endpoint_problem(node: Node) -> str | None:
    """What `explain` says about the endpoint."""
    document = node.explain()
    texts = [v.get("text", "") for v in (document.get("verdict", {}), *document.get("also", []))]
    return next((text for text in texts if repo.URL.removeprefix("http://") in text), None)
