"""A peer's process, driven by JSON lines: start, load, ask, stop.

What the peer's libraries print goes to a log file; its last line is part of the error when the
process dies. Every wait has a bound, and no process is left behind.

Thread: one at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from peers.catalogue import HERE, Peer, environments

# A full-size model that OpenVINO or MLServer converts and compiles first, on a Pi.
LOAD_TIMEOUT_S = 900.0
# Of one block of questions.
ASK_TIMEOUT_S = 900.0
STOP_TIMEOUT_S = 15.0
_LAST_WORDS_BYTES = 4096


class PeerError(Exception):
    """A peer did not do what it was asked; one line."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a peer says of itself: `settings` is what its documentation recommends and is in use."""

    name: str
    versions: dict[str, str]
    settings: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers by the questions' ids; `windows` is what the model read, 0 where it is not known."""

    seconds: float
    answers: dict[str, str]
    windows: int


class Worker:
    """One peer's process, for use in a `with` block.

    Attributes:
        peer: whose it is.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        log: Path | None = None,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        ask_timeout_s: float = ASK_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        self.peer = peer
        self._log_path = log
        self._load_timeout_s = load_timeout_s
        self._ask_timeout_s = ask_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Of its process, while it runs: for whoever measures memory."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process.

        Raises:
            PeerError: the peer is not installed, or its interpreter does not start.
        """
        missing = self.peer.missing()
        if missing:
            raise PeerError(f"{self.peer.name}: {missing}")
        # SIM115: `stop` closes it.
        self._log = (
            self._log_path.open("a+b") if self._log_path else tempfile.TemporaryFile()  # noqa: SIM115
        )
        command = [str(self.peer.python()), "-P", "-m", f"peers.workers.{self.peer.module}"]
        try:
            # A group of its own: Ctrl-C is the caller's to handle, and `stop` reaches its children.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise PeerError(f"{self.peer.name}: {command[0]}: {error.strerror}") from error
        self._lines = queue.SimpleQueue()
        self._pump = threading.Thread(
            target=_pump, args=(self._process.stdout, self._lines), daemon=True
        )
        self._pump.start()

    def load(self, model: Path, *, threads: int) -> Loaded:
        """Load a model.

        Args:
            model: package, draft or checkpoint, see `Peer.takes`.
            threads: that it may compute with.

        Raises:
            PeerError: it could not.
        """
        reply = self._call(
            {
                "op": "load",
                "model": str(model.absolute()),
                "threads": threads,
                "options": self.peer.options,
            },
            self._load_timeout_s,
        )
        return Loaded(reply["name"], reply["versions"], reply["settings"])

    def ask(self, questions: Sequence[Mapping[str, str]], *, at_once: int = 1) -> Asked:
        """Have questions answered; the time is the peer's own, without the protocol's.

        Args:
            questions: each with `id`, `question` and `context`.
            at_once: questions that may be open at the same time; 1 where `Peer.several` is false.

        Raises:
            PeerError: it could not.
        """
        chosen = [{k: q[k] for k in ("id", "question", "context")} for q in questions]
        reply = self._call(
            {"op": "ask", "questions": chosen, "at_once": at_once}, self._ask_timeout_s
        )
        asked = Asked(reply["seconds"], reply["answers"], reply["windows"])
        if set(asked.answers) != {q["id"] for q in chosen}:
            raise PeerError(f"{self.peer.name}: did not answer all questions")
        return asked

    def stop(self) -> None:
        """End the process and its children; may be called again."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write('{"op":"quit"}\n')
            process.stdin.close()
            process.wait(self._stop_timeout_s)
        except (OSError, subprocess.TimeoutExpired):
            pass  # it is dead, or does not listen: killed below
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing of it is left
        process.wait()
        if self._pump is not None:
            self._pump.join()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written
                stream.close()
        if self._log is not None:
            self._log.close()

    def _call(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        process = self._process
        if process is None:
            raise PeerError(f"{self.peer.name}: not started")
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=timeout_s)
        except OSError:
            line = None
        except queue.Empty:
            self.stop()
            raise PeerError(
                f"{self.peer.name}: no reply to {request['op']} within {timeout_s:g} s"
            ) from None
        if line is None:
            words = self._last_words()
            self.stop()
            raise PeerError(f"{self.peer.name}: its process ended{words}")
        return self._reply(line)

    def _reply(self, line: str) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError:
            raise PeerError(f"{self.peer.name}: replied something that is not JSON") from None
        if not reply.get("ok", False):
            raise PeerError(f"{self.peer.name}: {reply.get('error', 'no reason given')}")
        return reply

    def _last_words(self) -> str:
        assert self._log is not None
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - _LAST_WORDS_BYTES))
        words = self._log.read().decode(errors="replace").strip()
        return f": {words.splitlines()[-1]}" if words else ""


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        # Models lie on this disk: nothing is to be asked of the network.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(HERE.parent),
        "EDGEQA_PEERS": str(environments()),
    }


def _pump(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
