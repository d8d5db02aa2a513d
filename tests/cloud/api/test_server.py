"""`edgeqa cloud run` serves the API, keeps its signals, and says what is in its way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import structlog
from support.broker import Broker

from edgeqa.processes import free_port
from edgeqa_cloud.api.server import ApiServer
from edgeqa_cloud.metrics_server import ListenError


async def _nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody asks")


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EDGEQA_")}
    return {**kept, "XDG_STATE_HOME": str(folder / "state")}


def _command(broker: Broker, folder: Path, listen: str) -> list[str]:
    return [
        sys.executable, "-m", "edgeqa.cli", "cloud", "run", "--broker", broker.url, "--listen",
        listen, "--database", f"sqlite:///{folder}/cloud.db", "--metrics-listen", "off",
        "--log-format", "json",
    ]  # fmt: skip


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with ApiServer(app=_nothing, host="127.0.0.1", port=0, log=structlog.get_logger()) as one:
        port = int(one.url.rpartition(":")[2])
        other = ApiServer(app=_nothing, host="127.0.0.1", port=port, log=structlog.get_logger())
        with pytest.raises(ListenError, match=f"listen: 127.0.0.1:{port}: Address already in use"):
            other.start()
        other.stop()
    one.stop()


@pytest.mark.system
def test_it_serves_and_stops_with_streams_open(broker: Broker, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(broker, tmp_path, f"127.0.0.1:{port}"), stdout=output, stderr=output,
            env=_environment(tmp_path),
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while b"collector_online" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        token = (tmp_path / "state" / "edgeqa" / "operator-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        base = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=base, headers=headers, timeout=30.0) as client:
            assert client.get("/api/v1/session").json()["role"] == "operator"
            with client.stream("GET", "/api/v1/events") as response:
                lines = response.iter_lines()
                assert next(lines).startswith("retry")
                process.send_signal(signal.SIGTERM)
                for _ in lines:
                    pass  # it ends, though nobody closes it
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events[-1] == "collector_stopped"
    assert "request_failed" not in events
    assert token not in log.read_text()
