"""One broker and one agent for the tests that leave both as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.agents import AgentProcess, RawClient, serving
from support.broker import Broker


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(folder=tmp_path_factory.mktemp("broker")).start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def agent(
    shared_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("agent")
    with serving(shared_broker, folder, groups="hall", max_batch=8) as running:
        yield running


@pytest.fixture
def client(shared_broker: Broker, agent: AgentProcess) -> Iterator[RawClient]:
    with RawClient(shared_broker) as raw:
        yield raw
