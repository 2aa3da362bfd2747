"""A small signed apt archive, served inside the lab's network, that a scenario can also spoil.

Packages are made on the spot; `Kind` says what installing one does to a node.
"""

from __future__ import annotations

import contextlib
import enum
import gzip
import hashlib
import http.server
import os
import shutil
import socketserver
import threading
from email.utils import formatdate
from pathlib import Path

from . import net
from .host import command
from .node import Node

PORT = 8000
URL = f"http://{net.HOST}:{PORT}"
CONTROL = (
    "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Lab <lab@example.com>\n"
    "Section: misc\nPriority: optional\nDescription: lab package: {what}\n"
)
SERVICE_UNIT = "[Unit]\nDescription={name}\n[Service]\nExecStart={start}\n[Install]\nWantedBy=multi-user.target\n"
# As debhelper writes it: a service that does not start does not fail the package.
START_SERVICE = "systemctl daemon-reload\nsystemctl enable -q {name}.service\nsystemctl restart {name}.service || true\n"
WANT_REBOOT = (
    'if [ -n "$2" ]; then\n'
    "echo '*** System restart required ***' > /run/reboot-required\n"
    "grep -qsx {name} /run/reboot-required.pkgs || echo {name} >> /run/reboot-required.pkgs\nfi\n"
)
SLOW_MARK = "/var/lib/lab-slow-postinst"
SLOW = f'if [ -n "$2" ]; then\ntouch {SLOW_MARK}\nsleep 5\nrm {SLOW_MARK}\nfi\n'


class Kind(enum.Enum):
    """What a package does to its node when it is installed or upgraded."""

    PLAIN = "plain"
    REBOOT = "wants a reboot after an upgrade, as a kernel does"
    SERVICE = "(re)starts its service"
    BAD_SERVICE = "(re)starts its service, which does not come up"
    SLOW = "takes some seconds to configure an upgrade: time for an accident"
    BIG = "weighs a megabyte"


