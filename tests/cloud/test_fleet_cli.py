"""`edgeqa fleet` as a person runs it, over SQLite and PostgreSQL."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len
from support.fleet import HOUR_MS, MINUTE_MS, NEW, OLD, Fleet, paired, spread
from support.fleet_databases import Databases, postgres_server

from edgeqa.cli import build_app, main
from edgeqa.errors import UsageError
from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_views import DeviceHistory, DevicePage, FleetSummary
from edgeqa_cloud.words import ago, milliseconds, parse_span, said, span, sparkline

EVIL = "<b>[red]x[/red]</b>\x1b[31m\x1b]0;title\x07\x9b1m\r\n'; DROP TABLE devices; --\u202e\u200b"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases(tmp_path_factory.mktemp("fleet"), None)


@pytest.fixture(scope="module")
def edgeqa() -> typer.Typer:
    """The whole command, built once."""
    return build_app()


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    with databases.open(databases.new()) as one:
        yield one


@pytest.fixture
def fleet(database: Database) -> Fleet:
    return Fleet(database, round(time.time() * 1000))


@pytest.fixture
def run(
    edgeqa: typer.Typer,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run `edgeqa fleet` in this process: many of them would be slow to start."""
    url = database.engine.url.render_as_string(hide_password=False)
    # Building it takes longer than anything that it does here.
    monkeypatch.setattr("edgeqa.cli.build_app", lambda _: edgeqa)
    monkeypatch.setenv("EDGEQA_CLOUD_DATABASE", url)
    monkeypatch.setenv("COLUMNS", "80")

    def run_one(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["edgeqa", "fleet", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int | None)
        return Done(code or 0, shown.out, shown.err)

    return run_one


def small_fleet(fleet: Fleet) -> int:
    pi5 = fleet.device("pi5")
    fleet.device("boiler", presence="offline", presence_reason="lost", f1=None, exact_match=None,
                 last_seen_ms=fleet.now_ms - 2 * HOUR_MS, temperature_celsius=81.5,
                 throttled=["throttled"])  # fmt: skip
    fleet.device("hall", last_seen_ms=fleet.now_ms - 10 * MINUTE_MS, model_name=NEW["name"],
                 model_version=NEW["version"], model_digest=NEW["digest"], groups=["site-2"],
                 p95_ms=1234.5)  # fmt: skip
    return pi5


def test_a_list(run: Run, fleet: Fleet) -> None:
    small_fleet(fleet)
    done = run()
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.lines[:2]] == [
        ["DEVICE", "STATE", "MODEL", "EM", "F1", "P95", "°C", "SEEN"],
        ["boiler", "offline", "minilm-l6-squad", "0.1.1", "-", "-", "64.2", "ms", "81.5!",
         "2", "h", "ago"],
    ]  # fmt: skip
    assert re.fullmatch(r"hall .* silent .*0\.2\.0 +76\.0  80\.5  1234 ms +51\.6  1\d min ago",
                        done.lines[2])  # fmt: skip
    assert re.fullmatch(r"pi5 .* online .* 64\.2 ms +51\.6 +\d\d s ago", done.lines[3])
    assert done.lines[4] == "3 devices: 1 online, 1 silent, 1 offline"
    assert run("list").out.splitlines()[0] == done.lines[0]


def test_filters_and_order(run: Run, fleet: Fleet) -> None:
    small_fleet(fleet)

    def found(*arguments: str) -> list[str]:
        return [line.split()[0] for line in run(*arguments).lines[1:-1]]

    assert found("--presence", "offline", "--presence", "silent") == ["boiler", "hall"]
    assert found("--model", NEW["name"]) == ["hall"]
    assert found("--group", "site-2") == ["hall"]
    assert found("--search", "raspberry", "--sort", "p95", "--reverse") == ["hall", "boiler", "pi5"]
    assert found("--limit", "1", "--offset", "1") == ["hall"]
    assert run("--limit", "1").lines[-1] == "1 shown of 3 devices: 1 online, 1 silent, 1 offline"
    assert run("--model", "none").out == "no device matches\n"
    assert run("--sort", "nothing").code == 2
    assert run("--limit", "0").code == 2


