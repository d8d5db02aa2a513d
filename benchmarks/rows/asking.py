"""Questions to agents that are being killed."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from edgeqa.client import Client
from edgeqa.errors import EdgeqaError

_PAUSE_S = 0.2
_PATIENCE_S = 3.0
_CONTEXT = "The Raspberry Pi 5 was announced in September 2023 and has four Arm Cortex-A76 cores."
_QUESTION = "When was the Raspberry Pi 5 announced?"


class Asker:
    """Asks one device after the other, inside a `with` block; who is dead does not answer."""

    def __init__(self, url: str, devices: Sequence[str]) -> None:
        self.asked = self.answered = 0
        self._url = url
        self._devices = devices
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="asker", daemon=True)

    def __enter__(self) -> Self:
        if self._devices:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._devices:
            self._thread.join()

    def _ask(self) -> None:
        with Client(broker=self._url) as client:
            for device in itertools.cycle(self._devices):
                if self._stop.is_set():
                    return
                self.asked += 1
                try:
                    client.ask(_QUESTION, context=_CONTEXT, device=device, timeout_s=_PATIENCE_S)
                    self.answered += 1
                except EdgeqaError:
                    pass  # it was killed, or the broker was
                time.sleep(_PAUSE_S)
