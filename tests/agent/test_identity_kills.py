"""Keeping a renewed certificate, killed, cut from power or refused at any step, harms nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from support.enrolled import Bundle, Fleet
from support.power_cut import ENDS

from edgeqa_agent.identity import OwnIdentity

SUPPORT = Path(__file__).parents[1]
DAY = timedelta(days=1)


@pytest.fixture
def bundles(fleet: Fleet) -> list[Bundle]:
    """What a device was enrolled with, and two that came after."""
    return [
        fleet.enrol("pi-1", days=90, ago=ago * DAY, folder=f"{ago}-days-ago") for ago in (60, 30, 1)
    ]


@pytest.mark.parametrize(
    "fault",
    [
        "CUT",
        "ENOSPC",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in [*ENDS, "EIO", "EROFS"]
            if one != "CUT"
        ),
    ],
)
def test_a_fault_at_any_step(fault: str, bundles: list[Bundle], tmp_path: Path) -> None:
    pems = []
    for bundle in bundles[1:]:
        pems.append(tmp_path / f"{len(pems)}.pem")
        pems[-1].write_bytes(bundle.key.read_bytes() + bundle.cert.read_bytes())
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "support.kill_identity", fault, out, bundles[0].cert,
         bundles[0].key, *pems],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

    trials = sorted(out.iterdir(), key=lambda path: int(path.name))
    assert len(trials) > 10
    order = [bundle.issued.fingerprint for bundle in bundles]
    for trial in trials:
        said = (trial / "said").read_text().split()
        identity = OwnIdentity(
            bundle=bundles[0].files, folder=trial / "state" / "identity", device="pi-1",
            log=structlog.get_logger(),
        )  # fmt: skip
        used = order.index(identity.check().fingerprint)
        # What it was told is kept is kept; of what it was not told, all or nothing.
        assert len(said) <= used <= len(said) + 1, trial
        left = sorted(path.name for path in (trial / "state").glob("identity/.*"))
        assert left == []
