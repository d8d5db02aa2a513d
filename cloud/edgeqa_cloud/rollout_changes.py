"""Hearing that a rollout changed: the API's server-sent events, read in a thread.

Where they cannot be had, because a proxy holds them back or the API restarts, whoever waits looks
by itself, more often.
"""

from __future__ import annotations

import json
import socket
import threading
from types import TracebackType
from typing import Any, Self

import httpx

from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.rollout_client import ROOT, ApiClient

# With events, a look all the same: what is away or soaking changes without one.
WITH_EVENTS_S = 10.0
WITHOUT_EVENTS_S = 2.0
# The API sends a comment more often than that; a silent connection is a dead one.
_SILENCE_S = 60.0
_FIRST_PAUSE_S = 1.0
_LAST_PAUSE_S = 30.0
# An event is some hundred bytes.
_MAX_LINE_CHARS = 64 << 10


class Changes:
    """Use it in a `with` block.

    Args:
        settings: where the API is.
        rollout: of which one wants to hear.

    Thread: one waits.
    """

    def __init__(self, *, settings: ApiSettings, rollout: str) -> None:
        self._rollout = rollout
        self._client = ApiClient(settings=settings)
        self._timeout_s = settings.timeout_s
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

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
        with self._lock:
            if self._socket is not None:
                try:  # wakes the thread, which a close would not
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was first
        self._thread.join()
        self._client.__exit__(kind, error, trace)

    @property
    def look_every_s(self) -> float:
        """How often to look where nothing is heard."""
        return WITH_EVENTS_S if self._connected.is_set() else WITHOUT_EVENTS_S

    def wait(self, timeout_s: float) -> bool:
        """Whether something was heard of the rollout since the last call, or is in this time."""
        heard = self._changed.wait(timeout_s)
        self._changed.clear()
        return heard

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                if not self._listen():
                    return
                pause_s = _FIRST_PAUSE_S
            except (httpx.HTTPError, httpx.StreamError, OSError):
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            finally:
                self._connected.clear()
            self._changed.set()  # what happened meanwhile was not heard
            self._stop.wait(pause_s)

    def _listen(self) -> bool:
        """Until the stream ends; False where there is none to be had, ever."""
        timeout = httpx.Timeout(self._timeout_s, read=_SILENCE_S)
        with self._client.http.stream(
            "GET", f"{ROOT}/events", headers={"Accept": "text/event-stream"}, timeout=timeout
        ) as response:
            kind = response.headers.get("content-type", "")
            if not response.is_success or not kind.startswith("text/event-stream"):
                return response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
            if not self._keep(response):
                return False
            self._connected.set()
            try:
                for line in response.iter_lines():
                    if len(line) <= _MAX_LINE_CHARS and self._is_ours(line):
                        self._changed.set()
            finally:
                with self._lock:
                    self._socket = None
        return True

    def _keep(self, response: httpx.Response) -> bool:
        """Keep the socket, to be able to stop; False where that is asked for already."""
        stream: Any = response.extensions.get("network_stream")
        with self._lock:
            self._socket = None if stream is None else stream.get_extra_info("socket")
            return not self._stop.is_set()

    def _is_ours(self, line: str) -> bool:
        if not line.startswith("data:"):
            return False
        try:
            data = json.loads(line.removeprefix("data:"))
        except ValueError:
            return False
        return isinstance(data, dict) and data.get("rollout") == self._rollout
