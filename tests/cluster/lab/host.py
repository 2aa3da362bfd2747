"""What a lab run takes from its host, and gives back: a directory, cgroups, mounts, a namespace.

Everything carries the run's id (`lk` and four hex digits), so that a crashed run can be swept away
later without touching anything else. A run is alive while its process holds the lock on its file
`alive`; the kernel drops that lock whatever ends the process.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(os.environ.get("LOCKKEEPER_LAB_DIR", "/var/tmp/lockkeeper-lab"))
CGROUP = Path("/sys/fs/cgroup")
NAMESPACES = Path("/run/netns")
PREFIX = "lockkeeper-lab-"  # of what lives where others live too: cgroups, network namespaces
RUN_ID = re.compile(r"lk[0-9a-f]{4}")


class CommandFailed(Exception):
    """A command on the host, or in a node, ended with an error."""


def command(*args: str | Path, timeout: float = 60.0, check: bool = True, **options) -> subprocess.CompletedProcess:
    """Runs a command and returns its result; a failure carries what it printed."""
    done = subprocess.run(
        [str(a) for a in args], capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise CommandFailed(f"{' '.join(str(a) for a in args)}: exit status {done.returncode}: {said}")
    return done


class Run:
    """One run of the lab: its id and its directory, held alive until `close`."""

    def __init__(self) -> None:
        ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.id = f"lk{secrets.token_hex(2)}"
        self.dir = ROOT / self.id
        unnamed = ROOT / f".{self.id}"
        unnamed.mkdir(mode=0o755)
        self._alive = open(unnamed / "alive", "w", encoding="ascii")
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        unnamed.rename(self.dir)

    def close(self) -> None:
        """Gives everything back; safe to call twice."""
        sweep(self.id)
        self._alive.close()


def cgroups(run_id: str, node: str = "") -> list[Path]:
    """The cgroup directories of a run (or of one of its nodes), one a hierarchy systemd looks at.

    Unified hosts have one; hybrid hosts have `unified` and the named v1 hierarchy `systemd`.
    """
    unified = (CGROUP / "cgroup.controllers").exists()
    tops = [CGROUP] if unified else [d for d in (CGROUP / "unified", CGROUP / "systemd") if d.is_dir()]
    return [top / f"{PREFIX}{run_id}" / node for top in tops]


def processes(cgroup: Path) -> list[int]:
    """Every process in a cgroup and below."""
    found = []
    try:
        files = list(cgroup.rglob("cgroup.procs"))
    except OSError:
        files = []  # the cgroup went away while it was walked
    for file in files:
        try:
            found += [int(pid) for pid in file.read_text().split()]
        except OSError:
            continue  # the cgroup went away meanwhile
    return [pid for pid in found if pid > 0]


def remove_cgroups(run_id: str, node: str = "") -> None:
    """Ends what still runs in a run's (or a node's) cgroups, one process at a time, and removes them."""
    for top in cgroups(run_id, node):
        deadline = time.monotonic() + 10
        while (alive := processes(top)) and time.monotonic() < deadline:
            for pid in alive:
                kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for directory in sorted((d for d in top.rglob("*") if d.is_dir()), reverse=True):
            _quiet_rmdir(directory)
        _quiet_rmdir(top)


def kill(pid: int, number: signal.Signals | int) -> None:
    """Sends a signal; a process that is gone already is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def sweep(run_id: str) -> None:
    """Removes everything that belongs to a run."""
    assert RUN_ID.fullmatch(run_id), run_id
    remove_cgroups(run_id)
    directory = ROOT / run_id
    for point in _mounts_below(directory):
        command("umount", "--lazy", point, check=False)
    if (NAMESPACES / f"{PREFIX}{run_id}").exists():
        command("ip", "netns", "delete", f"{PREFIX}{run_id}", check=False)
    for link in Path("/run/systemd/nspawn").glob(f"*/{run_id}-*"):
        shutil.rmtree(link, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
    if ROOT.is_dir() and not any(ROOT.iterdir()):
        _quiet_rmdir(ROOT)


def leftovers() -> list[str]:
    """Ids of runs that left something behind and whose process is gone."""
    names = {d.name for d in ROOT.glob("lk*")}
    for shared in (NAMESPACES, *(top.parent for top in cgroups(""))):
        names |= {d.name.removeprefix(PREFIX) for d in shared.glob(f"{PREFIX}*")}
    return sorted(n for n in names if RUN_ID.fullmatch(n) and not _alive(n))


def _alive(run_id: str) -> bool:
    try:
        with open(ROOT / run_id / "alive", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _mounts_below(directory: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((p for p in points if p.startswith(f"{directory}/")), reverse=True)


def _quiet_rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        pass
