"""The lab's own network: a namespace with one bridge, out of reach of the host's network.

A process of the host gets in only by `Net.socket`: the calling thread steps into the namespace,
makes a socket, and steps back; a socket stays where it was made. Two labs may run at once, each
with the same addresses.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import socket
import ssl

from . import host

PREFIX = "10.77.0"
HOST = f"{PREFIX}.1"
BRIDGE = "lab0"
CONNECT_TIMEOUT = 0.5
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Net:
    """The network namespace of one run."""

    def __init__(self, run_id: str) -> None:
        name = f"{host.PREFIX}{run_id}"
        self.path = host.NAMESPACES / name
        host.command("ip", "netns", "add", name)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        for args in (
            ["set", "lo", "up"],
            ["add", BRIDGE, "type", "bridge"],
            ["set", BRIDGE, "up"],
        ):
            host.command("nsenter", f"--net={self.path}", "ip", "link", *args)
        host.command("nsenter", f"--net={self.path}", "ip", "addr", "add", f"{HOST}/24", "dev", BRIDGE)

    def close(self) -> None:
        """Lets go of the namespace (the run's sweep removes its name)."""
        os.close(self._fd)

    def socket(self) -> socket.socket:
        """A TCP socket inside the namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._fd)
            try:
                return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            finally:
                _setns(home)
        finally:
            os.close(home)

    def answers(self, address: str, port: int) -> bool:
        """Does anything accept a connection there?"""
        with self.socket() as sock:
            sock.settimeout(CONNECT_TIMEOUT)
            return sock.connect_ex((address, port)) == 0

    def http(
        self,
        address: str,
        port: int,
        path: str,
        body: bytes | None = None,
        timeout: float = 2.0,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, bytes]:
        """GET, or POST when there is a body; status and content. Raises `OSError` when there is no answer.

        The kernel at the other end accepts a connection at once, however busy the machine is: whoever
        does not within half a second is not there. The answer may take until `timeout`.
        """
        connection = _Connection(self, address, port, timeout, tls)
        try:
            connection.request("POST" if body is not None else "GET", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{address}:{port}{path}: {error!r}") from error
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, net: Net, address: str, port: int, timeout: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(address, port, timeout=timeout)
        self._net = net
        self._tls = tls

    def connect(self) -> None:
        self.sock = self._net.socket()
        self.sock.settimeout(CONNECT_TIMEOUT)
        self.sock.connect((self.host, self.port))
        self.sock.settimeout(self.timeout)
        if self._tls:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")
