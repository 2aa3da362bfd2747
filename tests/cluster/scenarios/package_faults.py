"""Whatever is wrong with packages, archives, disks and other package managers: a real node ends as documented,
with nothing half-installed, and says why. When the trouble is over, it goes on by itself.
"""

import json

from lab.fleet import CONFIG, Lab, on
from lab.node import Node
from lab.wait import until

PACKAGES = ["lab-a", "lab-b"]
SETTINGS = """
strategy = "{strategy}"
check = {{ first = "1s", interval = "10m", spread = "0s" }}
drain.wait = "0s"
verify = {{ grace = "1s", settle = "1s", timeout = "10s" }}
schedule.min_remaining = "0s"
[packages]
lock_wait = "3s"
origins = {origins}
{more}
"""


class Case:
    """One node, and a set of two packages whose next version is about to come."""

    def __init__(self, lab: Lab, node: Node) -> None:
        self.lab = lab
        self.node = node
        self.number = 1
        self.version = ""

    @property
    def next(self) -> str:
        """The version after the one that is installed."""
        return f"{self.number + 1}.0"

    def offer(self, **spoilt: str) -> None:
        """Both packages in the next version; `spoilt` are lab-b's peculiarities."""
        self.lab.repo.custom("lab-a", self.next)
        self.lab.repo.custom("lab-b", self.next, **spoilt)
        self.lab.repo.publish()

    def configure(self, strategy: str = "reboot", origins: str = '"all"', more: str = "") -> None:
        """Other rules, in force at once."""
        self.node.write(CONFIG, SETTINGS.format(strategy=strategy, origins=origins, more=more))
        self.node.run("systemctl", "reload", "lockkeeperd.service")

    def check(self) -> str:
        """Checks; what it says when it fails."""
        done = self.node.rebootctl("check", check=False)
        return "" if done.returncode == 0 else done.stderr

    def kept(self) -> dict[str, str]:
        """Why which package is kept back."""
        return {kept["name"]: kept["code"] for kept in self.node.status()["kept_back"]}

    def updated(self, *names: str) -> None:
        """Waits until the node has the next version, at rest; that is where the next case begins."""
        names = names or tuple(PACKAGES)
        self.check()

        def done() -> bool:
            return self.node.phase() == "steady" and on(self.node, self.next, names)

        until(f"{names} at {self.next}", done, 60, 0.2, lambda: (self.node.phase(), self.node.versions(PACKAGES)))
        self.number += 1
        self.clean()

    def unchanged(self) -> None:
        """Nothing was installed."""
        installed = self.node.versions(PACKAGES)
        assert installed == dict.fromkeys(PACKAGES, f"{self.number}.0"), installed
        self.clean()

    def rolled_back(self) -> str:
        """Waits until the node has undone the update and denied it; what it says of it. The group goes on then."""

        def done() -> bool:
            last = self.node.status()["last_cycle"]
            return bool(last) and last["ended"] == "rolled-back" and self.node.phase() == "steady"

        until("the update is undone", done, 90, 0.2, lambda: self.node.status())
        self.unchanged()
        [lock, *_] = self.node.status()["locks"]
        assert lock["halt"], lock
        self.node.rebootctl("resume")
        self.check()
        also = json.dumps(self.node.status())
        assert "denied" in also, also
        return lock["halt"]["reason"]

    def clean(self) -> None:
        """dpkg has nothing to complain about."""
        said = self.node.script("dpkg --audit; dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n' | grep -v '^[ih]i' || true")
        assert not said, said


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1, with_workloads=False)
    for name in PACKAGES:
        lab.repo.custom(name, "1.0", conffile="first\n" if name == "lab-b" else "")
    lab.repo.publish()
    lab.install([node], ["lockkeeper", *PACKAGES])
    case = Case(lab, node)
    case.configure("off")
    for story in (
        held, denied, not_an_origin, conflicting, conffile_changed, missing, corrupted, expired,
        hung_up_on, locked, full_at_unpack, failing_postinst, failing_prerm,
    ):
        story(case)
        lab.say(f"{story.__name__}: as documented")


def held(case: Case) -> None:
    """A package on hold stays, the other one is updated."""
    case.node.run("apt-mark", "hold", "lab-b")
    case.offer()
    case.configure()
    case.check()
    until("lab-a alone is updated", lambda: on(case.node, case.next, ["lab-a"]) and case.node.phase() == "steady", 60)
    assert case.kept() == {"lab-b": "held"}, case.kept()
    assert on(case.node, f"{case.number}.0", ["lab-b"])
    case.node.run("apt-mark", "unhold", "lab-b")
    case.updated()


def denied(case: Case) -> None:
    """So does one that the configuration denies."""
    case.configure(more='deny = ["lab-b"]')
    case.offer()
    case.check()
    until("lab-a alone is updated", lambda: on(case.node, case.next, ["lab-a"]) and case.node.phase() == "steady", 60)
    assert case.kept() == {"lab-b": "denied"}, case.kept()
    case.configure()
    case.updated()


