"""A hub that does not know a name, or is not there: one line, and what to do."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


class NoSuchRepository(http.server.BaseHTTPRequestHandler):
    """A hub that knows no data set and answers as the real one does."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  its name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
        """Say nothing."""


@pytest.fixture
def empty_hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoSuchRepository)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def load_elsewhere(name: str, cache: Path, **settings: str) -> list[str]:
    """Load in a process of its own, which reads the hub's settings anew; what it complains of."""
    script = (
        "from edgeqa.errors import DataError\n"
        "from edgeqa.data.sources import load_examples\n"
        f"try: load_examples([{name!r}], split='validation')\n"
        "except DataError as error: print(error)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, "HF_HOME": str(cache), **settings},
    )
    return (done.stdout + done.stderr).splitlines()


def test_an_unknown_hub_id_is_one_line(empty_hub: str, tmp_path: Path) -> None:
    [line] = load_elsewhere("nobody/no-such-data", tmp_path, HF_ENDPOINT=empty_hub)
    assert "nobody/no-such-data: neither a file nor a data set of the hub" in line


def test_without_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    [line] = load_elsewhere("nobody/no-such-data", tmp_path, HF_HUB_OFFLINE="1")
    assert "without internet, name a file" in line


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    [line] = load_elsewhere("nobody/no-such-data", tmp_path, HF_ENDPOINT="http://127.0.0.1:1")
    assert "without internet, name a file" in line
