"""Waiting instead of ending, where a supervisor would restart what cannot succeed.

systemd can be told which exit codes not to restart after; Docker cannot, and would start a
container with a wrong setting again and again. With `EDGEQA_HOLD=1`, which the images set, a role
that ends with such a code says why and then waits, idle and unhealthy, until it is stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeqa.errors import ExitCode
from edgeqa.files import write_atomic
from edgeqa.health import HELD
from edgeqa.signals import stop_signals

VARIABLE = "EDGEQA_HOLD"
# A restart does not mend these.
FOR_PEOPLE = frozenset({ExitCode.USAGE, ExitCode.CONFIG, ExitCode.REFUSED, ExitCode.GATE})
# What a supervisor runs; whoever types another command wants his prompt back.
_ROLES = frozenset({("agent", "run"), ("cloud", "run"), ("cloud", "collect")})
_ON = frozenset({"1", "true", "yes", "on"})
_HEALTH_FLAG = "--health-file"


def holds(words: Sequence[str], code: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the command waits.

    Args:
        words: of the command line, after `edgeqa`.
        code: that it would end with.
        environ: of the process.
    """
    return (
        environ.get(VARIABLE, "").strip().lower() in _ON
        and code in FOR_PEOPLE
        and tuple(words[:2]) in _ROLES
        and not {"--help", "--check-config"} & set(words)
    )


def hold(words: Sequence[str], reason: str, environ: Mapping[str, str] = os.environ) -> None:
    """Wait for SIGTERM or Ctrl-C; the health file says why."""
    stopped = threading.Event()
    with stop_signals(stopped.set):
        path = _health_file(words, environ)
        if path is not None:
            state = {"time": time.time(), "state": HELD, "reason": reason}
            with contextlib.suppress(OSError):  # perhaps what is wrong is this very setting
                write_atomic(path, json.dumps(state).encode())
        stopped.wait()


def _health_file(words: Sequence[str], environ: Mapping[str, str]) -> Path | None:
    for place, word in enumerate(words):
        if word == _HEALTH_FLAG and place + 1 < len(words):
            return Path(words[place + 1])
        if word.startswith(f"{_HEALTH_FLAG}="):
            return Path(word.partition("=")[2])
    named = environ.get(f"EDGEQA_{words[0].upper()}_HEALTH_FILE") if words else None
    return Path(named) if named else None
