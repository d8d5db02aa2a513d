"""`edgeqa swap|rollback|prune|packages` as a person runs them, over a real broker."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.broker import Broker
from support.fake_device import CHECKS, NEW_DIGEST, OLD, FakeDevice, Script, Step, fail, succeed

from edgeqa.cli import main
from edgeqa.codes import exit_code_of, exit_code_of_swap
from edgeqa.errors import EdgeqaError, ExitCode, UsageError
from edgeqa.manifest import open_package
from edgeqa.model_messages import Desired, Reported
from edgeqa.operator import Operator
from edgeqa.swap_view import SwapView
from edgeqa.wanted import Wanted, wanted_package

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "models" / "packages" / "minilm-l3-distil-squad-0.3.0"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `edgeqa` in this process: many of them would be slow to start."""
    monkeypatch.setenv("EDGEQA_CLIENT_BROKER", broker.url)

    def run_one(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["edgeqa", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        # The link logs to the standard output of tests.
        lines = [line for line in shown.out.splitlines() if "mqtt_" not in line]
        code = ended.value.code
        assert isinstance(code, int | None)
        return Done(code or 0, "\n".join(lines), shown.err)

    return run_one


def test_a_wish_is_left_with_the_broker(run: Run, broker: Broker) -> None:
    done = run("swap", "pi5", "new@2.0.0")
    assert (done.code, done.err) == (0, "")
    assert done.out == "pi5 shall run new 2.0.0; the broker holds no status of it: check the name"
    with FakeDevice(broker.address()) as device:
        device.wait_for_wishes(1)
        assert device.wishes[0].name == "new"
        done = run("swap", "pi5", "new-2.0.1", "--json")
        wish = json.loads(done.out)
        device.wait_for_wishes(2)
        assert wish == json.loads(device.wishes[1].to_json())
        assert wish["version"] == "2.0.1"
        assert run("swap", "pi5", "new@2.0.2").out.endswith("; it is online")
    done = run("swap", "pi5", "new@2.0.3")
    assert done.out.endswith("it is offline (stopped) and follows the wish when it is back")


def test_gates_shadow_and_digest_are_in_the_wish(run: Run, broker: Broker) -> None:
    done = run(
        "swap", "pi5", "new@2.0.0", "--json", "--digest", "A1" * 32, "--min-f1", "90.5",
        "--min-exact-match", "80", "--max-p95-ms", "250", "--max-memory-mb", "512",
        "--shadow-fraction", "0.25", "--shadow-questions", "100", "--shadow-min-agreement", "0.9",
        "--shadow-max-latency-ratio", "1.5", "--shadow-timeout", "60",
    )  # fmt: skip
    assert done.code == 0, done.err
    wish = Desired.model_validate_json(done.out)
    assert wish.digest == NEW_DIGEST
    assert wish.gates is not None
    assert wish.gates.model_dump() == {
        "min_exact_match": 80, "min_f1": 90.5, "max_p95_ms": 250, "max_memory_mb": 512,
    }  # fmt: skip
    assert wish.shadow is not None
    assert wish.shadow.model_dump() == {
        "fraction": 0.25, "questions": 100, "min_agreement": 0.9, "max_latency_ratio": 1.5,
        "timeout_s": 60,
    }  # fmt: skip


def test_waiting_shows_each_state_and_the_scores(run: Run, broker: Broker) -> None:
    with FakeDevice(broker.address()):
        done = run("swap", "pi5", "new@2.0.0", "--wait")
    assert (done.code, done.err) == (0, "")
    lines = [line.split(" s  ", 1) for line in done.out.splitlines()]
    assert all(float(seconds) >= 0 for seconds, _ in lines)
    scores = "EM 91.7, F1 95.2 on 12 check questions; p50 20.1 ms, p95 31.5 ms; 150 MiB"
    assert [" ".join(text.split()) for _, text in lines] == [
        "pi5 is online",
        "fetching new 2.0.0",
        "verifying",
        "loading",
        f"testing {scores}",
        f"active old 1.0.0 -> new 2.0.0; {scores}",
    ]


def test_waiting_as_json_gives_the_messages(run: Run, broker: Broker) -> None:
    with FakeDevice(broker.address()):
        done = run("swap", "pi5", "new@2.0.0", "--wait", "--json")
    assert done.code == 0
    wish, *reports = [json.loads(line) for line in done.out.splitlines()]
    assert {report["wish"] for report in reports} == {wish["id"]}
    assert [report["state"] for report in reports][-2:] == ["testing", "active"]


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (fail("download_corrupt"), 5, "pi5 did not take new 2.0.0: it did not work"),
        (fail("not_enough_memory"), 5, "[not_enough_memory]"),
        (fail("model_load_failed"), 5, "[model_load_failed]"),
        (fail("of_a_later_version"), 5, "[of_a_later_version]"),
        (fail("repository_unreachable"), 4, "[repository_unreachable]"),
        (fail("gate_accuracy"), 6, "[gate_accuracy]"),
        (fail("shadow_timeout"), 6, "[shadow_timeout]"),
        (fail("checks_failed"), 6, "[checks_failed]"),
        (fail("model_keeps_dying", state="rolled_back"), 6, "pi5 went back from new 2.0.0"),
        (fail("of_a_later_version", state="rolled_back"), 6, "went back"),
    ],
)
def test_the_exit_code_tells_the_outcome(
    run: Run, broker: Broker, script: Script, code: int, words: str
) -> None:
    with FakeDevice(broker.address(), script=script):
        done = run("swap", "pi5", "new@2.0.0", "--wait")
    assert done.code == code
    assert words in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out.endswith("; old 1.0.0 (sha256:000000000000) answers")


