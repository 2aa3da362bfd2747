"""Waiting for a condition, with a deadline. Nothing here sleeps and hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Timeout(AssertionError):
    """The awaited condition did not come true in time."""


class NoAnswer(RuntimeError):
    """Something that was asked (a restarting agent, say) gave no answer: neither yes nor no."""


def until(
    what: str,
    condition: Callable[[], T],
    timeout: float = 60.0,
    pause: float = 0.1,
    seen: Callable[[], object] | None = None,
) -> T:
    """Returns the first true answer of `condition`; after `timeout` seconds raises `Timeout`.

    `NoAnswer` is not yet true. `seen` describes the last state for the error message.
    """
    deadline = time.monotonic() + timeout
    while True:
        silence = ""
        try:
            if answer := condition():
                return answer
        except NoAnswer as error:
            silence = f"; {error}"
        if time.monotonic() >= deadline:
            last = f"; last seen: {seen()}" if seen else silence
            raise Timeout(f"not within {timeout:g} s: {what}{last}")
        time.sleep(pause)


def always(what: str, condition: Callable[[], object], end: Callable[[], object], timeout: float = 120.0) -> None:
    """Fails as soon as `condition` is false before `end` comes true."""

    def ended() -> bool:
        assert condition(), f"broken: {what}"
        return bool(end())

    until(f"the end of watching that {what}", ended, timeout, 0.4)
