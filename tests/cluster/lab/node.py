"""One machine of the fleet: a systemd-nspawn container that boots, reboots and loses power for real.

Its root is an overlay over the base; its boot id is new at every boot; its address is set by its own
systemd-networkd. The host kernel, its clock and its page cache are shared with the host: a power cut
loses no unsynced write (only a virtual machine can show that).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

from . import host, net
from .wait import NoAnswer, until

REBOOT = 133  # systemd-nspawn's exit status when the container asked for a reboot
POWEROFF = signal.SIGRTMIN + 4
MASKED = """
    apt-daily-upgrade.timer apt-daily.timer console-getty.service dpkg-db-backup.timer
    e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@.service haproxy.service nginx.service
    podman-auto-update.service podman-auto-update.timer
    systemd-timesyncd.service systemd-udevd.service
""".split()
BOOT_ID = "/proc/sys/kernel/random/boot_id"
HOST_BOOT_ID = Path(BOOT_ID).read_text().strip()
# What nsenter would keep of the host's power: the clock, modules, raw devices, the kernel log.
NO_HOST_POWER = "-sys_time,-sys_module,-sys_rawio,-wake_alarm,-syslog"
ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]


class Node:
    """A machine, from its empty overlay to its end."""

    def __init__(self, run: host.Run, network: net.Net, base: Path, name: str, index: int) -> None:
        self.name = name
        self.address = f"{net.PREFIX}.{10 + index}"
        self.id = ""  # lockkeeper's node id, once it is installed
        self.boots = 0
        self._run = run
        self._net = network
        self._dir = run.dir / name
        self.root = self._dir / "root"
        self.console = self._dir / "console.log"
        self._nspawn: subprocess.Popen | None = None
        self._supervisor: threading.Thread | None = None
        self._mount(base)
        self._personalise()

    # ---- life ----

    def start(self) -> None:
        """Power on. From here on the node reboots by itself whenever it asks for it."""
        assert not self.powered, f"{self.name} is on already"
        self._supervisor = threading.Thread(target=self._supervise, name=f"nspawn {self.name}", daemon=True)
        self._supervisor.start()

    def wait_up(self, timeout: float = 60.0) -> None:
        """Waits until the node's systemd has finished booting."""
        until(f"{self.name} is up", self._is_up, timeout, 0.05)

    def power_cut(self) -> None:
        """The plug is pulled: every process of the node ends at once. It stays off."""
        if leader := self.leader:
            host.kill(leader, signal.SIGKILL)
        self._wait_off(10)

    def stop(self) -> None:
        """Orderly power-off; the plug is pulled if that takes too long."""
        if leader := self.leader:
            host.kill(leader, POWEROFF)
        if not self._wait_off(30):
            self.power_cut()

    def close(self) -> None:
        """The node's end. Its journal stays readable until the run is swept."""
        self.power_cut()
        host.remove_cgroups(self._run.id, self.name)

    @property
    def powered(self) -> bool:
        """Is there power? (Also true while it reboots.)"""
        return self._supervisor is not None and self._supervisor.is_alive()

    @property
    def leader(self) -> int | None:
        """Host PID of the node's PID 1."""
        nspawn = self._nspawn
        if nspawn is None:
            return None
        try:
            tasks = Path(f"/proc/{nspawn.pid}/task")
            children = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
            return next((int(pid) for pid in children if is_first_process(pid)), None)
        except OSError:
            return None

    @property
    def boot_id(self) -> str | None:
        """The running boot's id; `None` while the node is off or between two boots."""
        leader = self.leader
        try:
            boot_id = Path(f"/proc/{leader}/root{BOOT_ID}").read_text().strip() if leader else None
        except OSError:
            return None
        # A first process that has not changed its root yet still sees the host's.
        return None if boot_id == HOST_BOOT_ID else boot_id

    # ---- commands ----

    def run(self, *args: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess:
        """Runs a command as a transient unit of the node's own systemd, with the node's own rights.

        What it leaves running (a container's monitor, for one) goes on when it ends.
        """
        unit = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"]
        properties = [f"--property=RuntimeMaxSec={timeout:.0f}", "--property=KillMode=process"]
        return self.enter(*unit, *properties, "--", *args, check=check, timeout=timeout + 10)

    def script(self, text: str, **options) -> str:
        """Runs a shell script in the node, stopping at its first error; returns what it printed."""
        return self.run("/bin/sh", "-ec", text, **options).stdout

    def enter(self, *args: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess:
        """Runs a command inside the node but outside its systemd: for quick questions only."""
        leader = self.leader
        if leader is None:
            raise host.CommandFailed(f"{self.name} is off: {' '.join(args)}")
        done = host.command(*way_in(leader), *args, check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise host.CommandFailed(f"{self.name}: {args[-1]}: exit status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def rebootctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess:
        """Runs rebootctl as root."""
        return self.run("/usr/bin/rebootctl", *args, check=check)

    def status(self) -> dict:
        """`rebootctl status --json`; `NoAnswer` when that is no document."""
        return self._document("status")

    def explain(self) -> dict:
        """`rebootctl explain --json`; `NoAnswer` when that is no document."""
        return self._document("explain")

    def _document(self, verb: str) -> dict:
        try:
            return json.loads(self.rebootctl(verb, "--json", check=False).stdout)
        except (host.CommandFailed, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            raise NoAnswer(f"{self.name}: {error}") from error

    # ---- looking in from the host ----

    def path(self, inside: str) -> Path:
        """The host's path of a file on the node's disk."""
        return self.root / inside.lstrip("/")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Writes a file on the node's disk."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def state(self) -> dict:
        """The agent's durable state; empty when it has none."""
        try:
            return json.loads(self.path("/var/lib/lockkeeper/state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return {}

    def phase(self) -> str:
        """The phase in the agent's durable state; empty when there is none."""
        phase = self.state().get("phase")
        return phase.get("is", "") if isinstance(phase, dict) else (phase or "")

    def versions(self, packages: Iterable[str]) -> dict[str, str]:
        """Installed version of each package; one that is not wholly installed shows dpkg's state too."""
        listed = self.enter("dpkg-query", "-W", "-f=${Package} ${Version} ${db:Status-Status}\n", *packages, check=False)
        rows = [line.split() for line in listed.stdout.splitlines()]
        return {r[0]: r[1] if r[2] == "installed" else f"{r[1]} ({r[2]})" for r in rows if len(r) == 3}

    def processes(self, unit: str) -> list[int]:
        """Host PIDs of a service of the node."""
        top = host.cgroups(self._run.id, self.name)[0]
        return host.processes(top / "payload" / "system.slice" / unit)

    def journal(self, *args: str) -> str:
        """The node's journal, of every boot, read from its disk."""
        directory = self.path("/var/log/journal")
        return host.command("journalctl", "-D", directory, "--no-pager", "-o", "short-precise", *args, check=False).stdout

    # ---- inner works ----

    def _mount(self, base: Path) -> None:
        for part in ("upper", "work", "root"):
            (self._dir / part).mkdir(parents=True)
        layers = f"lowerdir={base},upperdir={self._dir}/upper,workdir={self._dir}/work"
        host.command("mount", "-t", "overlay", "overlay", "-o", layers, self.root)

    def _personalise(self) -> None:
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost {self.name}\n")
        self.write("/etc/machine-id", f"{os.urandom(16).hex()}\n", 0o444)
        self.path("/var/log/journal").mkdir(parents=True, exist_ok=True)
        self.write(
            "/etc/systemd/network/10-host0.network",
            f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\nGateway={net.HOST}\n"
            "LinkLocalAddressing=no\nLLDP=no\n",
        )
        self.wants("multi-user.target", "systemd-networkd.service")
        self.wants("network-online.target", "systemd-networkd-wait-online.service")
        for unit in MASKED:
            self.mask(unit)

    def wants(self, target: str, unit: str) -> None:
        """Enables a unit on the node's disk, before it boots."""
        link = self.path(f"/etc/systemd/system/{target}.wants/{unit}")
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(f"/lib/systemd/system/{unit}")

    def mask(self, unit: str) -> None:
        """Masks a unit on the node's disk, before it boots."""
        link = self.path(f"/etc/systemd/system/{unit}")
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")

    def _supervise(self) -> None:
        status = REBOOT
        while status == REBOOT:
            with open(self.console, "ab") as console:
                # The session of its own keeps a Ctrl-C on our terminal from the nodes.
                self._nspawn = subprocess.Popen(
                    self._command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
                )
            self.boots += 1
            status = self._nspawn.wait()
        self._nspawn = None

    def _command(self) -> list[str]:
        enter_cgroups = []
        for cgroup in host.cgroups(self._run.id, self.name):
            enter_cgroups.append(f"mkdir -p {cgroup} && echo $$ > {cgroup}/cgroup.procs")
        nspawn = [
            "systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self._run.id}-{self.name}", "--boot",
            "--register=no", "--keep-unit", "--network-veth", f"--network-bridge={net.BRIDGE}",
            "--system-call-filter=@keyring bpf", "--bind=/dev/fuse", "--console=pipe", "--resolv-conf=off",
            "--timezone=off", "--link-journal=no",
        ]
        # The node ends with this program, however this program ends.
        outside = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self._net.path}"]
        settings = ["env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_LOCK=0"]
        return ["sh", "-ec", f"{' && '.join(enter_cgroups)} && exec \"$@\"", "sh", *settings, *outside, *nspawn]

    def _is_up(self) -> bool:
        if self.leader is None:
            return False
        said = self.enter("systemctl", "is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")

    def _wait_off(self, timeout: float) -> bool:
        if self._supervisor:
            self._supervisor.join(timeout)
        return not self.powered


def way_in(leader: int) -> list[str]:
    """The command that runs another one inside the node of this PID 1."""
    inside = ["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
    return [*inside, "setpriv", f"--bounding-set={NO_HOST_POWER}", "--inh-caps=-all", *ENVIRONMENT]


def is_first_process(pid: str) -> bool:
    """Is this (a PID of the host) the first process of a node? (Of a container in a node: no.)"""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[2:] == ["1"]
    return False