def test_an_ending_without_a_reason(run: Run, broker: Broker) -> None:
    def script(_: Desired) -> Iterator[Step]:
        yield {"state": "failed"}

    with FakeDevice(broker.address(), script=script):
        done = run("swap", "pi5", "new@2.0.0", "--wait")
    assert done.code == 5
    assert "it gives no reason [swap_failed]" in done.err


def test_a_newer_wish_ends_the_waiting(run: Run, broker: Broker) -> None:
    def script(_: Desired) -> Iterator[Step]:
        yield {"state": "fetching", "progress": 1}
        yield None

    with FakeDevice(broker.address(), script=script) as device, Operator(broker=broker.url) as op:

        def interfere() -> None:
            device.wait_for_wishes(1)
            op.wish("pi5", "other", "3.0.0")

        thread = threading.Thread(target=interfere)
        thread.start()
        done = run("swap", "pi5", "new@2.0.0", "--wait")
        thread.join()
    assert done.code == 5
    assert "a newer wish came: pi5 follows that for other 3.0.0 [superseded]" in done.err


def test_a_wish_taken_back_by_somebody_else_ends_the_waiting(run: Run, broker: Broker) -> None:
    with Operator(broker=broker.url) as operator:

        def interfere() -> None:
            while operator.desired("pi6", timeout_s=0.2) is None:
                pass
            operator.withdraw("pi6")

        thread = threading.Thread(target=interfere)
        thread.start()
        done = run("swap", "pi6", "new@2.0.0", "--wait")
        thread.join()
    assert done.code == 5
    assert "[withdrawn]" in done.err


def test_a_device_that_never_was_there(run: Run, broker: Broker) -> None:
    done = run("swap", "pi6", "new@2.0.0", "--wait", "--wait-timeout", "1.5")
    assert done.code == 4
    assert "the broker has never seen pi6: check the name" in done.out
    assert "device pi6 has not begun with the wish after 1.5 s" in done.err
    assert "take it back by: edgeqa swap pi6 --withdraw [timeout]" in done.err
    assert run("swap", "pi6", "--withdraw").code == 0
    with Operator(broker=broker.url) as operator:
        assert operator.desired("pi6", timeout_s=0.3) is None


def test_a_device_that_comes_later(run: Run, broker: Broker) -> None:
    with FakeDevice(broker.address()):
        pass
    device = FakeDevice(broker.address())
    timer = threading.Timer(2.0, device.start)
    timer.start()
    done = run("swap", "pi5", "new@2.0.0", "--wait")
    timer.join()
    device.stop()
    assert done.code == 0, done.err
    assert "pi5 is offline (stopped): it follows the wish when it is back" in done.out
    assert "pi5 is online" in done.out


