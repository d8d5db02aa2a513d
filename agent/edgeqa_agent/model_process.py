"""The main process's side of a model process: start it, give it jobs, learn of its end.

Thread: `on_done` and `on_exit` are called in the reader thread of the process; `submit` and
`stop` from any thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import ModelLoadError
from edgeqa.installation import InstallationError, machine
from edgeqa.manifest import Package
from edgeqa_agent.cache_settings import CONTEXT_CACHE_MB
from edgeqa_agent.jobs import Done, Failed, Job, Ready, decode_report, encode

# A report holds at most MAX_TOP_K spans for each question of a batch; this is far above it, and
# keeps a model process gone mad from filling the main process.
MAX_REPORT_BYTES = 64 << 20
_END_TIMEOUT_S = 2.0


class ModelProcess:
    """One model, loaded in a process of its own. Not restarted: a new one is made instead."""

    def __init__(
        self,
        *,
        package: Package,
        threads: int,
        context_cache_mb: int = CONTEXT_CACHE_MB,
        on_done: Callable[[Done], None],
        on_exit: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self.package = package
        self._threads = threads
        self._context_bytes = context_cache_mb << 20
        self._on_done = on_done
        self._on_exit = on_exit
        self._log = log
        self._started = threading.Event()
        self._first_report: Ready | Failed | None = None
        self._stopping = False
        self._send_lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 before `start`."""
        return self._process.pid if self._process else 0

    def start(self, *, timeout_s: float) -> Ready:
        """Start the process and wait until its model is loaded and proven.

        Raises:
            EdgeqaError: as the model process reported it, with its code and exit code.
            InstallationError: a library of the model does not load on this machine.
            ModelLoadError: it ended without a word (`model_crashed`) or took longer than
                `timeout_s` (`model_start_timeout`).
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "edgeqa_agent.model_entry"),
                    *(str(theirs.fileno()), self.package.plain().encode()),
                    *(str(self._threads), str(self._context_bytes)),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        self._connection = Connection(ours.detach())
        threading.Thread(target=self._receive, name="model-reader", daemon=True).start()
        reported = self._started.wait(timeout_s)
        report = self._first_report
        if isinstance(report, Ready):
            return report
        self.stop()
        if isinstance(report, Failed):
            raise report.error()
        name = f"{self.package.manifest.name} {self.package.manifest.version}"
        if reported and self._process.returncode == -signal.SIGILL:
            raise InstallationError(
                f"the process that loads {name} met an instruction that this processor "
                f"({machine()}) does not have: install what was made for this machine"
            )
        if reported:
            raise ModelLoadError(
                f"the process that loads {name} ended with {self._process.returncode}",
                code="model_crashed",
            )
        raise ModelLoadError(
            f"{name} is not loaded after {timeout_s} s", code="model_start_timeout"
        )

    def submit(self, job: Job) -> None:
        """Hand over a job; after the process has died this does nothing, `on_exit` tells."""
        if self._connection is None:
            return
        with self._send_lock, contextlib.suppress(OSError):
            self._connection.send_bytes(encode(job))

    def kill(self) -> None:
        """End a process that hangs; `on_exit` follows."""
        if self._process:
            self._process.kill()

    def stop(self) -> None:
        """Close the socket, which ends the process after its current inference; then insist."""
        self._stopping = True
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self) -> None:
        connection = self._connection
        process = self._process
        if connection is None or process is None:
            return
        try:
            while True:
                self._take(connection.recv_bytes(MAX_REPORT_BYTES))
        except (EOFError, OSError):
            pass  # the process ended, or sent more than a report may be
        except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
            self._log.exception("model_report_failed", pid=process.pid)
        process.kill()
        code = process.wait()
        connection.close()
        proven = isinstance(self._first_report, Ready)
        self._started.set()
        if proven and not self._stopping:
            self._log.error("model_process_died", pid=process.pid, returncode=code)
            self._on_exit()

    def _take(self, raw: bytes) -> None:
        report = decode_report(raw)
        if isinstance(report, Done):
            self._on_done(report)
        else:
            self._first_report = report
            self._started.set()


def _environment() -> dict[str, str]:
    """This process's environment, less what could make a library of the model go to a network.

    malloc gets one arena: each thread's own would keep as much as that thread ever needed.
    Source: mallopt(3).
    """
    fixed = {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        # Since 1.32 onnxruntime reports to Microsoft unless told not to. Source: its Privacy.md.
        "ORT_DISABLE_TELEMETRY": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    return {**os.environ, **fixed}
