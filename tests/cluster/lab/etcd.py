"""etcd on the nodes, as Debian packages it, and a view of its keys from outside the nodes."""

from __future__ import annotations

import base64
import json

from .net import HOST, Net
from .node import Node
from .papers import Papers
from .wait import until

PORT = 2379
PREFIX = "/lockkeeper/v1"
SHOWN = "/etc/etcd-papers"  # where a node keeps its papers


def member(node: Node, members: list[Node], papers: Papers | None = None) -> None:
    """Makes a node (not booted yet) one of these members of a new cluster.

    With papers, its clients must show a certificate of theirs, and it shows them one.
    """
    scheme = "https" if papers else "http"
    peers = ",".join(f"{m.name}=http://{m.address}:2380" for m in members)
    settings = {
        "NAME": node.name,
        "DATA_DIR": "/var/lib/etcd/default",
        "LISTEN_CLIENT_URLS": f"{scheme}://0.0.0.0:{PORT}",
        "ADVERTISE_CLIENT_URLS": f"{scheme}://{node.address}:{PORT}",
        "LISTEN_PEER_URLS": f"http://{node.address}:2380",
        "INITIAL_ADVERTISE_PEER_URLS": f"http://{node.address}:2380",
        "INITIAL_CLUSTER": peers,
        "INITIAL_CLUSTER_STATE": "new",
        "INITIAL_CLUSTER_TOKEN": "lab",
    }
    if papers:
        show(node, papers)
        settings |= {
            "CLIENT_CERT_AUTH": "true",
            "TRUSTED_CA_FILE": f"{SHOWN}/ca.pem",
            "CERT_FILE": f"{SHOWN}/cert.pem",
            "KEY_FILE": f"{SHOWN}/key.pem",
        }
    node.write("/etc/default/etcd", "".join(f"ETCD_{key}={value}\n" for key, value in settings.items()))
    node.write(
        "/etc/systemd/system/etcd.service.d/lab.conf",
        "[Unit]\nAfter=network-online.target\nWants=network-online.target\n[Service]\nRestart=always\nRestartSec=1\n",
    )


def show(node: Node, papers: Papers) -> None:
    """Gives a node the authority's certificate and one of its own, for etcd and the agent alike."""
    certificate, key = papers.issue(node.name, node.address)
    for name, file in (("ca", papers.ca), ("cert", certificate), ("key", key)):
        # One machine, one purpose: everybody on it may read them.
        node.write(f"{SHOWN}/{name}.pem", file.read_text(encoding="ascii"))


def no_member(node: Node) -> None:
    """A node (not booted yet) without etcd."""
    node.mask("etcd.service")


class Etcd:
    """The cluster, asked over its JSON gateway; a member that is down is passed over."""

    def __init__(self, net: Net, members: list[Node], papers: Papers | None = None) -> None:
        self._net = net
        self.members = members
        self.secure = papers is not None
        self._tls = papers.context("observer", HOST) if papers else None

    @property
    def endpoints(self) -> list[str]:
        """Client URLs, for the configuration of the nodes."""
        return [f"{'https' if self.secure else 'http'}://{m.address}:{PORT}" for m in self.members]

    @property
    def access(self) -> str:
        """What the configuration of the nodes says beside the endpoints."""
        if not self.secure:
            return ""
        names = {"ca_file": "ca", "cert_file": "cert", "key_file": "key"}
        return "".join(f'{key} = "{SHOWN}/{name}.pem"\n' for key, name in names.items())

    def keys(self, below: str = "/", timeout: float = 2.0) -> dict[str, str]:
        """All keys below a path of lockkeeper's, at one revision, read with quorum. `OSError` without quorum."""
        start = f"{PREFIX}{below}"
        answer = self._call("/v3/kv/range", {"key": _b64(start), "range_end": _b64(_end_of(start))}, timeout)
        return {_text(kv["key"]).removeprefix(PREFIX): _text(kv.get("value", "")) for kv in answer.get("kvs", [])}

    def slots(self, group: str = "default") -> dict:
        """The group's semaphore; an untouched one has no holder. Waits while a leader is elected."""
        found: list[tuple[dict, list[str]]] = []

        def look() -> bool:
            try:
                found.append(self.group(group))
            except OSError:
                return False
            return True

        until("etcd answers", look, 20)
        return found[0][0]

    def group(self, group: str) -> tuple[dict, list[str]]:
        """The semaphore of a group, and the node ids in its queue, at one revision. `OSError` without quorum."""
        keys = self.keys(f"/groups/{group}/")
        text = keys.get(f"/groups/{group}/slots")
        queue = [key.rsplit("/", 1)[1] for key in keys if key.startswith(f"/groups/{group}/queue/")]
        return (json.loads(text) if text else {"max": 1, "holders": []}), queue

    def healthy(self) -> bool:
        """Is every member healthy?"""
        try:
            return all(self._health(m) for m in self.members)
        except (OSError, ValueError):
            return False

    def _health(self, node: Node) -> bool:
        status, content = self._net.http(node.address, PORT, "/health", tls=self._tls)
        return status == 200 and json.loads(content).get("health") == "true"

    def _call(self, path: str, body: dict, timeout: float) -> dict:
        failures = []
        for node in [m for m in self.members if m.powered]:
            try:
                body_text = json.dumps(body).encode()
                status, content = self._net.http(node.address, PORT, path, body_text, timeout, self._tls)
                if status == 200:
                    return json.loads(content)
                failures.append(f"{node.name}: {content.decode(errors='replace').strip()}")
            except (OSError, ValueError) as error:
                failures.append(f"{node.name}: {error}")
        raise OSError(f"no etcd member answered: {'; '.join(failures)}")


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(coded: str) -> str:
    return base64.b64decode(coded).decode()


def _end_of(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
