"""Keeping the broker's files fresh while the cloud runs: revocations that others recorded, expired
passwords, lists, and the certificates of the broker and of this process before they expire.

Every process with an authority keeps its own folder; several that share one take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from edgeqa.errors import EdgeqaError
from edgeqa.tls import CertificateFiles
from edgeqa_cloud.database import Database, reason
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.own_certificate import renew_own
from edgeqa_cloud.enrolment.refreshing import refresh
from edgeqa_cloud.enrolment_settings import EnrolmentSettings

# Until the database has its tables.
_LOOK_AGAIN_S = 0.2


class BrokerFilesKeeper:
    """Use `start` and `stop`.

    Args:
        ready: whether the database has its tables.
        own: what this process shows the broker.
        now: by our clock.
    """

    def __init__(
        self,
        *,
        settings: EnrolmentSettings,
        authority: Authority,
        database: Database,
        ready: Callable[[], bool],
        log: FilteringBoundLogger,
        own: CertificateFiles | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._authority = authority
        self._database = database
        self._ready = ready
        self._log = log
        self._own = own
        self._now = now
        self._stop = threading.Event()
        self._said: str | None = None
        self._well = False
        self._thread = threading.Thread(target=self._run, name="broker-files", daemon=True)

    @property
    def well(self) -> bool:
        """Whether the last round did all that was to be done."""
        return self._well

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def round(self) -> None:
        """Bring the files up to date once."""
        trouble: str | None
        try:
            trouble = self._refresh()
            self._renew_own()
        except DBAPIError as error:
            trouble = f"database: {reason(error)}"
        except EdgeqaError as error:
            trouble = str(error)
        self._well = trouble is None
        if trouble is not None and trouble != self._said:  # once is enough
            self._log.warning("broker_files_wait", reason=trouble)
        self._said = trouble

    def _refresh(self) -> str | None:
        written = refresh(self._settings, self._authority, self._database, now=self._now())
        if written.changed:
            self._log.info("broker_files_written", files=written.changed)
        return "; ".join(written.waiting) or None

    def _renew_own(self) -> None:
        if self._own is None:
            return
        days = self._settings.service_certificate_days
        issued = renew_own(
            self._own, self._authority, self._database, valid_days=days, now=self._now()
        )
        if issued is not None:
            self._log.info("own_certificate_renewed", until=issued.expires.isoformat())

    def _run(self) -> None:
        while not self._ready():
            if self._stop.wait(_LOOK_AGAIN_S):
                return
        while True:
            try:
                self.round()
            except Exception:  # noqa: BLE001  a thread's edge
                self._well = False
                self._log.exception("broker_files_failed")
            if self._stop.wait(self._settings.authority_every_s):
                return
