"""Metrics over HTTP: as Prometheus asks, and as others might."""

from __future__ import annotations

import gzip
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from edgeqa.codes import CODES
from edgeqa.errors import ExitCode
from edgeqa_cloud.metrics import CollectorMetrics
from edgeqa_cloud.metrics_server import MAX_REQUESTS, ListenError, MetricsServer
from edgeqa_cloud.metrics_settings import MetricsSettings, listen_address


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorMetrics().registry()


@pytest.fixture
def server(registry: CollectorRegistry) -> Iterator[MetricsServer]:
    with MetricsServer(host="127.0.0.1", port=0, registries={"/metrics": registry}) as one:
        yield one


def ask(
    server: MetricsServer, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response.getheader("Content-Type", "")
    finally:
        connection.close()


def address(server: MetricsServer) -> tuple[str, int]:
    parts = urlsplit(server.url)
    return parts.hostname or "", parts.port or 0


def test_metrics_are_served(server: MetricsServer) -> None:
    status, body, kind = ask(server, "/metrics")
    assert status == 200
    assert b"edgeqa_collector_lag_seconds 0.0" in body
    assert b"process_resident_memory_bytes" in body
    assert kind.startswith("text/plain")
    _, zipped, _ = ask(server, "/metrics", headers={"Accept-Encoding": "gzip"})
    assert b"edgeqa_collector_lag_seconds" in gzip.decompress(zipped)
    status, body, kind = ask(server, "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_health_says_why_not(registry: CollectorRegistry) -> None:
    why: list[str | None] = ["the database is away", None]
    server = MetricsServer(
        host="127.0.0.1", port=0, registries={"/metrics": registry}, healthy=why.pop
    )
    with server:
        assert ask(server, "/healthz")[:2] == (200, b"ok\n")
        assert ask(server, "/healthz")[:2] == (503, b"the database is away\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/%00", "/" + "x" * 5000])
def test_other_paths_are_not_found(server: MetricsServer, path: str) -> None:
    status, body, _ = ask(server, path)
    assert (status, body) == (404, b"there is /metrics, /healthz\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server: MetricsServer, method: str) -> None:
    assert ask(server, "/metrics", method)[0] == 405


@pytest.mark.parametrize(
    "data", [b"", b"\0\xff\n", b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"A" * 100_000]
)
def test_what_is_no_request_stops_nothing(server: MetricsServer, data: bytes) -> None:
    with socket.create_connection(address(server), timeout=10) as one, suppress(OSError):
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        while one.recv(65_536):
            pass
    assert ask(server, "/healthz")[0] == 200


def test_slow_scrapers_do_not_stop_others_and_too_many_are_turned_away(
    server: MetricsServer,
) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(address(server), timeout=10))
            for _ in range(MAX_REQUESTS - 1)
        ]
        for one in slow:
            one.sendall(b"GET /metrics HTT")
        assert ask(server, "/healthz")[0] == 200
        late = [
            stack.enter_context(socket.create_connection(address(server), timeout=10))
            for _ in range(3)
        ]
        for one in late:
            one.sendall(b"GET /healthz HTT")
        # There is room for one of them; the connection of another is closed at once.
        closed, _, _ = select.select(late, [], [], 10)
        assert closed
        with suppress(ConnectionResetError):
            assert closed[0].recv(1) == b""
    for _ in range(100):
        with suppress(OSError, http.client.HTTPException):
            if ask(server, "/healthz")[0] == 200:
                return
    pytest.fail("the room of those who left was not given back")


def test_a_port_in_use_is_said(server: MetricsServer, registry: CollectorRegistry) -> None:
    host, port = address(server)
    other = MetricsServer(host=host, port=port, registries={"/metrics": registry})
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}: Address already in use") as caught:
        other.start()
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert caught.value.code in {code.slug for code in CODES}
    other.stop()


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid", "x" * 300])
def test_a_host_that_is_not_ours_is_said(registry: CollectorRegistry, host: str) -> None:
    with pytest.raises(ListenError, match="metrics_listen"):
        MetricsServer(host=host, port=0, registries={"/metrics": registry}).start()


def test_it_stops_at_once_and_its_port_is_free_again(registry: CollectorRegistry) -> None:
    server = MetricsServer(host="127.0.0.1", port=0, registries={"/metrics": registry})
    server.start()
    host, port = address(server)
    before = threading.active_count()
    server.stop()
    server.stop()
    assert threading.active_count() == before - 1
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, port), timeout=5)
    with MetricsServer(host=host, port=port, registries={"/metrics": registry}) as again:
        assert ask(again, "/healthz")[0] == 200


def test_all_addresses(registry: CollectorRegistry) -> None:
    with MetricsServer(host="", port=0, registries={"/metrics": registry}) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert ask(server, "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("metrics.example:80", ("metrics.example", 80)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert listen_address(text) == expected
    assert MetricsSettings(metrics_listen=text).metrics_listen == text


@pytest.mark.parametrize(
    "text", ["", "9464", "host", "host:", "host:port", "host:70000", "host:-1", "a@b:1", "h:1/x",
             "http://h:1"]
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="metrics_listen"):
        MetricsSettings(metrics_listen=text)


def test_it_can_be_switched_off() -> None:
    assert MetricsSettings(metrics_listen="off").metrics_listen == "off"
