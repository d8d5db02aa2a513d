"""The cloud renews its own certificate while it runs, and nothing that is not its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import select
from support.fleet_databases import Databases

from edgeqa.identity.certificate import read_identity
from edgeqa.identity.roles import Role
from edgeqa.tls import CertificateFiles
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.authority import Authority, Issued
from edgeqa_cloud.enrolment.enrolling import Wish, enrol
from edgeqa_cloud.enrolment.making import make_authority
from edgeqa_cloud.enrolment.own_certificate import renew_own
from edgeqa_cloud.enrolment.refusals import AuthorityError
from edgeqa_cloud.enrolment.tables import credentials


@pytest.fixture
def database(sqlite_databases: Databases) -> Iterator[Database]:
    with sqlite_databases.open(sqlite_databases.new()) as opened:
        yield opened


class Own:
    """A member with a bundle, as `edgeqa cloud enrol` writes it, for a hundred days."""

    def __init__(
        self, authority: Authority, database: Database, folder: Path, now: datetime, role: Role
    ) -> None:
        wish = Wish(role, "cloud", days=100)
        made = enrol(wish, authority=authority, database=database, output=folder, actor="test",
                     now=now)  # fmt: skip
        self.files = CertificateFiles(made.bundle / "identity.crt", made.bundle / "identity.key")
        self.authority = authority
        self.database = database
        self.now = now

    def after(self, days: float) -> Issued | None:
        moment = self.now + timedelta(days=days)
        return renew_own(self.files, self.authority, self.database, valid_days=365, now=moment)

    def issued_by(self) -> list[str]:
        with self.database.reading() as connection:
            return list(connection.execute(select(credentials.c.issued_by)).scalars())


@pytest.fixture
def own(authority: Authority, database: Database, tmp_path: Path, now: datetime) -> Own:
    return Own(authority, database, tmp_path, now, Role.SERVICE)


def test_it_is_renewed_in_its_last_third_and_once(own: Own) -> None:
    before = own.files.cert.read_bytes()
    assert own.after(60) is None
    assert own.files.cert.read_bytes() == before
    issued = own.after(70)
    assert issued is not None
    identity = read_identity(own.files)  # the key belongs to it
    assert (identity.role, identity.name, identity.fingerprint) == (
        Role.SERVICE, "cloud", issued.fingerprint,
    )  # fmt: skip
    assert identity.until == own.now + timedelta(days=70 + 365)
    assert own.issued_by() == ["test", "renewal"]
    assert own.after(71) is None
    status = own.files.cert.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), 0o644)
    certificate = x509.load_pem_x509_certificate(own.files.cert.read_bytes())
    certificate.verify_directly_issued_by(own.authority.certificates[Role.SERVICE])


def test_what_was_revoked_is_not_renewed(own: Own) -> None:
    with own.database.writing() as connection:
        registry.revoke(connection, Role.SERVICE, "cloud", reason="left", actor="test",
                        now=own.now)  # fmt: skip
    assert own.after(70) is None
    assert own.issued_by() == ["test"]


def test_a_certificate_of_another_authority_or_role_is_left_alone(
    own: Own, database: Database, tmp_path: Path, now: datetime
) -> None:
    other = make_authority(tmp_path / "other", hosts=["localhost"], passphrase=None, now=now)
    own.authority = other
    assert own.after(70) is None
    device = Own(other, database, tmp_path / "device", now, Role.DEVICE)
    assert device.after(70) is None
    assert own.issued_by() == ["test", "test"]


def test_where_it_cannot_be_written_nothing_is_recorded(own: Own) -> None:
    # A folder that takes no file, also from root.
    with own.files.cert.open("rb") as opened:
        own.files = CertificateFiles(Path(f"/proc/self/fd/{opened.fileno()}"), own.files.key)
        with pytest.raises(AuthorityError) as refused:
            own.after(70)
    assert refused.value.code == "output_unwritable"
    assert "enrol cloud again" in str(refused.value)
    assert own.issued_by() == ["test"]
