"""What the cloud does about expiry by itself, and what it tells Prometheus of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from support.cloud import Store
from support.fleet_databases import Databases

from edgeqa.identity.roles import Role
from edgeqa_cloud import metric_specs as specs
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.certificates import new_key
from edgeqa_cloud.enrolment.enrolment_metrics import AuthorityMetrics
from edgeqa_cloud.enrolment.keeper import BrokerFilesKeeper
from edgeqa_cloud.enrolment.making import make_authority
from edgeqa_cloud.enrolment.passwords import issue_password
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.enrolment_settings import EnrolmentSettings
from edgeqa_cloud.fleet_metrics import FleetMetrics
from edgeqa_cloud.retention import KeepDays, Retention

Series = dict[tuple[str, str], float]


def issue(
    database: Database, authority: Authority, name: str, now: datetime, *, role: Role = Role.DEVICE,
    days: float = 30, revoked: bool = False,
) -> None:  # fmt: skip
    one = authority.sign_key(role, new_key().public_key(), name=name, valid_days=days, now=now)
    with database.writing() as connection:
        registry.record(connection, one, issued_by="test")
        if revoked:
            registry.revoke(connection, role, name, reason="", actor="test", now=now)


def scrape(collector: object) -> Series:
    """Name and value of the only label, to the figure."""
    registered = CollectorRegistry()
    registered.register(collector)  # type: ignore[arg-type]  # a collector
    text = generate_latest(registered).decode()
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_is_told_who_has_what_and_what_expires(
    store: Store, authority: Authority, now: datetime
) -> None:
    database = store.database
    issue(database, authority, "fresh", now)
    issue(database, authority, "fresh", now, days=26)  # it has a longer one
    issue(database, authority, "soon", now, days=28)
    issue(database, authority, "lapsed", now, days=5)
    issue(database, authority, "lost", now, revoked=True)
    issue(database, authority, "long-gone", now - timedelta(days=40), days=5)
    issue(database, authority, "anna", now, role=Role.CLIENT)
    with database.writing() as connection:
        word = issue_password(Role.CLIENT, "anna", valid_days=300, now=now)
        registry.record(connection, word, issued_by="test")
    later = now + timedelta(days=24.9)
    found = scrape(FleetMetrics(database=database, clock=later.timestamp))
    for role, figures in {"device": (2, 1, 1), "client": (1, 0, 0), "service": (0, 0, 0)}.items():
        names = (specs.ENROLLED, specs.EXPIRE_SOON, specs.EXPIRED)
        assert tuple(found[one.name, role] for one in names) == figures, role
    next_at = {role: found.get((specs.EXPIRE_NEXT.name, role)) for role in Role}
    assert next_at[Role.DEVICE] == (now + timedelta(days=28)).timestamp()
    assert next_at[Role.CLIENT] == (now + timedelta(days=300)).timestamp()
    assert next_at[Role.SERVICE] is None


def test_what_expired_long_ago_is_deleted_and_nothing_else(
    store: Store, authority: Authority, now: datetime
) -> None:
    database = store.database
    issue(database, authority, "old", now - timedelta(days=440), days=30)
    issue(database, authority, "kept", now - timedelta(days=420), days=30)
    issue(database, authority, "fresh", now)
    retention = Retention(database=database, keep=KeepDays(7, 90, 1095))
    assert sum(retention.delete(now_ms=round(now.timestamp() * 1000))) == 1
    with database.reading() as connection:
        names = connection.execute(credentials.select().order_by(credentials.c.id)).all()
    assert [one.name for one in names] == ["kept", "fresh"]


class Kept:
    """A keeper with a clock of its own."""

    def __init__(self, folder: Path, database: Database, now: datetime) -> None:
        self.now = now
        self.files = folder / "files"
        self.authority = make_authority(
            folder / "authority", hosts=["localhost"], passphrase=None, now=now
        )
        self.database = database
        self.keeper = self.another()

    def another(self) -> BrokerFilesKeeper:
        return BrokerFilesKeeper(
            settings=EnrolmentSettings(broker_files=self.files, service_certificate_days=90),
            authority=Authority.open(self.authority.folder, None),
            database=self.database,
            ready=lambda: True,
            log=structlog.get_logger(),
            now=lambda: self.now,
        )

    def well(self) -> bool:
        return self.keeper.well

    def scrape(self) -> Series:
        metrics = AuthorityMetrics(authority=self.authority, folder=self.files, well=self.well)
        return scrape(metrics)


@pytest.fixture
def kept(sqlite_databases: Databases, tmp_path: Path, now: datetime) -> Iterator[Kept]:
    with sqlite_databases.open(sqlite_databases.new()) as database:
        yield Kept(tmp_path, database, now)


def test_after_each_round_of_ten_years_nothing_expires_within_two_weeks(kept: Kept) -> None:
    began = kept.now
    end = (began + timedelta(days=3650)).timestamp()
    for day in range(0, 3649, 40):
        kept.now = began + timedelta(days=day)
        kept.keeper.round()
        assert kept.well()
        found = kept.scrape()
        for name in ("server.crt", "device.crl", "client.crl", "service.crl"):
            left = found[specs.FILES_EXPIRE.name, name] - kept.now.timestamp()
            assert left >= min(14 * 86_400, end - kept.now.timestamp()), (name, day)


def test_trouble_is_told_once_and_its_end_shows(kept: Kept) -> None:
    assert not kept.well()
    kept.files.write_text("")
    with capture_logs() as logs:
        for _ in range(3):
            kept.keeper.round()
    assert [one["event"] for one in logs] == ["broker_files_wait"]
    assert kept.scrape()[specs.FILES_UP.name, ""] == 0
    kept.files.unlink()
    with capture_logs() as logs:
        for _ in range(3):
            kept.keeper.round()
    assert [one["event"] for one in logs] == ["broker_files_written"]
    found = kept.scrape()
    assert found[specs.FILES_UP.name, ""] == 1
    assert (
        found[specs.AUTHORITY_EXPIRES.name, "device"]
        == (kept.now + timedelta(days=3650)).timestamp()
    )


def test_a_database_that_is_away_leaves_the_files_as_they_are(kept: Kept) -> None:
    kept.keeper.round()
    stamp = (kept.files / "stamp").read_bytes()
    with kept.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE credentials RENAME TO away")
    with capture_logs() as logs:
        kept.keeper.round()
    assert logs[0]["event"] == "broker_files_wait"
    assert "database" in logs[0]["reason"]
    assert not kept.well()
    assert (kept.files / "stamp").read_bytes() == stamp
    with kept.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO credentials")
    kept.keeper.round()
    assert kept.well()


def test_a_key_that_is_kept_elsewhere_shows_only_when_it_is_needed(kept: Kept) -> None:
    kept.keeper.round()
    key = kept.authority.folder / "client" / "ca.key"
    key.rename(kept.files / "elsewhere")
    kept.keeper = kept.another()
    kept.keeper.round()
    assert kept.well()
    issue(kept.database, kept.authority, "anna", kept.now, role=Role.CLIENT, revoked=True)
    with capture_logs() as logs:
        kept.keeper.round()
    assert not kept.well()
    assert [one["event"] for one in logs] == ["broker_files_written", "broker_files_wait"]
    # The access rules need no signature: she is mute already.
    assert "user anna" in (kept.files / "client.acl").read_text()


def test_it_stops_while_it_waits_for_tables(kept: Kept) -> None:
    keeper = BrokerFilesKeeper(
        settings=EnrolmentSettings(broker_files=kept.files), authority=kept.authority,
        database=kept.database, ready=lambda: False, log=structlog.get_logger(),
    )  # fmt: skip
    keeper.start()
    keeper.stop()
    assert not kept.files.exists()
