"""A browser for the tests of a file.

Playwright's event loop runs in the main thread as long as it is there, and tests of other files
have loops of their own: it ends with the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.browser import Chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A Chromium; each test makes visitors of its own."""
    with Chromium() as browser:
        yield browser
