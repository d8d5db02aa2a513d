"""An authority for the tests of certificates."""

from __future__ import annotations

import pytest
from support.enrolled import Fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """With a broker that does not run."""
    return Fleet(tmp_path_factory.mktemp("fleet"))
