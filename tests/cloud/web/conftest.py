"""One browser for all tests of pages in a process; it is gone before other tests run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.browser import Chromium


@pytest.fixture(scope="package")
def chromium() -> Iterator[Chromium]:
    """A Chromium; each test makes visitors of its own."""
    with Chromium() as browser:
        yield browser