def test_hostile_reports_do_not_reach_the_terminal(run: Run, broker: Broker) -> None:
    evil = "\x1b]0;owned\x07[red]\nsecond line" + "x" * 5000

    def script(_: Desired) -> Iterator[Step]:
        active = {"name": evil, "version": evil, "digest": evil}
        reason = {"code": evil, "message": evil}
        yield {"state": "failed", "name": evil, "version": evil, "active": active, "reason": reason}

    with FakeDevice(broker.address(), script=script):
        done = run("swap", "pi5", "new@2.0.0", "--wait")
    assert done.code == 5
    for shown in (done.out, done.err):
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "[red]" in shown
    assert len(done.err.splitlines()) == 1
    assert len(done.out) < 3000


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["swap", "pi5"], 2, "say a PACKAGE"),
        (["swap", "pi5", "new"], 2, "neither NAME@VERSION"),
        (["swap", "pi5", "./nowhere"], 5, "package_malformed"),
        (["swap", "a/#", "new@1.0.0"], 2, "device: "),
        (["swap", "pi5", "new@1.0.0", "--withdraw"], 2, "--withdraw goes alone"),
        (["swap", "pi5", "--withdraw", "--min-f1", "1"], 2, "--withdraw goes alone"),
        (["swap", "pi5", "--withdraw", "--wait"], 2, "--withdraw goes alone"),
        (["swap", "pi5", "new@1.0.0", "--min-f1", "101"], 2, "--min-f1: "),
        (["swap", "pi5", "new@1.0.0", "--min-f1", "nan"], 2, "--min-f1: "),
        (["swap", "pi5", "new@1.0.0", "--max-p95-ms", "inf"], 2, "--max-p95-ms: "),
        (["swap", "pi5", "new@1.0.0", "--max-memory-mb", "0"], 2, "--max-memory-mb: "),
        (["swap", "pi5", "new@1.0.0", "--shadow-questions", "5"], 2, "--shadow-fraction: goes"),
        (["swap", "pi5", "new@1.0.0", "--shadow-timeout", "5"], 2, "goes with the other"),
        (["swap", "pi5", "new@1.0.0", "--digest", "sha256:12"], 2, "--digest: "),
        (["swap", "pi5", "new@1.0.0", "--wait", "--wait-timeout", "0"], 2, "--wait-timeout: "),
        (["swap", "pi5", "new@1.0.0", "--timeout", "0"], 3, "timeout_s: "),
        (["rollback", "nowhere"], 4, "no_agent"),
        (["prune", "a/b"], 2, "device: "),
        (["packages"], 2, "say a device"),
        (["models", "list"], 2, "say a device"),
        (["packages", "--device", "a/b"], 3, "device: "),
    ],
)
def test_what_goes_wrong_is_said_in_one_line_and_by_the_exit_code(
    run: Run, arguments: list[str], code: int, words: str
) -> None:
    done = run(*arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert len(done.err.splitlines()) == 1


def test_no_broker_ends_with_4(run: Run, broker: Broker) -> None:
    broker.stop()
    for arguments in (["swap", "pi5", "new@1.0.0", "--wait"], ["packages", "pi5"]):
        done = run(*arguments, "--broker-connect-timeout-s", "0.2")
        assert done.code == 4
        assert "Connection refused" in done.err


def test_rollback_prune_and_packages(run: Run, broker: Broker) -> None:
    active = {"model": OLD.model_dump(), "role": "active", "embedded": True, "bytes": 23_400_000}
    other = {"name": "x\x1b[31m", "version": "1.2.3", "digest": NEW_DIGEST}
    stored = {"model": other, "role": "stored", "embedded": False, "bytes": 1_500_000_000}
    with FakeDevice(broker.address(), packages=[active, stored]) as device:
        done = run("packages", "pi5")
        assert done.code == 0, done.err
        assert [line.split() for line in done.out.splitlines()] == [
            ["role", "name", "version", "embedded", "size", "digest"],
            ["active", "old", "1.0.0", "yes", "23.4", "MB", "sha256:000000000000"],
            ["stored", "x\ufffd[31m", "1.2.3", "no", "1,500.0", "MB", "sha256:a1a1a1a1a1a1"],
        ]
        assert run("models", "list", "--device", "pi5").out == done.out
        listed = json.loads(run("packages", "--device", "pi5", "--json").out)
        assert listed["packages"][1]["bytes"] == 1_500_000_000
        assert run("prune", "pi5").out == "pi5 freed 23.4 MB"
        done = run("rollback", "pi5")
        assert done.code == 5
        assert done.err == "edgeqa: there is no previous model [nothing_to_roll_back]\n"
        device.previous = OLD
        assert run("rollback", "pi5").out == "pi5 is back on old 1.0.0 (sha256:000000000000)"
        device.previous = OLD
        assert json.loads(run("rollback", "pi5", "--json").out)["verb"] == "rollback"


@pytest.mark.parametrize(
    ("slug", "code"), [("model_start_timeout", 5), ("superseded", 5), ("busy", 4), ("gate_f", 6)]
)
def test_a_refused_command_ends_with_its_code(
    run: Run, broker: Broker, slug: str, code: int
) -> None:
    with FakeDevice(broker.address(), refusals={"rollback": slug}):
        done = run("rollback", "pi5")
    assert done.code == code
    assert done.err == f"edgeqa: not this time [{slug}]\n"


def test_a_command_that_is_not_answered_ends_with_4(run: Run, broker: Broker) -> None:
    with FakeDevice(broker.address(), silent=True):
        done = run("rollback", "pi5", "--timeout", "0.3")
    assert done.code == 4
    assert "no answer from device pi5 in 0.3 s; it is online" in done.err


@pytest.mark.parametrize(("options", "shown"), [([], "is taken back"), (["--json"], '"pi5"')])
def test_a_wish_is_taken_back(run: Run, broker: Broker, options: list[str], shown: str) -> None:
    run("swap", "pi5", "new@2.0.0")
    done = run("swap", "pi5", "--withdraw", *options)
    assert done.code == 0
    assert shown in done.out
    with Operator(broker=broker.url) as operator:
        assert operator.desired("pi5", timeout_s=0.3) is None


def test_ctrl_c_leaves_the_wish_and_says_how_to_take_it_back(broker: Broker) -> None:
    def script(_: Desired) -> Iterator[Step]:
        yield {"state": "fetching", "progress": 1}
        yield None

    with FakeDevice(broker.address(), script=script):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeqa.cli", "swap", "pi5", "new@2.0.0", "--wait",
             "--broker", broker.url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        shown = b""
        while b"fetching" not in shown:
            line = process.stdout.readline()
            assert line, shown
            shown += line
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"the wish stands; take it back by: edgeqa swap pi5 --withdraw" in stderr
    assert b"Traceback" not in stderr
    with Operator(broker=broker.url) as operator:
        assert operator.desired("pi5") is not None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("minilm-l6-squad@0.1.2", Wanted("minilm-l6-squad", "0.1.2", None)),
        ("minilm-l6-squad-0.1.2", Wanted("minilm-l6-squad", "0.1.2", None)),
        ("a-1.0.0-2.0.0", Wanted("a-1.0.0", "2.0.0", None)),
        ("a@10.20.30", Wanted("a", "10.20.30", None)),
        ("A_b.c-d@0.0.0", Wanted("A_b.c-d", "0.0.0", None)),
    ],
)
def test_a_package_is_named(text: str, wanted: Wanted) -> None:
    assert wanted_package(text) == wanted
    assert wanted_package(text, "sha256:" + "0" * 64).digest == "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "text",
    ["", " ", "@", "-", "new", "new@", "@1.0.0", "-1.0.0", "new@1.0", "new@1.0.0.0",
     "new@1.0.0-rc1", "new@v1.0.0", "new@1.0.0\n", "new\n@1.0.0", "ne w@1.0.0", " new@1.0.0",
     "new@1.0.0 ", "new@@1.0.0", "a@1.0.0@2.0.0", "..@1.0.0", "n\0w@1.0.0", "ｎew@1.0.0",
     "new@١.٠.٠", "n" * 65 + "@1.0.0", "n" * 100_000, "new@1.0.0;rm -rf", "#@1.0.0", "+@1.0.0",
     "$(id)@1.0.0"],
)  # fmt: skip
def test_what_names_no_package_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        wanted_package(text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["../new@1.0.0", "/", "/nowhere", "a/b@1.0.0", "x/" * 3000])
def test_what_is_written_as_a_folder_and_holds_no_package_is_refused(text: str) -> None:
    with pytest.raises(EdgeqaError):
        wanted_package(text)


