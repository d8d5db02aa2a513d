"""A collector: its parts wired together, started in order and stopped in reverse.

Start: database, then the retained presence of all devices, then the shared subscription. Stop: take
nothing more, commit what was taken, acknowledge it, disconnect. The broker keeps the session for a
while, so what comes meanwhile waits for the next start or goes to another collector.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from edgeqa.acks import Receipt
from edgeqa.broker import Broker, resolve_broker
from edgeqa.client_ids import private_client_id
from edgeqa.commands import unix_ms
from edgeqa.health import notify_systemd, write_health
from edgeqa.mqtt import Limits
from edgeqa.packets import Delivery, Subscription
from edgeqa.signals import stop_signals
from edgeqa.topics import client_answers
from edgeqa_cloud.database import Database
from edgeqa_cloud.health import Health
from edgeqa_cloud.inbox import Inbox
from edgeqa_cloud.intake_link import IntakeLink
from edgeqa_cloud.job_wiring import wire_jobs
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.quarantine import Keep
from edgeqa_cloud.reading import judge_ahead
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.share_name import share_name
from edgeqa_cloud.storage import Storage
from edgeqa_cloud.subscriptions import arrival_of, read_retained, shared_subscriptions
from edgeqa_cloud.watching import Unwatched, Watcher
from edgeqa_cloud.writer import Writer

_TICK_S = 0.25
_HEALTH_EVERY_S = 5.0
# What waits here while the database is away and connections break: each one's open messages.
_CONNECTIONS_WAITING = 4
# Batches that are judged before the writer asks for them.
_BATCHES_AHEAD = 2
# About those of a full batch of 1000 messages.
_GC_NEW_OBJECTS = 50_000


@dataclass(frozen=True, slots=True)
class State:
    """How a collector is, for whoever asks; before it has begun there are no parts."""

    link: IntakeLink | None
    writer: Writer | None

    @property
    def threads_alive(self) -> bool:
        """All of them run."""
        return bool(self.writer and self.writer.alive and self.link and self.link.alive)

    @property
    def broker_connected(self) -> bool:
        """Connected and subscribed."""
        return bool(self.link and self.link.connected)

    @property
    def database_ok(self) -> bool:
        """The last transaction succeeded."""
        return bool(self.writer and self.writer.database_ok)

    @property
    def stored(self) -> int:
        """Messages, since the start."""
        return self.writer.committed.total() if self.writer else 0


class Collector:
    """One collector. `run` blocks until a signal or `request_stop`."""

    def __init__(
        self,
        *,
        settings: CloudSettings,
        log: FilteringBoundLogger,
        watcher: Watcher | None = None,
        link_type: type[IntakeLink] = IntakeLink,
    ) -> None:
        self._settings = settings
        self._link_type = link_type
        self._log = log
        self._watcher = watcher or Unwatched()
        self._stop = threading.Event()
        self._on_reply: Callable[[Delivery], None] = lambda _: None
        self.state = State(link=None, writer=None)
        self.inbox = Inbox(
            most=_CONNECTIONS_WAITING * settings.receive_maximum,
            enough=max(1, min(settings.batch_messages, settings.receive_maximum // 2)),
            wait_s=settings.batch_wait_ms / 1000,
        )

    def request_stop(self) -> None:
        """Make `run` stop gracefully and return; safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Collect until asked to stop.

        Raises:
            ConfigError: a setting is wrong, or the database is of a later version.
            DatabaseError: the database cannot be reached or written at the start.
            BrokerError: no connection to the broker in time.
        """
        with stop_signals(self.request_stop), ExitStack() as stack:
            broker = resolve_broker(self._settings)
            database = stack.enter_context(Database.of(self._settings))
            migrated = migrate(database)
            self._log.info(
                "database_ready",
                database=database.shown,
                revision=migrated.after,
                migrated_from=migrated.before if migrated.before != migrated.after else None,
            )
            self._collect(broker, database)
        self._log.info("collector_stopped")

    def _collect(self, broker: Broker, database: Database) -> None:
        _spare_the_garbage_collector()
        settings = self._settings
        link = self._link(broker, share_name(database, settings.group))
        writer = Writer(
            inbox=self.inbox,
            storage=Storage(
                database=database,
                keep=Keep(settings.quarantine_max_rows, settings.quarantine_payload_bytes),
            ),
            acknowledge=link.acknowledge_all,
            watcher=self._watcher,
            batch_messages=settings.batch_messages,
            max_payload_bytes=settings.max_payload_bytes,
            log=self._log,
        )
        side = wire_jobs(
            settings=settings,
            database=database,
            publish=link.publish,
            watcher=self._watcher,
            log=self._log,
        )
        self._on_reply = side.resend.reply
        self.state = State(link=link, writer=writer)
        writer.start()
        try:
            link.start()
            self._log.info("collector_online", name=settings.name, group=settings.group)
            retained = threading.Thread(
                target=self._read_retained, args=(broker,), name="retained", daemon=True
            )
            retained.start()
            if settings.jobs:
                side.jobs.start()
            self._serve()
            retained.join()
        finally:
            if settings.jobs:
                side.jobs.stop()
            writer.stop()
            link.stop()
            self._report_health("stopped")

    def _link(self, broker: Broker, share: str) -> IntakeLink:
        settings = self._settings
        inbox, most_bytes = self.inbox, settings.max_payload_bytes
        ahead = _BATCHES_AHEAD * settings.batch_messages

        def take(topic: str, payload: bytes, receipt: Receipt | None) -> None:
            arrival = arrival_of(
                topic, payload, most_bytes=most_bytes, now_ms=unix_ms(), receipt=receipt
            )
            # Judged here, the next batch is ready when the writer comes back from the disk. Not
            # more than that: a judged message takes ten times the memory of its bytes.
            if len(inbox) < ahead:
                arrival.judgement = judge_ahead(arrival, most_bytes=most_bytes)
            inbox.put(arrival)

        def reply(delivery: Delivery) -> None:
            self._on_reply(delivery)
            link.acknowledge(delivery)

        def take_slowly(delivery: Delivery) -> None:
            # What was published at QoS 0: welcome, and not promised to arrive.
            take(delivery.topic, delivery.payload, delivery.receipt)

        link = self._link_type(
            broker=broker,
            client_id=private_client_id(settings.name, settings),
            subscriptions=[
                *shared_subscriptions(share, take_slowly),
                Subscription(client_answers(settings.name, user=settings.broker_username), reply),
            ],
            on_arrival=take,
            log=self._log,
            limits=Limits(
                session_expiry_s=settings.session_expiry_s,
                receive_maximum=settings.receive_maximum,
            ),
        )
        return link

    def _read_retained(self, broker: Broker) -> None:
        try:
            count = read_retained(
                broker=broker,
                inbox=self.inbox,
                most_bytes=self._settings.max_payload_bytes,
                now_ms=unix_ms,
                log=self._log,
                stop=self._stop,
            )
            self._log.info("presence_read", messages=count)
        except Exception:  # noqa: BLE001  a thread's edge
            # Births and heartbeats tell the same, later.
            self._log.exception("presence_not_read")

    def _serve(self) -> None:
        notify_systemd("READY=1")
        next_health = 0.0
        while not self._stop.wait(_TICK_S) and self.state.threads_alive:
            self._watcher.broker(connected=self.state.broker_connected)
            if time.monotonic() >= next_health:
                next_health = time.monotonic() + _HEALTH_EVERY_S
                self._report_health("collecting")
                notify_systemd("WATCHDOG=1")
        notify_systemd("STOPPING=1")

    def _report_health(self, state: str) -> None:
        if self._settings.health_file is None:
            return
        health = Health(
            time=time.time(),
            state=state,
            threads_alive=self.state.threads_alive,
            broker_connected=self.state.broker_connected,
            database_ok=self.state.database_ok,
            waiting=len(self.inbox),
            stored=self.state.stored,
        )
        try:
            write_health(self._settings.health_file, health)
        except OSError as error:
            self._log.error("health_file_failed", reason=str(error))


def _spare_the_garbage_collector() -> None:
    """Each batch makes tens of thousands of objects that live a moment and hold no cycles.

    With Python's usual thresholds they are walked through again and again while they live.
    """
    gc.freeze()
    gc.set_threshold(_GC_NEW_OBJECTS, 20, 50)
