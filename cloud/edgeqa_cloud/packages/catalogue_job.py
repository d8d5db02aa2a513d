"""The thread that reads the repository every so often, and at once where somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, Self

from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from edgeqa.manifest import Manifest
from edgeqa.repository.fetching import FetchError
from edgeqa_cloud.database import Database, reason
from edgeqa_cloud.packages.package_rows import (
    PackageKey,
    add_package,
    key_of,
    known_packages,
    write_failure,
    write_reading,
)
from edgeqa_cloud.packages.signed_list import Offered, SignedList

# A database that is away.
_DATABASE_RETRY_S = 1.0
_READY_LOOK_S = 0.1


class ReadsLists(Protocol):
    """Where lists come from: a `SignedRepository`."""

    def read(self) -> SignedList:
        """See `SignedRepository.read`."""


class CatalogueJob:
    """Use it in a `with` block, or `start` and `stop`.

    Args:
        shown: the repository's address, as `catalogue.repository` tells it.
        every_s: between two readings.
        stop: the same that ends a reading.
        ready: whether the tables are there; nothing is read before.
    """

    def __init__(
        self,
        *,
        database: Database,
        source: ReadsLists,
        shown: str,
        every_s: float,
        now_ms: Callable[[], int],
        stop: threading.Event,
        log: FilteringBoundLogger,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._source = source
        self._shown = shown
        self._every_s = every_s
        self._now_ms = now_ms
        self._stop = stop
        self._log = log
        self._ready = ready
        self._poked = threading.Event()
        self._turn = threading.Condition()
        # Readings that were begun, and that came to an end, whatever end.
        self._begun = 0
        self._ended = 0
        self._said: tuple[str, str] | None = None
        self._waits = False
        self._thread = threading.Thread(target=self._run, name="catalogue", daemon=True)

    def start(self) -> None:
        """Begin: the first reading is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End within a second or so, also where a server does not answer."""
        self._stop.set()
        self._poked.set()
        with self._turn:
            self._turn.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def poke(self) -> None:
        """Read now rather than at the next turn; returns at once."""
        self._poked.set()

    def refresh(self, *, timeout_s: float) -> bool:
        """Read now, and wait; whether a reading that began after this call has ended.

        Thread: any.
        """
        with self._turn:
            wanted = self._begun + 1
            self._poked.set()
            self._turn.wait_for(
                lambda: self._ended >= wanted or self._stop.is_set(), timeout=timeout_s
            )
            return self._ended >= wanted

    def _run(self) -> None:
        while not self._ready() and not self._stop.wait(_READY_LOOK_S):
            pass
        while not self._stop.is_set():
            self._poked.clear()
            with self._turn:
                self._begun += 1
            pause_s = self._every_s
            try:
                self.read()
                self._waits = False
            except DBAPIError as error:
                if not self._waits:
                    self._log.warning("catalogue_waits_for_database", reason=reason(error))
                self._waits = True
                pause_s = min(_DATABASE_RETRY_S, self._every_s)
            except Exception:  # noqa: BLE001  a thread's edge
                self._log.exception("catalogue_failed")
            with self._turn:
                self._ended = self._begun
                self._turn.notify_all()
            self._poked.wait(pause_s)

    def read(self) -> None:
        """Read once and write what came of it.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is in trouble.
        """
        try:
            signed = self._source.read()
            fault = self._take(signed)
        except FetchError as error:
            if error.code == "superseded":
                return
            with self._database.writing() as connection:
                write_failure(
                    connection,
                    repository=self._shown,
                    code=error.code,
                    message=str(error),
                    now_ms=self._now_ms(),
                )
            self._tell(error, "repository_not_read")
            return
        self._tell(fault, "package_not_listed")

    def _take(self, signed: SignedList) -> FetchError | None:
        """Write a list; the first of what is wrong with its packages."""
        with self._database.reading() as connection:
            known = known_packages(connection)
        faults = list(signed.faults)
        there: set[PackageKey] = set()
        for one in signed.offered:
            key = key_of(one.summary)
            if key not in known:
                manifest = self._manifest(signed, one, faults)
                if manifest is None:
                    continue
                with self._database.writing() as connection:
                    add_package(connection, one.summary, manifest, now_ms=self._now_ms())
            there.add(key)
        fault = faults[0] if faults else None
        with self._database.writing() as connection:
            write_reading(
                connection,
                repository=self._shown,
                offered=there,
                expires_ms=signed.expires_ms,
                fault=None if fault is None else (fault.code, str(fault)),
                now_ms=self._now_ms(),
            )
        offered_before = {key for key, offered in known.items() if offered}
        if there != offered_before:
            self._log.info(
                "packages_changed",
                new=[f"{name} {version}" for name, version, _ in sorted(there - offered_before)],
                gone=[f"{name} {version}" for name, version, _ in sorted(offered_before - there)],
            )
        return fault

    def _manifest(
        self, signed: SignedList, one: Offered, faults: list[FetchError]
    ) -> Manifest | None:
        try:
            return signed.manifest(one)
        except FetchError as error:
            # The server is away: the next package would wait as long for nothing.
            if error.code in {"superseded", "repository_unreachable"}:
                raise
            faults.append(error)
            return None

    def _tell(self, error: FetchError | None, event: str) -> None:
        """Log a trouble once, and its end."""
        said = None if error is None else (error.code, str(error))
        if error is not None and said != self._said:
            self._log.warning(event, code=error.code, reason=str(error), repository=self._shown)
        if error is None and self._said is not None:
            self._log.info("repository_read_again", repository=self._shown)
        self._said = said