class Repo:
    """The archive: a directory tree, its key, and its web server."""

    def __init__(self, directory: Path, network: net.Net | None) -> None:
        """`network`: where it is served; `None`: nowhere, it is only made."""
        self._dir = directory
        self._tree = directory / "tree"
        self._gpg = directory / "gpg"
        self._lock = threading.Lock()
        self.index_requests: list[str] = []  # addresses that fetched the index, in order
        (self._tree / "pool").mkdir(parents=True)
        self._gpg.mkdir(mode=0o700)
        self._key("archive")
        self._trouble: dict[str, str | None] = {"name": None}
        self._server = network and _serve(self._tree, network, self.index_requests, self._trouble)

    def close(self) -> None:
        """Stops the server and the key agent."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        command("gpgconf", "--homedir", self._gpg, "--kill", "gpg-agent", check=False)

    # ---- content ----

    def package(self, name: str, version: str, kind: Kind = Kind.PLAIN) -> None:
        """Makes a package; `publish` offers it."""
        tree = self._dir / "build" / f"{name}-{version}"
        _write(tree / "DEBIAN/control", CONTROL.format(name=name, version=version, what=kind.value))
        _write(tree / f"usr/share/{name}/version", f"{version}\n")
        configure = ""
        if kind is Kind.BIG:
            (tree / f"usr/share/{name}/ballast").write_bytes(os.urandom(1 << 20))
        elif kind is Kind.REBOOT:
            configure = WANT_REBOOT.format(name=name)
        elif kind is Kind.SLOW:
            configure = SLOW
        elif kind in (Kind.SERVICE, Kind.BAD_SERVICE):
            start = "/usr/bin/sleep infinity" if kind is Kind.SERVICE else f"/usr/bin/test -e /nowhere/{name}"
            _write(tree / f"lib/systemd/system/{name}.service", SERVICE_UNIT.format(name=name, start=start))
            configure = START_SERVICE.format(name=name)
        if configure:
            script = f'#!/bin/sh\nset -e\nif [ "$1" = configure ]; then\n{configure}fi\n'
            _write(tree / "DEBIAN/postinst", script, 0o755)
        command("dpkg-deb", "--root-owner-group", "--build", tree, self._tree / "pool")

    def files(self, name: str, version: str, files: dict[str, bytes]) -> None:
        """Makes a package of these files, all executable; `publish` offers it."""
        tree = self._dir / "build" / f"{name}-{version}"
        _write(tree / "DEBIAN/control", CONTROL.format(name=name, version=version, what="files"))
        for path, content in files.items():
            file = tree / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o755)
        command("dpkg-deb", "--root-owner-group", "--build", tree, self._tree / "pool")

    def custom(
        self, name: str, version: str, fields: str = "", conffile: str = "", ballast: int = 0, **scripts: str
    ) -> None:
        """Makes a package with more control fields, a file /etc/NAME.conf, maintainer scripts (by their names)."""
        tree = self._dir / "build" / f"{name}-{version}"
        _write(tree / "DEBIAN/control", CONTROL.format(name=name, version=version, what="custom") + fields)
        _write(tree / f"usr/share/{name}/version", f"{version}\n")
        if conffile:
            _write(tree / f"etc/{name}.conf", conffile)
            _write(tree / "DEBIAN/conffiles", f"/etc/{name}.conf\n")
        if ballast:
            (tree / f"usr/share/{name}/ballast").write_bytes(os.urandom(ballast))
        for script, body in scripts.items():
            _write(tree / "DEBIAN" / script, f"#!/bin/sh\nset -e\n{body}\n", 0o755)
        command("dpkg-deb", "--root-owner-group", "--build", tree, self._tree / "pool")

    def add(self, deb: Path) -> None:
        """Takes in a ready-made package; `publish` offers it."""
        shutil.copy(deb, self._tree / "pool" / deb.name)

    def publish(self, more: str = "") -> None:
        """Writes and signs the index of everything in the pool; `more`: further fields of its Release."""
        with self._lock:
            packages = "".join(_stanza(self._tree, deb) for deb in sorted((self._tree / "pool").glob("*.deb")))
            folder = self._tree / "dists/lab/main/binary-all"
            folder.mkdir(parents=True, exist_ok=True)
            other = self._tree / f"dists/lab/main/binary-{architecture()}"
            other.mkdir(parents=True, exist_ok=True)
            for place in (folder, other):
                _index(place / "Packages", packages.encode())
                _index(place / "Packages.gz", gzip.compress(packages.encode(), mtime=0))
            self._sign(more.encode() + _release(self._tree / "dists/lab"), "archive")

    # ---- accidents ----

    def lose(self, name: str, version: str) -> None:
        """A package is listed and not there."""
        self._deb(name, version).unlink()

    def corrupt(self, name: str, version: str) -> None:
        """A package has the size that is listed, and other bytes."""
        deb = self._deb(name, version)
        content = bytearray(deb.read_bytes())
        content[-1] ^= 1
        deb.write_bytes(content)

    def hang_up_on(self, name: str | None) -> None:
        """Whoever downloads this package gets half of it, and then nothing; `None`: nobody any more."""
        self._trouble["name"] = name

    def _deb(self, name: str, version: str) -> Path:
        return self._tree / "pool" / f"{name}_{version}_all.deb"

    def break_signature(self) -> None:
        """The index is signed by a key nobody trusts."""
        with self._lock:
            self._key("stranger")
            self._sign(_release(self._tree / "dists/lab"), "stranger")

    def take_away(self) -> None:
        """The archive answers 404 to everything."""
        (self._tree / "dists").rename(self._tree / "gone")

    def put_back(self) -> None:
        """Undoes `take_away` or `break_signature`."""
        if (self._tree / "gone").exists():
            (self._tree / "gone").rename(self._tree / "dists")
        self.publish()

    # ---- the nodes' side ----

    def trust(self, node: Node) -> None:
        """Makes this archive the only one a node knows."""
        key = node.path("/usr/share/keyrings/lab.gpg")
        shutil.copy(self._dir / "archive.gpg", key)
        key.chmod(0o644)
        node.write(
            "/etc/apt/sources.list.d/lab.sources",
            f"Types: deb\nURIs: {URL}\nSuites: lab\nComponents: main\nSigned-By: /usr/share/keyrings/lab.gpg\n",
        )

    # ---- inner works ----

    def _gpg_command(self, *args: str | Path) -> None:
        command("gpg", "--homedir", self._gpg, "--batch", "--yes", "--quiet", *args)

    def _key(self, who: str) -> None:
        if not (self._dir / f"{who}.gpg").exists():
            user = f"{who}@example.com"
            self._gpg_command("--passphrase", "", "--quick-generate-key", user, "ed25519", "sign", "never")
            self._gpg_command("--output", self._dir / f"{who}.gpg", "--export", user)

    def _sign(self, release: bytes, who: str) -> None:
        plain = self._dir / "Release"
        signed = self._dir / "InRelease"
        plain.write_bytes(release)
        self._gpg_command("--local-user", f"{who}@example.com", "--output", signed, "--clearsign", plain)
        _replace(self._tree / "dists/lab/InRelease", signed.read_bytes())


def architecture() -> str:
    """Debian's name of this machine's architecture."""
    return command("dpkg", "--print-architecture").stdout.strip()


def download(folder: Path, package: str) -> Path:
    """Fetches a package from the archives this machine knows."""
    folder.mkdir()
    command("apt-get", "-q", "download", package, cwd=folder, timeout=300)
    [deb] = folder.glob("*.deb")
    return deb


def field(deb: Path, name: str) -> str:
    """One field of a package's control file."""
    return command("dpkg-deb", "--field", deb, name).stdout.strip()


