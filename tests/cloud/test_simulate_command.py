"""`edgeqa cloud simulate` as people and programs call it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.broker import Broker

from edgeqa.cli import build_app
from edgeqa.errors import AnswerTimeoutError, BrokerError, ConfigError
from edgeqa.operator import Operator
from edgeqa_cloud.simulate.settings import SimulateSettings

COMMAND = [sys.executable, "-m", "edgeqa.cli", "cloud", "simulate"]


def spawn(*arguments: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEQA_")}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], *, code: int = 0) -> tuple[str, str]:
    said, complained = process.communicate(timeout=60)
    assert process.returncode == code, complained
    assert "Traceback" not in complained
    return said, complained


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := what()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("devices", 0),
        ("devices", 60_001),
        ("prefix", "a/b"),
        ("prefix", "#"),
        ("prefix", ""),
        ("prefix", "x" * 59),
        ("loss", 1.0),
        ("loss", -0.1),
        ("offline", 1.0),
        ("telemetry_interval_s", 0),
        ("connect_rate", 0),
        ("evaluation_questions", 100_000),
        ("models", ["no model"]),
        ("models", ["m@1.0.0:em=140"]),
        ("clock_jump_s", float("nan")),
        ("broker", "http://x"),
    ],
)
def test_bad_settings_are_refused(field: str, value: object) -> None:
    if field == "prefix" and value == "":
        SimulateSettings(prefix="")  # then devices are numbers alone, which is a name
        return
    with pytest.raises(ValidationError):
        SimulateSettings.model_validate({field: value})


def here(*arguments: str) -> None:
    build_app()(["cloud", "simulate", *arguments], standalone_mode=False)


def test_a_bad_flag_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"models: .*colour=red"):
        here("--model", "m@1.0.0:colour=red")
    monkeypatch.setenv("EDGEQA_SIMULATE_DEVICE", "5")
    with pytest.raises(ConfigError, match=r"EDGEQA_SIMULATE_DEVICE; did you mean .*_DEVICES"):
        here()


def test_without_a_broker_it_gives_up(tmp_path: Path) -> None:
    broker = ["--broker", "mqtt://127.0.0.1:1", "--broker-connect-timeout-s", "0.3"]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1: no device .* Connection refused"):
        here(*broker, "-n", "3")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.system
def test_a_wrong_password_is_said(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    broker = start_broker(users={"fleet": "right"})
    password = tmp_path / "password"
    password.write_text("wrong")
    user = ["--broker-username", "fleet", "--broker-password-file", str(password)]
    with pytest.raises(BrokerError, match="Not authorized"):
        here("--broker", broker.url, "--broker-connect-timeout-s", "0.5", "-n", "3", *user)
    password.write_text("right")
    here("--broker", broker.url, "-n", "3", "--duration-s", "0.2", *user)


def test_a_ledger_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ledger: .*No such file"):
        here("--ledger", str(tmp_path / "none" / "ledger"))


@pytest.mark.system
def test_ctrl_c_says_goodbye_for_all(broker: Broker, tmp_path: Path) -> None:
    process = spawn(
        "--broker", broker.url, "-n", "40", "--report-every-s", "0.2", "--json",
        "--connect-rate", "2000", "--telemetry-interval-s", "0.5",
    )  # fmt: skip
    with Operator(broker=broker.url) as operator:
        wait_for(lambda: _is(operator, "sim-00040", "online"), process)
        process.send_signal(signal.SIGINT)
        said, _ = finish(process)
        figures = json.loads(said)
        assert figures["devices"] == figures["connected"] == 40
        # No collector: the broker says that nobody listens, and nothing counts as delivered.
        assert figures["acknowledged"] == 0
        assert figures["waiting"] == figures["appended"] > 0
        for device in ("sim-00001", "sim-00040"):
            status = operator.status(device, timeout_s=5)
            assert status is not None
            assert (status.status, status.reason) == ("offline", "stopped")


@pytest.mark.system
def test_commands_are_obeyed_once_and_what_was_killed_goes_on(
    broker: Broker, tmp_path: Path
) -> None:
    arguments = (
        "--broker", broker.url, "-n", "2", "--state-dir", str(tmp_path), "--prefix", "pi-",
        "--telemetry-interval-s", "0.2", "--heartbeat-interval-s", "0.2",
    )  # fmt: skip
    first = spawn(*arguments)
    with Operator(broker=broker.url) as operator:
        wait_for(lambda: _is(operator, "pi-00001", "online"), first)
        assert operator.command("pi-00001", "ping", timeout_s=10).status == "ok"
        reply = operator.command("pi-00001", "evaluate", timeout_s=10)
        assert reply.queued == 50
        wait_for(lambda: _rows(tmp_path, "kind = 'evaluation'"), first)
        first.kill()
        first.communicate()
        before = _rows(tmp_path, "sent_ms IS NULL")
        assert before > 0
        heard = subprocess.Popen(
            ["mosquitto_sub", "-p", str(broker.port), "-q", "1", "-t",
             "edgeqa/v1/devices/+/telemetry", "-t", "edgeqa/v1/devices/+/evaluation"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        second = spawn(*arguments, "--duration-s", "2", "--settle-s", "20", "--json")
        figures = json.loads(finish(second)[0])
        heard.terminate()
        lines = heard.communicate()[0].splitlines()
    assert figures["waiting"] == 0
    assert figures["acknowledged"] == before + figures["appended"]
    assert len({(r["boot_id"], r["seq"]) for r in map(json.loads, lines)}) >= before
    assert _rows(tmp_path, "sent_ms IS NULL") == 0


def _is(operator: Operator, device: str, state: str) -> bool:
    try:
        status = operator.status(device, timeout_s=0.3)
    except AnswerTimeoutError:
        return False
    return status is not None and status.status == state


def _rows(folder: Path, where: str) -> int:
    with closing(sqlite3.connect(folder / "outbox.sqlite")) as db:
        query = f"SELECT count(*) FROM records WHERE {where}"  # noqa: S608  the tests' own
        return int(db.execute(query).fetchone()[0])
