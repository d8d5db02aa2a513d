"""The agent as a whole: its parts wired together, started in order and stopped in reverse.

Start: model first, then broker, so that `online` means able to answer. Stop: unsubscribe, drain
with a deadline, say `offline`, disconnect, end the model process.
"""

from __future__ import annotations

import platform
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from types import FrameType

from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker, resolve_broker
from edgeqa.manifest import Package, open_package
from edgeqa.messages import Status
from edgeqa.mqtt import Limits, MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics, group_ask_filter
from edgeqa_agent.contexts import Contexts
from edgeqa_agent.dispatcher import Dispatcher, ModelGivenUpError
from edgeqa_agent.hardware import describe_hardware
from edgeqa_agent.health import Health, notify_systemd, write_health
from edgeqa_agent.intake import Intake, QuestionLimits
from edgeqa_agent.jobs import Ready
from edgeqa_agent.ledger import Ledger
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.replies import Replies
from edgeqa_agent.router import Router
from edgeqa_agent.settings import AgentSettings

# Unacknowledged questions that the broker may open with us beyond those we queue: room to refuse
# many at once with `busy` instead of leaving them, unheard, in the broker's queue.
_REFUSAL_ROOM = 1000
_TICK_S = 0.25
_HEALTH_EVERY_S = 5.0
_FLUSH_S = 2.0


