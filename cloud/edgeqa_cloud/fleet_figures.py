"""The fleet for all who look at it: its figures, at most `STALE_MS` old, read once for all.

Thread: any.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgeqa_cloud.alarms import AlarmList, read_alarms
from edgeqa_cloud.database import Database
from edgeqa_cloud.fleet_history import FleetHistory, FleetPast
from edgeqa_cloud.fleet_views import FleetSummary
from edgeqa_cloud.summary import fleet_summary

# How old figures of the whole fleet may be: however many look, they are read this often at most.
STALE_MS = 2000


class FleetFigures:
    """Use `summary`, `alarms` and `history`.

    Args:
        database: migrated.
        now_ms: our clock.
    """

    def __init__(self, *, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._past_lock = threading.Lock()
        self._past = FleetPast()
        self._summary: FleetSummary | None = None
        self._alarms: AlarmList | None = None
        self._histories: dict[str, FleetHistory] = {}

    def summary(self) -> FleetSummary:
        """Counts and means.

        Raises:
            DBAPIError: the database is away.
        """
        with self._lock:
            return self._summed()

    def alarms(self) -> AlarmList:
        """What to look at.

        Raises:
            DBAPIError: the database is away.
        """
        with self._lock:
            now_ms = self._now_ms()
            if self._alarms is None or not _fresh(self._alarms.now_ms, now_ms):
                summary = self._summed()
                with self._database.reading() as connection:
                    self._alarms = read_alarms(connection, summary, now_ms=now_ms)
            return self._alarms

    def history(self, since: str, since_ms: Callable[[int], int]) -> FleetHistory:
        """The fleet since then.

        Args:
            since: in words, which are alike where the time is.
            since_ms: the time, from that of now.

        Raises:
            DBAPIError: the database is away.
        """
        with self._past_lock:
            now_ms = self._now_ms()
            known = self._histories.get(since)
            if known is not None and _fresh(known.now_ms, now_ms):
                return known
            with self._database.reading() as connection:
                found = self._past.read(connection, since_ms=since_ms(now_ms), now_ms=now_ms)
            self._histories = {
                name: one for name, one in self._histories.items() if _fresh(one.now_ms, now_ms)
            }
            self._histories[since] = found
            return found

    def _summed(self) -> FleetSummary:
        now_ms = self._now_ms()
        if self._summary is None or not _fresh(self._summary.now_ms, now_ms):
            with self._database.reading() as connection:
                self._summary = fleet_summary(connection, now_ms=now_ms)
        return self._summary


def _fresh(at_ms: int, now_ms: int) -> bool:
    return 0 <= now_ms - at_ms < STALE_MS
