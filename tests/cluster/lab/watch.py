"""Sees the agent's durable state change, within a moment, from outside the node (inotify)."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable

from .node import Node

_IN_CLOSE_WRITE, _IN_MOVED_TO = 0x8, 0x80
_libc = ctypes.CDLL(None, use_errno=True)


class PhaseWatch:
    """Wakes up whenever state.json of a node is replaced."""

    def __init__(self, node: Node) -> None:
        self._node = node
        directory = node.path("/var/lib/lockkeeper")
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        watched = _libc.inotify_add_watch(self._fd, os.fsencode(directory), _IN_CLOSE_WRITE | _IN_MOVED_TO)
        if self._fd < 0 or watched < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), f"inotify on {directory}")

    def __enter__(self) -> PhaseWatch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def wait(self, wanted: Callable[[str], bool], timeout: float) -> str | None:
        """The first phase written that is wanted; `None` when the time is up."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            phase = self._node.phase()
            if wanted(phase):
                return phase
            select.select([self._fd], [], [], min(left, 1.0))
            self._drain()
        return None

    def _drain(self) -> None:
        try:
            while os.read(self._fd, 65536):
                pass
        except BlockingIOError:
            pass
