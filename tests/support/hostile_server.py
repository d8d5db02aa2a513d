"""A web server of a repository that knows ranges, keeps a log, and misbehaves as it is told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """A request: path, first byte that was asked for, and the status of the answer."""

    path: str
    offset: int
    status: int
    headers: dict[str, str] = field(compare=False, hash=False, default_factory=dict)


@dataclass
class Fault:
    """What to do wrong with requests whose path ends so, the first `times` of them.

    Attributes:
        times: None: all.
        status: instead of the file.
        headers: to add; a value None takes one away.
        body: instead of the file's bytes.
        cut_at: close the connection after so many bytes of the body.
        silent: answer nothing at all for so many seconds.
        raw: instead of an HTTP answer; `again` follows it for ever.
        no_range: ignore ranges, as some servers do.
        endless: send no length, and go on for ever after the body.
        chunk: bytes per write, with `every` seconds between them.
    """

    ends: str
    times: int | None = None
    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    cut_at: int | None = None
    silent: float = 0.0
    raw: bytes | None = None
    again: bytes = b""
    no_range: bool = False
    endless: bool = False
    chunk: int = 0
    every: float = 0.0


class HostileServer:
    """The server's side of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.stopped = threading.Event()
        self.on_write: Callable[[str], None] = lambda _: None

    def fault_of(self, path: str) -> Fault | None:
        for fault in self.faults:
            if path.endswith(fault.ends) and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def offsets(self, ends: str) -> list[int]:
        """Where requests of such a file began."""
        return [one.offset for one in self.asked if one.path.endswith(ends)]


@contextmanager
def serve_hostile(folder: Path) -> Iterator[HostileServer]:
    """Serve a folder over HTTP."""
    server = HostileServer(folder)

    class Handler(_Handler):
        hostile = server

    with _Server(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{web.server_address[1]}"
        try:
            yield server
        finally:
            server.stopped.set()
            web.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that leave in the middle are what is tested


class _Handler(BaseHTTPRequestHandler):
    hostile: HostileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        pass

    def do_GET(self) -> None:
        fault = self.hostile.fault_of(self.path) or Fault("")
        if fault.silent:
            self._note(0, 0)
            self.hostile.stopped.wait(fault.silent)
            self.close_connection = True
            return
        if fault.raw is not None:
            self._note(0, 0)
            self.close_connection = True
            self.wfile.write(fault.raw)
            while fault.again and not self.hostile.stopped.is_set():
                self.wfile.write(fault.again)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        offset = int(asked[1]) if asked else 0
        status, headers, body = self._answer(fault, offset)
        self._note(offset, status)
        headers |= fault.headers
        if fault.endless:
            headers["Content-Length"] = None
            headers["Connection"] = "close"
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self._send(fault, body)

    def _note(self, offset: int, status: int) -> None:
        self.hostile.asked.append(Asked(self.path, offset, status, dict(self.headers)))

    def _answer(self, fault: Fault, offset: int) -> tuple[int, dict[str, str | None], bytes]:
        path = self.hostile.folder / self.path.lstrip("/")
        if fault.status is not None:
            return fault.status, {"Content-Length": "0"}, b""
        if fault.body is None and not path.is_file():
            return 404, {"Content-Length": "0"}, b""
        body = path.read_bytes() if fault.body is None else fault.body
        if not offset or fault.no_range:
            return 200, {"Content-Length": str(len(body))}, body
        if offset >= len(body):
            return 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, b""
        part = body[offset:]
        stated = f"bytes {offset}-{len(body) - 1}/{len(body)}"
        return 206, {"Content-Range": stated, "Content-Length": str(len(part))}, part

    def _send(self, fault: Fault, body: bytes) -> None:
        if fault.cut_at is not None:
            body = body[: fault.cut_at]
            self.close_connection = True
        size = fault.chunk or len(body) or 1
        for start in range(0, len(body), size):
            self.wfile.write(body[start : start + size])
            self.hostile.on_write(self.path)
            if fault.every and self.hostile.stopped.wait(fault.every):
                return
        while fault.endless and not self.hostile.stopped.is_set():
            self.wfile.write(b"x" * 4096)
            time.sleep(fault.every)
