"""From a wish to a verified package on this device: found here, or fetched."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Protocol

from edgeqa.errors import ConfigError, EdgeqaError, VerificationError
from edgeqa.manifest import Package
from edgeqa.model_messages import Desired, ModelState
from edgeqa_agent.orders import Orders
from edgeqa_agent.reports import Reports, Subject, fault
from edgeqa_agent.store import Store

# The repository may come back, and its signatures may be renewed: not the package's fault.
WAITED_OUT = frozenset({"repository_unreachable", "repository_expired"})
RETRY_FIRST_S = 5.0
RETRY_MOST_S = 300.0


class Source(Protocol):
    """Where packages come from that are not on the device."""

    def __call__(
        self, wish: Desired, into: Path, progress: Callable[[int, int], None], stop: Event
    ) -> None:
        """Leave the files of a package in `into`; see `fetch.Repository.fetch`."""


class Obtainer:
    """Gets packages.

    Args:
        store: of this device.
        source: None where the device has no repository.
        orders: a newer one ends a fetch.
        reports: of how it goes.
    """

    def __init__(
        self, *, store: Store, source: Source | None, orders: Orders, reports: Reports
    ) -> None:
        self._store = store
        self._source = source
        self._orders = orders
        self._reports = reports

    def obtain(self, wish: Desired) -> Package:
        """The package of a wish. A repository that does not answer is waited for.

        Raises:
            SupersededError: a newer order came.
            EdgeqaError: it cannot be had, or is not what it should be.
        """
        package = self._store.find(wish.name, wish.version, wish.digest)
        if package is not None:
            return package
        subject = Subject.of(wish)
        if self._source is None:
            if self._store.find(wish.name, wish.version, None) is not None:
                raise VerificationError(
                    f"the {wish.name} {wish.version} of this device has another digest, and no "
                    "repository is set",
                    code="wrong_digest",
                )
            raise ConfigError(
                f"{wish.name} {wish.version} is not on this device, and no repository is set",
                code="repository_not_set",
            )
        self._reports.tell(ModelState.FETCHING, subject, progress=0)
        staging = self._store.staging(wish.name, wish.version)
        self._fetch(self._source, wish, subject, staging)
        self._reports.tell(ModelState.VERIFYING, subject)
        return self._store.admit(staging)

    def _fetch(self, source: Source, wish: Desired, subject: Subject, staging: Path) -> None:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                source(
                    wish,
                    staging,
                    lambda there, total: self._reports.progress(subject, there, total),
                    self._orders.newer,
                )
            except EdgeqaError as error:
                self._orders.check()
                if error.code not in WAITED_OUT:
                    raise
                self._reports.tell(ModelState.FETCHING, subject, reason=fault(error))
                self._orders.pause(wait_s * random.uniform(0.8, 1.2))  # noqa: S311  only jitter
                wait_s = min(2 * wait_s, RETRY_MOST_S)
            else:
                return
