"""A client that asks for the same page at a steady rate, however long the answers take."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from .net import Net


class Client:
    """Asks from `with` to its end. What is no answer with status 200 has failed."""

    def __init__(self, net: Net, address: str, port: int, rate: int) -> None:
        self._net = net
        self._address = address
        self._port = port
        self._rate = rate
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._lock = threading.Lock()
        self.sent = 0
        self.seconds = 0.0
        self.pages: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Every answer is waited for."""
        self._end.set()
        self._thread.join()

    @property
    def failed(self) -> int:
        """How many requests have failed."""
        return sum(self.failures.values())

    def told(self) -> str:
        """What came of it, on one line."""
        why = "".join(f"; {count} times {what}" for what, count in self.failures.most_common(3))
        return f"{self.sent} requests in {self.seconds:.0f} s, {self.failed} failed{why}"

    def _ask_on(self) -> None:
        began = time.monotonic()
        with ThreadPoolExecutor(max_workers=2 * self._rate) as pool:
            while not self._end.wait(max(0.0, began + self.sent / self._rate - time.monotonic())):
                self.sent += 1
                pool.submit(self._ask)
            self.seconds = time.monotonic() - began

    def _ask(self) -> None:
        try:
            status, page = self._net.http(self._address, self._port, "/", timeout=10.0)
        except OSError as error:
            failure, page = f"no answer ({error})", b""
        else:
            failure = "" if status == 200 else f"status {status}"
        with self._lock:
            if failure:
                self.failures[failure] += 1
            else:
                self.pages[page.decode().strip()] += 1
