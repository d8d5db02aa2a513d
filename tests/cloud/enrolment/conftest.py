"""One authority for the tests that only sign with it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.making import make_authority


@pytest.fixture(scope="session")
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    return make_authority(folder, hosts=["localhost", "127.0.0.1"], passphrase=None, now=now)
