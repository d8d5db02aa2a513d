"""The device evaluates itself: on a schedule, after each swap, and when it is told to.

One evaluation at a time. After a swap the questions are those that the model before was last asked,
so that the two can be compared; otherwise the slices of the set take turns. Devices begin at
different times, each at its own within the first minutes, and then keep their distance.

Thread: one of its own; `order` is called by the commands'.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from edgeqa.data.slices import slice_bounds, slice_id, slices_of
from edgeqa.errors import DataError, EdgeqaError, PayloadError
from edgeqa.messages import ModelRef
from edgeqa.telemetry_messages import Dataset, Evaluation, Slice, Trigger
from edgeqa_agent.evaluation_source import EvaluationSource
from edgeqa_agent.selfeval_memory import Memory
from edgeqa_agent.selfeval_orders import Order, Place, Routine
from edgeqa_agent.selfeval_record import fields_of, result_of
from edgeqa_agent.selfeval_run import Models, Pacing, Plan, Run

Append = Callable[..., Evaluation]

_TICK_S = 0.5
_REST_S = 0.005
_AFTER_BUG_S = 60.0
_END_TIMEOUT_S = 5.0


class SelfEvaluation:
    """Evaluates, again and again.

    Args:
        routine: when, and how much.
        source: of the questions.
        memory: of what was scored.
        models: whom to ask.
        make_pace: of one evaluation.
        append: keeps a record, such as `Outbox.append`.
        answer: tells who gave an order, by its id, what came of it.
        log: for how it went.
        clock: seconds that are never set back.
    """

    def __init__(
        self,
        routine: Routine,
        *,
        source: EvaluationSource,
        memory: Memory,
        models: Models,
        make_pace: Callable[[], Pacing],
        append: Append,
        answer: Callable[[str, Evaluation | EdgeqaError], None],
        log: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routine = routine
        self._source = source
        self._memory = memory
        self._models = models
        self._make_pace = make_pace
        self._append = append
        self._answer = answer
        self._log = log
        self._clock = clock
        self._next_at = clock() + routine.first_s
        self._lock = threading.Lock()
        self._order: Order | None = None
        self._asked_by: str | None = None  # who waits for what comes of the next evaluation
        self._given_up: str | None = None  # digest that could not be evaluated after its swap
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name="evaluation", daemon=True)

    def start(self) -> None:
        """Begin, once a model serves."""
        self._thread.start()

    def stop(self) -> None:
        """End what is under way; it is asked anew after the next start."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(_END_TIMEOUT_S)
        self._source.stop()

    def order(self, questions: int | None, index: int | None, order_id: str | None = None) -> int:
        """Evaluate as soon as may be.

        Args:
            questions: of the slice; None: as usual.
            index: of the slice; None: the one whose turn it is.
            order_id: see `answer`.

        Returns:
            How many questions that is.

        Raises:
            PayloadError: `evaluation_running`, the last order is not done; `unknown_slice`.
            DataError: there are no questions.
        """
        dataset = self._source.questions().dataset
        order = Order(questions or self._routine.questions, index, order_id)
        place = self._place(order, dataset)
        if not place.index < place.of:
            raise PayloadError(
                f"slice {place.index} of {dataset.name}: there are {place.of} of at most "
                f"{order.size} questions",
                code="unknown_slice",
            )
        with self._lock:
            if self._order is not None:
                raise PayloadError(
                    "the evaluation that was ordered before is not done", code="evaluation_running"
                )
            self._order = order
        self._woken.set()
        begin, end = slice_bounds(dataset.questions, place.of, place.index)
        return end - begin

    def _guarded(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick()
            except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
                self._log.exception("evaluation_crashed")
                self._done_with(None)
                self._stopping.wait(_AFTER_BUG_S)
            self._woken.wait(_TICK_S)
            self._woken.clear()

    def tick(self) -> None:
        """Evaluate if something is due."""
        self._source.tick()
        lane = self._models.active
        if lane is None or not self._source.settled:
            return
        trigger = self._due(lane.model)
        if trigger is None:
            return
        if trigger is Trigger.COMMAND and self._order is not None:
            self._asked_by = self._order.id
        try:
            outcome: Evaluation | EdgeqaError = self._evaluate(lane.model, trigger)
        except EdgeqaError as error:
            outcome = error
            self._note_failure(lane.model, error)
        self._done_with(trigger)
        # The evaluation after a swap takes the place of one that was ordered before.
        superseded = isinstance(outcome, EdgeqaError) and outcome.code == "evaluation_superseded"
        if self._asked_by is not None and not superseded:
            asked_by, self._asked_by = self._asked_by, None
            self._answer(asked_by, outcome)

    def _note_failure(self, model: ModelRef, error: EdgeqaError) -> None:
        if isinstance(error, DataError):
            self._source.distrust()
        if error.code not in {"evaluation_superseded", "agent_stopped"}:
            self._given_up = model.digest
        self._log.warning("evaluation_failed", code=error.code, reason=str(error))

    def _due(self, model: ModelRef) -> Trigger | None:
        last = self._memory.last
        scheduled = self._clock() >= self._next_at
        other = last is not None and last.model.digest != model.digest
        if other and (scheduled or self._given_up != model.digest):
            return Trigger.SWAP
        if self._order is not None:
            return Trigger.COMMAND
        return Trigger.SCHEDULE if scheduled else None

    def _done_with(self, trigger: Trigger | None) -> None:
        if trigger is Trigger.COMMAND or trigger is None:
            with self._lock:
                self._order = None
        now = self._clock()
        if now >= self._next_at:
            missed = (now - self._next_at) // self._routine.interval_s
            self._next_at += (missed + 1) * self._routine.interval_s

    def _evaluate(self, model: ModelRef, trigger: Trigger) -> Evaluation:
        plan = self._plan(model, trigger)
        self._log.info(
            "evaluation_begun",
            trigger=trigger,
            model=model.name,
            version=model.version,
            slice=plan.slice.id,
            questions=len(plan.examples),
        )
        try:
            answers = Run(
                plan,
                models=self._models,
                pace=self._make_pace(),
                timeout_s=self._routine.timeout_s,
                stopping=self._stopping,
                clock=self._clock,
            ).answers()
        except EdgeqaError as error:
            # What killed a model is not asked again in the next turn.
            if plan.in_turn and error.code == "model_crashed":
                self._memory.skip(plan.dataset.fingerprint, plan.slice.of)
            raise
        result = result_of(plan, answers.verdicts)
        before = self._memory.before(result)
        fields = fields_of(plan, answers, result, before=before, rest=self._rest)
        self._memory.add(result, in_turn=plan.in_turn)
        self._tell(fields)
        return self._append(Evaluation, **fields)

    def _plan(self, model: ModelRef, trigger: Trigger) -> Plan:
        questions = self._source.questions()
        dataset, last = questions.dataset, self._memory.last
        again = (
            trigger is Trigger.SWAP and last is not None and last.fingerprint == dataset.fingerprint
        )
        order = self._order if trigger is Trigger.COMMAND else None
        place = self._place(order or Order(self._routine.questions, None), dataset)
        if again and last is not None:
            place = Place(last.index, last.of)
        index = place.index % place.of
        examples = questions.read(*slice_bounds(dataset.questions, place.of, index))
        return Plan(
            model=model,
            trigger=trigger,
            dataset=dataset,
            slice=Slice(id=slice_id(examples), index=index, of=place.of),
            examples=examples,
            in_turn=not again and (order is None or order.index is None),
        )

    def _place(self, order: Order, dataset: Dataset) -> Place:
        of = slices_of(dataset.questions, order.size)
        index = self._memory.next_index(dataset.fingerprint, of)
        return Place(index if order.index is None else order.index, of)

    def _rest(self) -> None:
        self._stopping.wait(_REST_S)

    def _tell(self, fields: dict[str, Any]) -> None:
        names = ("trigger", "questions", "exact_match", "f1", "duration_ms", "waited_ms")
        inference = fields["inference"]
        self._log.info(
            "evaluation_done",
            model=fields["model"].name,
            version=fields["model"].version,
            slice=fields["slice"].id,
            p50_ms=inference.p50_ms,
            p95_ms=inference.p95_ms,
            **{name: fields[name] for name in names},
        )
