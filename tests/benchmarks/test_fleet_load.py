"""What the benchmark of a simulated fleet concludes, and a small run of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet_load import Plan, run, verdicts
from rows.check import Verdict
from rows.samples import Sample, quantile, slope_mib_per_minute

from edgeqa_cloud.simulate.ledger import Entry

MIB = 1 << 20


def plan(folder: Path, **changes: object) -> Plan:
    values = {
        "devices": 100,
        "minutes": 10.0,
        "telemetry_s": 60.0,
        "heartbeat_s": 60.0,
        "connect_rate": 500.0,
        "sample_s": 5.0,
        "database": f"sqlite:///{folder}/cloud.db",
        "folder": folder,
        "extra": [],
    }
    return Plan(**{**values, **changes})  # type: ignore[arg-type]  # by name


def samples(*, grows: float = 0.0, backlog: int = 0, connected: int = 100) -> list[Sample]:
    """Ten minutes, a sample each; memory that fills up at first, and grows so many MiB a minute."""
    return [
        Sample(
            time_ms=0,
            seconds=60.0 * minute,
            connected=connected,
            written=1000 * minute,
            unsent=0,
            stored=1000 * minute - backlog,
            resident={"collector": round((100 + min(minute, 4) * 10 + grows * minute) * MIB)},
            cpu={"collector": 0.1},
        )
        for minute in range(1, 11)
    ]


def bad(found: dict[str, tuple[bool, str]]) -> set[str]:
    return {what for what, (good, _) in found.items() if not good}


def test_a_good_run_is_good(tmp_path: Path) -> None:
    assert bad(verdicts(plan(tmp_path), samples(), Verdict())) == set()


def test_each_fault_of_a_run_is_seen(tmp_path: Path) -> None:
    here = plan(tmp_path)
    assert bad(verdicts(here, samples(grows=4), Verdict())) == {"memory of the collector"}
    assert bad(verdicts(here, samples(backlog=51), Verdict())) == {"backlog at the end"}
    assert bad(verdicts(here, samples(connected=99), Verdict())) == {"all devices connected"}
    lost = Verdict(missing=[Entry("d", "b", 1, "0")])
    assert bad(verdicts(here, samples(), lost)) == {"every record once"}


def test_what_fills_up_at_first_is_no_growth() -> None:
    assert slope_mib_per_minute(samples(), "collector") == pytest.approx(0, abs=0.01)
    assert slope_mib_per_minute(samples(grows=2), "collector") == pytest.approx(2, abs=0.01)
    assert slope_mib_per_minute(samples()[:1], "collector") == 0


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(100)), 0.95) == 95
    assert quantile([7], 1.0) == 7


@pytest.mark.slow
@pytest.mark.system
def test_a_small_fleet_is_stored_whole(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    small = plan(tmp_path, minutes=0.3, telemetry_s=2.0, heartbeat_s=2.0, sample_s=2.0)
    found, verdict, lags = run(small, output)
    assert verdict.exact, list(verdict.lines())
    assert verdict.expected > 500
    assert len(lags) > 0
    assert found[-1].connected == 100
