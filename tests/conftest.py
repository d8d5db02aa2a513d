"""Fixtures of all tests: a real broker of one's own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from support.broker import Broker, Certificates, make_certificates

# A shell starts its background jobs with SIGINT ignored, and programs inherit that: without this,
# the tests of Ctrl-C would fail in such a job.
signal.signal(signal.SIGINT, signal.default_int_handler)

_LONG = ("test_demo.py", "test_swaps.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no worker is left alone with them at the end."""

    def turn(item: pytest.Item) -> int:
        if item.path.name in _LONG:
            return 0
        return 1 if item.path.parent.name == "system" else 2

    items.sort(key=turn)


StartBroker = Callable[..., Broker]


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command that runs in this process sends its logs to a stream that ends with the test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start a mosquitto with options of `support.broker.Broker`; stopped after the test."""
    brokers: list[Broker] = []

    def start(**options: object) -> Broker:
        folder = tmp_path / f"broker{len(brokers)}"
        made = Broker(folder=folder, **options)  # type: ignore[arg-type]  # options pass through
        brokers.append(made)
        return made.start()

    yield start
    for one in brokers:
        one.stop()


@pytest.fixture
def broker(start_broker: StartBroker) -> Broker:
    """A plain broker: no users, no TLS."""
    return start_broker()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority with certificates of a broker and of a client."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The same from an authority that nobody trusts."""
    return make_certificates(tmp_path_factory.mktemp("other_certificates"))
