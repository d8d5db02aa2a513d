"""An agent with a certificate that cannot do: one line with what to do, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.enrolled import Bundle, Fleet

from edgeqa.identity.roles import Role

pytestmark = pytest.mark.system

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    made.enrol("pi-9")
    made.revoke("pi-9")
    made.broker.start()
    yield made
    made.broker.stop()


def run_agent(
    fleet: Fleet, bundle: Bundle, state: Path, *, device: str = "pi-1", **settings: object
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGEQA")}
    values: dict[str, object] = {
        "broker": fleet.broker.url,
        "broker_ca_file": bundle.ca,
        "broker_cert_file": bundle.cert,
        "broker_key_file": bundle.key,
        "broker_username": device,
        "broker_connect_timeout_s": 5,
        "device": device,
        "state_dir": state,
        **settings,
    }
    ours = {f"EDGEQA_AGENT_{name.upper()}": str(value) for name, value in values.items()}
    return subprocess.run(
        [sys.executable, "-m", "edgeqa.cli", "agent", "run"],
        env={**clean, **ours}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def line_of(ended: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in ended.stderr
    (line,) = [one for one in ended.stderr.splitlines() if one.startswith("edgeqa:")]
    return line


def damaged(fleet: Fleet) -> Bundle:
    bundle = fleet.enrol("pi-1", folder="damaged")
    bundle.cert.write_bytes(bundle.cert.read_bytes()[:200])
    return bundle


def mixed(fleet: Fleet) -> Bundle:
    bundle = fleet.enrol("pi-1", folder="mixed")
    bundle.key.write_bytes(fleet.enrol("pi-2").key.read_bytes())
    return bundle


def incomplete(fleet: Fleet) -> Bundle:
    bundle = fleet.enrol("pi-1", folder="incomplete")
    bundle.key.unlink()
    return bundle


@pytest.mark.parametrize(
    ("make", "code", "exit_code"),
    [
        pytest.param(
            lambda fleet: fleet.enrol("pi-1", days=1, ago=3 * DAY), "certificate_expired", 3,
            id="expired",
        ),
        pytest.param(
            lambda fleet: fleet.enrol("pi-1", ago=-3 * DAY), "certificate_not_yet_valid", 4,
            id="not yet valid", marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda fleet: fleet.enrol("pi-2"), "certificate_of_another", 3,
            id="another device", marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda fleet: fleet.enrol("pi-1", Role.CLIENT, folder="client"),
            "certificate_of_another", 3, id="another role", marks=pytest.mark.slow,
        ),
        pytest.param(mixed, "certificate_key_mismatch", 3, id="another key"),
        pytest.param(damaged, "certificate_unreadable", 3, id="damaged", marks=pytest.mark.slow),
        pytest.param(incomplete, "certificate_unreadable", 3, id="no key", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_certificate_that_cannot_do_is_refused_before_the_model_loads(
    fleet: Fleet, tmp_path: Path, make: Callable[[Fleet], Bundle], code: str, exit_code: int
) -> None:
    bundle = make(fleet)
    ended = run_agent(fleet, bundle, tmp_path)
    line = line_of(ended)
    assert ended.returncode == exit_code, ended.stderr
    assert f"[{code}]" in line
    assert str(bundle.folder) in line
    assert "model_ready" not in ended.stderr


@pytest.mark.slow
def test_one_that_was_revoked_is_refused_by_the_broker(fleet: Fleet, tmp_path: Path) -> None:
    bundle = fleet.enrol("pi-9", folder="revoked")
    fleet.revoke("pi-9")
    fleet.broker.restart()
    ended = run_agent(fleet, bundle, tmp_path, device="pi-9")
    assert ended.returncode == 4, ended.stderr
    assert "[certificate_refused]" in line_of(ended)
    assert "was revoked" in line_of(ended)
