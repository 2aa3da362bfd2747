"""The root file system a node starts from: a stock Debian with systemd, etcd and two engines.

Built once by mmdebstrap and kept in a cache directory under a name that is a digest of what it is
made of; nodes put an overlay on it and never write to it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("LOCKKEEPER_LAB_CACHE", "/var/cache/lockkeeper-lab"))
SUITE = "bookworm"
PACKAGES = {
    SUITE: """
    apt busybox-static ca-certificates crun curl dbus docker.io etcd-client etcd-server
    awscli docker-compose haproxy kubernetes-client socat
    fuse-overlayfs gpgv iproute2 jq libpam-systemd netavark nginx podman procps systemd systemd-sysv tzdata
    """,
    # Docker is left out: what it does there is the same.
    "trixie": """
    apt busybox-static ca-certificates crun curl dbus dbus-user-session etcd-client etcd-server
    gpgv iproute2 libpam-systemd netavark podman procps systemd systemd-sysv tzdata uidmap
    """,
}


def base(say: Callable[[str], None], suite: str = SUITE) -> Path:
    """The base's directory, built if it is not there yet (about a minute)."""
    packages = sorted(PACKAGES[suite].split())
    recipe = " ".join([suite, *packages])
    target = CACHE / f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _build(target, suite, packages, say)
    return target


def _build(target: Path, suite: str, packages: list[str], say: Callable[[str], None]) -> None:
    say(f"building the base system ({suite}, {len(packages)} packages named) in {target}")
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    args = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(partial)]
    if mirror := os.environ.get("LOCKKEEPER_LAB_MIRROR"):
        args.append(mirror)
    lines = []
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as builder:
        assert builder.stdout
        for line in builder.stdout:
            lines.append(line)
            if line.startswith("I: "):
                say(f"  {line[3:].strip()}")
    if builder.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise SystemExit("the base system could not be built:\n" + "".join(lines[-30:]))
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf", "etc/apt/sources.list"):
        (partial / name).unlink(missing_ok=True)
    partial.rename(target)
