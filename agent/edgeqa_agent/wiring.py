"""The parts of an agent, made of its settings and tied together."""

from __future__ import annotations

from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker
from edgeqa.errors import PayloadError
from edgeqa.manifest import Package
from edgeqa.messages import parse_payload
from edgeqa.model_messages import Desired, Verb
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.repository.clock import Clock
from edgeqa.topics import DeviceTopics, group_ask_filter
from edgeqa_agent import memory
from edgeqa_agent.commands import Commands
from edgeqa_agent.companion import Beside, Companion, companion_folder
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.home_assistant import HomeAssistant
from edgeqa_agent.home_assistant_wiring import home_assistant
from edgeqa_agent.identity import OwnIdentity
from edgeqa_agent.loader import Loader
from edgeqa_agent.measuring import telemetry_loop
from edgeqa_agent.meter import Meter
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.obtain import Obtainer
from edgeqa_agent.orders import Orders, Withdrawal
from edgeqa_agent.outbound import Outbound, outbox_of, resend_handler
from edgeqa_agent.presence import Presence
from edgeqa_agent.question_wiring import agent_link, question_router, through_cache
from edgeqa_agent.renewal_wiring import Renewing
from edgeqa_agent.reports import Reports
from edgeqa_agent.router import Router
from edgeqa_agent.selfeval_wiring import Evaluating
from edgeqa_agent.settings import AgentSettings
from edgeqa_agent.source import repository_source
from edgeqa_agent.store import Store
from edgeqa_agent.supervisor import Supervisor
from edgeqa_agent.swap_history import SwapHistory
from edgeqa_agent.swap_parts import Parts
from edgeqa_agent.swapper import Swapper
from edgeqa_agent.telemetry import TelemetryLoop

_MAX_WISH_BYTES = 64 << 10
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Wired:
    """The parts that run."""

    link: MqttLink
    presence: Presence
    router: Router
    dispatcher: Dispatcher
    supervisor: Supervisor
    companion: Companion
    swapper: Swapper
    commands: Commands
    outbound: Outbound
    evaluating: Evaluating
    telemetry: TelemetryLoop
    home: HomeAssistant
    renewing: Renewing

    @property
    def able(self) -> bool:
        """Whether questions can still be answered, now or after a reconnect."""
        return self.link.alive and not self.supervisor.gave_up


