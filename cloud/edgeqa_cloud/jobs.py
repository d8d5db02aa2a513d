"""The thread for what is done beside the intake: gaps, roll-ups, deleting what is old.

Several collectors have one, and one of them works: the one with the lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.database import Database, reason
from edgeqa_cloud.fleet_hours import FleetHours
from edgeqa_cloud.leases import give_up, hold
from edgeqa_cloud.resend import Resend
from edgeqa_cloud.retention import Retention
from edgeqa_cloud.rollups import Rollups

LEASE = "jobs"
# One that ends without a word is followed by another after this.
_LEASE_MS = 120_000
# Time for roll-ups, and for deleting, in one round; then the other jobs have their turn.
_SLICE_S = 20.0
_DELETE_EVERY_S = 600.0
# Between transactions that delete, so that the intake comes in between.
_BREATH_S = 0.02


class Jobs:
    """Use `start` and `stop`."""

    def __init__(
        self,
        *,
        database: Database,
        resend: Resend,
        rollups: Rollups,
        fleet_hours: FleetHours,
        retention: Retention,
        holder: str,
        every_s: float,
        now_ms: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> None:
        self._database = database
        self._resend = resend
        self._rollups = rollups
        self._fleet_hours = fleet_hours
        self._retention = retention
        self._holder = holder
        self._every_s = every_s
        self._now_ms = now_ms
        self._log = log
        self._stop = threading.Event()
        self._delete_at = 0.0
        self._held = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the transaction under way; the next collector takes over at once."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.round()
                self._failed = False
            except DBAPIError as error:
                if not self._failed:  # the writer says it too; once is enough
                    self._log.warning("jobs_wait_for_database", reason=reason(error))
                self._failed = True
            except Exception:  # noqa: BLE001  a thread's edge
                self._log.exception("job_failed")
        try:
            with self._database.writing() as connection:
                give_up(connection, LEASE, holder=self._holder)
        except DBAPIError as error:
            self._log.info("lease_not_given_up", reason=reason(error))

    def round(self) -> None:
        """All jobs once, if the lease is ours."""
        if not self._hold():
            return
        self._resend.look(now_ms=self._now_ms())
        end = time.monotonic() + _SLICE_S
        hours = 0
        while time.monotonic() < end and not self._stop.is_set():
            done = self._rollups.roll_up(now_ms=self._now_ms())
            if not done:
                break
            hours += done
        if hours:
            self._log.info("hours_rolled_up", device_hours=hours)
        while time.monotonic() < end and not self._stop.is_set():
            if not self._fleet_hours.add_up(now_ms=self._now_ms()):
                break
        if time.monotonic() >= self._delete_at and self._hold():
            self._delete(time.monotonic() + _SLICE_S)

    def _hold(self) -> bool:
        with self._database.writing() as connection:
            held = hold(
                connection, LEASE, holder=self._holder, now_ms=self._now_ms(), for_ms=_LEASE_MS
            )
        if held != self._held:
            self._log.info("jobs_taken_over" if held else "jobs_left_to_another")
            self._held = held
        return held

    def _delete(self, end: float) -> None:
        rows = 0
        for gone in self._retention.delete(now_ms=self._now_ms()):
            rows += gone
            if time.monotonic() > end or self._stop.wait(_BREATH_S):
                break
        else:
            self._delete_at = time.monotonic() + _DELETE_EVERY_S
        if rows:
            self._log.info("old_rows_deleted", rows=rows)
