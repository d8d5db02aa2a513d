"""HTTP for Prometheus: `/metrics` and what else is registered, and `/healthz`.

The standard library's WSGI server, one thread for each request up to a bound: a scrape a few
seconds apart is all that it is for. There is no password: it listens on this machine alone unless
told otherwise.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from edgeqa.errors import EdgeqaError, ExitCode

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Scrapers at a time; more are turned away, and come again at their next interval.
MAX_REQUESTS = 16
# For a request to be sent whole. Prometheus gives a scrape 10 s unless told otherwise.
REQUEST_TIMEOUT_S = 10.0
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")

Healthy = Callable[[], str | None]


class ListenError(EdgeqaError):
    """The address cannot be listened on."""

    code = "cannot_listen"
    exit_code = ExitCode.UNREACHABLE


class MetricsServer:
    """Serves registries until it is stopped.

    Args:
        host: address or name; empty for all addresses.
        port: 0 for any free one.
        registries: path to what is exposed there.
        healthy: why `/healthz` should say 503; None if all is well.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registries: Mapping[str, CollectorRegistry],
        healthy: Healthy = lambda: None,
    ) -> None:
        self._host = host
        self._port = port
        self._app = _routes(registries, healthy)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a path; after `start`."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        host = self._host or "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}"

    def start(self) -> Self:
        """Listen.

        Raises:
            ListenError: the port is in use, or the host is none of this machine's.
        """
        try:
            server = _Server(self._host, self._port)
        except (OSError, UnicodeError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ListenError(
                f"metrics_listen: {self._host or '*'}:{self._port}: {why}; name another address, "
                "or end what listens there"
            ) from error
        server.set_app(self._app)
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Listen no longer; requests under way end with their connections."""
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def address_string(self) -> str:
        return str(self.client_address[0])  # no look-up of names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """A scrape every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Threads are not collected to be joined: there would be one more of them at every scrape.
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # Of "all addresses", IPv4's first: IPv6 may be switched off.
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        self.address_family = found[0][0]
        self._room = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__((str(found[0][4][0]), port), _Handler)

    def server_bind(self) -> None:
        # The base class would look its own name up, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that hangs up is no error of ours."""


def _routes(registries: Mapping[str, CollectorRegistry], healthy: Healthy) -> WSGIApplication:
    apps: dict[str, Any] = {path: make_wsgi_app(one) for path, one in registries.items()}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            start_response("405 Method Not Allowed", [_PLAIN, ("Allow", "GET, HEAD")])
            return [b"only GET\n"]
        if path in apps:
            response: Iterable[bytes] = apps[path](environ, start_response)
            return response
        if path == "/healthz":
            why = healthy()
            start_response("503 Service Unavailable" if why else "200 OK", [_PLAIN])
            return [f"{why or 'ok'}\n".encode()]
        start_response("404 Not Found", [_PLAIN])
        return [f"there is {', '.join([*apps, '/healthz'])}\n".encode()]

    return answer
