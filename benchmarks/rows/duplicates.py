"""How many records came to collectors that the database had already, by their metrics."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Self

_EVERY_S = 0.5
_TIMEOUT_S = 2.0
_COUNTED = re.compile(
    r'^edgeqa_collector_messages_duplicate_total\{kind="(?:telemetry|evaluation|swap)"\} (\S+)',
    re.MULTILINE,
)


class Duplicates:
    """Asks each collector twice a second, inside a `with` block, as they are killed meanwhile.

    A killed collector's count goes with it: `total` is what was seen, and may be a little short.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._over = 0
        self._last = dict.fromkeys(ports, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="duplicates", daemon=True)

    @property
    def total(self) -> int:
        """Of all collectors, those that are gone included."""
        return self._over + sum(self._last.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            for port in self._ports:
                self._look(port)

    def _look(self, port: int) -> None:
        url = f"http://127.0.0.1:{port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:
                said = reply.read().decode()
        except OSError:
            return  # it is being killed, or starts
        count = round(sum(float(value) for value in _COUNTED.findall(said)))
        if count < self._last[port]:  # another one, which begins at 0
            self._over += self._last[port]
        self._last[port] = count
