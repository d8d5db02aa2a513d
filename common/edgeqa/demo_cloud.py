"""The part of the demo that shows the cloud side: what the devices measured of themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edgeqa.errors import EdgeqaError
from edgeqa.model_messages import ModelState, Verb
from edgeqa.operator import Operator, new_wish_id
from edgeqa.processes import edgeqa_process, free_port
from edgeqa.show import clean

_TIMEOUT_S = 90.0
# So that the demo need not wait for a minute's record and an hour's evaluation.
EAGER = {
    "EDGEQA_AGENT_TELEMETRY_INTERVAL_S": "2",
    "EDGEQA_AGENT_EVALUATION_IDLE_S": "0.2",
    "EDGEQA_AGENT_EVALUATION_CPU_SHARE": "1",
}


@dataclass(frozen=True, slots=True)
class Cloud:
    """The cloud side's database, and where its page, its token and its metrics are."""

    database: str
    page: str
    metrics: str
    token_file: Path

    def fleet(self, *arguments: str) -> str:
        """What `edgeqa fleet` prints.

        Raises:
            EdgeqaError: `demo_failed`, with what it said.
        """
        return self.command("fleet", *arguments)

    def command(self, *arguments: str) -> str:
        """What a command of `edgeqa` prints that asks this cloud.

        Raises:
            EdgeqaError: `demo_failed`, with what it said.
        """
        command = [sys.executable, "-m", "edgeqa.cli", *arguments]
        settings = {
            "EDGEQA_CLOUD_DATABASE": self.database,
            "EDGEQA_API_URL": self.page,
            "EDGEQA_API_TOKEN_FILE": str(self.token_file),
        }
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **settings}
        )
        if ran.returncode:
            what = " ".join(["edgeqa", *arguments])
            raise EdgeqaError(f"{what}: {ran.stderr.strip()}", code="demo_failed")
        return ran.stdout

    def get(self, path: str) -> dict[str, Any]:
        """What the API answers.

        Raises:
            EdgeqaError: `demo_failed`, with its status.
        """
        request = urllib.request.Request(  # noqa: S310  our own address
            f"{self.page}/api/v1{path}",
            headers={"Authorization": f"Bearer {self.token_file.read_text().strip()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  the same
                answer: dict[str, Any] = json.load(response)
        except OSError as error:
            raise EdgeqaError(f"GET {path}: {error}", code="demo_failed") from error
        return answer

    def add_user(self, name: str, password: str) -> None:
        """Somebody who may do everything on the page.

        Raises:
            EdgeqaError: `demo_failed`.
        """
        file = self.token_file.with_name("password")
        file.write_text(password + "\n")
        file.chmod(0o600)
        self.command("cloud", "user", "add", name, "--role", "admin", "--password-file", str(file))

    def evaluations(self, device: str) -> list[dict[str, Any]]:
        """Of a device, newest first; none of one that the cloud does not know yet."""
        try:
            return list(self.get(f"/devices/{device}/evaluations")["evaluations"])
        except EdgeqaError as error:
            if (
                isinstance(error.__cause__, HTTPError)
                and error.__cause__.code == HTTPStatus.NOT_FOUND
            ):
                return []
            raise


@contextmanager
def cloud_side(folder: Path, url: str, repository: dict[str, str]) -> Iterator[Cloud]:
    """The cloud side inside the block."""
    cloud = Cloud(
        database=f"sqlite:///{folder / 'cloud.db'}",
        page=f"http://127.0.0.1:{free_port()}",
        metrics=f"http://127.0.0.1:{free_port()}",
        token_file=folder / "operator-token",
    )
    settings = {
        **repository,
        "EDGEQA_CLOUD_LISTEN": cloud.page.removeprefix("http://"),
        "EDGEQA_CLOUD_TOKEN_FILE": str(cloud.token_file),
        "EDGEQA_CLOUD_REPOSITORY_FOLDER": str(folder / "cloud-repository"),
        "EDGEQA_CLOUD_BROKER": url,
        "EDGEQA_CLOUD_DATABASE": cloud.database,
        "EDGEQA_CLOUD_METRICS_LISTEN": cloud.metrics.removeprefix("http://"),
        "EDGEQA_CLOUD_METRICS_CACHE_S": "1",
        "EDGEQA_CLOUD_LOG_FORMAT": "json",
    }
    with edgeqa_process(["cloud", "run"], folder / "cloud.log", settings, ready="collector_online"):
        yield cloud


def measure(
    cloud: Cloud, url: str, devices: tuple[str, str], other: tuple[str, str], console: Console
) -> Iterator[tuple[str, bool]]:
    """Evaluate both devices, change the model of one, and see what the cloud knows.

    Args:
        cloud: that collects.
        url: of the broker.
        devices: the second gets the other model.
        other: name and version of it.
        console: for the evaluations as a table.
    """
    name, version = other
    with Operator(broker=url) as operator:
        for device in devices:
            operator.command(device, Verb.EVALUATE)
        _until(lambda: all(cloud.evaluations(device) for device in devices), "evaluations")
        changed, wish = devices[1], new_wish_id()
        with operator.follow(changed, wish, _TIMEOUT_S) as following:
            operator.wish(changed, name, version, wish_id=wish)
            active = [report.state for report in following][-1:] == [ModelState.ACTIVE]
        yield f"{changed} runs {name} {version}", active
        _until(lambda: _of_model(cloud, changed, name) is not None, "evaluation after the swap")
    console.print(_table({device: cloud.evaluations(device) for device in devices}))
    console.print(cloud.fleet().rstrip(), highlight=False, markup=False)
    after = _of_model(cloud, changed, name) or {}
    paired = after.get("paired") is not None
    yield "both devices evaluated themselves, the new model on the same questions", paired
    telemetry = json.loads(cloud.fleet("list", "--json"))["devices"]
    told = all(one["p95_ms"] is not None for one in telemetry if one["device"] in devices)
    yield "the cloud knows presence, model, scores and latency of each", told
    page = f"{cloud.metrics}/metrics/fleet"
    with urllib.request.urlopen(page, timeout=10) as response:  # noqa: S310  our own address
        metrics = response.read().decode()
    yield f"metrics for Prometheus on {cloud.metrics}/metrics", "edgeqa_fleet_devices" in metrics


def _table(evaluations: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("evaluated", "model", "EM", "F1 (95 %)", "ms", "F1 vs. before"):
        table.add_column(column, no_wrap=True)
    for device, known in evaluations.items():
        for one in reversed(known):
            table.add_row(
                device,
                clean(one["model"]["name"]),
                f"{one['exact_match']:.1f}",
                f"{one['f1']:.1f} ({one['f1_interval'][0]:.0f}-{one['f1_interval'][1]:.0f})",
                f"{one['total_ms'] / one['questions']:.1f}",
                _difference(one.get("paired")),
            )
    return table


def _difference(paired: dict[str, Any] | None) -> str:
    if paired is None:
        return ""
    low, high = paired["f1_interval"]
    return f"{paired['f1_difference']:+.1f} ({low:+.0f} to {high:+.0f})"


def _of_model(cloud: Cloud, device: str, name: str) -> dict[str, Any] | None:
    found = (one for one in cloud.evaluations(device) if one["model"]["name"] == name)
    return next(found, None)


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise EdgeqaError(f"no {what} in {_TIMEOUT_S:g} s", code="demo_failed")
        time.sleep(0.2)
