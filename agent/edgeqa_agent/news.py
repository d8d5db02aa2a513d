"""What is told of the models of this device, from what the store and the dispatcher know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeqa.messages import Fault, ModelRef
from edgeqa.model_messages import Desired, ModelState
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.lane import Lane
from edgeqa_agent.reports import Reports, Subject
from edgeqa_agent.shadow import Trial
from edgeqa_agent.store import Store
from edgeqa_agent.store_state import WishRecord


class News:
    """Reports with the wishes and the scores that belong to them.

    Args:
        store: knows the wish that was followed last.
        dispatcher: knows what serves.
        reports: publishes.
        announce: publishes the device's presence, which names its model.
    """

    def __init__(
        self,
        *,
        store: Store,
        dispatcher: Dispatcher,
        reports: Reports,
        announce: Callable[[], None],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._reports = reports
        self.presence = announce

    def active(self, model: ModelRef, **details: Any) -> None:
        """A model serves."""
        active = self._dispatcher.active
        checks = active.ready.scores if active and active.ready else None
        self._reports.tell(ModelState.ACTIVE, self._subject(model), checks=checks, **details)

    def served(self, **details: Any) -> None:
        """Whatever serves goes on serving."""
        model = self._dispatcher.model
        if model is not None:  # else the supervisor is about to replace it, and tells
            self.active(model, **details)

    def left(self, model: ModelRef, reason: Fault | None) -> None:
        """A model was given up for another; without a reason, it was found damaged."""
        reason = reason or Fault(code="digest_mismatch", message="it is not whole any more")
        self._reports.tell(ModelState.ROLLED_BACK, self._subject(model), reason=reason)

    def replaced(self) -> None:
        """Another process serves than before, perhaps of another model."""
        self.presence()
        self._reports.renew()

    def shadow(self, trial: Trial, lane: Lane, subject: Subject) -> None:
        """How a candidate does in the shadow."""
        checks = lane.ready.scores if lane.ready else None
        self._reports.tell(ModelState.TESTING, subject, checks=checks, shadow=trial.scores)

    def again(self, record: WishRecord, wish: Desired) -> None:
        """A wish that was followed before has come again, as after each connect."""
        if record.state is ModelState.ACTIVE:
            return
        reason = Fault(code=record.code or "swap_failed", message=record.message or "")
        self._reports.tell(record.state, Subject.of(wish, record.digest), reason=reason)

    def _subject(self, model: ModelRef) -> Subject:
        """A model with the wish that it fulfilled."""
        wish = self._store.state.wish
        if wish is None or wish.digest != model.digest:
            return Subject(model.name, model.version, model.digest)
        return Subject(model.name, model.version, model.digest, wish.id, wish.rollout)
