"""Renewal of the certificate, made of an agent's settings; of an agent without one, nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker
from edgeqa.identity.roles import Role
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.tls_proof import prove
from edgeqa.topics import DeviceTopics
from edgeqa_agent.identity import OwnIdentity
from edgeqa_agent.renewal import Renewal
from edgeqa_agent.renewal_exchange import CertificateExchange
from edgeqa_agent.settings import AgentSettings


class Renewing:
    """Use `start` and `stop`.

    Args:
        settings: of the agent.
        identity: what it proves itself with; None: it has no certificate.
        broker: a new certificate is proven there.
        link: the agent's connection; asked for when it is needed.
        log: for what happens.
    """

    def __init__(
        self,
        settings: AgentSettings,
        identity: OwnIdentity | None,
        *,
        broker: Broker,
        link: Callable[[], MqttLink],
        log: FilteringBoundLogger,
    ) -> None:
        self.subscriptions: Sequence[Subscription] = ()
        self._renewal: Renewal | None = None
        if identity is None:
            return
        exchange = CertificateExchange(device=settings.device, link=link, log=log)
        self._renewal = Renewal(
            identity=identity,
            exchange=exchange,
            prove=lambda files: prove(broker, files),
            share=settings.certificate_renew_share,
            log=log,
        )

        def on_issued(delivery: Delivery) -> None:
            exchange.on_issued(delivery)
            link().acknowledge(delivery)

        # A broker that somebody else set up, with certificates of their own, need not know of it.
        if settings.certificate_renew_share and identity.current().role is Role.DEVICE:
            topic = DeviceTopics(settings.device).certificate_issued
            self.subscriptions = (Subscription(topic, on_issued),)

    def start(self) -> None:
        """Begin, with a connection."""
        if self._renewal is not None:
            self._renewal.start()

    def stop(self) -> None:
        """End; idempotent."""
        if self._renewal is not None:
            self._renewal.stop()
