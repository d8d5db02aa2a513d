"""A real Prometheus on a port of its own, with the project's configuration and other targets."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edgeqa.processes import free_port

CONFIG = Path(__file__).parents[2] / "docker" / "prometheus" / "prometheus.yml"
_START_TIMEOUT_S = 30.0


@dataclass
class Prometheus:
    """One server.

    Attributes:
        folder: for its configuration, log and database.
        targets: job to `HOST:PORT`, instead of those of the configuration.
    """

    folder: Path
    targets: Mapping[str, Sequence[str]]
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Prometheus:
        """Start and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()), encoding="utf-8")
        with (self.folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        self.wait_for(self._ready, "ready")
        return self

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now.

        Raises:
            ValueError: Prometheus does not take it.
        """
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def get(self, path: str, **parameters: str) -> Any:
        """What its HTTP API says."""
        text = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/api/v1/{path}?{text}", timeout=10
            ) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{parameters}: {error.read()!r}") from error

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        """Ask again and again."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not happened():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "prometheus.log").read_text(errors="replace")
                raise RuntimeError(f"prometheus: never {what}\n{log}")
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except (OSError, urllib.error.HTTPError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return False

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": list(self.targets[job["job_name"]])}]
        return config
