"""What a device is answered that asks for its next certificate, on both databases."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from sqlalchemy import select
from support.cloud import Store

from edgeqa.certificate_messages import CertificateIssued, CertificateRequest
from edgeqa.identity.certificate import describe, parse_certificate
from edgeqa.identity.renewing import Candidate, new_candidate
from edgeqa.identity.roles import Role
from edgeqa.tls import CertificateFiles
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.certificates import new_key
from edgeqa_cloud.enrolment.passwords import issue_password
from edgeqa_cloud.enrolment.renewals import MOST_RENEWALS, Renewals
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.rollout.tables import audit
from edgeqa_cloud.settings import DatabaseSettings

DEVICE = Role.DEVICE
DAYS = 90.0


class Desk:
    """Where devices ask; its clock can be moved on."""

    def __init__(self, database: Database, authority: Authority, now: datetime) -> None:
        self.database, self.authority, self.now = database, authority, now
        self.renewals = Renewals(
            authority=authority, database=database, valid_days=DAYS, now=lambda: self.now,
            log=structlog.get_logger(),
        )  # fmt: skip

    def enrol(self, name: str, role: Role = DEVICE, *, days: float = 30) -> None:
        key = new_key().public_key()
        issued = self.authority.sign_key(role, key, name=name, valid_days=days, now=self.now)
        with self.database.writing() as connection:
            registry.record(connection, issued, issued_by="shell")

    def revoke(self, name: str) -> None:
        with self.database.writing() as connection:
            registry.revoke(connection, DEVICE, name, reason="lost", actor="shell", now=self.now)

    def ask(self, name: str, candidate: Candidate | None = None) -> CertificateIssued:
        candidate = candidate or new_candidate(DEVICE, name)
        request = CertificateRequest(id="one", device=name, request=candidate.request())
        answered = self.renewals.answer(DeviceTopics(name).certificate_request, request.to_json())
        assert answered is not None
        device, reply = answered
        assert (device, reply.id) == (name, "one")
        return reply

    def issued_by(self, name: str) -> list[str]:
        query = select(credentials.c.issued_by).where(credentials.c.name == name)
        with self.database.reading() as connection:
            return list(connection.execute(query.order_by(credentials.c.id)).scalars())


@pytest.fixture
def desk(store: Store, authority: Authority, now: datetime) -> Desk:
    return Desk(store.database, authority, now)


def test_who_is_enrolled_gets_a_certificate_that_is_recorded(desk: Desk) -> None:
    desk.enrol("pi-1")
    candidate = new_candidate(DEVICE, "pi-1")
    reply = desk.ask("pi-1", candidate)
    assert reply.certificate is not None
    assert candidate.completed(reply.certificate, now=desk.now)
    path = Path("reply")
    made = describe(parse_certificate(reply.certificate.encode(), path), CertificateFiles(path))
    assert made.until == desk.now + timedelta(days=DAYS)
    with desk.database.reading() as connection:
        row = connection.execute(
            select(credentials).where(credentials.c.issued_by == "renewal")
        ).one()
        actions = list(
            connection.execute(select(audit.c.action).where(audit.c.device == "pi-1")).scalars()
        )
    assert row.fingerprint == made.fingerprint
    assert row.expires_ms == round(made.until.timestamp() * 1000)
    assert "certificate_renewed" in actions


def test_who_has_nothing_that_counts_is_refused(desk: Desk) -> None:
    desk.enrol("revoked")
    desk.revoke("revoked")
    desk.enrol("expired", days=1)
    desk.enrol("client", Role.CLIENT)
    with desk.database.writing() as connection:
        password = issue_password(DEVICE, "password", valid_days=30, now=desk.now)
        registry.record(connection, password, issued_by="shell")
    desk.now += timedelta(days=2)
    for name in ("revoked", "expired", "client", "password", "nobody"):
        refused = desk.ask(name)
        assert refused.code == "not_enrolled", name
        assert name in (refused.message or "")
        assert "renewal" not in desk.issued_by(name)


def test_who_is_enrolled_again_after_a_revocation_may_renew_again(desk: Desk) -> None:
    desk.enrol("pi-1")
    desk.revoke("pi-1")
    desk.enrol("pi-1")
    assert desk.ask("pi-1").certificate


def test_a_bad_request_leaves_nothing_behind(desk: Desk) -> None:
    desk.enrol("pi-1")
    request = CertificateRequest(id="one", device="pi-1", request="-----BEGIN NOTHING-----")
    answered = desk.renewals.answer(DeviceTopics("pi-1").certificate_request, request.to_json())
    assert answered is not None
    assert answered[1].code == "bad_signing_request"
    assert desk.issued_by("pi-1") == ["shell"]


@pytest.mark.parametrize("topic", ["edgeqa/v1/devices/a b/certificate/request", "x", ""])
def test_a_topic_of_nobody_is_answered_nothing(desk: Desk, topic: str) -> None:
    assert desk.renewals.answer(topic, b"{}") is None


def test_the_number_in_a_day_is_bounded_and_the_next_day_is_another(desk: Desk) -> None:
    desk.enrol("pi-1")
    candidate = new_candidate(DEVICE, "pi-1")
    for _ in range(MOST_RENEWALS):
        assert desk.ask("pi-1", candidate).certificate
    assert desk.ask("pi-1", candidate).code == "renewed_too_often"
    desk.enrol("pi-2")
    assert desk.ask("pi-2").certificate
    desk.now += timedelta(days=1, seconds=1)
    assert desk.ask("pi-1", candidate).certificate


def test_many_at_once_get_no_more_than_the_bound(desk: Desk) -> None:
    desk.enrol("pi-1")
    candidate = new_candidate(DEVICE, "pi-1")
    replies: list[CertificateIssued] = []
    threads = [
        threading.Thread(
            target=lambda: replies.extend(desk.ask("pi-1", candidate) for _ in range(4))
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [reply.code for reply in replies]
    assert codes.count(None) == MOST_RENEWALS
    assert codes.count("renewed_too_often") == 20 - MOST_RENEWALS


def test_a_database_that_is_away_is_no_refusal(
    authority: Authority, now: datetime, tmp_path: Path
) -> None:
    """The device asks again by itself, soon; after a refusal it would wait for hours."""
    settings = DatabaseSettings(database=f"sqlite:///{tmp_path}/without-tables.db")
    with Database.of(settings) as database:
        renewals = Desk(database, authority, now).renewals
        request = CertificateRequest(
            id="one", device="pi-1", request=new_candidate(DEVICE, "pi-1").request()
        )
        topic = DeviceTopics("pi-1").certificate_request
        assert renewals.answer(topic, request.to_json()) is None
