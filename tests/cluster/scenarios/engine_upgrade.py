"""A newer version of the container engine itself is installed under the slot, and everything is back before the slot
is given back, also what has no restart policy: after a reboot, which Debian's package needs because it leaves the
old engine running; and without one where the package restarts the engine, which stops every container.
"""

from pathlib import Path

from lab.fleet import Lab, on
from lab.host import command
from lab.node import Node
from lab.repo import download, field, repacked
from lab.wait import until

MANY = 10
RUN = "docker run --detach --stop-signal=SIGKILL --network=none"
# As Docker's own package does it.
RESTART = "\nif [ \"$1\" = configure ]; then deb-systemd-invoke restart docker.service; fi\n"


def scenario(lab: Lab) -> None:
    [node] = lab.boot(["web-1"], members=1)
    lab.install([node])
    node.script(f"for n in $(seq {MANY}); do {RUN} --name many-$n web /bin/idle >&2; done", timeout=120)
    lab.configure(node)

    # The distribution's own package under a higher version: the same program, and the same scripts.
    folder = lab.dir / "docker"
    installed = node.versions(["docker.io"])["docker.io"]
    newer = repacked(download(folder, f"docker.io={installed}"), f"{installed}+lab1", folder)
    boot = node.boot_id
    upgrade(lab, node, newer)
    assert node.boot_id != boot, "the old engine still runs"

    boot = node.boot_id
    [tree] = (path for path in folder.iterdir() if path.is_dir())
    with open(tree / "DEBIAN/postinst", "a", encoding="utf-8") as script:
        script.write(RESTART)
    newer.unlink()
    command("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", version(tree, f"{installed}+lab2"), newer)
    upgrade(lab, node, newer)
    assert node.boot_id == boot, "it rebooted without need"
    assert "container many-1 (docker) is exited" in this_boot(node), "nothing had to be started"


def upgrade(lab: Lab, node: Node, deb: Path) -> None:
    """Offers the package, and judges when it is installed and the slot is free."""
    names, new = running(node), field(deb, "Version")
    with lab.observe([node]) as observer:
        lab.repo.add(deb)
        lab.repo.publish()
        until(f"docker.io {new} is installed", lambda: on(node, new, ["docker.io"]), 180, 0.3)
        until("the slot is given back", lambda: node.phase() == "steady" and lab.at_rest(), 120, 0.3)
        assert not lab.missing(node), f"not running when the slot was given back: {lab.missing(node)}"
        assert running(node) == names, running(node) ^ names
    observer.check()


def version(tree: Path, new: str) -> Path:
    """Gives an unpacked package another version."""
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text("".join(f"Version: {new}\n" if line.startswith("Version:") else line for line in lines))
    return tree


def running(node: Node) -> set[str]:
    """Names of Docker's running containers."""
    return set(node.script("docker ps --format '{{.Names}}'").split())


def this_boot(node: Node) -> str:
    """The executor's journal of the boot that runs."""
    return node.journal("-u", "lockkeeper-executor.service", "-b", "0")
