"""Reads from an origin in a thread, so that whoever waits for the bytes can leave at any time.

A name that is looked up, a handshake, a read from a stalled socket: none of them can be interrupted
where it happens. Here the waiting side looks up several times a second; what it leaves behind is
made to end by the origin, or ends by the origin's timeout.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self

from edgeqa.repository.fetching import FetchError
from edgeqa.repository.origins import Head, OriginError

_LOOK_S = 0.2
# Chunks read ahead: enough that reading and writing overlap, and no more memory than that.
_AHEAD = 4

Items = Generator[Head | bytes, None, None]


class Pump:
    """A context manager: reading begins on entry and is abandoned on exit.

    Args:
        items: makes what is read; called, iterated and closed in the pump's thread.
        leave: called on exit if reading is still under way.
        stop: makes `take` raise.
        timeout_s: longest wait for one item.
    """

    def __init__(
        self,
        items: Callable[[], Items],
        *,
        leave: Callable[[], None],
        stop: threading.Event,
        timeout_s: float,
    ) -> None:
        self._items = items
        self._leave = leave
        self._stop = stop
        self._timeout_s = timeout_s
        self._queue: queue.Queue[Head | bytes | Exception | None] = queue.Queue(_AHEAD)
        self._left = threading.Event()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="fetch-reader", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        if not self._ended.is_set():
            self._leave()

    def take(self) -> Head | bytes | None:
        """The next item; None at the end.

        Raises:
            FetchError: `superseded`, `stop` is set.
            OriginError: nothing came in time, or what reading raised.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            if self._stop.is_set():
                raise FetchError("the fetch was stopped", code="superseded")
            left = deadline - time.monotonic()
            if left <= 0:
                raise OriginError(f"nothing came for {self._timeout_s:g} s")
            try:
                item = self._queue.get(timeout=min(_LOOK_S, left))
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            return item

    def _run(self) -> None:
        items = self._items()
        try:
            for item in items:
                if not self._offer(item):
                    return
            self._ended.set()
            self._offer(None)
        except Exception as error:  # noqa: BLE001  a thread's edge; `take` raises it
            self._offer(error)
        finally:
            items.close()

    def _offer(self, item: Head | bytes | Exception | None) -> bool:
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_LOOK_S)
                return True
        return False
