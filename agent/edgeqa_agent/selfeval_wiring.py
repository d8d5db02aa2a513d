"""Self-evaluation, made of the agent's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import BrokerError, EdgeqaError, PayloadError
from edgeqa.messages import Wire
from edgeqa.model_messages import CommandReply, Verb
from edgeqa.outbox import Outbox
from edgeqa.packets import Outgoing
from edgeqa.telemetry_messages import EvaluateCommand, Evaluation, RecordKind
from edgeqa.topics import DeviceTopics
from edgeqa_agent.commands import Handler
from edgeqa_agent.evaluation_settings import OFF
from edgeqa_agent.evaluation_source import EvaluationSource, Wanted
from edgeqa_agent.probes import temperature_celsius
from edgeqa_agent.quiet import Quiet
from edgeqa_agent.reports import fault
from edgeqa_agent.selfeval import SelfEvaluation
from edgeqa_agent.selfeval_memory import Memory
from edgeqa_agent.selfeval_orders import Routine
from edgeqa_agent.selfeval_pace import Budget, Pace
from edgeqa_agent.selfeval_run import Models
from edgeqa_agent.settings import AgentSettings

_MIB = 1 << 20


class Evaluating:
    """Self-evaluation as the agent sees it, also where it is switched off.

    Args:
        settings: of the agent.
        models: whom to ask.
        outbox: keeps records.
        publish: sends to who waits for the result of a command, past the outbox.
        log: for how evaluations go.
        celsius: temperature of the processor.

    Attributes:
        quiet: must see the questions of others.
        handler: of `commands/evaluate`.
    """

    def __init__(
        self,
        settings: AgentSettings,
        models: Models,
        outbox: Outbox,
        *,
        publish: Callable[[Outgoing], None],
        log: FilteringBoundLogger,
        celsius: Callable[[], float | None] = temperature_celsius,
    ) -> None:
        self.quiet = Quiet()
        self.handler = Handler(EvaluateCommand, self._order)
        budget = Budget(
            idle_s=settings.evaluation_idle_s,
            cpu_share=settings.evaluation_cpu_share,
            max_celsius=settings.evaluation_max_temperature_celsius,
        )
        self._device = settings.device
        self._boot_id = outbox.boot_id
        self._publish = publish
        self._log = log
        self._source = _source(settings, log)
        self._evaluation: SelfEvaluation | None = None
        if settings.evaluation_data != OFF:
            self._evaluation = SelfEvaluation(
                _routine(settings),
                source=self._source,
                memory=Memory(settings.resolved_state_dir(), log),
                models=models,
                make_pace=lambda: Pace(budget, quiet_s=lambda: self.quiet.seconds, celsius=celsius),
                append=outbox.append,
                answer=self._answer,
                log=log,
            )

    @property
    def pids(self) -> list[int]:
        """Of processes that it has at work, beside the model's."""
        return self._source.pids

    def start(self) -> None:
        """Begin, once a model serves."""
        if self._evaluation is not None:
            self._evaluation.start()

    def stop(self) -> None:
        """End what is under way."""
        if self._evaluation is not None:
            self._evaluation.stop()

    def _order(self, command: EvaluateCommand) -> dict[str, Any]:
        if self._evaluation is None:
            raise PayloadError("self-evaluation is switched off", code="evaluation_off")
        queued = self._evaluation.order(command.questions, command.slice, command.id)
        return {"queued": queued}

    def _answer(self, order_id: str, outcome: Evaluation | EdgeqaError) -> None:
        """Tell who waits for it, also where the outbox is stuck for want of a collector.

        The record goes to the cloud by the outbox too, which knows a repeat by its `seq`.
        """
        topics = DeviceTopics(self._device)
        message: Wire = (
            outcome if isinstance(outcome, Evaluation) else self._failure(order_id, outcome)
        )
        topic = (
            topics.record(RecordKind.EVALUATION)
            if isinstance(outcome, Evaluation)
            else topics.answers
        )
        try:
            self._publish(Outgoing(topic, message.to_json(), correlation=order_id.encode()))
        except BrokerError as error:
            self._log.warning("evaluation_result_lost", code=error.code)

    def _failure(self, order_id: str, error: EdgeqaError) -> CommandReply:
        return CommandReply(
            status="error",
            verb=Verb.EVALUATE,
            device=self._device,
            boot_id=self._boot_id,
            id=order_id,
            error=fault(error),
        )


def _routine(settings: AgentSettings) -> Routine:
    return Routine(
        device=settings.device,
        questions=settings.evaluation_questions,
        interval_s=settings.evaluation_interval_s,
        timeout_s=settings.evaluation_timeout_s,
    )


def _source(settings: AgentSettings, log: FilteringBoundLogger) -> EvaluationSource:
    wanted = Wanted(
        source=settings.evaluation_data,
        split=settings.evaluation_split,
        max_bytes=settings.evaluation_data_max_mb * _MIB,
        timeout_s=settings.evaluation_data_timeout_s,
    )
    return EvaluationSource(wanted, folder=settings.resolved_state_dir(), log=log)