def not_an_origin(case: Case) -> None:
    """Security only, where the archive is none of security: nothing. Its own pattern lets it in."""
    case.configure(origins='"security"')
    case.offer()
    case.check()
    assert case.kept() == {"lab-a": "origin", "lab-b": "origin"}, case.kept()
    case.unchanged()
    case.configure(origins='["o=Lab,n=lab"]')
    case.updated()
    case.configure()


def conflicting(case: Case) -> None:
    """An update that would have another package removed is kept back, and nothing is removed."""
    case.lab.repo.custom("lab-b", case.next, fields="Conflicts: lab-a\n")
    case.lab.repo.publish()
    case.check()
    assert case.kept() == {"lab-b": "removes"}, case.kept()
    case.unchanged()
    case.offer()
    case.updated()


def conffile_changed(case: Case) -> None:
    """The admin's configuration file stays, and nobody is asked."""
    case.node.write("/etc/lab-b.conf", "the admin's\n")
    case.offer(conffile="another default\n")
    case.updated()
    assert case.node.path("/etc/lab-b.conf").read_text(encoding="ascii") == "the admin's\n"


def missing(case: Case) -> None:
    """The archive lists a package and has lost it: nothing is staged, let alone installed."""
    case.offer()
    case.lab.repo.lose("lab-b", case.next)
    said = case.check()
    assert "lab-b" in said and "404" in said, said
    case.unchanged()
    case.offer()
    case.updated()


def corrupted(case: Case) -> None:
    """A package has other bytes than the signed index says."""
    case.offer()
    case.lab.repo.corrupt("lab-b", case.next)
    said = case.check()
    assert "lab-b" in said and "ash" in said, said
    case.unchanged()
    case.offer()
    case.updated()


def expired(case: Case) -> None:
    """The archive's signature is too old to be believed."""
    case.offer()
    case.lab.repo.publish("Valid-Until: Wed, 01 Jan 2020 00:00:00 UTC\n")
    said = case.check()
    assert "expired" in said, said
    case.unchanged()
    case.lab.repo.publish()
    case.updated()


def hung_up_on(case: Case) -> None:
    """The connection ends in the middle of a download."""
    case.offer(ballast=200_000)
    case.lab.repo.hang_up_on("lab-b")
    said = case.check()
    assert "lab-b" in said, said
    case.unchanged()
    case.lab.repo.hang_up_on(None)
    case.updated()


def locked(case: Case) -> None:
    """Another apt is at work for longer than it is waited for: put off, and done when that one has ended."""
    case.lab.repo.custom("lab-long", "1.0", postinst="while [ -e /run/lab-long ]; do sleep 0.2; done")
    case.lab.repo.publish()
    case.node.script("touch /run/lab-long; apt-get -qq update; systemd-run --unit=lab-apt apt-get -qqy install lab-long")
    until("another apt is at work", lambda: case.node.path("/var/lib/dpkg/info/lab-long.list").exists(), 30)
    case.offer()
    case.check()
    # apt inhibits shutdown while it works; dpkg's lock is what counts where it does not.
    until("it is put off", lambda: case.node.status()["verdict"]["code"] in ("inhibited", "apply-refused"), 60, 0.2)
    said = case.node.status()["verdict"]["text"]
    assert "apt" in said.lower(), said
    installed = case.node.versions(PACKAGES)
    assert installed == dict.fromkeys(PACKAGES, f"{case.number}.0"), installed
    case.node.script("rm /run/lab-long")
    until("the other apt has ended", lambda: on(case.node, "1.0", ["lab-long"]), 30)
    case.updated()


def full_at_unpack(case: Case) -> None:
    """The file system that a package is unpacked to runs full: undone, and denied."""
    place = "/usr/share/lab-b"
    case.node.script(f"cp -a {place} /run/lab-b; mount -t tmpfs -o size=300k tmpfs {place}; cp -a /run/lab-b/. {place}/")
    case.offer(ballast=500_000)
    case.check()
    reason = case.rolled_back()
    assert "No space left on device" in reason, reason
    case.node.script(f"umount {place}")
    case.number += 1
    case.offer()
    case.updated()


def failing_postinst(case: Case) -> None:
    """A script that fails: the set is undone, byte for byte, and denied."""
    case.offer(postinst="echo it does not work >&2; exit 1")
    case.check()
    reason = case.rolled_back()
    assert "lab-b" in reason, reason
    case.number += 1
    case.offer()
    case.updated()


def failing_prerm(case: Case) -> None:
    """The installed version's own script fails when it is to be replaced, and the new one's cannot help."""
    case.offer(prerm='case "$1" in upgrade|failed-upgrade) exit 1;; esac')
    case.updated()
    case.offer(prerm='[ "$1" != failed-upgrade ]')
    case.check()
    reason = case.rolled_back()
    assert "lab-b" in reason, reason
