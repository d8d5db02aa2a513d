"""An HTTP server that answers as a test says: for what the real API never does, or rarely."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What is sent; `cut`: the connection breaks instead, after so many bytes."""

    status: int = 200
    body: bytes | str | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False

    @property
    def content(self) -> bytes:
        if isinstance(self.body, dict):
            return json.dumps(self.body).encode()
        return self.body.encode() if isinstance(self.body, str) else self.body


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedApi:
    """Attributes:
    url: of the server.
    asked: requests, oldest first; events not.
    answer: to each of them.
    events: what is sent as server-sent events, then the stream stays open; None: 404.
    """

    url: str
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer] = lambda _: Answer(404)
    events: list[str] | None = None
    more_events: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    listeners: int = 0


@contextmanager
def scripted_api() -> Iterator[ScriptedApi]:
    """A server inside the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    api = ScriptedApi(url=f"http://127.0.0.1:{server.server_address[1]}")
    server.api = api  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield api
    finally:
        api.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        api: ScriptedApi = self.server.api  # type: ignore[attr-defined]
        if self.path.endswith("/events"):
            self._events(api)
        else:
            self._answer(api)

    def do_POST(self) -> None:
        self._answer(self.server.api)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _answer(self, api: ScriptedApi) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, self.path, dict(self.headers.items()), body)
        api.asked.append(asked)
        answer = api.answer(asked)
        if answer.cut:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def _events(self, api: ScriptedApi) -> None:
        if api.events is None:
            self.send_error(404)
            return
        api.listeners += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            while not api.ended.is_set():
                while api.events:
                    self.wfile.write(api.events.pop(0).encode())
                self.wfile.write(b": still here\n\n")
                self.wfile.flush()
                api.more_events.wait(0.05)
                api.more_events.clear()
        except OSError:
            pass
        self.close_connection = True