def test_json_is_one_object(run: Run, fleet: Fleet) -> None:
    pi5 = small_fleet(fleet)
    fleet.evaluation(pi5, age_ms=HOUR_MS, paired=paired(-3.1, -8.8, 2.2))
    for arguments, kind in (
        ((), DevicePage), (("show", "pi5"), DeviceHistory), (("summary",), FleetSummary),
    ):  # fmt: skip
        done = run(*arguments, "--json")
        assert (done.code, len(done.lines)) == (0, 1)
        view = kind.model_validate(json.loads(done.out))
        assert set(json.loads(done.out)) == set(kind.model_fields)
        assert view.now_ms >= fleet.now_ms
    listed = json.loads(run("--json").out)
    assert [one["device"] for one in listed["devices"]] == ["boiler", "hall", "pi5"]
    assert listed["devices"][0]["presence_reason"] == "lost"
    assert listed["devices"][0]["f1"] is None


def test_an_empty_database_says_what_to_do(run: Run) -> None:
    for arguments in ((), ("summary",)):
        done = run(*arguments)
        assert (done.code, done.err) == (0, "")
        assert "no devices yet; run a collector with `edgeqa cloud run`" in done.out
    assert json.loads(run("--json").out)["devices"] == []


def test_no_database_says_what_to_do_and_makes_none(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "folder" / "none.db"
    for arguments in ((), ("show", "pi5"), ("summary", "--json"), ("--watch",)):
        done = run(*arguments, "--database", f"sqlite:///{missing}")
        assert (done.code, done.out) == (4, "")
        assert f"{missing} is not there" in done.err
        assert "edgeqa cloud run" in done.err
        assert "[no_database]" in done.err
        assert len(done.err.splitlines()) == 1
    assert not missing.parent.exists()


def test_a_file_that_is_no_database_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database at all, " * 100)
    done = run("--database", f"sqlite:///{tmp_path}/text.db")
    assert done.code == 4
    assert "file is not a database [database_unreachable]" in done.err
    done = run("--database", "mysql://localhost/x")
    assert (done.code, done.out) == (3, "")
    (tmp_path / "empty.db").touch()
    done = run("--database", f"sqlite:///{tmp_path}/empty.db")
    assert done.code == 3
    assert "edgeqa cloud migrate" in done.err


def test_a_server_that_is_away_is_said(run: Run) -> None:
    done = run("--database", "postgresql://nobody@127.0.0.1:1/x", "--database-timeout-s", "2")
    assert done.code == 4
    assert done.err.endswith("[database_unreachable]\n")
    assert len(done.err.splitlines()) == 1
    assert "Traceback" not in done.err


def test_the_collectors_settings_do_for_the_fleet_too(
    run: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fleet.device("pi5")
    monkeypatch.setenv("EDGEQA_CLOUD_GROUP", "collectors")
    monkeypatch.setenv("EDGEQA_CLOUD_METRICS_LISTEN", "off")
    file = tmp_path / "cloud.toml"
    file.write_text('broker = "mqtt://broker.example"\n')
    assert run("--config", str(file)).code == 0
    monkeypatch.setenv("EDGEQA_CLOUD_DATABSE", "x")
    assert "did you mean EDGEQA_CLOUD_DATABASE?" in run().err


def test_one_device(run: Run, fleet: Fleet) -> None:
    pi5 = small_fleet(fleet)
    for hours in range(1, 30):
        fleet.rollup(pi5, age_ms=hours * HOUR_MS, temperature_max_celsius=50.0 + hours,
                     total=spread([10.0] * 50 + [float(hours)] * 50))  # fmt: skip
    fleet.evaluation(pi5, age_ms=HOUR_MS, model=NEW, paired=paired(-3.1, -8.8, -0.6), f1=77.4)
    for days in range(12):
        fleet.evaluation(pi5, age_ms=2 * HOUR_MS + days * 12 * HOUR_MS, f1=80.0 + days)
    fleet.swap(pi5, age_ms=3 * HOUR_MS)
    fleet.swap(pi5, age_ms=5 * HOUR_MS, state="failed", code="gate_latency", message="too slow")
    fleet.gap(pi5, 12, 14)
    done = run("show", "pi5")
    assert (done.code, done.err) == (0, "")
    assert all(cell_len(line) <= 80 for line in done.lines), done.out
    text = done.out
    assert re.match(r"pi5  online, heard \d\d s ago\n", text)
    assert "model      minilm-l6-squad 0.1.1 (sha256:111111111111); active\n" in text
    assert "hardware   Raspberry Pi 5 Model B Rev 1.0, aarch64\n" in text
    assert "served     2,900 answered, 58 refused in the last 7 d\n" in text
    assert re.search(r"latency    p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms; of that", text)
    assert re.search(r"°C +[▁▂▃▄▅▆▇█ ]+ +5\d\.0 to 79\.0\n", text)
    assert re.search(r"F1 +[▁▂▃▄▅▆▇█]{13}  77\.4 to 91\.0\n", text)
    assert re.search(r"60 min ago .* 0\.2\.0 +76\.0 \[63,86\]  77\.4 \[70,90\] +50 +31 ms  "
                     r"-3\.1 \[-9,-1\]\n", text)  # fmt: skip
    assert "the newest 10 of 13; all with --json\n" in text
    assert re.search(r"5 h ago +failed .* gate_latency: too slow\n", text)
    assert re.search(r"open +boot-pi5  12 to 14  2 times\n", text)
    assert len(json.loads(run("show", "pi5", "--json").out)["evaluations"]) == 13
    assert "in the last 60 min" in run("show", "pi5", "--since", "1h").out


def test_a_device_that_told_nothing_yet(run: Run, fleet: Fleet) -> None:
    nothing = dict.fromkeys(
        ("presence", "boot_id", "heartbeat_interval_s", "skew_ms", "agent_version", "groups",
         "onnxruntime_version", "hardware", "model_name", "model_version", "model_digest",
         "reported", "evaluated_ms", "evaluation_questions", "exact_match", "f1", "telemetry_ms",
         "answered", "p50_ms", "p95_ms", "temperature_celsius", "throttled", "resident_bytes")
    )  # fmt: skip
    fleet.device("new", **nothing)
    assert re.search(r"new +unknown +- +- +- +- +- +1\d s ago", run().out)
    done = run("show", "new")
    assert done.code == 0
    assert "served     nothing in the last 7 d" in done.out
    assert "None" not in done.out
    assert "None" not in run("summary").out


@pytest.mark.parametrize(
    "device", ["nobody", "", "'; DROP TABLE devices; --", "\x1b[31m", "x" * 999]
)
def test_an_unknown_device_is_said(run: Run, fleet: Fleet, device: str) -> None:
    fleet.device("pi5")
    done = run("show", device)
    assert done.code == 2
    assert done.err.endswith("`edgeqa fleet` lists all [unknown_device]\n")
    assert "\x1b" not in done.err
    assert len(done.err) < 300
    assert run().lines[-1] == "1 device: 1 online"


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "0h", "7y", "1e9d", "99999d", "nan s", "٧d"])
def test_what_is_no_span_is_refused(run: Run, fleet: Fleet, text: str) -> None:
    fleet.device("pi5")
    done = run("show", "pi5", f"--since={text}")
    assert done.code == 2
    assert "say 90s, 30m, 24h, 7d or 2w" in done.err


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "0.001", "1e12"])
def test_what_is_no_pause_is_refused(run: Run, every: str) -> None:
    done = run("--every", every)
    assert done.code == 2
    assert done.out == ""


