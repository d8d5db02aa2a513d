"""The rule of presence: for one device, and the same as an SQL expression."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select

from edgeqa_cloud.presence import Presence, judge
from edgeqa_cloud.presence_column import presence_column
from edgeqa_cloud.tables import devices, metadata

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("told", "silent_s", "interval_s", "judged"),
    [
        ("online", 0, 60, Presence.ONLINE),
        ("online", 120, 60, Presence.ONLINE),
        ("online", 120.001, 60, Presence.SILENT),
        ("online", 11, 5, Presence.SILENT),
        ("online", 7000, 3600, Presence.ONLINE),
        # The broker's will is not doubted, however lately something came.
        ("offline", 0, 60, Presence.OFFLINE),
        ("offline", 9999, None, Presence.OFFLINE),
        # No birth was read, but heartbeats came.
        (None, 10, 60, Presence.ONLINE),
        (None, 1000, 60, Presence.SILENT),
        (None, 0, None, Presence.UNKNOWN),
        # A birth, and no heartbeat yet: the usual interval.
        ("online", 119, None, Presence.ONLINE),
        ("online", 121, None, Presence.SILENT),
        # Our clock was set back.
        ("online", -3600, 60, Presence.ONLINE),
    ],
)
def test_presence(
    told: str | None, silent_s: float, interval_s: float | None, judged: Presence
) -> None:
    seen_ms = NOW - round(silent_s * 1000)
    assert judge(told=told, last_seen_ms=seen_ms, interval_s=interval_s, now_ms=NOW) is judged


def test_the_column_judges_alike(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/devices.db")
    metadata.create_all(engine)
    cases = list(product(
        ("online", "offline", None), (-1000, 0, 119_999, 120_000, 120_001, 10**9), (None, 1.5, 60)
    ))  # fmt: skip
    try:
        with engine.begin() as connection:
            connection.execute(
                insert(devices),
                [
                    {"device": str(number), "first_seen_ms": 1, "last_seen_ms": NOW - silent_ms,
                     "presence": told, "heartbeat_interval_s": interval_s}
                    for number, (told, silent_ms, interval_s) in enumerate(cases)
                ],
            )  # fmt: skip
            rows = connection.execute(
                select(devices.c.device, presence_column(NOW).label("judged"))
            ).all()
    finally:
        engine.dispose()
    judged = {int(row.device): row.judged for row in rows}
    for number, (told, silent_ms, interval_s) in enumerate(cases):
        one = judge(told=told, last_seen_ms=NOW - silent_ms, interval_s=interval_s, now_ms=NOW)
        assert judged[number] == one, (told, silent_ms, interval_s)
