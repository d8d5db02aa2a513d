"""`edgeqa rollout` at a terminal and in a pipe, as processes: asking, watching, Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from support.rollout_api import ID, audit, entry, plan, view
from support.scripted_api import Answer, Asked, ScriptedApi, scripted_api

WAIT_S = 60.0


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with scripted_api() as one:
        yield one


def command(api: ScriptedApi, folder: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    token = folder / "token"
    token.write_text("edgeqa_token")
    environment = os.environ | {
        "EDGEQA_API_URL": api.url, "EDGEQA_API_TOKEN_FILE": str(token), "TERM": "xterm-256color",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    return [sys.executable, "-m", "edgeqa.cli", "rollout", *arguments], environment


@dataclass
class Terminal:
    """A command at a terminal of 30 lines and 100 columns."""

    line: list[str]
    environment: dict[str, str]
    shown: str = ""
    _process: subprocess.Popen[bytes] = field(init=False)
    _ours: int = field(init=False)

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._process = subprocess.Popen(
            self.line, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs,
            close_fds=True,
        )  # fmt: skip
        os.close(theirs)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)

    def until(self, words: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while words not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self._read(1):
                break
        assert words in self.shown, self.shown

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self, *, interrupted: bool = False) -> int:
        """What it ended with.

        Args:
            interrupted: press Ctrl-C again where nothing happens, as a person would: a signal that
                comes just before Python waits for input is seen only after it.
        """
        before = self.shown
        while self._read(5.0):
            # Not after its last words: Python that is ending dies of it.
            if interrupted and self.shown == before:
                self.interrupt()
            before = self.shown
        return self._process.wait(WAIT_S)

    def _read(self, timeout_s: float) -> bool:
        """Whether the other end is open."""
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return True
        try:
            self.shown += os.read(self._ours, 65_536).decode(errors="replace")
        except OSError:
            return False
        return True


def test_ctrl_c_ends_a_watch_in_a_pipe_and_says_how_to_go_on(
    api: ScriptedApi, tmp_path: Path
) -> None:
    api.answer = lambda asked: Answer(body=audit() if "/audit" in asked.path else view())
    line, environment = command(api, tmp_path, "watch", ID)
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "running, stage 1/2" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (130, "")
    assert out == f"{ID} goes on; watch it again: edgeqa rollout watch {ID}\n"


def test_a_watch_at_a_terminal_is_a_screen_that_gives_the_last_picture_back(
    api: ScriptedApi, tmp_path: Path
) -> None:
    state = "running"

    def answer(asked: Asked) -> Answer:
        if "/audit" in asked.path:
            return Answer(body=audit(entry(1, "stage_begun", "stage 1 begins")))
        return Answer(body=view(state=state))

    api.answer = answer
    api.events = []
    with Terminal(*command(api, tmp_path, "watch", ID)) as terminal:
        terminal.until("stage 1 begins")
        assert "\x1b[?1049h" in terminal.shown
        assert "\x1b[36m  running" in terminal.shown
        deadline = time.monotonic() + WAIT_S
        while not api.listeners and time.monotonic() < deadline:
            time.sleep(0.01)
        state = "completed"
        api.events.append(f'event: rollout\ndata: {{"rollout": "{ID}"}}\n\n')
        api.more_events.set()
        assert terminal.end() == 0
    screen, _, after = terminal.shown.rpartition("\x1b[?1049l")
    assert "running" in screen
    assert "completed" in after
    assert "stage 1 begins" in after
    assert "Traceback" not in terminal.shown


def test_ctrl_c_at_a_terminal(api: ScriptedApi, tmp_path: Path) -> None:
    api.answer = lambda asked: Answer(body=audit() if "/audit" in asked.path else view())
    with Terminal(*command(api, tmp_path, "watch", ID)) as terminal:
        terminal.until("soaking")
        terminal.interrupt()
        assert terminal.end() == 130
    after = terminal.shown.rpartition("\x1b[?1049l")[2]
    assert f"edgeqa rollout watch {ID}" in after
    assert "Traceback" not in terminal.shown


@pytest.mark.parametrize(("said", "code", "ordered"), [("n\n", 130, 0), ("y\n", 0, 1)])
def test_undo_asks_first(
    api: ScriptedApi, tmp_path: Path, said: str, code: int, ordered: int
) -> None:
    order = {"order": 1, "action": "undo", "actor": "token:ci", "note": "", "ordered_ms": 1,
             "state": "obeyed", "code": None, "message": None}  # fmt: skip
    api.answer = lambda asked: Answer(body=order if asked.method == "POST" else view())
    with Terminal(*command(api, tmp_path, "undo", ID)) as terminal:
        terminal.until("Undo it? Its devices go back to the model they had before. [y/N]")
        assert ID in terminal.shown
        terminal.type(said)
        assert terminal.end() == code
    assert len([one for one in api.asked if one.method == "POST"]) == ordered
    assert ("nothing was done" in terminal.shown) == (not ordered)


def test_create_shows_the_plan_and_asks(api: ScriptedApi, tmp_path: Path) -> None:
    api.answer = lambda asked: Answer(body=plan() if asked.path.endswith("/plan") else view())
    with Terminal(*command(api, tmp_path, "create", "m@1.0.0", "--all")) as terminal:
        terminal.until("Begin? [y/N]")
        assert "warning: " in terminal.shown
        terminal.interrupt()
        assert terminal.end(interrupted=True) == 130
    assert [one.path for one in api.asked] == ["/api/v1/rollouts/plan"]