class Wiring:
    """Makes the parts of one agent."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        broker: Broker,
        identity: OwnIdentity | None,
        store: Store,
        boot_id: str,
        log: FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._identity = identity
        self._store = store
        self._boot_id = boot_id
        self._log = log
        self._topics = DeviceTopics(settings.device)
        self._clock = Clock(settings.resolved_state_dir())

    def wire(self) -> Wired:
        """All parts, none of them started.

        Raises:
            ConfigError: a file that a setting names is not usable.
        """
        settings, log = self._settings, self._log
        threads = settings.resolved_threads()
        dispatcher = Dispatcher(
            threads=threads,
            queue_size=settings.queue_size,
            log=log,
            limits=settings.choice_limits(),
        )
        loader = Loader(
            dispatcher=dispatcher,
            make_process=lambda package, *, on_done, on_exit: ModelProcess(
                package=package,
                threads=threads,
                context_cache_mb=settings.context_cache_mb,
                on_done=on_done,
                on_exit=on_exit,
                log=log,
            ),
            start_timeout_s=settings.model_start_timeout_s,
            log=log,
        )
        presence = Presence(settings, boot_id=self._boot_id, dispatcher=dispatcher)
        orders = Orders()
        outbox = outbox_of(settings, boot_id=self._boot_id, log=log)

        # The link needs its handlers, and those need the link: a handler looks its part up when
        # the first message comes, and none comes before `start`.
        def publish(message: Outgoing) -> None:
            if link.connected:
                link.publish(message)

        evaluating = Evaluating(settings, dispatcher, outbox, publish=publish, log=log)
        home = home_assistant(
            settings,
            dispatcher,
            outbox,
            link=lambda: link,
            answered=lambda: router.counts["answered"],
            log=log,
        )
        renewing = Renewing(
            settings, self._identity, broker=self._broker, link=lambda: link, log=log
        )
        reports = Reports(
            device=settings.device,
            boot_id=self._boot_id,
            topic=self._topics.reported,
            models=lambda: (dispatcher.model, self._store.previous_ref()),
            publish=publish,
            log=log,
            told=SwapHistory(outbox=outbox, log=log).told,
        )
        swapper = Swapper(
            Parts(
                orders=orders,
                store=self._store,
                obtain=Obtainer(
                    store=self._store,
                    source=repository_source(settings, self._clock, log),
                    orders=orders,
                    reports=reports,
                ).obtain,
                loader=loader,
                dispatcher=dispatcher,
                reports=reports,
                announce=lambda: publish(presence.online()),
                first=settings.base_packages()[0],
                admit=self._admit,
                gates=settings.gates(),
                log=log,
            )
        )
        commands = Commands(
            topics=self._topics,
            boot_id=self._boot_id,
            store=self._store,
            orders=orders,
            model=lambda: dispatcher.model,
            now_ms=lambda: int(self._clock.now().timestamp() * 1000),
            publish=publish,
            log=log,
            handlers={Verb.RESEND: resend_handler(outbox), Verb.EVALUATE: evaluating.handler},
        )

        def ready() -> None:
            reports.renew()
            outbound.connected()
            home.connected()

        def birth() -> Outgoing:
            router.connected()
            return presence.online()

        def on_context(delivery: Delivery) -> None:
            router.on_context(delivery)

        def on_ask(delivery: Delivery) -> None:
            home.asked(delivery)
            router.on_ask(delivery)

        def on_desired(delivery: Delivery) -> None:
            self._take_wish(delivery, swapper)
            link.acknowledge(delivery)

        def on_command(delivery: Delivery) -> None:
            commands.on_command(delivery)
            link.acknowledge(delivery)

        link = agent_link(
            settings,
            self._broker,
            birth=birth,
            on_ready=ready,
            will=presence.offline("lost"),
            subscriptions=[
                Subscription(self._topics.all_contexts, on_context),
                Subscription(self._topics.desired, on_desired),
                Subscription(self._topics.all_commands, on_command),
                Subscription(self._topics.ask, on_ask),
                *(Subscription(group_ask_filter(group), on_ask) for group in settings.groups),
                *home.subscriptions,
                *renewing.subscriptions,
            ],
            log=log,
        )
        beat_s = settings.heartbeat_interval_s
        outbound = Outbound(outbox=outbox, link=link, beat_s=beat_s, log=log)
        meter = Meter()
        offer = through_cache(
            settings, evaluating.quiet.through(dispatcher.offer), expect=dispatcher.expect
        )
        router = question_router(settings, home.through(link), offer, meter, log)
        supervisor = Supervisor(
            dispatcher=dispatcher,
            loader=loader,
            fallbacks=swapper,
            inference_timeout_s=settings.inference_timeout_s,
            log=log,
        )
        companion = Companion(
            companion_folder(settings),
            Beside(
                dispatcher=dispatcher,
                loader=loader,
                store=self._store,
                admit=self._admit,
                gates=settings.gates(),
                log=log,
            ),
        )
        telemetry = telemetry_loop(
            settings, dispatcher, evaluating, meter, link, outbox=outbox, log=log
        )
        return Wired(
            link=link,
            presence=presence,
            router=router,
            dispatcher=dispatcher,
            supervisor=supervisor,
            companion=companion,
            swapper=swapper,
            commands=commands,
            outbound=outbound,
            evaluating=evaluating,
            telemetry=telemetry,
            home=home,
            renewing=renewing,
        )

    def _take_wish(self, delivery: Delivery, swapper: Swapper) -> None:
        if not delivery.payload:
            swapper.orders.put(Withdrawal())
            return
        try:
            swapper.orders.put(parse_payload(Desired, delivery.payload, most_bytes=_MAX_WISH_BYTES))
        except PayloadError as error:
            self._log.warning("wish_refused", code=error.code, reason=str(error))
            swapper.refuse(error)

    def _admit(self, package: Package) -> None:
        memory.admit(
            package,
            threads=self._settings.resolved_threads(),
            reserve_bytes=self._settings.memory_reserve_mb * _MIB,
        )
