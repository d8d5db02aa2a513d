"""The limit section: `benchmarks/limit.py` in a process of its own, because it loads much."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.tasks import Turn
from edgeqa.errors import DataError

_SCRIPT = Path(__file__).parents[1] / "limit.py"
_TIMEOUT_S = 1200.0


@dataclass(frozen=True)
class Limit:
    """What is measured: each package at each length, one turn that itself takes turns."""

    packages: Sequence[Path]
    lengths: Sequence[int]
    threads: Sequence[int]
    rounds: int
    logs: Path

    @contextmanager
    def open(self, _: dict[str, Any]) -> Iterator[Turn]:
        """Nothing to open."""
        yield lambda _: self._measure()

    def _measure(self) -> dict[str, Any]:
        report, log = self.logs / "limit.json", self.logs / "limit.log"
        command = [sys.executable, str(_SCRIPT), *map(str, self.packages)]
        for name, values in (("tokens", self.lengths), ("threads", self.threads)):
            for value in values:
                command += [f"--{name}", str(value)]
        command += ["--rounds", str(self.rounds), "--profile", "--report", str(report)]
        with log.open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
            try:
                code = process.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                raise DataError(f"the limit took longer than {_TIMEOUT_S:.0f} s") from error
            finally:
                process.kill()
                process.wait()
        if code:
            words = (log.read_text(errors="replace").strip().splitlines() or [f"exit {code}"])[-1]
            raise DataError(f"the limit could not be measured: {words}; the whole log is {log}")
        document: dict[str, Any] = json.loads(report.read_text())
        return {name: document[name] for name in ("shares", "profiles")}
