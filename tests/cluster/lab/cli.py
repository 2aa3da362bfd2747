"""What the programs of the lab share: finding the package, checking the host, printing progress."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import host

REPOSITORY = Path(__file__).resolve().parents[3]
KEPT = REPOSITORY / "build" / "cluster"
TOOLS = "dpkg-deb gpg ip journalctl mmdebstrap nsenter setpriv systemd-nspawn".split()
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_NEEDED = 1024


def check_host() -> None:
    """Ends the program, saying why, when this host cannot run the lab."""
    if os.geteuid() != 0:
        raise SystemExit("the lab boots machines: run it as root")
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        names = Path(__file__).parents[1] / "packages.txt"
        raise SystemExit(f"not found: {', '.join(missing)}; install the packages named in {names}")
    # Each systemd, journald, dbus and dockerd takes some; a node that gets none does not boot, silently.
    if int(INOTIFY.read_text()) < INOTIFY_NEEDED:
        INOTIFY.write_text(str(INOTIFY_NEEDED))
    if left := host.leftovers():
        print(f"left behind by crashed runs: {', '.join(left)}; {Path(__file__).parents[1]}/clean removes it")


def find_deb(given: str | None) -> Path:
    """The package under test: the one given, or the newest that was built."""
    if given:
        found = [Path(given)]
    else:
        places = [REPOSITORY / "build", REPOSITORY / "target" / "debian"]
        found = [deb for place in places for deb in place.glob("lockkeeper_*.deb")]
    found = sorted((deb for deb in found if deb.is_file()), key=lambda deb: deb.stat().st_mtime)
    if not found:
        raise SystemExit(f"no package{f' {given}' if given else ''}: build one with `make deb`, or name it with --deb FILE")
    return found[-1].resolve()


def progress(prefix: str = "") -> Callable[[str], None]:
    """A `say` that prints one timed line."""
    began = time.monotonic()
    lock = threading.Lock()

    def say(text: str) -> None:
        with lock:
            print(f"{time.monotonic() - began:7.1f} s  {prefix}{text}", flush=True)

    return say


def fail(text: str) -> None:
    """Prints to standard error."""
    print(text, file=sys.stderr, flush=True)
