"""`edgeqa ask` and `edgeqa context` as a person runs them: as processes, over a real broker."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.broker import Broker
from support.fake_agent import DropError, FakeAgent

from edgeqa.cli import main
from edgeqa.errors import PayloadError
from edgeqa.packets import Delivery

COMMAND = [sys.executable, "-m", "edgeqa.cli"]


def run(
    *arguments: str, stdin: bytes | str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EDGEQA_")}
    text = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=text,
        capture_output=True,
        timeout=30,
        env=clean | (env or {}),
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def test_a_person_sees_answer_sentence_model_and_times(broker: Broker, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Oxygen was found in 1774. Then came more.", encoding="utf-8")
    with FakeAgent(broker.address()):
        done = run("ask", "What?", "--context", str(text), "--device", "pi5",
                   "--broker", broker.url, "--top-k", "2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, sentence, _, _, origin = done.stdout.splitlines()
    assert first.split() == ["90.0%", "Oxygen"]
    assert sentence.strip() == "[Oxygen] was found in 1774."
    assert "fake 1.0.0 · device pi5 · inference 1.5 ms · total " in origin


def test_json_is_the_answers_message(broker: Broker) -> None:
    with FakeAgent(broker.address(), groups=("hall",)):
        env = {"EDGEQA_CLIENT_GROUP": "hall", "EDGEQA_CLIENT_BROKER": broker.url}
        done = run("ask", "What?", "--context", "-", "--json", stdin="\ufeffÉté 2024", env=env)
    assert done.returncode == 0, done.stderr
    message = json.loads(done.stdout)
    assert message["answers"][0] == {"text": "Été", "start": 0, "end": 3, "score": 0.9}


def test_a_flag_for_the_group_wins_over_a_variable_for_the_device(broker: Broker) -> None:
    env = {"EDGEQA_CLIENT_DEVICE": "nowhere", "EDGEQA_CLIENT_BROKER": broker.url}
    with FakeAgent(broker.address(), groups=("hall",)):
        done = run("ask", "What?", "--text", "a b", "--group", "hall", env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["What?", "--text", "x"], 2, "say either --device"),
        (["What?", "--text", "x", "--device", "a", "--group", "b"], 2, "say either --device"),
        (["What?", "--device", "a"], 2, "say one of --context"),
        (["What?", "--device", "a", "--text", "x", "--context-id", "y"], 2, "say one of"),
        (["--device", "a", "--context", "-"], 2, "standard input cannot"),
        (["What?", "--device", "a", "--context", "/nowhere"], 2, "No such file"),
        (["What?", "--device", "a", "--context", "/"], 2, "Is a directory"),
        (["What?", "--device", "a", "--text", " "], 2, "empty_context"),
        ([" ", "--device", "a", "--text", "x"], 2, "empty_question"),
        (["What?", "--device", "a/b", "--text", "x"], 3, "device: "),
        (["What?", "--device", "a", "--text", "x", "--timeout", "0"], 3, "timeout_s: "),
        (["What?", "--device", "a", "--text", "x", "--broker", "http://x"], 3, "broker: "),
        (["What?", "--device", "a", "--text", "x", "--broker-ca-file", "/x"], 3, "mqtts"),
        (["What?", "--device", "a", "--text", "x", "--config", "/nowhere"], 3, "config: "),
        (["What?", "--device", "nowhere", "--text", "x"], 4, "no_agent"),
        (["What?", "--nonsense"], 2, "No such option"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line_and_by_the_exit_code(
    *,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    # In this process: many of them would be slow to start.
    monkeypatch.setenv("EDGEQA_CLIENT_BROKER", broker.url)
    monkeypatch.setattr(sys, "argv", ["edgeqa", "ask", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    stderr = capsys.readouterr().err
    assert ended.value.code == code, stderr
    assert words in stderr
    if words != "No such option":
        assert len(stderr.splitlines()) == 1


def test_a_text_that_is_not_utf8_is_refused(broker: Broker) -> None:
    done = run("ask", "What?", "--device", "a", "--context", "-", stdin=b"caf\xe9")
    assert done.returncode == 2
    assert "not UTF-8 at byte 3" in done.stderr


def test_a_wrong_variable_is_named() -> None:
    done = run("ask", "What?", env={"EDGEQA_CLIENT_DEVISE": "pi5"})
    assert done.returncode == 3
    assert "did you mean EDGEQA_CLIENT_DEVICE?" in done.stderr


def test_no_broker_ends_with_4(broker: Broker) -> None:
    broker.stop()
    done = run("ask", "What?", "--text", "x", "--device", "a", "--broker", broker.url,
               "--broker-connect-timeout-s", "0.2")  # fmt: skip
    assert done.returncode == 4
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(("slug", "code"), [("busy", 4), ("question_too_long", 2)])
def test_a_refusal_ends_with_its_code(broker: Broker, slug: str, code: int) -> None:
    def refuse(_: Delivery) -> None:
        raise PayloadError("not now", code=slug)

    with FakeAgent(broker.address(), behaviour=refuse):
        done = run("ask", "What?", "--text", "x", "--device", "pi5", "--broker", broker.url)
    assert done.returncode == code
    assert done.stderr == f"edgeqa: not now [{slug}]\n"


def test_a_timeout_says_what_to_check(broker: Broker) -> None:
    def drop(_: Delivery) -> None:
        raise DropError

    with FakeAgent(broker.address(), behaviour=drop):
        done = run("ask", "What?", "--text", "x", "--device", "pi5", "--broker", broker.url,
                   "--timeout", "0.2")  # fmt: skip
    assert done.returncode == 4
    assert "no answer from device pi5 in 0.2 s; it is online" in done.stderr


def test_questions_are_read_from_a_pipe_and_errors_do_not_end_it(broker: Broker) -> None:
    def picky(delivery: Delivery) -> None:
        if b"bad" in delivery.payload:
            raise PayloadError("a bad question", code="question_too_long")

    with FakeAgent(broker.address(), behaviour=picky):
        done = run("ask", "--text", "Oxygen was", "--device", "pi5", "--broker", broker.url,
                   "--json", stdin="One?\nbad?\n\nTwo?\n")  # fmt: skip
    assert done.returncode == 0
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["ok", "ok"]
    assert done.stderr == "edgeqa: a bad question [question_too_long]\n"


def test_hostile_answers_do_not_reach_the_terminal(broker: Broker) -> None:
    with FakeAgent(broker.address()):
        done = run("ask", "What?", "--text", "\x1b]0;owned\x07[red]x y", "--device", "pi5",
                   "--broker", broker.url)  # fmt: skip
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[red]x" in done.stdout


@pytest.mark.parametrize(("key", "code"), [(b"\x04", 0), (b"\x03", 130)])
def test_the_prompt_is_left_cleanly(broker: Broker, key: bytes, code: int) -> None:
    parent, child = pty.openpty()
    with FakeAgent(broker.address()):
        process = subprocess.Popen(
            [*COMMAND, "ask", "--text", "Oxygen was", "--device", "pi5", "--broker", broker.url],
            stdin=child, stdout=child, stderr=child, start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  only an ioctl
            env=os.environ | {"TERM": "xterm"},
        )  # fmt: skip
        os.close(child)
        try:
            shown = _read_until(parent, b"question> ")
            os.write(parent, b"What?\n")
            shown += _read_until(parent, b"question> ")
            _press_until_it_ends(parent, key, process)
            assert process.returncode == code
        finally:
            process.kill()
            process.wait(10)
            os.close(parent)
    assert b"Oxygen" in shown
    assert b"Traceback" not in shown


def test_ctrl_c_while_waiting_ends_with_130(broker: Broker) -> None:
    def drop(_: Delivery) -> None:
        raise DropError

    with FakeAgent(broker.address(), behaviour=drop) as agent:
        process = subprocess.Popen(
            [*COMMAND, "ask", "What?", "--text", "x", "--device", "pi5", "--broker", broker.url],
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 10
        while not agent.asked and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"Traceback" not in stderr


def test_contexts_are_put_and_deleted(broker: Broker) -> None:
    env = {"EDGEQA_CLIENT_BROKER": broker.url}
    assert run("context", "put", "pi5", "manual", stdin="Thermostat here", env=env).returncode == 0
    with FakeAgent(broker.address()) as agent:
        assert agent.changed.wait(5)
        done = run("ask", "What?", "--context-id", "manual", "--device", "pi5", env=env)
        assert "Thermostat" in done.stdout
        agent.changed.clear()
        assert run("context", "delete", "pi5", "manual", env=env).returncode == 0
        assert agent.changed.wait(5)
        assert agent.contexts == {}
    assert run("context", "put", "pi5", "manual", stdin=" ", env=env).returncode == 2
    assert run("context", "put", "pi5", "a/b", stdin="x", env=env).returncode == 2


def test_version_is_printed() -> None:
    assert run("--version").stdout.strip().count(".") == 2


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _press_until_it_ends(terminal: int, key: bytes, process: subprocess.Popen[bytes]) -> None:
    """Press a key; again if it came between Python showing its prompt and waiting at it."""
    for _ in range(10):
        os.write(terminal, key)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            continue
        return


def _read_until(terminal: int, ending: bytes) -> bytes:
    """Read what a terminal shows until it waits behind these words."""
    shown = b""
    while not shown.endswith(ending):
        assert select.select([terminal], [], [], 10)[0], shown
        shown += os.read(terminal, 4096)
    return shown
