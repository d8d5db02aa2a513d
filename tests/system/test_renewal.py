"""Certificates are renewed over MQTT: real agents, a real cloud side, a real broker with TLS."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select
from support.agents import AgentProcess
from support.cloud import CollectorProcess
from support.enrolled import Bundle, Fleet

from edgeqa.certificate_messages import CertificateIssued, CertificateRequest
from edgeqa.identity.certificate import read_identity
from edgeqa.identity.renewing import Candidate, new_candidate
from edgeqa.identity.roles import Role
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.tls import CertificateFiles
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.renewals import MOST_RENEWALS
from edgeqa_cloud.enrolment.tables import credentials

pytestmark = pytest.mark.system

SECOND = 1 / 86_400


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """With its broker and its cloud side running."""
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    made.broker.start()
    cloud = cloud_of(made)
    cloud.start(ready="renewals_online")
    yield made
    assert cloud.stop() == 0
    made.broker.stop()


def cloud_of(fleet: Fleet) -> CollectorProcess:
    bundle = fleet.enrol("cloud-1", Role.SERVICE)
    return CollectorProcess(
        broker=fleet.broker,
        folder=fleet.folder / "cloud",
        database=fleet.settings.database,
        command="run",
        settings={
            **of_broker(fleet, bundle, Role.SERVICE),
            "authority": fleet.authority_folder,
            "authority_passphrase_file": fleet.passphrase_file,
            # The fleet's own files say where the broker listens.
            "broker_files": fleet.folder / "unused",
            "listen": "off",
            "metrics_listen": "off",
            "rollouts": "false",
        },
    )


def of_broker(fleet: Fleet, bundle: Bundle, role: Role) -> dict[str, object]:
    """Settings of a process."""
    return {
        "broker": fleet.broker.url_of(role),
        "broker_ca_file": bundle.ca,
        "broker_cert_file": bundle.cert,
        "broker_key_file": bundle.key,
        "broker_username": bundle.issued.name,
    }


def agent_of(fleet: Fleet, bundle: Bundle, folder: Path, **settings: object) -> AgentProcess:
    own = of_broker(fleet, bundle, Role.DEVICE) | settings
    return AgentProcess(fleet.broker, folder, own, bundle.issued.name)


def rows(fleet: Fleet, name: str) -> list[Any]:
    query = select(credentials).where(credentials.c.name == name).order_by(credentials.c.id)
    with Database.of(fleet.settings) as database, database.reading() as connection:
        return list(connection.execute(query))


def revoke_one(fleet: Fleet, serial: str) -> None:
    """The broker refuses this certificate, and takes others of the same device."""
    with Database.of(fleet.settings) as database, database.writing() as connection:
        connection.execute(
            credentials.update().where(credentials.c.serial == serial).values(revoked_ms=1)
        )
    fleet.write_broker_files()


def test_a_certificate_is_renewed_proven_and_used_from_the_next_connection_on(
    fleet: Fleet, tmp_path: Path
) -> None:
    bundle = fleet.enrol("pi-1", days=30 * SECOND)
    agent = agent_of(fleet, bundle, tmp_path).start()
    try:
        agent.wait_for("certificate_renewed", timeout_s=20)
        path = tmp_path / "state-pi-1" / "identity" / "renewed.pem"
        renewed = read_identity(CertificateFiles(path))
        assert path.stat().st_mode & 0o777 == 0o600
        assert renewed.until - datetime.now(UTC) > timedelta(days=80)
        first, second = rows(fleet, "pi-1")
        assert (first.issued_by, second.issued_by) == ("test", "renewal")
        assert second.fingerprint == renewed.fingerprint
        assert bundle.key.read_bytes() not in path.read_bytes()

        revoke_one(fleet, first.serial)
        before = len(agent.events)
        fleet.broker.restart()
        agent.wait_for("mqtt_connected", after=before, timeout_s=20)

        assert agent.stop() == 0
        before = len(agent.events)
        agent.start()
        assert agent.wait_for("identity_chosen", after=before)[0]["certificate"] == str(path)

        # Whoever is enrolled again gets a newer certificate than the one renewed.
        time.sleep(1.1)  # certificates count in whole seconds
        again = fleet.enrol("pi-1")
        assert again.cert == bundle.cert
        assert agent.stop() == 0
        before = len(agent.events)
        agent.start()
        chosen = agent.wait_for("identity_chosen", after=before)[0]
        assert chosen["certificate"] == str(bundle.cert)
    finally:
        assert agent.stop() == 0


class Device:
    """A machine that says what it likes under the name of its certificate."""

    def __init__(self, fleet: Fleet, bundle: Bundle) -> None:
        self.topics = DeviceTopics(bundle.issued.name)
        self.replies: queue.Queue[CertificateIssued] = queue.Queue()
        self.link = MqttLink(
            broker=fleet.address(bundle),
            client_id="whatever",
            subscriptions=[Subscription(self.topics.certificate_issued, self._on_reply)],
            log=structlog.get_logger(),
        )

    def _on_reply(self, delivery: Delivery) -> None:
        self.link.acknowledge(delivery)
        self.replies.put(CertificateIssued.model_validate_json(delivery.payload))

    def ask(self, candidate: Candidate, *, device: str | None = None) -> CertificateIssued:
        request = CertificateRequest(
            id="one", device=device or self.topics.device, request=candidate.request()
        )
        self.say(request.to_json())
        return self.replies.get(timeout=20)

    def say(self, payload: bytes) -> None:
        self.link.publish(Outgoing(self.topics.certificate_request, payload))


@contextmanager
def connected(fleet: Fleet, bundle: Bundle) -> Iterator[Device]:
    device = Device(fleet, bundle)
    device.link.start()
    try:
        yield device
    finally:
        device.link.stop()


def test_what_is_asked_for_under_another_name_is_refused(fleet: Fleet) -> None:
    with connected(fleet, fleet.enrol("pi-2")) as device:
        mine = new_candidate(Role.DEVICE, "pi-2")
        others = new_candidate(Role.DEVICE, "pi-3")
        service = new_candidate(Role.SERVICE, "pi-2")

        assert device.ask(others).code == "bad_signing_request"
        assert device.ask(service).code == "bad_signing_request"
        assert device.ask(mine, device="pi-3").code == "certificate_of_another"
        for malformed in (b"", b"{}", b"\xff", b"[" * 10_000, json.dumps({"id": "x"}).encode()):
            device.say(malformed)
        issued = device.ask(mine)
        assert issued.certificate
        assert mine.completed(issued.certificate, now=datetime.now(UTC))
    assert [row.issued_by for row in rows(fleet, "pi-2")] == ["test", "renewal"]
    assert rows(fleet, "pi-3") == []


def test_whoever_is_revoked_is_refused(fleet: Fleet) -> None:
    # The broker has not been told to read its files again, and so lets it ask.
    with connected(fleet, fleet.enrol("pi-4")) as device:
        fleet.revoke("pi-4")
        refused = device.ask(new_candidate(Role.DEVICE, "pi-4"))
    assert refused.code == "not_enrolled"
    assert "pi-4" in (refused.message or "")
    assert len(rows(fleet, "pi-4")) == 1


def test_a_device_that_asks_again_and_again_is_stopped(fleet: Fleet) -> None:
    with connected(fleet, fleet.enrol("pi-5")) as device:
        candidate = new_candidate(Role.DEVICE, "pi-5")
        codes = [device.ask(candidate).code for _ in range(MOST_RENEWALS + 1)]
    assert codes == [None] * MOST_RENEWALS + ["renewed_too_often"]


@pytest.mark.slow
def test_an_agent_that_is_revoked_goes_on_with_what_it_has(fleet: Fleet, tmp_path: Path) -> None:
    bundle = fleet.enrol("pi-6", days=60 * SECOND)
    with Database.of(fleet.settings) as database, database.writing() as connection:
        connection.execute(credentials.delete().where(credentials.c.name == "pi-6"))
    agent = agent_of(fleet, bundle, tmp_path).start()
    try:
        refused = agent.wait_for("certificate_not_renewed", timeout_s=30)[0]
        assert refused["code"] == "not_enrolled"
        assert agent.wait_for("certificate_expires_soon")
    finally:
        assert agent.stop() == 0
    assert not (tmp_path / "state-pi-6" / "identity").exists()


@pytest.mark.slow
def test_an_agent_without_a_cloud_asks_again_later(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    bundle = fleet.enrol("pi-7", days=60 * SECOND)
    fleet.broker.start()
    agent = agent_of(fleet, bundle, tmp_path).start()
    try:
        failed = agent.wait_for("certificate_not_renewed", timeout_s=30)[0]
        assert failed["code"] == "renewal_unanswered"
        assert "nobody listens" in failed["reason"]
        assert failed["retry_s"] > 0
    finally:
        code = agent.stop()
        fleet.broker.stop()
    assert code == 0