def test_hostile_words_do_not_reach_the_terminal(run: Run, fleet: Fleet) -> None:
    evil = fleet.device("evil", presence_reason=EVIL[:64], model_name=EVIL[:64],
                        model_version=EVIL[:64], agent_version=EVIL[:64], groups=[EVIL],
                        model_digest=EVIL[:80], onnxruntime_version=EVIL[:64],
                        hardware={"board": EVIL, "machine": EVIL}, throttled=[EVIL],
                        reported={"state": EVIL, "reason": {"code": EVIL}})  # fmt: skip
    fleet.evaluation(evil, age_ms=1, model_name=EVIL[:64])
    fleet.swap(evil, age_ms=1, name=EVIL[:64], state="failed", code=EVIL[:64], message=EVIL * 9)
    fleet.quarantine([EVIL[:64]])
    for arguments in ((), ("show", "evil"), ("summary",)):
        done = run(*arguments)
        assert (done.code, done.err) == (0, "")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e]", done.out), done.out
        assert "<b>[red]x[/red]" in done.out
        if arguments != ("summary",):
            assert all(cell_len(line) <= 100 or "DROP" in line for line in done.lines)
    assert json.loads(run("show", "evil", "--json").out)["device"]["board"] == EVIL
    # The tables are still there.
    assert "1 device" in run().out