class Agent:
    """One agent. `run` blocks until a signal or `request_stop`."""

    def __init__(self, *, settings: AgentSettings, log: FilteringBoundLogger) -> None:
        self._settings = settings
        self._log = log
        self._stop = threading.Event()
        self._boot_id = uuid.uuid4().hex
        self._topics = DeviceTopics(settings.device)

    def request_stop(self) -> None:
        """Make `run` stop gracefully and return; safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Serve until asked to stop.

        Raises:
            ConfigError: a file that a setting names is not usable.
            ModelLoadError, VerificationError, GateError: the package cannot be served.
            BrokerError: no connection to the broker in time.
            ModelGivenUpError: the model served and then died too often.
        """
        with _signals(self.request_stop):
            broker = resolve_broker(
                self._settings
            )  # a wrong setting ends us before the model loads
            package = open_package(self._settings.resolved_package())
            dispatcher = self._dispatcher(package)
            try:
                ready = dispatcher.start()
                parts = self._wire(broker, package, dispatcher, ready)
                parts.link.start()
                self._serve(parts)
            finally:
                dispatcher.stop()
        self._log.info("agent_stopped", **parts.router.counts)
        if dispatcher.gave_up:
            raise ModelGivenUpError("the model process keeps dying; see the log")

    def _dispatcher(self, package: Package) -> Dispatcher:
        settings = self._settings
        return Dispatcher(
            make_process=lambda on_done, on_exit: ModelProcess(
                package=package,
                threads=settings.resolved_threads(),
                on_done=on_done,
                on_exit=on_exit,
                log=self._log,
            ),
            threads=settings.resolved_threads(),
            queue_size=settings.queue_size,
            inference_timeout_s=settings.inference_timeout_s,
            start_timeout_s=settings.model_start_timeout_s,
            log=self._log,
        )

    def _wire(
        self, broker: Broker, package: Package, dispatcher: Dispatcher, ready: Ready
    ) -> _Wired:
        settings, topics = self._settings, self._topics

        # The link needs the router's handlers and the router needs the link: the handlers look
        # the router up when the first message comes, and none comes before `start`.
        def on_context(delivery: Delivery) -> None:
            router.on_context(delivery)

        def on_ask(delivery: Delivery) -> None:
            router.on_ask(delivery)

        def birth() -> Outgoing:
            router.connected()
            return self._status(
                status="online",
                agent_version=version("edgeqa"),
                python_version=platform.python_version(),
                onnxruntime_version=ready.onnxruntime_version,
                model=package.ref,
                groups=settings.groups,
                hardware=describe_hardware(),
            )

        open_questions = settings.queue_size + _REFUSAL_ROOM
        link = MqttLink(
            broker=broker,
            client_id=f"edgeqa-agent-{settings.device}",
            subscriptions=[
                Subscription(topics.all_contexts, on_context),
                Subscription(topics.ask, on_ask),
                *(Subscription(group_ask_filter(group), on_ask) for group in settings.groups),
            ],
            log=self._log,
            birth=birth,
            will=self._status(status="offline", reason="lost"),
            limits=Limits(
                session_expiry_s=settings.session_expiry_s,
                receive_maximum=open_questions,
                max_queued=2 * open_questions,
            ),
        )
        contexts = Contexts(
            max_texts=settings.max_contexts,
            max_bytes=settings.max_contexts_bytes,
            max_chars=settings.max_context_chars,
        )
        router = Router(
            link=link,
            topics=topics,
            intake=Intake(
                limits=QuestionLimits(
                    max_batch=settings.max_batch,
                    max_payload_bytes=settings.max_payload_bytes,
                    max_context_chars=settings.max_context_chars,
                ),
                stored_text=contexts.get,
            ),
            contexts=contexts,
            ledger=Ledger(capacity=settings.remembered_answers, keep_s=settings.remembered_s),
            replies=Replies(device=settings.device, model=package.ref),
            offer=dispatcher.offer,
            log=self._log,
        )
        return _Wired(link, router, dispatcher)

    def _serve(self, parts: _Wired) -> None:
        self._log.info("agent_online", device=self._settings.device, boot_id=self._boot_id)
        notify_systemd("READY=1")
        next_health = 0.0
        while not self._stop.wait(_TICK_S) and parts.able:
            parts.router.tick()
            if time.monotonic() >= next_health:
                next_health = time.monotonic() + _HEALTH_EVERY_S
                self._report_health("serving", parts)
                notify_systemd("WATCHDOG=1")
        notify_systemd("STOPPING=1")
        self._shut_down(parts)

    def _shut_down(self, parts: _Wired) -> None:
        self._log.info("agent_stopping", asked=self._stop.is_set(), depth=parts.dispatcher.depth)
        parts.link.unsubscribe()
        if parts.able:
            if not parts.dispatcher.drain(timeout_s=self._settings.drain_timeout_s):
                self._log.warning("drain_incomplete", depth=parts.dispatcher.depth)
            parts.link.wait_delivered(timeout_s=_FLUSH_S)
        parts.router.stop_taking()
        reason = "stopped" if self._stop.is_set() else "failed"
        parts.link.stop(self._status(status="offline", reason=reason))
        self._report_health("stopped", parts)

    def _status(self, **fields: object) -> Outgoing:
        status = Status.model_validate(
            {"device": self._settings.device, "boot_id": self._boot_id, **fields}
        )
        return Outgoing(self._topics.status, status.to_json(), retain=True)

    def _report_health(self, state: str, parts: _Wired) -> None:
        if self._settings.health_file is None:
            return
        health = Health(
            time=time.time(),
            state=state,
            model_ready=parts.dispatcher.model_pid != 0 and not parts.dispatcher.gave_up,
            network_alive=parts.link.alive,
            connected=parts.link.connected,
            queue_depth=parts.dispatcher.depth,
            answered=parts.router.counts["answered"],
        )
        try:
            write_health(self._settings.health_file, health)
        except OSError as error:
            self._log.error("health_file_failed", reason=str(error))


@dataclass(frozen=True, slots=True)
class _Wired:
    """The parts that run."""

    link: MqttLink
    router: Router
    dispatcher: Dispatcher

    @property
    def able(self) -> bool:
        """Whether questions can still be answered, now or after a reconnect."""
        return self.link.alive and not self.dispatcher.gave_up


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT ask to stop inside the block; afterwards they do what they did."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
