"""The retained report on a device's model: built and published here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import BrokerError, EdgeqaError
from edgeqa.messages import Fault, ModelRef
from edgeqa.model_messages import Desired, ModelState, Reported
from edgeqa.packets import Outgoing

# A report a percent, and no more of them than this while the same file is fetched.
_LEAST_S = 0.5


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is about.

    Attributes:
        wish: that led to it; None for the model of the start, and for a rollback.
    """

    name: str
    version: str
    digest: str | None = None
    wish: str | None = None
    rollout: str | None = None

    @classmethod
    def of(cls, wish: Desired, digest: str | None = None) -> Subject:
        """What a wish is about."""
        return cls(wish.name, wish.version, digest or wish.digest, wish.id, wish.rollout)

    @classmethod
    def model(cls, model: ModelRef) -> Subject:
        """A model that nobody wished for."""
        return cls(model.name, model.version, model.digest)


class Reports:
    """Publishes reports.

    Args:
        device: whose.
        boot_id: of the agent.
        models: gives the model that answers now, and the one that a rollback would go to.
        publish: takes a message.
        log: for what cannot be published.
        told: hears of each report; not of those that are published again.
    """

    def __init__(
        self,
        *,
        device: str,
        boot_id: str,
        topic: str,
        models: Callable[[], tuple[ModelRef | None, ModelRef | None]],
        publish: Callable[[Outgoing], None],
        log: FilteringBoundLogger,
        told: Callable[[Reported], None] = lambda _: None,
    ) -> None:
        self._device = device
        self._boot_id = boot_id
        self._topic = topic
        self._models = models
        self._publish = publish
        self._log = log
        self._told = told
        self._lock = threading.Lock()
        self._last: Reported | None = None
        self._fetch_told_at = 0.0

    def tell(self, state: ModelState, subject: Subject, **details: Any) -> None:
        """Publish a state; `details` are fields of `Reported`."""
        active, previous = self._models()
        report = Reported(
            device=self._device,
            boot_id=self._boot_id,
            time_ms=int(time.time() * 1000),
            state=state,
            name=subject.name,
            version=subject.version,
            digest=subject.digest,
            wish=subject.wish,
            rollout=subject.rollout,
            active=active,
            previous=previous,
            **details,
        )
        self._log.info(
            "model_state",
            state=str(state),
            model=subject.name,
            version=subject.version,
            code=report.reason.code if report.reason else None,
            reason=report.reason.message if report.reason else None,
        )
        self._send(report)
        self._told(report)

    def progress(self, subject: Subject, there: int, total: int) -> None:
        """Publish how much is fetched, unless the last time was just now."""
        percent = 100 * there // total if total else 0
        now = time.monotonic()
        with self._lock:
            last = self._last
            same = last is not None and (last.state, last.progress) == ("fetching", percent)
            if same or now - self._fetch_told_at < _LEAST_S:
                return
            self._fetch_told_at = now
        self.tell(ModelState.FETCHING, subject, progress=percent)

    def renew(self) -> None:
        """Publish the last report again: the broker may have lost it, or the models changed."""
        with self._lock:
            last = self._last
        if last is not None:
            active, previous = self._models()
            self._send(last.model_copy(update={"active": active, "previous": previous}))

    def _send(self, report: Reported) -> None:
        with self._lock:
            self._last = report
        try:
            self._publish(Outgoing(self._topic, report.to_json(), retain=True))
        except BrokerError as error:
            self._log.error("report_not_queued", code=error.code)


def fault(error: EdgeqaError) -> Fault:
    """An error as a report's reason."""
    return Fault(code=error.code, message=str(error))
