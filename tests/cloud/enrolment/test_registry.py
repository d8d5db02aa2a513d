"""The registry on both databases: who is enrolled, what is revoked, and what happens at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select
from support.cloud import Store
from support.fleet_databases import Databases

from edgeqa.errors import EdgeqaError
from edgeqa.identity.roles import Role
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.authority import Authority, Issued
from edgeqa_cloud.enrolment.certificates import new_key
from edgeqa_cloud.enrolment.enrolled import State, list_enrolled
from edgeqa_cloud.enrolment.enrolling import Wish, enrol
from edgeqa_cloud.enrolment.membership import Membership, membership
from edgeqa_cloud.enrolment.passwords import IssuedPassword, issue_password
from edgeqa_cloud.enrolment.refusals import AlreadyEnrolledError, NotEnrolledError
from edgeqa_cloud.rollout.tables import audit

DEVICE = Role.DEVICE


@pytest.fixture
def database(store: Store) -> Database:
    return store.database


def certificate(
    authority: Authority,
    now: datetime,
    name: str = "pi-7",
    *,
    role: Role = DEVICE,
    days: float = 30,
) -> Issued:
    key = new_key().public_key()
    return authority.sign_key(role, key, name=name, valid_days=days, now=now)


def record(database: Database, *issued: Issued | IssuedPassword, by: str = "shell") -> None:
    with database.writing() as connection:
        for one in issued:
            registry.record(connection, one, issued_by=by)


def revoke(database: Database, name: str, now: datetime, *, role: Role = DEVICE) -> None:
    with database.writing() as connection:
        registry.revoke(connection, role, name, reason="lost", actor="shell:anna", now=now)


def enrolled(database: Database, name: str, now: datetime, *, role: Role = DEVICE) -> bool:
    with database.reading() as connection:
        return registry.enrolled(connection, role, name, now=now)


def members(database: Database, now: datetime, *, role: Role = DEVICE) -> Membership:
    with database.reading() as connection:
        return membership(connection, role, now=now)


def test_from_enrolment_to_revocation(
    database: Database, authority: Authority, now: datetime
) -> None:
    first = certificate(authority, now)
    assert not enrolled(database, "pi-7", now)
    record(database, first)
    assert enrolled(database, "pi-7", now)
    assert not enrolled(database, "pi-7", now, role=Role.CLIENT)
    assert not enrolled(database, "PI-7", now)
    second = certificate(authority, now)
    record(database, second, by="renewal")
    assert members(database, now) == Membership((), (), ())

    revoke(database, "pi-7", now)
    assert not enrolled(database, "pi-7", now)
    after = members(database, now)
    assert after.muted == ("pi-7",)
    assert {serial for serial, _ in after.revoked} == {
        int(first.serial, 16),
        int(second.serial, 16),
    }
    with pytest.raises(NotEnrolledError):
        revoke(database, "pi-7", now)

    record(database, certificate(authority, now))
    assert enrolled(database, "pi-7", now)
    back = members(database, now)
    assert back.muted == ()
    assert back.revoked == after.revoked


def test_each_change_stands_in_the_audit_log_without_a_secret(
    database: Database, authority: Authority, now: datetime
) -> None:
    password = issue_password(Role.CLIENT, "home", valid_days=9, now=now)
    record(database, certificate(authority, now), by="shell:anna")
    record(database, password, by="shell:anna")
    record(database, certificate(authority, now), by="renewal")
    revoke(database, "pi-7", now)
    with database.reading() as connection:
        rows = connection.execute(select(audit).order_by(audit.c.id)).all()
    assert [(one.actor, one.action, one.device) for one in rows] == [
        ("shell:anna", "enrolled", "pi-7"),
        ("shell:anna", "enrolled", None),
        ("renewal", "certificate_renewed", "pi-7"),
        ("shell:anna", "revoked", "pi-7"),
    ]
    assert rows[3].message == "device pi-7: lost"
    text = json.dumps([str(one) for one in rows])
    assert password.password not in text
    assert password.hashed not in text
    assert password.password not in repr(password)


def test_what_expires_counts_no_more(
    database: Database, authority: Authority, now: datetime
) -> None:
    record(database, certificate(authority, now, days=1))
    record(database, issue_password(DEVICE, "word", valid_days=1, now=now))
    later = now + timedelta(days=1)
    assert members(database, later - timedelta(seconds=1)).muted == ()
    assert len(members(database, later - timedelta(seconds=1)).passwords) == 1
    assert not enrolled(database, "pi-7", later)
    assert members(database, later) == Membership(("pi-7", "word"), (), ())
    with pytest.raises(NotEnrolledError):
        revoke(database, "pi-7", later)


def test_a_revoked_certificate_leaves_the_list_when_it_would_not_count_any_more(
    database: Database, authority: Authority, now: datetime
) -> None:
    record(database, certificate(authority, now, days=1))
    revoke(database, "pi-7", now)
    assert len(members(database, now + timedelta(days=1)).revoked) == 1
    assert members(database, now + timedelta(days=2.1)).revoked == ()
    assert members(database, now + timedelta(days=2.1)).muted == ("pi-7",)


def test_a_name_has_one_password_the_newest(database: Database, now: datetime) -> None:
    old, new = (issue_password(DEVICE, "pi-7", valid_days=9, now=now) for _ in range(2))
    record(database, old)
    record(database, new)
    assert members(database, now).passwords == (("pi-7", new.hashed),)
    revoke(database, "pi-7", now)
    assert members(database, now) == Membership(("pi-7",), (), ())


def test_one_name_in_two_roles_is_two(
    database: Database, authority: Authority, now: datetime
) -> None:
    record(database, certificate(authority, now, "anna"))
    record(database, certificate(authority, now, "anna", role=Role.SERVICE))
    revoke(database, "anna", now, role=Role.SERVICE)
    assert enrolled(database, "anna", now)
    assert not enrolled(database, "anna", now, role=Role.SERVICE)
    with database.reading() as connection:
        listed = list(list_enrolled(connection, now_ms=round(now.timestamp() * 1000)))
    assert [(one.role, one.state) for one in listed] == [
        (DEVICE, State.VALID),
        (Role.SERVICE, State.REVOKED),
    ]


@pytest.mark.parametrize(
    ("day", "state"),
    [(0, State.VALID), (24.9, State.VALID), (25.1, State.EXPIRING), (30, State.EXPIRED)],
)
def test_lists_say_how_a_name_stands(
    database: Database, authority: Authority, now: datetime, day: float, state: State
) -> None:
    record(database, certificate(authority, now, days=30))
    record(database, certificate(authority, now, days=2))
    at_ms = round((now + timedelta(days=day)).timestamp() * 1000)
    with database.reading() as connection:
        (one,) = list_enrolled(connection, now_ms=at_ms)
        assert one.state is state
        for other in State:
            found = list(list_enrolled(connection, now_ms=at_ms, state=other))
            assert len(found) == (other is state)
    if state is not State.EXPIRED:
        assert one.expires_ms == round((now + timedelta(days=30)).timestamp() * 1000)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """What came of each, begun at the same time."""
    began, outcomes = threading.Barrier(len(acts)), [object()] * len(acts)

    def act(index: int) -> None:
        began.wait()
        try:
            outcomes[index] = acts[index]()
        except EdgeqaError as error:
            outcomes[index] = error

    threads = [threading.Thread(target=act, args=(index,)) for index in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_of_many_that_enrol_a_name_at_once_one_does(
    cloud_databases: Databases, authority: Authority, now: datetime, tmp_path: Path
) -> None:
    url = cloud_databases.new()

    def act(number: int) -> Callable[[], object]:
        def run() -> object:
            with cloud_databases.open(url) as database:
                return enrol(
                    Wish(role=DEVICE, name="pi-7", days=9), authority=authority, database=database,
                    output=tmp_path / str(number), actor="shell", now=now,
                ).bundle  # fmt: skip

        return run

    outcomes = at_once(*(act(number) for number in range(5)))
    bundles = [one for one in outcomes if isinstance(one, Path)]
    assert len(bundles) == 1
    refused = [one for one in outcomes if not isinstance(one, Path)]
    assert all(isinstance(one, AlreadyEnrolledError) for one in refused)
    # Those that were refused left nothing: above all no key.
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == set(bundles)


def test_a_renewal_does_not_escape_a_revocation_at_the_same_time(
    cloud_databases: Databases, authority: Authority, now: datetime
) -> None:
    """Whichever comes first, nothing counts afterwards."""
    url = cloud_databases.new()
    for round_ in range(6):
        name = f"pi-{round_}"
        with cloud_databases.open(url) as database:
            record(database, certificate(authority, now, name))
        issued = [certificate(authority, now, name) for _ in range(3)]

        def renew(one: Issued, name: str = name) -> object:
            with cloud_databases.open(url) as database, database.writing() as connection:
                if registry.enrolled(connection, DEVICE, name, now=now):
                    registry.record(connection, one, issued_by="renewal")
            return None

        def end(name: str = name) -> object:
            with cloud_databases.open(url) as database:
                revoke(database, name, now)
            return None

        renewals = [partial(renew, one) for one in issued]
        outcomes = at_once(*renewals[:2], end, renewals[2])
        assert outcomes == [None] * 4
        with cloud_databases.open(url) as database:
            assert not enrolled(database, name, now)
            assert name in members(database, now).muted
