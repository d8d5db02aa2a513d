"""Downloads from servers that break off, lie, stall, flood or are overloaded."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from support.broker import Certificates
from support.fetching import TINY, WEIGHTS, Fetcher
from support.hostile_server import Fault, HostileServer, serve_hostile
from support.repository import Repository, make_package, make_repository

from edgeqa.repository.pace import Timing
from edgeqa_agent.fetch import FetchError, FetchLimits


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """With tiny 1.0.0; tests do not change it."""
    folder = tmp_path_factory.mktemp("repository")
    return make_repository(folder, make_package(folder, files={"model.onnx": WEIGHTS}))


@pytest.fixture
def server(repository: Repository) -> Iterator[HostileServer]:
    with serve_hostile(repository.path) as server:
        yield server


@pytest.fixture
def device(repository: Repository, tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "device", repository.root)


def quick(**limits: float) -> FetchLimits:
    return FetchLimits(**{"timeout_s": 0.5, "retries": 1, "reserve_bytes": 0, **limits})  # type: ignore[arg-type]


# Broken off.


def test_a_download_that_was_cut_goes_on_where_it_was(
    device: Fetcher, server: HostileServer
) -> None:
    server.faults = [Fault("model.onnx", times=2, cut_at=100_000)]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 100_000, 200_000]
    statuses = [one.status for one in server.asked if one.path.endswith("model.onnx")]
    assert statuses == [200, 206, 206]
    assert [entry["offset"] for entry in device.events("fetch_resumed")] == [100_000, 200_000]


def test_a_cut_without_a_stated_length_is_noticed_too(
    device: Fetcher, server: HostileServer
) -> None:
    bare: dict[str, str | None] = {"Content-Length": None, "Connection": "close"}
    server.faults = [
        Fault("model.onnx", times=1, cut_at=100_000, headers=bare),
        Fault("checks.json", times=1, cut_at=0, headers=bare),
    ]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 100_000]


def test_a_server_without_ranges_sends_all_again(device: Fetcher, server: HostileServer) -> None:
    server.faults = [
        Fault("model.onnx", times=1, cut_at=100_000),
        Fault("model.onnx", times=1, no_range=True, cut_at=50_000),
        Fault("model.onnx", times=1, no_range=True, cut_at=250_000),
        Fault("model.onnx", no_range=True),
    ]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 100_000, 100_000, 250_000]
    there = [there for there, _ in device.told]
    assert there == sorted(there), "what is there is not thrown away"


def test_tries_that_bring_something_do_not_count_as_failures(
    device: Fetcher, server: HostileServer
) -> None:
    device.limits = FetchLimits(retries=1, reserve_bytes=0)
    server.faults = [Fault("model.onnx", cut_at=70_000)]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 70_000, 140_000, 210_000, 280_000]


def test_tries_that_bring_next_to_nothing_do(device: Fetcher, server: HostileServer) -> None:
    device.limits = FetchLimits(retries=3, reserve_bytes=0)
    server.faults = [Fault("model.onnx", cut_at=1_000)]
    assert device.refused(server.url) == "repository_unreachable"
    assert server.offsets("model.onnx") == [0, 1_000, 2_000, 3_000]
    server.faults.clear()
    device.fetch(server.url)
    assert server.offsets("model.onnx")[-1] == 4_000, "what came is kept for the next fetch"


# Lies.


@pytest.mark.parametrize("total", [299_999, 300_001])
def test_a_file_that_changed_on_the_server_is_fetched_anew_then_refused(
    total: int, device: Fetcher, server: HostileServer
) -> None:
    other = (WEIGHTS + b"x")[:total]
    server.faults = [
        Fault("model.onnx", times=1, cut_at=100_000),
        Fault("model.onnx", times=1, body=other),
    ]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 100_000, 0]
    (device.into / "model.onnx").unlink()
    server.faults = [Fault("model.onnx", body=other)]
    assert device.refused(server.url) == "download_corrupt"


def test_a_bad_cache_is_passed_by(device: Fetcher, server: HostileServer) -> None:
    server.faults = [Fault("model.onnx", times=1, body=bytes(300_000))]
    device.fetch(server.url)
    asked = [one for one in server.asked if one.path.endswith("model.onnx")]
    assert [one.headers.get("Cache-Control") for one in asked] == [None, "no-cache"]
    assert {one.headers["Accept-Encoding"] for one in server.asked} == {"identity"}


def test_a_file_that_changed_between_two_parts_is_fetched_anew(
    device: Fetcher, server: HostileServer
) -> None:
    server.faults = [Fault("model.onnx", times=1, cut_at=100_000, body=bytes(300_000))]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 100_000, 0]


@pytest.mark.parametrize(
    "stated",
    [
        None,
        "",
        "bytes 0-199999/300000",
        "bytes 99999-299999/300000",
        "bytes 100000-299999/300001",
        "items 100000-299999/300000",
        "bytes */300000",
        f"bytes {'9' * 400}-{'9' * 400}/{'9' * 400}",
    ],
)
def test_a_part_that_was_not_asked_for_is_not_appended(
    stated: str | None, device: Fetcher, server: HostileServer
) -> None:
    server.faults = [
        Fault("model.onnx", times=1, cut_at=100_000),
        Fault("model.onnx", times=1, headers={"Content-Range": stated}),
    ]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 100_000, 0]


def test_a_range_that_the_server_has_not_means_another_file(
    device: Fetcher, server: HostileServer
) -> None:
    server.faults = [
        Fault("model.onnx", times=1, cut_at=100_000),
        Fault("model.onnx", times=1, status=416),
    ]
    device.fetch(server.url)
    assert server.offsets("model.onnx") == [0, 100_000, 0]
    (device.into / "model.onnx").unlink()
    server.faults = [
        Fault("model.onnx", times=1, cut_at=100_000),
        Fault("model.onnx", times=1, status=416),
        Fault("model.onnx", times=1, cut_at=100_000),
        Fault("model.onnx", status=416),
    ]
    assert device.refused(server.url) == "download_corrupt"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "-5"},
        {"Content-Length": "many"},
        {"Content-Length": "5, 6"},
        {"Content-Length": "9" * 400},
        {"Content-Encoding": "gzip"},
        {"Content-Length": None, "Transfer-Encoding": "chunked"},
        {"X": "y" * 100_000},
    ],
)
def test_headers_that_make_no_sense(
    headers: dict[str, str | None], device: Fetcher, server: HostileServer
) -> None:
    device.limits = quick(timeout_s=5)
    server.faults = [
        Fault("checks.json", headers={"Connection": "close", **headers}, body=b"\xff" * 9)
    ]
    assert device.refused(server.url) in {"repository_unreachable", "download_corrupt"}
    server.faults.clear()
    device.fetch(server.url)


# Too much, too slow, too fast.


@pytest.mark.parametrize("ends", ["model.onnx", "manifest.json"])
def test_a_flood_is_cut_at_the_signed_length(
    ends: str, device: Fetcher, server: HostileServer
) -> None:
    server.faults = [Fault(ends, endless=True, body=b"not it")]
    assert device.refused(server.url) == "download_corrupt"
    most = 300_000 if ends == "model.onnx" else 2_000
    assert max(there for there, _ in device.told) < most + 3_000


@pytest.mark.parametrize("ends", ["timestamp.json", "2.root.json", "2.snapshot.json"])
def test_a_flood_of_metadata_is_cut_too(ends: str, device: Fetcher, server: HostileServer) -> None:
    server.faults = [Fault(ends, endless=True, body=b"{")]
    assert device.refused(server.url) == "metadata_refused"
    assert ends in str(device.error)
    server.faults.clear()
    device.fetch(server.url)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "again"),
    [
        (b"\0\r\n", b""),
        (b"SSH-2.0-OpenSSH_9.2\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"x" * 4096),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED, b"1;" + b"x" * 4096),
        (CHUNKED + b"1\r\n{\r\n0\r\n", b"x: y\r\n"),
        (CHUNKED + b"FFFFFFFFFFFFFFFFFFFFF\r\n", b""),
        (CHUNKED + b"-1\r\n", b""),
    ],
)
def test_answers_that_are_no_http_or_never_end(
    raw: bytes, again: bytes, device: Fetcher, server: HostileServer
) -> None:
    device.limits = quick(timeout_s=1, retries=0)
    server.faults = [Fault("timestamp.json", raw=raw, again=again)]
    assert device.refused(server.url) in {"repository_unreachable", "metadata_refused"}
    wait_for_readers_to_end()


def wait_for_readers_to_end() -> None:
    """A reader that was left behind loses its connection, or the server would keep it busy."""
    deadline = time.monotonic() + 20
    while any(one.name == "fetch-reader" for one in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("ends", ["timestamp.json", "model.onnx"])
def test_a_server_that_falls_silent_is_given_up(
    ends: str, device: Fetcher, server: HostileServer
) -> None:
    device.limits = quick(timeout_s=1.5, retries=0)
    server.faults = [Fault(ends, silent=60)]
    began = time.monotonic()
    assert device.refused(server.url) == "repository_unreachable"
    assert "nothing came" in str(device.error)
    assert time.monotonic() - began < 30
    wait_for_readers_to_end()
    server.faults.clear()
    device.limits = quick(timeout_s=20)
    device.fetch(server.url)


@pytest.mark.parametrize("ends", ["timestamp.json", "model.onnx"])
def test_a_server_that_drips_is_given_up(ends: str, device: Fetcher, server: HostileServer) -> None:
    device.limits = quick(timeout_s=1.5, retries=0)
    server.faults = [Fault(ends, chunk=5, every=0.05)]
    with_real_time = device.repository(server.url, Timing(wait=device.time.wait))
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"only [0-9]+ bytes came in") as caught:
        with_real_time.fetch(TINY, device.into, progress=lambda *_: None, stop=device.stop)
    assert caught.value.code == "repository_unreachable"
    assert time.monotonic() - began < 30


def test_the_rate_limit_holds_over_all_files(device: Fetcher, server: HostileServer) -> None:
    device.limits = FetchLimits(rate_bytes_s=50_000, reserve_bytes=0)
    device.fetch(server.url)
    served = sum(len(path.read_bytes()) for path in device.into.iterdir())
    assert served / 50_000 == pytest.approx(sum(device.time.waits), rel=0.2)
    assert max(device.time.waits) < 2


def test_without_a_limit_nothing_waits(device: Fetcher, server: HostileServer) -> None:
    device.fetch(server.url)
    assert device.time.waits == []


def test_a_low_limit_is_not_taken_for_a_slow_server(device: Fetcher, server: HostileServer) -> None:
    device.limits = FetchLimits(rate_bytes_s=200, reserve_bytes=0, retries=0)
    device.fetch(server.url)
    assert sum(device.time.waits) > 1_000


def test_a_stop_ends_the_waiting_of_a_limited_download(
    device: Fetcher, server: HostileServer
) -> None:
    device.limits = FetchLimits(rate_bytes_s=100, reserve_bytes=0)
    threading.Timer(0.2, device.stop.set).start()
    began = time.monotonic()
    with pytest.raises(FetchError, match="stopped"):
        device.fetch(server.url, timing=Timing())
    assert time.monotonic() - began < 10, "at 100 bytes a second the manifest alone takes longer"


# Overloaded, away, elsewhere.


@pytest.mark.parametrize("ends", ["timestamp.json", "2.targets.json", "checks.json"])
@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again_at_growing_intervals(
    status: int, ends: str, device: Fetcher, server: HostileServer
) -> None:
    server.faults = [Fault(ends, times=4, status=status)]
    device.fetch(server.url)
    assert device.time.waits == pytest.approx([0.375, 0.75, 1.5, 3.0])
    assert len(server.offsets(ends)) == 5


def test_it_is_not_asked_for_ever(device: Fetcher, server: HostileServer) -> None:
    device.limits = FetchLimits(retries=12, reserve_bytes=0)
    server.faults = [Fault("timestamp.json", status=503)]
    assert device.refused(server.url) == "repository_unreachable"
    assert "503" in str(device.error)
    assert len(server.offsets("timestamp.json")) == 13
    assert max(device.time.waits) <= 30


def test_a_server_may_ask_to_be_left_alone_but_not_for_long(
    device: Fetcher, server: HostileServer
) -> None:
    later: dict[str, str | None] = {"Retry-After": "20"}
    never: dict[str, str | None] = {"Retry-After": "999999"}
    nonsense: dict[str, str | None] = {"Retry-After": "-1e9"}
    server.faults = [
        Fault("timestamp.json", times=1, status=503, headers=later),
        Fault("timestamp.json", times=1, status=503, headers=never),
        Fault("timestamp.json", times=1, status=503, headers=nonsense),
    ]
    device.fetch(server.url)
    assert device.time.waits == pytest.approx([20, 30, 1.5])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 304])
@pytest.mark.parametrize("ends", ["timestamp.json", "model.onnx"])
def test_a_server_that_says_no_is_not_asked_again(
    ends: str, status: int, device: Fetcher, server: HostileServer
) -> None:
    server.faults = [Fault(ends, status=status)]
    assert device.refused(server.url) == "repository_unreachable"
    assert str(status) in str(device.error)
    assert device.time.waits == []


def test_a_server_that_is_away_and_comes_back(
    device: Fetcher, repository: Repository, server: HostileServer
) -> None:
    server.faults = [Fault("model.onnx", cut_at=10), Fault("")]
    device.limits = FetchLimits(retries=0, reserve_bytes=0)
    assert device.refused(server.url) == "repository_unreachable"
    with serve_hostile(repository.path) as other:
        url = other.url
    for _ in range(3):
        assert device.refused(url) == "repository_unreachable"
        assert "Connection refused" in str(device.error)
    assert device.refused("http://no-such-host.invalid/repo") == "repository_unreachable"
    server.faults.clear()
    device.fetch(server.url)


def test_redirects_to_other_web_addresses_are_followed(
    device: Fetcher, repository: Repository, server: HostileServer
) -> None:
    with serve_hostile(repository.path) as mirror:
        [model] = repository.path.glob("targets/tiny/1.0.0/*.model.onnx")
        path = f"/{model.relative_to(repository.path)}"
        [tokenizer] = repository.path.glob("targets/tiny/1.0.0/*.tokenizer.json")
        server.faults = [
            Fault("model.onnx", status=302, headers={"Location": f"{mirror.url}{path}?sig=1"}),
            Fault("tokenizer.json", times=1, status=301, headers={"Location": tokenizer.name}),
        ]
        mirror.faults = [Fault("model.onnx?sig=1", times=1, body=WEIGHTS, cut_at=100_000),
                         Fault("model.onnx?sig=1", body=WEIGHTS)]  # fmt: skip
        device.fetch(server.url)
        assert mirror.offsets("?sig=1") == [0, 100_000]


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://host/x", "//", "http://[", "gopher:x", "data:,x", "/loop", ""],
)
@pytest.mark.parametrize("ends", ["timestamp.json", "model.onnx"])
def test_redirects_to_anything_else_are_not(
    ends: str, location: str, device: Fetcher, server: HostileServer
) -> None:
    device.limits = quick(timeout_s=10)
    loop = Fault("loop", status=302, headers={"Location": "/loop"})
    server.faults = [loop, Fault(ends, status=302, headers={"Location": location})]
    assert device.refused(server.url) == "repository_unreachable"
    assert "secret" not in str(device.error)
    assert len([one for one in server.asked if one.path == "/loop"]) <= 6


def test_proxies_are_those_of_the_environment(
    device: Fetcher,
    repository: Repository,
    server: HostileServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve_hostile(repository.path) as proxy:
        # A proxy is asked for whole URLs.
        proxy.folder = repository.path.parent / "none"
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:p%40ss@"))
        monkeypatch.setenv("no_proxy", "localhost")
        assert device.refused(server.url) == "repository_unreachable"
        assert proxy.asked[0].path.startswith(server.url)
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
        assert server.asked == []
        assert "p%40ss" not in str(device.error)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        device.fetch(server.url)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("http_proxy", "quantum://entangled")
        assert device.refused(server.url) == "repository_unreachable"


@pytest.fixture
def secured(
    repository: Repository, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a server with a certificate."""
    from functools import partial

    from support.repository import _Quiet

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.server)
    handler = partial(_Quiet, directory=repository.path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        web.socket = context.wrap_socket(web.socket, server_side=True)
        thread = threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"https://localhost:{web.server_address[1]}"
        web.shutdown()
        thread.join()


def test_tls_with_an_authority_that_the_system_trusts(
    secured: str, device: Fetcher, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.refused(secured) == "repository_unreachable"
    assert "certificate" in str(device.error)
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificates.ca))
    device.fetch(secured)


def test_a_redirect_from_a_secured_connection_to_an_open_one_is_not_followed() -> None:
    from edgeqa.repository.origins import OriginError
    from edgeqa.repository.web_origin import _followed

    assert _followed("https://a/x", "//b/y") == "https://b/y"
    assert _followed("http://a/x", "https://b/y") == "https://b/y"
    with pytest.raises(OriginError, match="not followed") as caught:
        _followed("https://a/x", "http://b/y?secret=1")
    assert "secret" not in str(caught.value)