def repacked(deb: Path, version: str, directory: Path) -> Path:
    """The same package under another version, in `directory`."""
    tree = directory / f"{deb.stem}-{version}"
    command("dpkg-deb", "--raw-extract", deb, tree)
    control = tree / "DEBIAN/control"
    old = field(deb, "Version")
    control.write_text(control.read_text().replace(f"\nVersion: {old}\n", f"\nVersion: {version}\n"))
    result = directory / f"{field(deb, 'Package')}_{version}_{field(deb, 'Architecture')}.deb"
    command("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, result)
    return result


def _stanza(tree: Path, deb: Path) -> str:
    content = deb.read_bytes()
    control = command("dpkg-deb", "--field", deb).stdout.rstrip("\n")
    return (
        f"{control}\nFilename: {deb.relative_to(tree)}\nSize: {len(content)}\n"
        f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
    )


def _release(suite: Path) -> bytes:
    lines = ["Origin: Lab", "Label: Lab", "Suite: lab", "Codename: lab", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"Architectures: {architecture()} all", "Components: main", "Acquire-By-Hash: yes", "SHA256:"]
    for file in sorted(suite.glob("main/*/Packages*")):
        content = file.read_bytes()
        lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {file.relative_to(suite)}")
    return ("\n".join(lines) + "\n").encode()


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _index(path: Path, content: bytes) -> None:
    """Puts an index in place, and beside it under its digest for those who come with an older Release."""
    by_hash = path.parent / "by-hash/SHA256"
    by_hash.mkdir(parents=True, exist_ok=True)
    _replace(by_hash / hashlib.sha256(content).hexdigest(), content)
    _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(content)
    partial.rename(path)


def _serve(
    tree: Path, network: net.Net, index_requests: list[str], trouble: dict[str, str | None]
) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.SimpleHTTPRequestHandler):
        """Serves the tree and remembers who looked at the index."""

        protocol_version = "HTTP/1.1"

        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(tree))

        def do_GET(self) -> None:
            if self.path.endswith("/InRelease"):
                index_requests.append(self.client_address[0])
            del self.headers["If-Modified-Since"]  # a second is too coarse for us
            name = trouble["name"]
            if name and self.path.rsplit("/", 1)[-1].startswith(f"{name}_"):
                return self._hang_up()
            super().do_GET()

        def _hang_up(self) -> None:
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True

        def send_error(self, code: int, *args) -> None:
            """Says no as other web servers do: in HTTP/1.1, and without cutting off who is still talking."""
            self.request_version = "HTTP/1.1"
            super().send_error(code, *args)
            self.wfile.flush()
            if code == http.HTTPStatus.HTTP_VERSION_NOT_SUPPORTED:
                self.connection.settimeout(1)
                with contextlib.suppress(OSError):
                    self.rfile.read(65536)

        def log_message(self, format: str, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer((net.HOST, PORT), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = network.socket()
    socketserver.TCPServer.server_bind(server)  # HTTPServer's own would ask DNS for our name
    server.server_activate()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="archive", daemon=True).start()
    return server
