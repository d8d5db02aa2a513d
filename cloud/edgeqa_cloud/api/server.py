"""The API and the pages, served over HTTP by a thread of `edgeqa cloud run`.

The process's signals stay its own. To stop: event streams end, requests under way have some seconds
to finish, then connections are closed.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Self

import uvicorn
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.metrics_server import ListenError

# Requests and event streams at once; more are turned away with 503.
MAX_CONNECTIONS = 1000
# Waiting to be accepted.
_BACKLOG = 512
# For requests under way, when the server stops.
STOP_S = 3.0
# Some more, for threads to end.
_JOIN_S = 5.0
_START_S = 30.0
# Browsers send the next request of a page within moments.
_KEEP_ALIVE_S = 15


class ApiServer:
    """Serves an application until it is stopped. Use it in a `with` block.

    Args:
        app: what is served.
        host: address or name; empty for all addresses.
        port: 0 for any free one.
        proxied: a proxy before it says where requests come from.
        before_stop: ends what would not end by itself: event streams, questions to devices.
    """

    def __init__(
        self,
        *,
        app: ASGIApp,
        host: str,
        port: int,
        log: FilteringBoundLogger,
        proxied: bool = False,
        before_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._port = port
        self._log = log
        self._before_stop = before_stop
        self._config = uvicorn.Config(
            app,
            # Told through ours, below; requests themselves are no news.
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=proxied,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(STOP_S),
        )
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens; after `start`."""
        if self._socket is None:
            raise RuntimeError("the server is not started")
        host = self._host or "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._socket.getsockname()[1]}"

    def start(self) -> Self:
        """Listen.

        Raises:
            ListenError: the port is in use, or the host is none of this machine's.
        """
        self._socket = _listen(self._host, self._port)
        self._server = uvicorn.Server(self._config)
        _forward_logs(self._log)
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Serve no longer."""
        server, thread, listening = self._server, self._thread, self._socket
        self._server = self._thread = None
        if server is None or thread is None or listening is None:
            return
        self._before_stop()
        server.should_exit = True
        thread.join(STOP_S + _JOIN_S)
        if thread.is_alive():
            server.force_exit = True
            thread.join(_JOIN_S)
        listening.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        server, listening = self._server, self._socket
        if server is None or listening is None:
            return
        try:
            server.run(sockets=[listening])
        except Exception:  # noqa: BLE001  a thread's edge
            self._log.exception("api_failed")


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # Of "all addresses", IPv4's first: IPv6 may be switched off.
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        family, address = found[0][0], (str(found[0][4][0]), port)
        # With its protocol said: only then asyncio switches Nagle's algorithm off. An answer's body
        # would wait for its head to be acknowledged, 40 ms on Linux.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ListenError(
            f"listen: {host or '*'}:{port}: {why}; name another address with `listen` "
            "(--listen, EDGEQA_CLOUD_LISTEN; `off`: no API and no page), or end what listens there"
        ) from error
    return listening


class _Forward(logging.Handler):
    """uvicorn's warnings as lines of our log."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(level=logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One of them."""
        self._log.warning("http_server_says", message=record.getMessage()[:500])


def _forward_logs(log: FilteringBoundLogger) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = [_Forward(log)] if name == "uvicorn" else []
        logger.propagate = name != "uvicorn"
