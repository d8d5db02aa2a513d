"""Renewals over MQTT: a connection of its own that hears requests and publishes the replies.

Shared with the other processes of the same group, so that one of them answers, under a name that
nobody else can guess (`share_name`): who knew it could have requests vanish. It has no session at
the broker: while nobody is here, a device that asks is told so at once, and asks again later.

Thread: one of its own, `renewals`, signs; requests come in the network thread and wait in a queue
with a bound.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker, resolve_broker
from edgeqa.client_ids import private_client_id
from edgeqa.errors import BrokerError
from edgeqa.identity.roles import Role
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.topics import DeviceTopics, Kind, of_all_devices, shared
from edgeqa_cloud.database import Database, DatabaseError
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.renewals import Renewals
from edgeqa_cloud.settings import CloudSettings
from edgeqa_cloud.share_name import share_name

# A fleet of 100,000 that renews every 60 days asks a little more than once a minute. More than wait
# here are turned away, and come again.
_MOST_WAITING = 1000
# The device waits no longer.
_REPLY_EXPIRY_S = 60
_CONNECT_TIMEOUT_S = 5.0
_RETRY_S = 2.0
_LOOK_S = 0.2
_FLUSH_S = 1.0


class RenewalsLink:
    """Use `start` and `stop`.

    Args:
        renewals: answers.
        broker: where requests come from.
        client_id: of its own at the broker.
        share: gives the name of those that divide the requests; asked for once `ready`.
        ready: whether the database has its tables.
        log: for what happens.
    """

    def __init__(
        self,
        *,
        renewals: Renewals,
        broker: Broker,
        client_id: str,
        share: Callable[[], str],
        ready: Callable[[], bool],
        log: FilteringBoundLogger,
    ) -> None:
        self._renewals = renewals
        self._broker = replace(
            broker, connect_timeout_s=min(_CONNECT_TIMEOUT_S, broker.connect_timeout_s)
        )
        self._client_id = client_id
        self._share = share
        self._ready = ready
        self._log = log
        self._waiting: queue.Queue[Delivery] = queue.Queue(_MOST_WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewals", daemon=True)

    def start(self) -> None:
        """Begin; the broker may come later."""
        self._thread.start()

    def stop(self) -> None:
        """End after the request under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        link = self._connected()
        if link is None:
            return
        self._log.info("renewals_online")
        while not self._stop.is_set():
            try:
                delivery = self._waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            try:
                self._answer(link, delivery)
            except Exception:  # noqa: BLE001  a thread's edge
                self._log.exception("renewal_failed")
        link.wait_delivered(timeout_s=_FLUSH_S)
        link.stop()

    def _connected(self) -> MqttLink | None:
        """A link that stands; None if this is to end before."""
        said: str | None = None
        while not self._stop.is_set():
            if not self._ready():
                self._stop.wait(_LOOK_S)
                continue
            try:
                link = self._link()
                link.start()
            except (BrokerError, DatabaseError) as error:
                if str(error) != said:
                    said = str(error)
                    self._log.warning("renewals_wait", code=error.code, reason=said)
                self._stop.wait(_RETRY_S)
            else:
                return link
        return None

    def _link(self) -> MqttLink:
        def on_request(delivery: Delivery) -> None:
            link.acknowledge(delivery)
            try:
                self._waiting.put_nowait(delivery)
            except queue.Full:
                self._log.warning("certificate_request_turned_away", topic=delivery.topic)

        requests = shared(self._share(), of_all_devices(Kind.CERTIFICATE_REQUEST))
        link = MqttLink(
            broker=self._broker,
            client_id=self._client_id,
            subscriptions=[Subscription(requests, on_request)],
            log=self._log,
        )
        return link

    def _answer(self, link: MqttLink, delivery: Delivery) -> None:
        answered = self._renewals.answer(delivery.topic, delivery.payload)
        if answered is None:
            return
        device, reply = answered
        topic = DeviceTopics(device).certificate_issued
        try:
            link.publish(Outgoing(topic, reply.to_json(), expiry_s=_REPLY_EXPIRY_S))
        except BrokerError as error:
            self._log.warning("certificate_reply_not_sent", device=device, code=error.code)


@contextmanager
def renewing(
    settings: CloudSettings,
    authority: Authority,
    database: Database,
    log: FilteringBoundLogger,
    ready: Callable[[], bool],
) -> Iterator[None]:
    """Certificates of devices are renewed inside the block, where the authority can sign them.

    Raises:
        ConfigError: a file that the broker's settings name is not usable.
    """
    if not authority.has_key(Role.DEVICE):
        log.warning("renewals_off", reason="the key of the device authority is not here")
        yield
        return
    link = RenewalsLink(
        renewals=Renewals(
            authority=authority,
            database=database,
            valid_days=settings.certificate_days,
            now=lambda: datetime.now(UTC),
            log=log,
        ),
        broker=resolve_broker(settings),
        client_id=private_client_id(f"{settings.name}-renewals", settings),
        share=lambda: share_name(database, settings.group),
        ready=ready,
        log=log,
    )
    link.start()
    try:
        yield
    finally:
        link.stop()