def test_a_narrow_terminal_cuts_names_and_keeps_versions(
    run: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.device("a-device-with-a-name-of-sixty-four-letters-which-is-the-longest-1")
    fleet.device("ｗｉｄｅ" * 8)
    for width in (80, 76):
        monkeypatch.setenv("COLUMNS", str(width))
        done = run()
        assert all(cell_len(line) <= width for line in done.lines), done.out
        assert done.out.count("… 0.1.1") == 2
    monkeypatch.setenv("COLUMNS", "300")
    assert "which-is-the-longest-1 " in run().out


def test_ten_thousand_devices_are_listed(run: Run, fleet: Fleet) -> None:
    fleet.many(10_000)
    done = run("--limit", "100000", "--sort", "f1", "--reverse")
    assert len(done.lines) == 10_002
    assert done.lines[-1].startswith("10,000 devices: ")


# From here on as a program of its own.


def command(url: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {"EDGEQA_CLOUD_DATABASE": url, "PYTHONUNBUFFERED": "1"}
    for size in ("COLUMNS", "LINES"):  # pytest-xdist sets them
        environment.pop(size, None)
    return [sys.executable, "-m", "edgeqa.cli", "fleet", *arguments], environment


def test_postgresql_from_a_shell(tmp_path: Path) -> None:
    with ExitStack() as stack:
        databases = Databases(tmp_path, stack.enter_context(postgres_server()))
        database = stack.enter_context(databases.open(url := databases.new()))
        pi5 = small_fleet(fleet := Fleet(database, round(time.time() * 1000)))
        fleet.evaluation(pi5, age_ms=HOUR_MS, paired=paired(-3.1, -8.8, 2.2))
        fleet.telemetry(pi5, age_ms=MINUTE_MS)
        for arguments, shown in (
            (("--presence", "silent"), "hall"),
            (("show", "pi5", "--since", "1h"), "served     3 answered, 1 refused"),
        ):
            line, environment = command(url, *arguments)
            done = subprocess.run(
                line, env=environment, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert shown in done.stdout
            # Into a pipe nothing is cut and nothing is coloured.
            assert "…" not in done.stdout
            assert "\x1b" not in done.stdout


def test_watch_shows_what_changes_until_ctrl_c(fleet: Fleet, database: Database) -> None:
    fleet.device("first")
    url = database.engine.url.render_as_string()
    line, environment = command(url, "--watch", "--every", "0.2")
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        read_until(process.stdout, "first")
        fleet.device("second")
        read_until(process.stdout, "second")
        # A database that goes away ends nothing.
        with database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE devices RENAME TO elsewhere")
        read_until(process.stdout, "no such table: devices; trying again")
        with database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO devices")
        fleet.device("third")
        read_until(process.stdout, "third")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")


def read_until(stream: Any, words: str) -> None:
    for line in stream:
        if words in line:
            return
    pytest.fail(f"it ended without {words}")


def test_watch_ends_when_nobody_reads(fleet: Fleet, database: Database) -> None:
    fleet.device("pi5")
    line, environment = command(database.engine.url.render_as_string(), "--every", "0.2", "--json")
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["total"] == 1
        assert json.loads(process.stdout.readline())["total"] == 1
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
        process.wait(30)
    assert (process.returncode, stderr) == (0, "")


def test_a_terminal_gets_a_screen_of_its_size_with_colours(
    fleet: Fleet, database: Database
) -> None:
    fleet.many(100)
    line, environment = command(database.engine.url.render_as_string(), "--watch")
    environment["TERM"] = "xterm-256color"
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 80, 0, 0))
    try:
        process = subprocess.Popen(
            line, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
        )
        os.close(theirs)
        shown = b""
        deadline = time.monotonic() + 60
        while b"100 devices" not in shown and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        while select.select([ours], [], [], 5)[0]:
            try:
                shown += os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
        assert process.wait(30) == 0
    finally:
        os.close(ours)
    text = shown.decode()
    assert "\x1b[32monline" in text, text[:3000]
    assert "\x1b[?1049h" in text  # a screen of its own …
    assert "\x1b[?1049l" in text  # … and the old one back
    assert "Traceback" not in text
    first = text.split("100 devices")[0]
    assert first.count("sim-0") <= 20


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "2 h"),
     (86_400, "24 h"), (172_800, "2 d"), (10**9, "11574 d")],
)  # fmt: skip
def test_spans_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words
    assert ago(1_000_000_000_000, 1_000_000_000_000 + round(seconds * 1000)) == f"{words} ago"


def test_words() -> None:
    assert parse_span("1.5h", "--since") == 5400
    with pytest.raises(UsageError):
        parse_span("1h\n2", "--since")
    assert [milliseconds(value) for value in (None, 0.123, 9.876, 64.21, 312.4, 12_345.6)] == [
        "-", "0.123 ms", "9.88 ms", "64.2 ms", "312 ms", "12.3 s",
    ]  # fmt: skip
    assert sparkline([]) == sparkline([None]) == ""
    assert sparkline([1.0, None, 2.0, 8.0]) == "▁ ▂█"
    assert sparkline([5.0, 5.0]) == "▄▄"
    assert len(said("x" * 10_000)) == 200
    assert said("\ud800") == "\ufffd"
    assert said("") == said(None) == "-"
    assert OLD["version"] == "0.1.1"