def test_a_folder_gives_name_version_and_digest(tmp_path: Path) -> None:
    folder = tmp_path / "any name"
    shutil.copytree(PACKAGE, folder)
    expected = open_package(PACKAGE)
    wanted = wanted_package(f"{folder}/")
    assert wanted == Wanted("minilm-l3-distil-squad", "0.3.0", expected.digest)
    assert wanted_package(str(folder), expected.digest) == wanted
    with pytest.raises(UsageError, match="its digest is"):
        wanted_package(str(folder), "0" * 64)
    with (folder / "checks.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(EdgeqaError) as caught:
        wanted_package(str(folder))
    assert caught.value.code == "digest_mismatch"


def test_exit_codes_by_reason() -> None:
    assert exit_code_of("gate_memory") == ExitCode.GATE
    assert exit_code_of("rolled_back") == ExitCode.GATE
    assert exit_code_of("disk_full") == ExitCode.REFUSED
    assert exit_code_of("repository_expired") == ExitCode.UNREACHABLE
    assert exit_code_of_swap("digest_mismatch") == ExitCode.REFUSED
    assert exit_code_of_swap("") == ExitCode.REFUSED


class Clock:
    """Seconds that a test turns."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def report(**fields: Any) -> Reported:
    base = {"device": "pi5", "boot_id": "b", "time_ms": 1, "name": "new", "version": "2.0.0",
            "wish": "w", "active": OLD}  # fmt: skip
    return Reported.model_validate(base | fields)


def test_a_terminal_gets_a_bar_and_a_line_for_each_step() -> None:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with SwapView("pi5", console, clock) as view:
        for percent in (0, 30, 60):
            view.show(report(state="fetching", progress=percent))
            view._bar.refresh()
            clock.now += 1
        view.show(report(state="verifying"))
        view.show(report(state="testing", checks=CHECKS))
        for questions in (1, 20):
            shadow = {"questions": questions, "wanted": 20, "exact_agreement": 0.95,
                      "f1_agreement": 0.987, "latency_ratio": 0.5}  # fmt: skip
            view.show(report(state="testing", checks=CHECKS, shadow=shadow))
            view._bar.refresh()
        clock.now += 9
        view.show(report(state="active", digest=NEW_DIGEST, checks=CHECKS))
    shown = screen.getvalue()
    assert "60%" in shown
    lines = [line.strip() for line in shown.replace("\r", "\n").splitlines()]
    stepped = [line for line in lines if " s  " in line]
    assert len(stepped) == 6
    assert "3.0 s  verifying" in shown
    assert "shadow 20 of 20 live questions, equal 95.0%, F1 0.987, latency x 0.50" in shown
    assert "12.0 s  active      old 1.0.0 -> new 2.0.0" in shown


def test_a_wish_for_the_active_model_shows_no_change() -> None:
    screen = io.StringIO()
    with SwapView("pi5", Console(file=screen, width=200), Clock()) as view:
        new = {"name": "new", "version": "2.0.0", "digest": NEW_DIGEST}
        view.show(report(state="testing", active=new))
        view.show(report(state="active", active=new, digest=NEW_DIGEST, previous=OLD))
    assert "->" not in screen.getvalue()


def test_what_is_waited_for_is_shown_once() -> None:
    screen = io.StringIO()
    reason = {"code": "repository_unreachable", "message": "no route"}
    with SwapView("pi5", Console(file=screen, width=200), Clock()) as view:
        for _ in range(5):
            view.show(report(state="fetching", progress=3, reason=reason))
    assert screen.getvalue().count("no route [repository_unreachable]") == 1


def test_help_is_quick_and_plain() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgeqa.cli", "swap", "--help"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "--shadow-max-latency-ratio" in done.stdout
    assert "--group" not in done.stdout
    for heavy in ("numpy", "onnxruntime", "torch", "tuf", "transformers"):
        assert f" {heavy}\n" not in done.stderr


def test_the_default_script_ends_active() -> None:
    wish = Desired(id="w", name="new", version="2.0.0")
    steps = [step for step in succeed(wish) if step]
    assert steps[-1]["state"] == "active"
