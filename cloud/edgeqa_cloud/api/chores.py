"""What has to be done beside requests, at the start and every minute: tidying up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from edgeqa_cloud.database import reason

EVERY_S = 60.0


class Chores:
    """Use `start` and `stop`.

    Args:
        chores: each for itself; an error of the database ends none of the others.
    """

    def __init__(
        self,
        *,
        chores: Sequence[Callable[[], None]],
        log: FilteringBoundLogger,
        every_s: float = EVERY_S,
    ) -> None:
        self._chores = chores
        self._log = log
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do them once more, and end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
            self.round()

    def round(self) -> None:
        """All of them once."""
        for chore in self._chores:
            try:
                chore()
            except DBAPIError as error:
                self._log.info("chore_waits_for_database", reason=reason(error))
            except Exception:  # noqa: BLE001  a thread's edge
                self._log.exception("chore_failed")

    def _run(self) -> None:
        self.round()
        while not self._stop.wait(self._every_s):
            self.round()
